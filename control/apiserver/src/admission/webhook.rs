//! Admission webhooks: programs outside that change or refuse requests.
//!
//! ```text
//! configurations in the watch cache ─► hooks (compiled once for each state) ─► which match this request?
//!    mutating:   one after the other, each sees what the one before it made ─► patch ─► schema, defaults, the kind's own rules
//!    validating: all at once
//! hook ─► AdmissionReview ─► POST (deadline, bound) ─► checked answer ─► allowed │ denied │ failed ─► failurePolicy
//! ```
//! A configuration is in force when the write that made it is answered: hooks come from the same cache that writers wait for,
//! and are compiled again only when a configuration has changed. Without hooks a request pays two look-ups of a revision.
//!
//! | file | what |
//! |---|---|
//! | `hook.rs`, `source.rs` | a configuration's webhooks, compiled; those that are in force |
//! | `rules.rs`, `conditions.rs` | whether a request is for a hook: by its rules and selectors, by its expressions |
//! | `subject.rs` | the request as a hook sees it, in the version that the hook knows |
//! | `review.rs` | `AdmissionReview`, there and back |
//! | `ask.rs` | one call and what it comes to |
//! | `patched.rs` | what becomes of an object that a hook has patched |
//! | `reinvocation.rs` | who is asked again |
//! | `metrics.rs` | upstream's counters |

mod ask;
mod conditions;
mod hook;
mod metrics;
mod owners;
pub(super) mod patched;
mod reinvocation;
pub(super) mod review;
pub(super) mod rules;
mod source;
pub(super) mod subject;

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use prometheus_client::registry::Registry;
use schema::{Status, Value};

use self::ask::{Asked, Outcome, ask, note_mutation};
use self::hook::{Hook, Type};
use self::metrics::Metrics;
pub use self::reinvocation::Reinvocation;
use self::source::Source;
use self::subject::Subject;
use super::{Admission, Operation, Plugin};
use crate::webhook::{Dial, Endpoints};

/// What both plug-ins share: connections, counters.
#[derive(Default)]
pub struct Webhooks {
    endpoints: OnceLock<Endpoints>,
    metrics: Metrics,
}

impl Webhooks {
    /// How connections are made; before the first call, else it comes too late and nothing changes.
    pub fn set_dial(&self, dial: Arc<dyn Dial>) {
        let _ = self.endpoints.set(Endpoints::new(dial));
    }

    /// Prints the counters in `registry`.
    pub fn register(&self, registry: &mut Registry) {
        self.metrics.register(registry);
    }

    fn endpoints(&self) -> &Endpoints {
        self.endpoints.get_or_init(Endpoints::default)
    }
}

/// MutatingAdmissionWebhook.
pub struct MutatingWebhooks {
    shared: Arc<Webhooks>,
    source: Source,
}

impl MutatingWebhooks {
    pub fn new(shared: &Arc<Webhooks>) -> Self {
        Self { shared: Arc::clone(shared), source: Source::new(Type::Mutating) }
    }

    /// Asks those that match, in order. `new` is None for a delete.
    async fn dispatch(&self, request: &mut Admission<'_>, mut new: Option<&mut Value>, old: Option<&Value>) -> Result<(), Status> {
        let hooks = self.source.hooks(request.core, &self.shared);
        if hooks.is_empty() || rules::is_exempt(request) {
            return Ok(());
        }
        request.reinvocation.look(new.as_deref());
        for (index, hook) in hooks.iter().enumerate() {
            self.one(request, hook, index, new.as_deref_mut(), old).await?;
        }
        request.reinvocation.leave(new.as_deref());
        Ok(())
    }

    async fn one(
        &self,
        request: &mut Admission<'_>,
        hook: &Hook,
        index: usize,
        new: Option<&mut Value>,
        old: Option<&Value>,
    ) -> Result<(), Status> {
        let Some(place) = rules::place(hook, request, new.as_deref(), old)? else { return Ok(()) };
        let subject = Subject::unstamped(request, &place, new.as_deref(), old).await?;
        let asked_for = conditions::hold(&self.shared, hook, request, &place, &subject).await?;
        if !asked_for || !request.reinvocation.includes(&hook.id) {
            return Ok(());
        }
        let round = request.reinvocation.round();
        let asked = Asked { shared: &self.shared, hook, place: &place, subject: &subject, round, index };
        let Outcome { patched, warnings } = ask(request, &asked).await?;
        request.warnings.extend(warnings);
        let changed = match (patched, new) {
            (Some(patched), Some(new)) => patched::adopt(request, hook, &place, patched, new, old).await?,
            _ => false,
        };
        note_mutation(request, hook, round, index, changed);
        request.reinvocation.was_asked(hook, changed);
        Ok(())
    }
}

#[async_trait]
impl Plugin for MutatingWebhooks {
    async fn mutate(&self, request: &mut Admission<'_>, new: &mut Value, old: Option<&Value>) -> Result<(), Status> {
        self.dispatch(request, Some(new), old).await
    }

    async fn heed(&self, request: &mut Admission<'_>, old: &Value) -> Result<(), Status> {
        self.dispatch(request, None, Some(old)).await
    }
}

/// ValidatingAdmissionWebhook.
pub struct ValidatingWebhooks {
    shared: Arc<Webhooks>,
    source: Source,
}

impl ValidatingWebhooks {
    pub fn new(shared: &Arc<Webhooks>) -> Self {
        Self { shared: Arc::clone(shared), source: Source::new(Type::Validating) }
    }
}

#[async_trait]
impl Plugin for ValidatingWebhooks {
    /// Asks those that match, all at once; of several denials the first that came is told.
    async fn validate(&self, request: &mut Admission<'_>, new: Option<&Value>, old: Option<&Value>) -> Result<(), Status> {
        let hooks = self.source.hooks(request.core, &self.shared);
        if hooks.is_empty() || rules::is_exempt(request) {
            return Ok(());
        }
        let mut matching = Vec::new();
        for hook in hooks.iter() {
            let Some(place) = rules::place(hook, request, new, old)? else { continue };
            let subject = Subject::of(request, &place, new, old).await?;
            if conditions::hold(&self.shared, hook, request, &place, &subject).await? {
                matching.push((hook, place, subject));
            }
        }
        let asked = matching.iter().enumerate().map(|(index, (hook, place, subject))| Asked {
            shared: &self.shared,
            hook,
            place,
            subject,
            round: 0,
            index,
        });
        let asked: Vec<Asked<'_>> = asked.collect();
        let view: &Admission<'_> = request;
        let mut calls: FuturesUnordered<_> = asked.iter().map(|one| ask(view, one)).collect();
        let (mut warnings, mut denied) = (Vec::new(), None);
        while let Some(answer) = calls.next().await {
            match answer {
                Ok(outcome) => warnings.extend(outcome.warnings),
                Err(status) => denied = denied.or(Some(status)),
            }
        }
        drop(calls);
        request.warnings.extend(warnings);
        denied.map_or(Ok(()), Err)
    }
}

/// The word of an operation in rules and reviews.
pub(super) fn word(operation: Operation) -> &'static str {
    match operation {
        Operation::Create => "CREATE",
        Operation::Update => "UPDATE",
        Operation::Delete => "DELETE",
        Operation::Connect => "CONNECT",
    }
}
