//! Compiling an expression and running what came of it.

use std::collections::BTreeSet;

use crate::ast::{Expr, Kind, operators};
use crate::env::Environment;
use crate::estimate::{self, Range};
use crate::eval::{Evaluator, Slot};
use crate::fault::Fault;
use crate::plan::{self, Node};
use crate::source::Issues;
use crate::types::Type;
use crate::value::Value;
use crate::{checker, parser, validate, work};

/// A compiled expression: immutable, shared between threads, run as often as needed.
#[derive(Debug)]
pub struct Program {
    root: Node,
    slots: usize,
    /// In the order of their slots.
    variables: Vec<String>,
    /// The variables that the expression names.
    used: BTreeSet<String>,
    /// Fields selected straight from a variable: `claims.email`, `claims.?email`, `has(claims.email)`.
    selected: BTreeSet<(String, String)>,
    output: Type,
    cost: Range,
}

/// Why an expression does not compile.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// Of its text or its types; drawn below its lines.
    #[error("{0}")]
    Issues(Box<Issues>),
    /// Of a constant in it, found when it was worked out.
    #[error("{0}")]
    Constant(Fault),
}

/// What a run came to.
#[derive(Debug)]
pub struct Evaluation<'a> {
    pub result: Result<Value<'a>, Fault>,
    /// In upstream's units; also where the result is a fault.
    pub cost: u64,
}

impl Environment {
    /// Parses and checks `text`, estimates its cost and makes it ready to run.
    pub fn compile(&self, text: &str) -> Result<Program, CompileError> {
        let (tree, source) = parser::parse(text, self.binds).map_err(CompileError::Issues)?;
        let (checked, source) = checker::check(tree, source, self).map_err(CompileError::Issues)?;
        validate::validate(&checked, source).map_err(CompileError::Issues)?;
        let cost = estimate::estimate(&checked, self);
        let (root, slots) = plan::plan(&checked, self).map_err(CompileError::Constant)?;
        let variables: Vec<String> = self.variable_names().map(str::to_owned).collect();
        let mut used = BTreeSet::new();
        collect_names(&checked.tree.root, &variables, &mut used);
        let mut selected = BTreeSet::new();
        collect_selections(&checked.tree.root, &mut selected);
        Ok(Program { root, slots, variables, used, selected, output: checked.type_of(&checked.tree.root).clone(), cost })
    }
}

impl Program {
    /// The static type of the result.
    pub fn output(&self) -> &Type {
        &self.output
    }

    /// From the least to the most that a run may cost.
    pub fn estimated_cost(&self) -> Range {
        self.cost
    }

    /// Whether the expression names the variable.
    pub fn uses(&self, variable: &str) -> bool {
        self.used.contains(variable)
    }

    /// Whether the expression selects `field` straight from `variable`, optionally or for presence as well.
    pub fn selects(&self, variable: &str, field: &str) -> bool {
        self.selected.iter().any(|(of, name)| of == variable && name == field)
    }

    /// Runs the program with values for its variables; one that is not given is a fault only where it is read. Past `limit`
    /// the run ends with a fault for which [`Fault::is_out_of_budget`] holds.
    pub fn evaluate<'a>(&'a self, variables: &[(&str, Value<'a>)], limit: u64) -> Evaluation<'a> {
        let mut slots = vec![Slot::Unbound; self.slots];
        for (name, value) in variables {
            if let Ok(slot) = self.variables.binary_search_by(|known| known.as_str().cmp(name)) {
                slots[slot] = Slot::Bound(Ok(value.clone()));
            }
        }
        let _work = work::begin();
        let mut evaluator = Evaluator { slots, cost: 0, limit };
        let result = evaluator.eval(&self.root);
        Evaluation { result, cost: evaluator.cost }
    }
}

/// Runs that belong together: they share the bound on work that cost does not see (about a second in all).
pub fn together<T>(runs: impl FnOnce() -> T) -> T {
    let _work = work::begin();
    runs()
}

fn collect_names(expr: &Expr, variables: &[String], used: &mut BTreeSet<String>) {
    if let Kind::Ident(name) = &expr.kind {
        let name = name.strip_prefix('.').unwrap_or(name);
        if variables.iter().any(|variable| variable == name) {
            used.insert(name.to_owned());
        }
    }
    expr.children().into_iter().for_each(|child| collect_names(child, variables, used));
}

fn collect_selections(expr: &Expr, selected: &mut BTreeSet<(String, String)>) {
    let found = match &expr.kind {
        Kind::Select(select) => select.operand.as_ident().map(|of| (of, select.field.as_str())),
        Kind::Call(call) if call.function == operators::OPTIONAL_SELECT => match call.args.as_slice() {
            [operand, field] => operand.as_ident().zip(field.as_str()),
            _ => None,
        },
        _ => None,
    };
    selected.extend(found.map(|(of, field)| (of.trim_start_matches('.').to_owned(), field.to_owned())));
    expr.children().into_iter().for_each(|child| collect_selections(child, selected));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selections_of_a_variable_are_known() {
        let mut environment = Environment::kubernetes();
        environment.variable("claims", Type::map(Type::String, Type::Dyn));
        for (text, selects) in [
            ("claims.email", true),
            ("claims.?email.orValue('')", true),
            ("has(claims.email) && true", true),
            ("[1].exists(n, claims.email == 'a')", true),
            ("claims.nested.email", false),
            ("claims['email']", false),
            ("'claims.email'", false),
        ] {
            assert_eq!(environment.compile(text).unwrap().selects("claims", "email"), selects, "{text}");
        }
    }
}
