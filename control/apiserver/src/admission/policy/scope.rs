//! Running the expressions of a policy: its variables, worked out when they are first read, and what is left of the budget.

use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use expressions::seam::LazyFields;
use expressions::{Fault, Program, Value as Cel, limits};
use kinds::expressions::{Compiler, Use, VARIABLES_TYPE};
use schema::{DocExt, Value};

/// What ends everything that a policy has to say of a request.
pub(super) const OUT_OF_BUDGET: &str = "validation failed due to running out of cost budget, no further validation rules will be run";

/// An expression, compiled. What is wrong with it concerns the requests that come so far: it was stored by a release that knew more.
pub(super) struct Expression {
    pub text: String,
    program: Result<Program, String>,
}

impl Expression {
    pub(super) fn new(compiler: &Compiler, usage: Use, text: &str) -> Self {
        Self { text: text.to_owned(), program: compiler.compile(usage, text) }
    }

    pub(super) fn uses(&self, variable: &str) -> bool {
        self.program.as_ref().is_ok_and(|program| program.uses(variable))
    }

    /// What is wrong with the expression itself.
    pub(super) fn mistake(&self) -> Option<&str> {
        self.program.as_ref().err().map(String::as_str)
    }
}

/// The `variables` of a policy, in order.
#[derive(Default)]
pub(super) struct Definitions(Vec<Definition>);

struct Definition {
    name: String,
    program: Result<Program, String>,
}

impl Definitions {
    /// Compiles a policy's variables; the compiler knows them from now on.
    pub(super) fn new(spec: &Value, compiler: &mut Compiler) -> Self {
        let define = |variable: &Value| {
            let (name, text) = (variable.str_at("name"), variable.str_at("expression"));
            Definition { name: name.to_owned(), program: compiler.define(name, text) }
        };
        Self(spec.items_at("variables").iter().map(define).collect())
    }

    pub(super) fn uses(&self, variable: &str) -> bool {
        self.0.iter().any(|definition| definition.program.as_ref().is_ok_and(|program| program.uses(variable)))
    }
}

/// The names of one run, and what was worked out in it so far.
pub(super) struct Scope<'a> {
    names: Vec<(&'a str, Cel<'a>)>,
    variables: Variables<'a>,
}

struct Variables<'a> {
    definitions: &'a [Definition],
    known: Vec<OnceLock<Result<Cel<'a>, Fault>>>,
    /// Of variables since it was last asked for.
    cost: AtomicU64,
    /// The scope that they are of: variables are made of variables.
    scope: OnceLock<&'a Scope<'a>>,
}

/// Nothing more is run, and what was run does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OutOfBudget;

impl<'a> Scope<'a> {
    /// `names` but those that are left out.
    pub(super) fn new(definitions: &'a Definitions, names: &[(&'a str, Cel<'a>)], without: &[&str]) -> Self {
        let names = names.iter().filter(|(name, _)| !without.contains(name)).cloned().collect();
        let known = definitions.0.iter().map(|_| OnceLock::new()).collect();
        Self { names, variables: Variables { definitions: &definitions.0, known, cost: AtomicU64::new(0), scope: OnceLock::new() } }
    }

    /// Runs an expression and takes what it cost from `budget`. The inner error is upstream's sentence about the expression.
    pub(super) fn run(&'a self, expression: &'a Expression, budget: &mut u64) -> Result<Result<Cel<'a>, String>, OutOfBudget> {
        let Ok(program) = expression.program.as_ref() else {
            return Ok(Err(format!("compilation error: {}", expression.mistake().unwrap_or_default())));
        };
        let evaluation = program.evaluate(&self.all(), limits::PER_CALL);
        let of_variables = self.variables.cost.swap(0, Ordering::Relaxed);
        *budget = budget.checked_sub(of_variables).and_then(|left| left.checked_sub(evaluation.cost)).ok_or(OutOfBudget)?;
        Ok(evaluation.result.map_err(|fault| format!("expression '{}' resulted in error: {fault}", expression.text)))
    }

    fn all(&'a self) -> Vec<(&'a str, Cel<'a>)> {
        let mut all = self.names.clone();
        if !self.variables.definitions.is_empty() {
            self.variables.scope.get_or_init(|| self);
            all.push(("variables", Cel::Lazy(&self.variables)));
        }
        all
    }
}

