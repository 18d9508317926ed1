//! Upstream's counters of webhooks. Names of webhooks come from configurations, so their number is the administrator's.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::hook::Hook;

/// Codes above are told as this, so that nobody can make up labels without end.
const CODE_MAX: u16 = 600;
const BUCKETS: [f64; 8] = [0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 10.0, 25.0];

pub(super) struct Metrics {
    seconds: Family<Took, Histogram, fn() -> Histogram>,
    requests: Family<Request, Counter>,
    /// Gauges that only grow: a counter's name would end in `_total` on the wire, and upstream's does not.
    rejections: Family<Rejection, Gauge>,
    open: Family<Open, Gauge>,
    excluded: Family<Condition, Counter>,
    unevaluated: Family<Condition, Counter>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Took {
    name: String,
    r#type: &'static str,
    operation: &'static str,
    rejected: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Request {
    name: String,
    r#type: &'static str,
    operation: &'static str,
    code: u16,
    rejected: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Rejection {
    name: String,
    r#type: &'static str,
    operation: &'static str,
    error_type: &'static str,
    rejection_code: u16,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Open {
    name: String,
    r#type: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Condition {
    name: String,
    kind: &'static str,
    r#type: &'static str,
    operation: &'static str,
}

/// Whose fault a rejection is.
#[derive(Clone, Copy)]
pub(super) enum ErrorType {
    /// Nobody's: the webhook said no.
    None,
    Calling,
    Own,
}

impl ErrorType {
    fn word(self) -> &'static str {
        match self {
            Self::None => "no_error",
            Self::Calling => "calling_webhook_error",
            Self::Own => "apiserver_internal_error",
        }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            seconds: Family::new_with_constructor(|| Histogram::new(BUCKETS)),
            requests: Family::default(),
            rejections: Family::default(),
            open: Family::default(),
            excluded: Family::default(),
            unevaluated: Family::default(),
        }
    }
}

impl Metrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        let seconds = "apiserver_admission_webhook_admission_duration_seconds";
        registry.register(seconds, "Time of a webhook's answer", self.seconds.clone());
        registry.register("apiserver_admission_webhook_request", "Calls of webhooks by their outcome", self.requests.clone());
        registry.register("apiserver_admission_webhook_rejection_count", "Requests that webhooks refused", self.rejections.clone());
        registry.register("apiserver_admission_webhook_fail_open_count", "Failed calls that were passed over", self.open.clone());
        let excluded = "apiserver_admission_match_condition_exclusions";
        registry.register(excluded, "Webhooks that match conditions left out", self.excluded.clone());
        let unevaluated = "apiserver_admission_match_condition_evaluation_errors";
        registry.register(unevaluated, "Match conditions that could not be evaluated", self.unevaluated.clone());
    }

    pub(super) fn asked(&self, hook: &Hook, operation: &'static str, took: Duration, code: u16, rejected: bool) {
        let rejected = if rejected { "true" } else { "false" };
        let (name, r#type) = (hook.name.clone(), hook.ty.step());
        self.seconds.get_or_create(&Took { name: name.clone(), r#type, operation, rejected }).observe(took.as_secs_f64());
        self.requests.get_or_create(&Request { name, r#type, operation, code: code.min(CODE_MAX), rejected }).inc();
    }

    pub(super) fn rejected(&self, hook: &Hook, operation: &'static str, error: ErrorType, code: u16) {
        let (name, r#type, rejection_code) = (hook.name.clone(), hook.ty.step(), code.min(CODE_MAX));
        self.rejections.get_or_create(&Rejection { name, r#type, operation, error_type: error.word(), rejection_code }).inc();
    }

    pub(super) fn failed_open(&self, hook: &Hook) {
        self.open.get_or_create(&Open { name: hook.name.clone(), r#type: hook.ty.step() }).inc();
    }

    pub(super) fn excluded(&self, hook: &Hook, operation: &'static str) {
        self.excluded.get_or_create(&condition(hook, operation)).inc();
    }

    pub(super) fn unevaluated(&self, hook: &Hook, operation: &'static str) {
        self.unevaluated.get_or_create(&condition(hook, operation)).inc();
    }
}

fn condition(hook: &Hook, operation: &'static str) -> Condition {
    Condition { name: hook.name.clone(), kind: "webhook", r#type: hook.ty.step(), operation }
}
