//! What the scheduler's work looks like from outside, under upstream's names.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use crate::run::NAME;

/// Attempts that are told apart; more count as these.
const ATTEMPTS_MAX: u32 = 15;

/// Cheap to clone; all clones count together.
#[derive(Clone)]
pub struct Metrics {
    pending: Family<Place, Gauge>,
    attempts: Family<Outcome, Counter>,
    attempt_seconds: Family<Outcome, Histogram, fn() -> Histogram>,
    pod_seconds: Family<Attempts, Histogram, fn() -> Histogram>,
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    Scheduled,
    Unschedulable,
    Error,
}

/// How many pods wait, by where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pending {
    pub active: usize,
    pub back_off: usize,
    pub unschedulable: usize,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Place {
    queue: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Outcome {
    profile: &'static str,
    result: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Attempts {
    attempts: String,
}

impl Default for Metrics {
    fn default() -> Self {
        let short: fn() -> Histogram = || Histogram::new(exponential_buckets(0.0001, 4.0, 9));
        let long: fn() -> Histogram = || Histogram::new(exponential_buckets(0.001, 4.0, 10));
        Self {
            pending: Family::default(),
            attempts: Family::default(),
            attempt_seconds: Family::new_with_constructor(short),
            pod_seconds: Family::new_with_constructor(long),
        }
    }
}

impl Metrics {
    /// Makes them part of what `registry` prints.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("scheduler_pending_pods", "Pods that wait for a node, by queue", self.pending.clone());
        registry.register("scheduler_schedule_attempts", "Tries to place a pod, by result", self.attempts.clone());
        let help = "Time of one try with its bind, by result";
        registry.register("scheduler_scheduling_attempt_duration_seconds", help, self.attempt_seconds.clone());
        let help = "Time from when a pod was first seen until it was bound, by the number of tries";
        registry.register("scheduler_pod_scheduling_sli_duration_seconds", help, self.pod_seconds.clone());
    }

    pub(crate) fn attempt(&self, ended: Ended, took: Duration) {
        let label = Outcome { profile: NAME, result: ended.word() };
        self.attempts.get_or_create(&label).inc();
        self.attempt_seconds.get_or_create(&label).observe(took.as_secs_f64());
    }

    /// A pod has its node, after so long in the queue and so many tries.
    pub(crate) fn bound(&self, attempts: u32, waited: Duration) {
        let attempts = if attempts < ATTEMPTS_MAX { attempts.to_string() } else { format!("{ATTEMPTS_MAX}+") };
        self.pod_seconds.get_or_create(&Attempts { attempts }).observe(waited.as_secs_f64());
    }

    pub(crate) fn pending(&self, pending: Pending) {
        let Pending { active, back_off, unschedulable } = pending;
        for (queue, pods) in [("active", active), ("backoff", back_off), ("unschedulable", unschedulable)] {
            self.pending.get_or_create(&Place { queue }).set(i64::try_from(pods).unwrap_or(i64::MAX));
        }
    }
}

impl Ended {
    fn word(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Unschedulable => "unschedulable",
            Self::Error => "error",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_print_under_upstreams_names() {
        let (metrics, mut registry) = (Metrics::default(), Registry::default());
        metrics.register(&mut registry);
        metrics.attempt(Ended::Unschedulable, Duration::from_millis(1));
        metrics.attempt(Ended::Scheduled, Duration::from_millis(2));
        metrics.bound(2, Duration::from_millis(1500));
        metrics.bound(99, Duration::from_secs(60));
        metrics.pending(Pending { active: 1, back_off: 2, unschedulable: 3 });
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for line in [
            r#"scheduler_pending_pods{queue="unschedulable"} 3"#,
            r#"scheduler_schedule_attempts_total{profile="default-scheduler",result="scheduled"} 1"#,
            r#"scheduler_scheduling_attempt_duration_seconds_count{profile="default-scheduler",result="unschedulable"} 1"#,
            r#"scheduler_pod_scheduling_sli_duration_seconds_sum{attempts="2"} 1.5"#,
            r#"scheduler_pod_scheduling_sli_duration_seconds_count{attempts="15+"} 1"#,
        ] {
            assert!(text.lines().any(|held| held == line), "{line} in {text}");
        }
    }
}