impl fmt::Debug for Variables<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.definitions.iter().map(|definition| &definition.name)).finish()
    }
}

impl LazyFields for Variables<'_> {
    fn type_name(&self) -> &str {
        VARIABLES_TYPE
    }

    fn field<'s>(&'s self, name: &str) -> Option<Result<Cel<'s>, Fault>> {
        // Of two with one name the later one counts.
        let at = self.definitions.iter().rposition(|definition| definition.name == name)?;
        Some(self.known[at].get_or_init(|| self.work_out(at)).clone())
    }
}

impl<'a> Variables<'a> {
    fn work_out(&self, at: usize) -> Result<Cel<'a>, Fault> {
        let definition = &self.definitions[at];
        let about =
            |what: &str, why: &dyn fmt::Display| Fault::new(format!("composited variable {:?} fails to {what}: {why}", definition.name));
        let program = definition.program.as_ref().map_err(|why| about("compile", why))?;
        let scope = self.scope.get().expect("variables are read while their scope runs");
        let evaluation = program.evaluate(&scope.all(), limits::PER_CALL);
        self.cost.fetch_add(evaluation.cost, Ordering::Relaxed);
        evaluation.result.map_err(|fault| about("evaluate", &fault))
    }
}

#[cfg(test)]
mod tests {
    use schema::json;

    use super::*;

    /// What `texts` come to one after the other in one scope, and what is left of the budget.
    fn run(spec: &Value, object: &Value, texts: &[&str], mut budget: u64) -> (Vec<Result<String, String>>, Option<u64>) {
        let mut compiler = Compiler::new(false);
        let definitions = Definitions::new(spec, &mut compiler);
        let expressions: Vec<_> = texts.iter().map(|text| Expression::new(&compiler, Use::Variable, text)).collect();
        let names = [("object", Cel::json(object))];
        let scope = Scope::new(&definitions, &names, &[]);
        let mut all = Vec::new();
        for expression in &expressions {
            match scope.run(expression, &mut budget) {
                Ok(one) => all.push(one.map(|value| value.to_json().unwrap().to_string())),
                Err(OutOfBudget) => return (all, None),
            }
        }
        (all, Some(budget))
    }

    #[test]
    fn variables_are_made_of_variables_and_worked_out_once() {
        let spec = json!({"variables": [
            {"name": "names", "expression": "object.items.map(i, i.name)"},
            {"name": "many", "expression": "variables.names.size() > 1"},
            {"name": "bad", "expression": "object.nope"},
            {"name": "worse", "expression": "variables.bad + 1"},
        ]});
        let object = json!({"items": [{"name": "a"}, {"name": "b"}]});
        let (said, left) = run(&spec, &object, &["variables.many", "variables.names", "variables.many", "true || variables.bad"], 1_000);
        assert_eq!(said, [Ok("true".into()), Ok(r#"["a","b"]"#.into()), Ok("true".into()), Ok("true".into())]);
        let (_, once) = run(&spec, &object, &["variables.many"], 1_000);
        assert!(1_000 - left.unwrap() < 2 * (1_000 - once.unwrap()), "the second time is nearly free: {left:?} {once:?}");
        let (said, _) = run(&spec, &object, &["variables.worse"], 1_000);
        assert_eq!(
            said,
            [Err("expression 'variables.worse' resulted in error: composited variable \"worse\" fails to evaluate: composited \
                 variable \"bad\" fails to evaluate: no such key: nope"
                .into())]
        );
    }

    #[test]
    fn what_variables_cost_is_taken_from_the_budget() {
        let spec = json!({"variables": [{"name": "long", "expression": "object.items.map(i, i + i)"}]});
        let object = json!({"items": vec![1; 100]});
        assert_eq!(run(&spec, &object, &["variables.long"], 200).1, None);
        assert!(run(&spec, &object, &["variables.long"], 100_000).1.is_some());
    }
}
