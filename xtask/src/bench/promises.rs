//! Every promised figure: its name, its goal, and the peer's figure where the peer cannot run here. SPECIFICATION.md has
//! one line for each; a test holds the two together.

use serde::Serialize;

pub(crate) struct Promise {
    /// `<benchmark>.<figure>`.
    pub(crate) name: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) peer: &'static str,
    /// The peer's figure on the same kind of machine; a peer measured in the same run replaces it.
    pub(crate) reference: Option<f64>,
    pub(crate) goal: Goal,
}

#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
#[expect(clippy::enum_variant_names, reason = "at most, at least: the words that the table and the JSON say")]
pub(crate) enum Goal {
    AtMost(f64),
    AtLeast(f64),
    /// Of the peer's figure.
    AtMostTimesPeer(f64),
    AtLeastTimesPeer(f64),
}

impl Goal {
    /// None where there is nothing to compare with.
    pub(crate) fn reached(self, value: f64, ratio: Option<f64>) -> Option<bool> {
        match self {
            Self::AtMost(limit) => Some(value <= limit),
            Self::AtLeast(limit) => Some(value >= limit),
            Self::AtMostTimesPeer(limit) => ratio.map(|ratio| ratio <= limit),
            Self::AtLeastTimesPeer(limit) => ratio.map(|ratio| ratio >= limit),
        }
    }
}

impl std::fmt::Display for Goal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::AtMost(limit) => write!(f, "<= {limit}"),
            Self::AtLeast(limit) => write!(f, ">= {limit}"),
            Self::AtMostTimesPeer(limit) => write!(f, "<= {} x peer", trimmed(*limit)),
            Self::AtLeastTimesPeer(limit) => write!(f, ">= {} x peer", trimmed(*limit)),
        }
    }
}

fn trimmed(limit: f64) -> String {
    format!("{limit:.2}").trim_end_matches('0').trim_end_matches('.').to_owned()
}

const KUBERNETES: &str = "kubernetes 1.20";
const NETWORK: &str = "kube-proxy, CNI";

