//! One call and what it comes to: allowed, denied, or failed, which the failurePolicy turns into one of the two.

use bytes::Bytes;
use schema::patch::{self, PatchError};
use schema::{Status, Value, json};

use super::hook::{Hook, Type};
use super::metrics::ErrorType;
use super::review::{self, Misread, Verdict};
use super::rules::Place;
use super::subject::Subject;
use super::{Webhooks, word};
use crate::admission::Admission;
use crate::webhook::World;

/// What one webhook is asked.
pub(super) struct Asked<'a> {
    pub shared: &'a Webhooks,
    pub hook: &'a Hook,
    pub place: &'a Place,
    pub subject: &'a Subject<'a>,
    /// 1 when it is asked again.
    pub round: u8,
    /// Among the webhooks of its sort, for the keys of audit annotations.
    pub index: usize,
}

/// An answer that lets the request go on.
#[derive(Default)]
pub(super) struct Outcome {
    /// What the webhook makes of the object, in the version that it was shown.
    pub patched: Option<Value>,
    pub warnings: Vec<String>,
}

/// Why a request cannot just go on.
enum Stop {
    /// The webhook could not be asked, or answered nonsense; `code` is what it comes to.
    Failed {
        why: String,
        code: u16,
    },
    Denied(Status),
    /// Nothing that a failurePolicy could pass over.
    Own(Status),
}

/// Asks and counts. `Err`: the request is refused.
pub(super) async fn ask(request: &Admission<'_>, asked: &Asked<'_>) -> Result<Outcome, Status> {
    let (env, hook, metrics) = (request.core.env(), asked.hook, &asked.shared.metrics);
    let (started, operation) = (env.instant(), word(request.operation));
    let answer = call(request, asked).await;
    let took = env.instant().duration_since(started);
    let count = |code: u16, rejected: bool| metrics.asked(hook, operation, took, code, rejected);
    match answer {
        Ok(outcome) => {
            count(200, false);
            Ok(outcome)
        }
        Err(Stop::Failed { why, code }) if hook.fails_open => {
            tracing::warn!(webhook = hook.name, why, "failed calling a webhook, failing open");
            count(code, false);
            metrics.failed_open(hook);
            request.annotations.add(key("failed-open.", hook, asked.round, asked.index), hook.name.as_str());
            Ok(Outcome::default())
        }
        Err(Stop::Failed { why, code }) => {
            tracing::warn!(webhook = hook.name, why, "failed calling a webhook, failing closed");
            count(code, true);
            metrics.rejected(hook, operation, ErrorType::Calling, code);
            Err(Status::internal(format!("failed calling webhook {:?}: {why}", hook.name)))
        }
        Err(Stop::Denied(status)) => {
            count(status.code, true);
            metrics.rejected(hook, operation, ErrorType::None, status.code);
            Err(status)
        }
        Err(Stop::Own(status)) => {
            count(0, true);
            metrics.rejected(hook, operation, ErrorType::Own, 0);
            Err(status)
        }
    }
}

async fn call(request: &Admission<'_>, asked: &Asked<'_>) -> Result<Outcome, Stop> {
    let hook = asked.hook;
    if request.dry_run && !hook.dry_runs {
        let why = format!("admission webhook {:?} does not support dry run", hook.name);
        return Err(Stop::Own(Status::bad_request(why)));
    }
    let unknown = || Stop::Failed {
        why: "could not create admission objects: webhook does not accept known AdmissionReview versions (v1, v1beta1)".into(),
        code: 400,
    };
    let version = hook.version.ok_or_else(unknown)?;
    let uid = request.core.env().uuid();
    let body = Bytes::from(review::body(version, &uid, request, asked.place, asked.subject));
    let world = World { env: request.core.env(), cache: &request.core.cache };
    let answer = hook.endpoint.post(world, body, hook.timeout).await;
    let bytes = answer.map_err(|error| Stop::Failed { why: format!("failed to call webhook: {error}"), code: error.code })?;
    let verdict = review::read(hook.ty, version, &uid, &bytes).map_err(misread)?;
    settle(request, asked, verdict)
}

fn misread(misread: Misread) -> Stop {
    match misread {
        Misread::Undecodable(why) => Stop::Failed { why: format!("failed to call webhook: {why}"), code: 503 },
        Misread::Invalid(why) => Stop::Failed { why: format!("received invalid webhook response: {why}"), code: 503 },
    }
}

fn settle(request: &Admission<'_>, asked: &Asked<'_>, verdict: Verdict) -> Result<Outcome, Stop> {
    for (key, value) in verdict.annotations {
        request.annotations.add(format!("{}/{key}", asked.hook.name), value);
    }
    if !verdict.allowed {
        return Err(Stop::Denied(review::denied(&asked.hook.name, verdict.denial)));
    }
    let patched = if verdict.patch.is_empty() { None } else { patched(asked, &verdict.patch)? };
    Ok(Outcome { patched, warnings: verdict.warnings })
}

/// What a JSON patch makes of the object; None where it changes nothing.
fn patched(asked: &Asked<'_>, patch: &[u8]) -> Result<Option<Value>, Stop> {
    let Some(object) = asked.subject.new.as_deref() else {
        let why =
            format!("admission webhook {:?} attempted to modify the object, which is not supported for this operation", asked.hook.name);
        let is_empty = serde_json::from_slice::<Vec<Value>>(patch).is_ok_and(|operations| operations.is_empty());
        return if is_empty { Ok(None) } else { Err(Stop::Own(Status::internal(why))) };
    };
    match patch::json(object, patch) {
        Ok(patched) if patched == *object => Ok(None),
        Ok(patched) => Ok(Some(patched)),
        Err(PatchError::Malformed(why) | PatchError::TooLarge(why)) => {
            Err(Stop::Failed { why: format!("received undecodable patch in webhook response: {why}"), code: 503 })
        }
        Err(PatchError::Unprocessable(why)) => Err(Stop::Own(Status::internal(why))),
    }
}

/// For the audit log: whether a webhook changed the object.
pub(super) fn note_mutation(request: &Admission<'_>, hook: &Hook, round: u8, index: usize, mutated: bool) {
    let value = json!({"configuration": hook.configuration, "webhook": hook.name, "mutated": mutated});
    request.annotations.add(key("", hook, round, index), value.to_string());
}

fn key(prefix: &str, hook: &Hook, round: u8, index: usize) -> String {
    let sort = match hook.ty {
        Type::Mutating => "mutation",
        Type::Validating => "validating",
    };
    format!("{prefix}{sort}.webhook.admission.k8s.io/round_{round}_index_{index}")
}
