//! `matchConditions` of webhooks and policies: all must hold.

use expressions::{Program, Value as Cel, limits};
use kinds::expressions::{Compiler, Use};
use schema::{DocExt, Value};

use super::View;

/// Compiled conditions, in the order of their list.
pub struct MatchConditions(Vec<Condition>);

struct Condition {
    name: String,
    text: String,
    program: Result<Program, String>,
}

/// What conditions say of a request. One that is false decides, whatever goes wrong with others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Match,
    /// The name of the first one that is false.
    NoMatch(String),
    /// None is false, but some could not be evaluated: what to do is the failure policy's to say. One error for each.
    Failed(Vec<String>),
}

impl MatchConditions {
    /// Compiles `[{"name": …, "expression": …}]`; None where there is none. One that does not compile fails every request: it
    /// was stored by a release that knew more.
    pub fn new(list: &[Value], has_params: bool) -> Option<Self> {
        let compiler = Compiler::new(has_params);
        let condition = |given: &Value| {
            let text = given.str_at("expression").trim();
            Condition { name: given.str_at("name").to_owned(), text: text.to_owned(), program: compiler.compile(Use::MatchCondition, text) }
        };
        (!list.is_empty()).then(|| Self(list.iter().map(condition).collect()))
    }

    /// Asks the conditions about a request.
    pub async fn ask(&self, view: &View<'_>) -> Verdict {
        view.run(|variables| expressions::together(|| self.verdict(variables))).await
    }

    fn verdict(&self, variables: &[(&str, Cel<'_>)]) -> Verdict {
        let (mut budget, mut failed) = (limits::MATCH_CONDITIONS, Vec::new());
        let mut no_match = None;
        for condition in &self.0 {
            match condition.holds(variables, &mut budget) {
                Ok(true) => {}
                Ok(false) => no_match = no_match.or(Some(&condition.name)),
                Err(Broken::Budget) => return Verdict::Failed(vec![OUT_OF_BUDGET.to_owned()]),
                Err(Broken::Condition(why)) => failed.push(why),
            }
        }
        match no_match {
            Some(name) => Verdict::NoMatch(name.clone()),
            None if failed.is_empty() => Verdict::Match,
            None => Verdict::Failed(failed),
        }
    }
}

const OUT_OF_BUDGET: &str = "validation failed due to running out of cost budget, no further validation rules will be run";

enum Broken {
    /// Nothing more is run, and what was run does not count.
    Budget,
    Condition(String),
}

impl Condition {
    fn holds(&self, variables: &[(&str, Cel<'_>)], budget: &mut u64) -> Result<bool, Broken> {
        let program = self.program.as_ref().map_err(|why| Broken::Condition(format!("compilation error: {why}")))?;
        let evaluation = program.evaluate(variables, limits::PER_CALL);
        *budget = budget.checked_sub(evaluation.cost).ok_or(Broken::Budget)?;
        match evaluation.result {
            Ok(value) => Ok(value.as_bool() == Some(true)),
            Err(fault) => Err(Broken::Condition(format!("expression '{}' resulted in error: {fault}", self.text))),
        }
    }
}