/// In the order of the table; the goals are its last column.
pub(crate) const ALL: &[Promise] = &[
    promise("cold.api-ready", "s", KUBERNETES, Some(3.194), Goal::AtMost(0.2)),
    promise("cold.node-ready", "s", KUBERNETES, Some(18.909), Goal::AtMost(1.0)),
    promise("cold.first-pod", "s", KUBERNETES, Some(28.862), Goal::AtMost(1.5)),
    promise("cold.first-dns", "s", KUBERNETES, Some(32.648), Goal::AtMost(3.0)),
    promise("idle.pss", "MiB", KUBERNETES, Some(636.0), Goal::AtMost(64.0)),
    promise("idle.cpu", "% of a core", KUBERNETES, Some(7.0), Goal::AtMost(1.0)),
    promise("runtime.together", "ms", "crun", Some(7.59), Goal::AtMostTimesPeer(1.0)),
    promise("runtime.spaced", "ms", "crun", Some(32.0), Goal::AtMostTimesPeer(1.0)),
    promise("runtime.together-runc", "ms", "runc", Some(32.2), Goal::AtMostTimesPeer(1.0)),
    promise("runtime.spaced-runc", "ms", "runc", Some(64.2), Goal::AtMostTimesPeer(1.0)),
    promise("runtime.together-floor", "ms", "floor.c", Some(3.0), Goal::AtMostTimesPeer(1.3)),
    promise("runtime.spaced-floor", "ms", "floor.c", Some(3.9), Goal::AtMostTimesPeer(1.3)),
    promise("pods.running-p50", "ms", KUBERNETES, Some(1005.0), Goal::AtMost(40.0)),
    promise("pods.running-p99", "ms", KUBERNETES, Some(1135.0), Goal::AtMost(150.0)),
    promise("pods.cpu", "CPU-s/pod", KUBERNETES, Some(0.28), Goal::AtMost(0.02)),
    promise("batch.running", "s", KUBERNETES, Some(14.7), Goal::AtMost(1.5)),
    promise("batch.gone", "s", KUBERNETES, Some(29.2), Goal::AtMost(2.0)),
    promise("exit.status", "ms", KUBERNETES, Some(910.0), Goal::AtMost(20.0)),
    promise("exec.true", "ms", KUBERNETES, Some(32.0), Goal::AtMost(10.0)),
    promise("store.cpu", "CPU-us/put", "etcd", Some(43.0), Goal::AtMostTimesPeer(1.0 / 3.0)),
    promise("store.rate", "puts/s", "etcd", Some(16_000.0), Goal::AtLeastTimesPeer(5.0)),
    promise("store.cpu-bare", "CPU-us/put", "bare log", None, Goal::AtMostTimesPeer(1.5)),
    promise("list.cpu", "CPU-ms/MB", "kube-apiserver 1.37", Some(8.0), Goal::AtMostTimesPeer(0.1)),
    promise("watch.deliveries", "/core-s", "kube-apiserver 1.37", Some(44_643.0), Goal::AtLeast(1e6)),
    promise("watch.deliveries-1k", "/core-s", "kube-apiserver 1.37", None, Goal::AtLeast(1e6)),
    promise("watch.memory", "KiB/watch", "kube-apiserver 1.37", Some(36.0), Goal::AtMost(2.0)),
    promise("watch.p99", "ms", "kube-apiserver 1.37", Some(81.0), Goal::AtMost(20.0)),
    promise("sched.rate-1000", "pods/s", KUBERNETES, Some(126.0), Goal::AtLeast(2000.0)),
    promise("sched.cpu-1000", "CPU-ms/pod", KUBERNETES, Some(9.9), Goal::AtMost(0.6)),
    promise("sched.rate-5000", "pods/s", KUBERNETES, Some(81.0), Goal::AtLeast(2000.0)),
    promise("sched.cpu-5000", "CPU-ms/pod", KUBERNETES, Some(15.1), Goal::AtMost(0.6)),
    promise("service.change", "ms", KUBERNETES, Some(710.0), Goal::AtMost(10.0)),
    promise("rollout.available", "s", KUBERNETES, Some(24.8), Goal::AtMost(2.0)),
    promise("rollout.update", "s", KUBERNETES, Some(28.5), Goal::AtMost(3.0)),
    promise("link.pod", "ms", NETWORK, Some(26.0), Goal::AtMost(2.0)),
    promise("link.endpoint", "ms", NETWORK, Some(16.0), Goal::AtMost(1.0)),
    promise("link.load", "s", NETWORK, Some(27.0), Goal::AtMost(0.5)),
    promise("layer.root", "ms", "podman, containerd, docker", Some(1700.0), Goal::AtMost(120.0)),
    promise("crds.memory", "MB", "kube-apiserver 1.37", None, Goal::AtMost(100.0)),
    promise("crds.served", "s", "kube-apiserver 1.37", None, Goal::AtMost(5.0)),
    promise("cel.rule", "us", "the best library, its conversion alone", Some(100.0), Goal::AtMost(5.0)),
    promise("cel.object", "us", "the best library, its conversion alone", Some(100.0), Goal::AtMost(5.0)),
];

const fn promise(name: &'static str, unit: &'static str, peer: &'static str, reference: Option<f64>, goal: Goal) -> Promise {
    Promise { name, unit, peer, reference, goal }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goals_compare_with_the_right_side() {
        for (goal, value, ratio, reached) in [
            (Goal::AtMost(2.0), 2.0, None, Some(true)),
            (Goal::AtMost(2.0), 2.1, Some(0.1), Some(false)),
            (Goal::AtLeast(2.0), 1.9, None, Some(false)),
            (Goal::AtMostTimesPeer(0.5), 9.0, Some(0.5), Some(true)),
            (Goal::AtMostTimesPeer(0.5), 0.1, Some(0.6), Some(false)),
            (Goal::AtLeastTimesPeer(5.0), 1.0, Some(5.1), Some(true)),
            (Goal::AtLeastTimesPeer(5.0), 1.0, None, None),
        ] {
            assert_eq!(goal.reached(value, ratio), reached, "{goal}, {value}, {ratio:?}");
        }
    }

    /// Each promise is a line of the specification, and no line names a figure that nothing measures.
    #[test]
    fn the_specification_lists_every_promise() {
        let text = include_str!("../../../SPECIFICATION.md");
        // Its table has seven columns; the one of the misses has fewer.
        let rows = text.lines().filter(|line| line.matches(" | ").count() == 6);
        let listed: Vec<&str> = rows.filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
        let promised: Vec<&str> = ALL.iter().map(|promise| promise.name).collect();
        assert_eq!(listed, promised);
    }
}
