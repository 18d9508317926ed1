//! `matchConditions` of a webhook: expressions that all must hold for it to be asked.
//!
//! Where that cannot be said, the webhook fails as its failurePolicy says: `Fail` refuses the request, `Ignore` leaves the webhook
//! out.

use schema::Status;

use super::hook::Hook;
use super::review;
use super::rules::Place;
use super::subject::Subject;
use super::{Webhooks, word};
use crate::admission::Admission;
use crate::admission::expressions::{Answers, MatchConditions, Verdict, View, request_resource};

/// Whether the conditions of `hook` hold. 403 where that cannot be said and the webhook fails closed.
pub(super) async fn hold(
    shared: &Webhooks,
    hook: &Hook,
    request: &mut Admission<'_>,
    place: &Place,
    subject: &Subject<'_>,
) -> Result<bool, Status> {
    let Some(conditions) = &hook.conditions else { return Ok(true) };
    let operation = word(request.operation);
    match ask(conditions, request, place, subject).await {
        Verdict::Match => Ok(true),
        Verdict::NoMatch(_) => {
            shared.metrics.excluded(hook, operation);
            Ok(false)
        }
        Verdict::Failed(errors) => {
            shared.metrics.unevaluated(hook, operation);
            if hook.fails_open { Ok(false) } else { Err(request.forbidden(&aggregate(&errors))) }
        }
    }
}

async fn ask(conditions: &MatchConditions, request: &Admission<'_>, place: &Place, subject: &Subject<'_>) -> Verdict {
    let view = View {
        object: subject.new.as_deref(),
        old_object: subject.old.as_deref(),
        request: &review::attributes(request, place),
        namespace: None,
        params: None,
        answers: &Answers::new(request.core.authorizer(), request.user),
        resource: &request_resource(request),
    };
    conditions.ask(&view).await
}

/// Several errors as one text; equal ones once.
fn aggregate(errors: &[String]) -> String {
    let mut told: Vec<&str> = Vec::new();
    for error in errors {
        if !told.contains(&error.as_str()) {
            told.push(error);
        }
    }
    if let [one] = told.as_slice() { (*one).to_owned() } else { format!("[{}]", told.join(", ")) }
}
