//! Upstream's counters of policies. Names come from policies and bindings, so their number is the administrator's.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::scope::OUT_OF_BUDGET;

const BUCKETS: [f64; 5] = [0.000_000_5, 0.001, 0.01, 0.1, 1.0];

type Seconds<L> = Family<L, Histogram, fn() -> Histogram>;

pub(super) struct Metrics {
    checks: Family<Check, Counter>,
    check_seconds: Seconds<Check>,
    mutations: Family<Mutation, Counter>,
    mutation_seconds: Seconds<Mutation>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Check {
    policy: String,
    policy_binding: String,
    error_type: &'static str,
    enforcement_action: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Mutation {
    policy: String,
    policy_binding: String,
    error_type: &'static str,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            checks: Family::default(),
            check_seconds: Family::new_with_constructor(|| Histogram::new(BUCKETS)),
            mutations: Family::default(),
            mutation_seconds: Family::new_with_constructor(|| Histogram::new(BUCKETS)),
        }
    }
}

impl Metrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("apiserver_validating_admission_policy_check", "What validating policies enforced", self.checks.clone());
        let seconds = "apiserver_validating_admission_policy_check_duration_seconds";
        registry.register(seconds, "Time of single validations", self.check_seconds.clone());
        registry.register("apiserver_mutating_admission_policy_check", "Mutations by policies", self.mutations.clone());
        let seconds = "apiserver_mutating_admission_policy_check_duration_seconds";
        registry.register(seconds, "Time of single mutations", self.mutation_seconds.clone());
    }

    /// `error` is what went wrong, where it is no plain refusal; `action` is `allow`, `deny`, `audit`, `warn`.
    pub(super) fn checked(&self, policy: &str, binding: &str, error: &'static str, action: &'static str, took: Duration) {
        let labels = Check { policy: policy.into(), policy_binding: binding.into(), error_type: error, enforcement_action: action };
        self.checks.get_or_create(&labels).inc();
        self.check_seconds.get_or_create(&labels).observe(took.as_secs_f64());
    }

    pub(super) fn mutated(&self, policy: &str, binding: &str, error: &'static str, took: Duration) {
        let labels = Mutation { policy: policy.into(), policy_binding: binding.into(), error_type: error };
        self.mutations.get_or_create(&labels).inc();
        self.mutation_seconds.get_or_create(&labels).observe(took.as_secs_f64());
    }
}

/// The word for a message of an expression that has no result.
pub(super) fn error_type(message: &str) -> &'static str {
    match message {
        text if text.starts_with("compilation") => "compile_error",
        text if text.starts_with(&OUT_OF_BUDGET[..55]) => "out_of_budget",
        _ => "invalid_error",
    }
}
