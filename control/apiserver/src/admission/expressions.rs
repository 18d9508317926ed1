//! What CEL expressions of admission see of a request, and how they are run: match conditions of webhooks and policies, and all
//! that policies are made of. What they may name, and their compiler, are [`kinds::expressions`].
//!
//! ```text
//! View (object, oldObject, request, namespaceObject, params) ─► variables ─► run ─► outcome
//!        └ Answers ◄─ authorizer.…check(…) ─► known: the decision │ not yet: noted, asked, and run again
//! ```
//! An expression is run to its end without waiting. What it asks of the authorizer is looked up among the request's
//! [`Answers`]; where one is missing, the run is thrown away, the authorizer is asked, and the run starts anew ([`View::run`]).
//! So an authorizer may be a program outside, and one that is asked the same thing by ten expressions is asked once.
//!
//! | file | what |
//! |---|---|
//! | `answers.rs` | the authorizer as expressions see it |
//! | `conditions.rs` | `matchConditions`, compiled and asked |

mod answers;
mod conditions;

use std::sync::Arc;

use expressions::Value as Cel;
use expressions::seam::ResourceQuestion;
use schema::Value;

pub use self::answers::Answers;
pub use self::conditions::{MatchConditions, Verdict};
use super::Admission;

/// The variables of an expression.
pub struct View<'a> {
    /// `object`, in the version that the webhook's or policy's rule names; None for a delete.
    pub object: Option<&'a Value>,
    /// `oldObject`; None for a create or a connection.
    pub old_object: Option<&'a Value>,
    /// `request`: an AdmissionRequest without uid and objects.
    pub request: &'a Value,
    /// `namespaceObject`: the namespace of the object; None for what is of the cluster, and for webhooks.
    pub namespace: Option<&'a Value>,
    /// `params` of a policy, where it has some.
    pub params: Option<&'a Value>,
    /// Behind `authorizer`: one for a request, shared by all that is run for it.
    pub answers: &'a Arc<Answers>,
    /// Behind `authorizer.requestResource`.
    pub resource: &'a ResourceQuestion,
}

/// What `authorizer.requestResource` asks about: the resource of the request as it was made.
pub fn request_resource(request: &Admission<'_>) -> ResourceQuestion {
    ResourceQuestion {
        group: request.kind.group.to_string(),
        resource: request.kind.resource.to_string(),
        subresource: request.subresource.to_owned(),
        namespace: request.namespace.to_owned(),
        name: if request.generated { String::new() } else { request.name.to_owned() },
        ..ResourceQuestion::default()
    }
}

impl<'a> View<'a> {
    /// The variables by name, without `variables`: whoever has some adds them.
    pub fn variables(&self) -> Vec<(&'static str, Cel<'a>)> {
        let document = |doc: Option<&'a Value>| doc.map_or(Cel::Null, Cel::json);
        let authorizer = self.answers.authorizer();
        vec![
            ("object", document(self.object)),
            ("oldObject", document(self.old_object)),
            ("request", Cel::json(self.request)),
            ("namespaceObject", document(self.namespace)),
            ("params", document(self.params)),
            ("authorizer", Cel::Authorizer(Arc::clone(&authorizer))),
            ("authorizer.requestResource", Cel::resource_check(authorizer, self.resource.clone())),
        ]
    }

    /// Runs programs until every question to the authorizer that they ask has its answer. `run` starts from nothing each time:
    /// what it works out once and keeps (`variables.x`) may stem from a decision that was not known yet.
    pub async fn run<T>(&self, mut run: impl FnMut(&[(&'static str, Cel<'a>)]) -> T) -> T {
        let variables = self.variables();
        loop {
            let outcome = run(&variables);
            if !self.answers.are_wanted() {
                return outcome;
            }
            drop(outcome);
            self.answers.settle().await;
        }
    }
}
