//! What the work of each controller looks like from outside, under upstream's names.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// Cheap to clone; all clones count together.
#[derive(Clone)]
pub struct Metrics {
    depth: Family<Label, Gauge>,
    adds: Family<Label, Counter>,
    retries: Family<Label, Counter>,
    waited: Family<Label, Histogram, fn() -> Histogram>,
    seconds: Family<Label, Histogram, fn() -> Histogram>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Label {
    /// The controller.
    name: &'static str,
}

/// The counters of one controller.
#[derive(Clone)]
pub(crate) struct Counters {
    /// Keys that waited when a worker last took or finished one.
    pub depth: Gauge,
    pub adds: Counter,
    /// From when a key could be taken until it was.
    pub waited: Histogram,
    pub retries: Counter,
    pub seconds: Histogram,
}

impl Default for Metrics {
    fn default() -> Self {
        let seconds = || Family::new_with_constructor(histogram as fn() -> Histogram);
        Self { depth: Family::default(), adds: Family::default(), retries: Family::default(), waited: seconds(), seconds: seconds() }
    }
}

/// From 0.1 ms to 6.5 s.
fn histogram() -> Histogram {
    Histogram::new(exponential_buckets(0.0001, 4.0, 9))
}

impl Metrics {
    /// Makes them part of what `registry` prints.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("workqueue_depth", "Keys that wait, by controller", self.depth.clone());
        registry.register("workqueue_adds", "Keys that came to wait, by controller", self.adds.clone());
        registry.register("workqueue_queue_duration_seconds", "Time that keys waited for a worker, by controller", self.waited.clone());
        registry.register("workqueue_retries", "Keys that failed and are tried again, by controller", self.retries.clone());
        registry.register("workqueue_work_duration_seconds", "Time of one look at a key, by controller", self.seconds.clone());
    }

    pub(crate) fn of(&self, name: &'static str) -> Counters {
        let label = Label { name };
        Counters {
            depth: self.depth.get_or_create_owned(&label),
            adds: self.adds.get_or_create_owned(&label),
            waited: self.waited.get_or_create_owned(&label),
            retries: self.retries.get_or_create_owned(&label),
            seconds: self.seconds.get_or_create_owned(&label),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_print_by_controller() {
        let (metrics, mut registry) = (Metrics::default(), Registry::default());
        metrics.register(&mut registry);
        let counters = metrics.of("replicaset-controller");
        counters.retries.inc();
        counters.depth.set(3);
        counters.adds.inc();
        counters.waited.observe(0.5);
        counters.seconds.observe(0.001);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for line in [
            r#"workqueue_depth{name="replicaset-controller"} 3"#,
            r#"workqueue_adds_total{name="replicaset-controller"} 1"#,
            r#"workqueue_queue_duration_seconds_count{name="replicaset-controller"} 1"#,
            r#"workqueue_retries_total{name="replicaset-controller"} 1"#,
            r#"workqueue_work_duration_seconds_count{name="replicaset-controller"} 1"#,
        ] {
            assert!(text.lines().any(|held| held == line), "{line} in {text}");
        }
    }
}
