//! The place of `matchConditions`: CEL expressions that all must hold for a webhook to be asked.
//!
//! Until somebody is set who compiles them ([`super::Webhooks::set_conditions`]) none can be evaluated, and a webhook that has some
//! fails as its failurePolicy says: `Fail` refuses the request, `Ignore` leaves the webhook out with a warning.

use std::sync::Arc;

use async_trait::async_trait;
use auth::{Authorizer, UserInfo};
use schema::{Status, Value};

use super::hook::Hook;
use super::review;
use super::rules::Place;
use super::subject::Subject;
use super::{Webhooks, word};
use crate::admission::Admission;

/// Compiles the conditions of a webhook: `[{"name": …, "expression": …}]`.
pub trait Conditions: Send + Sync + 'static {
    /// The error is told by every request that comes so far.
    fn compile(&self, conditions: &[Value]) -> Result<Arc<dyn Matcher>, String>;
}

/// Compiled conditions.
#[async_trait]
pub trait Matcher: Send + Sync {
    /// Whether all hold. One that is false decides, whatever goes wrong with others.
    async fn matches(&self, facts: &Facts<'_>) -> Result<bool, String>;
}

/// The variables of a condition.
pub struct Facts<'a> {
    /// `object`, in the version of the webhook's rule; None for a delete.
    pub object: Option<&'a Value>,
    /// `oldObject`; None for a create or a connection.
    pub old_object: Option<&'a Value>,
    /// `request`: an AdmissionRequest without its objects.
    pub request: Value,
    pub user: &'a UserInfo,
    /// Behind `authorizer`.
    pub authorizer: &'a Arc<dyn Authorizer>,
}

/// Nobody compiles conditions yet.
pub struct NotEvaluated;

impl Conditions for NotEvaluated {
    fn compile(&self, _conditions: &[Value]) -> Result<Arc<dyn Matcher>, String> {
        Err("matchConditions cannot be evaluated by this build".into())
    }
}

/// Whether the conditions of `hook` hold. 403 where that cannot be said and the webhook fails closed.
pub(super) async fn hold(
    shared: &Webhooks,
    hook: &Hook,
    request: &mut Admission<'_>,
    place: &Place,
    subject: &Subject<'_>,
) -> Result<bool, Status> {
    let Some(compiled) = &hook.conditions else { return Ok(true) };
    let operation = word(request.operation);
    match evaluate(compiled, request, place, subject).await {
        Ok(true) => Ok(true),
        Ok(false) => {
            shared.metrics.excluded(hook, operation);
            Ok(false)
        }
        Err(why) => {
            shared.metrics.unevaluated(hook, operation);
            let why = format!("failed to evaluate the match conditions of webhook {:?}: {why}", hook.name);
            if !hook.fails_open {
                return Err(request.forbidden(&why));
            }
            request.warnings.push(format!("{why}; it was not asked"));
            Ok(false)
        }
    }
}

async fn evaluate(
    compiled: &Result<Arc<dyn Matcher>, String>,
    request: &Admission<'_>,
    place: &Place,
    subject: &Subject<'_>,
) -> Result<bool, String> {
    let matcher = compiled.as_ref().map_err(Clone::clone)?;
    let facts = Facts {
        object: subject.new.as_deref(),
        old_object: subject.old.as_deref(),
        request: review::attributes(request, place),
        user: request.user,
        authorizer: request.core.authorizer(),
    };
    matcher.matches(&facts).await
}
