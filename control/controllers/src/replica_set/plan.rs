//! What a ReplicaSet needs, decided from what there is. Pure.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use jiff::Timestamp;
use kinds::apps::{ReplicaSet, ReplicaSetCondition, ReplicaSetStatus};
use kinds::core::Pod;
use schema::{DocExt, Status};

use crate::pods;

/// At most one of the two is non-empty.
#[derive(Debug, Default)]
pub struct Plan {
    pub create: usize,
    pub delete: Vec<Arc<Pod>>,
}

/// A write that failed, and the word that the condition gives it.
#[derive(Debug)]
pub struct Failure {
    pub reason: &'static str,
    pub error: Status,
}

/// `owned`: every pod claimed, finished and deleting ones included.
/// `related`: active pods by node of all sets of the same owner, this one included; a crowded node gives its pods up first.
pub fn plan(set: &ReplicaSet, owned: &[Arc<Pod>], related: &HashMap<String, usize>, now: Timestamp) -> Plan {
    let active: Vec<&Arc<Pod>> = owned.iter().filter(|pod| pods::is_active(pod)).collect();
    let wanted = usize::try_from(set.spec.replicas.unwrap_or(1)).unwrap_or_default();
    if active.len() <= wanted {
        return Plan { create: wanted - active.len(), delete: Vec::new() };
    }
    Plan { create: 0, delete: victims(&active, related, active.len() - wanted, now) }
}

fn victims(active: &[&Arc<Pod>], related: &HashMap<String, usize>, count: usize, now: Timestamp) -> Vec<Arc<Pod>> {
    let crowd = |pod: &Pod| related.get(&pod.spec.node_name).copied().unwrap_or_default();
    let mut ranked: Vec<(&Pod, usize)> = active.iter().map(|pod| (&***pod, crowd(pod))).collect();
    pods::deletion_order(&mut ranked, now);
    let first: HashSet<&str> = ranked.iter().take(count).map(|(pod, _)| pod.metadata.uid.as_str()).collect();
    active.iter().filter(|pod| first.contains(pod.metadata.uid.as_str())).map(|pod| Arc::clone(pod)).collect()
}

/// The status that the pods make, with conditions of others kept as they are.
pub fn status(set: &ReplicaSet, owned: &[Arc<Pod>], failure: Option<&Failure>, now: Timestamp) -> ReplicaSetStatus {
    let active: Vec<&Arc<Pod>> = owned.iter().filter(|pod| pods::is_active(pod)).collect();
    let template_labels = set.spec.template.map_at("metadata.labels");
    let fully_labeled = active.iter().filter(|pod| {
        let mut wanted = template_labels.into_iter().flatten();
        wanted.all(|(name, value)| pod.metadata.labels.get(name).map(String::as_str) == value.as_str())
    });
    let count = |n: usize| i32::try_from(n).unwrap_or(i32::MAX);
    let available = active.iter().filter(|pod| pods::seconds_to_available(pod, set.spec.min_ready_seconds, now) == Some(0));
    let terminating = owned.iter().filter(|pod| pod.metadata.is_deleting() && !pods::is_finished(pod));
    ReplicaSetStatus {
        replicas: count(active.len()),
        fully_labeled_replicas: count(fully_labeled.count()),
        ready_replicas: count(active.iter().filter(|pod| pods::is_ready(pod)).count()),
        available_replicas: count(available.count()),
        terminating_replicas: Some(count(terminating.count())),
        observed_generation: set.metadata.generation,
        conditions: conditions(set, failure, now),
    }
}

fn conditions(set: &ReplicaSet, failure: Option<&Failure>, now: Timestamp) -> Vec<ReplicaSetCondition> {
    let mut conditions = set.status.conditions.clone();
    let Some(failure) = failure else {
        conditions.retain(|condition| condition.r#type != "ReplicaFailure");
        return conditions;
    };
    // One that is there stays as it is: texts name pods that never came to be, each time others, and a status that differs each
    // time would bring the next try at once instead of after its back-off.
    if conditions.iter().any(|condition| condition.r#type == "ReplicaFailure") {
        return conditions;
    }
    conditions.push(ReplicaSetCondition {
        r#type: "ReplicaFailure".into(),
        status: "True".into(),
        last_transition_time: Some(schema::time::format(now)),
        reason: failure.reason.into(),
        message: failure.error.message.clone(),
    });
    conditions
}

/// Seconds until a ready pod becomes available, where that is what the set waits for.
pub fn next_look(set: &ReplicaSet, owned: &[Arc<Pod>], now: Timestamp) -> Option<u64> {
    let waits =
        owned.iter().filter(|pod| pods::is_active(pod)).filter_map(|pod| pods::seconds_to_available(pod, set.spec.min_ready_seconds, now));
    waits.filter(|seconds| *seconds > 0).min().map(|seconds| seconds.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use schema::json;

    use super::*;

    fn now() -> Timestamp {
        schema::time::parse("2026-01-01T01:00:00Z").unwrap()
    }

    fn set(replicas: i32) -> ReplicaSet {
        serde_json::from_value(json!({"metadata": {"name": "web", "generation": 2}, "spec": {"replicas": replicas, "template": {"metadata": {"labels": {"a": "b"}}}}})).unwrap()
    }

    /// `name phase[/ready][/deleting][@node]`
    fn pod(text: &str) -> Arc<Pod> {
        let (text, node) = text.split_once('@').unwrap_or((text, ""));
        let (name, states) = text.split_once(' ').unwrap();
        let mut doc = json!({
            "metadata": {"name": name, "uid": name, "labels": {"a": "b"}, "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"nodeName": node}, "status": {"phase": states.split('/').next().unwrap()},
        });
        if states.contains("ready") {
            doc["status"]["conditions"] = json!([{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:59:50Z"}]);
        }
        if states.contains("deleting") {
            doc["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:59:00Z");
        }
        Arc::new(serde_json::from_value(doc).unwrap())
    }

    #[test]
    fn plans() {
        let rows: &[(i32, &[&str], usize, &[&str])] = &[
            (3, &[], 3, &[]),
            (2, &["a Running/ready@n", "b Failed@n"], 1, &[]),
            (2, &["a Running/ready@n", "b Running/ready/deleting@n"], 1, &[]),
            (1, &["a Running/ready@n", "b Pending"], 0, &["b"]),
            (1, &["a Running/ready@n", "b Running@n"], 0, &["b"]),
            (2, &["a Running/ready@n1", "b Running/ready@n2", "c Running/ready@n1"], 0, &["a"]),
            (0, &["a Running/ready@n", "b Succeeded@n"], 0, &["a"]),
        ];
        for (replicas, there, create, delete) in rows {
            let owned: Vec<_> = there.iter().map(|text| pod(text)).collect();
            let mut related = HashMap::new();
            owned.iter().filter(|pod| pods::is_active(pod)).for_each(|pod| *related.entry(pod.spec.node_name.clone()).or_default() += 1);
            let plan = plan(&set(*replicas), &owned, &related, now());
            let names: Vec<_> = plan.delete.iter().map(|pod| pod.metadata.name.as_str()).collect();
            assert_eq!((plan.create, names.as_slice()), (*create, *delete), "{replicas} of {there:?}");
        }
    }

    #[test]
    fn a_pod_counts_as_available_only_after_its_minimum() {
        let mut set = set(1);
        set.spec.min_ready_seconds = 30;
        let owned = [pod("a Running/ready@n")];
        let made = status(&set, &owned, None, now());
        assert_eq!((made.ready_replicas, made.available_replicas, made.observed_generation), (1, 0, 2));
        assert_eq!(next_look(&set, &owned, now()), Some(20));
    }

    #[test]
    fn a_failure_that_is_told_is_not_told_again_in_other_words() {
        let mut set = set(1);
        let failed = |why: &str| Failure { reason: "FailedCreate", error: Status::bad_request(why) };
        set.status = status(&set, &[], Some(&failed("pods \"web-abcde\" is forbidden")), now());
        assert_eq!(status(&set, &[], Some(&failed("pods \"web-fghjk\" is forbidden")), now()), set.status);
        assert!(status(&set, &[], None, now()).conditions.is_empty());
    }

    #[test]
    fn a_node_crowded_by_sets_of_the_same_owner_gives_its_pods_up_first() {
        let owned = [pod("a Running/ready@n1"), pod("b Running/ready@n2")];
        let related = HashMap::from([("n1".to_owned(), 1), ("n2".to_owned(), 3)]);
        assert_eq!(plan(&set(1), &owned, &related, now()).delete[0].metadata.name, "b");
    }

    #[test]
    fn foreign_conditions_survive_a_status_write() {
        let mut set = set(1);
        set.status.conditions = vec![ReplicaSetCondition { r#type: "Mine".into(), status: "True".into(), ..Default::default() }];
        let failure = Failure { reason: "FailedCreate", error: Status::bad_request("no") };
        let types: Vec<_> = status(&set, &[], Some(&failure), now()).conditions.into_iter().map(|condition| condition.r#type).collect();
        assert_eq!(types, ["Mine", "ReplicaFailure"]);
    }
}
