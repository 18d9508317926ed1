//! What controllers of pods share: states of a pod, making one from a template, and which ones to delete first.

use jiff::Timestamp;
use kinds::core::Pod;
use schema::{DocExt, ObjectMeta, Value, json};

/// Lower is deleted earlier.
pub const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// Counts towards a controller's replicas: not finished and not on its way out.
pub fn is_active(pod: &Pod) -> bool {
    !is_finished(pod) && !pod.metadata.is_deleting()
}

pub fn is_finished(pod: &Pod) -> bool {
    matches!(pod.status.phase.as_str(), "Succeeded" | "Failed")
}

pub fn is_ready(pod: &Pod) -> bool {
    ready_condition(pod).is_some_and(|condition| condition.status == "True")
}

/// When the pod became ready, if it is.
pub fn ready_since(pod: &Pod) -> Option<Timestamp> {
    let condition = ready_condition(pod).filter(|condition| condition.status == "True")?;
    schema::time::parse(condition.last_transition_time.as_deref()?)
}

/// When the pod last became ready or not ready.
pub fn ready_transition(pod: &Pod) -> Option<Timestamp> {
    schema::time::parse(ready_condition(pod)?.last_transition_time.as_deref()?)
}

fn ready_condition(pod: &Pod) -> Option<&kinds::core::PodCondition> {
    pod.status.conditions.iter().find(|condition| condition.r#type == "Ready")
}

/// Seconds until a ready pod counts as available; 0 when it does, None when it is not ready.
pub fn seconds_to_available(pod: &Pod, min_ready_seconds: i32, now: Timestamp) -> Option<i64> {
    if !is_ready(pod) {
        return None;
    }
    if min_ready_seconds <= 0 {
        return Some(0);
    }
    let since = ready_since(pod)?;
    Some((i64::from(min_ready_seconds) - now.duration_since(since).as_secs()).max(0))
}

/// A controller's reference to itself in what it makes.
pub fn owner_reference(api_version: &str, kind: &str, meta: &ObjectMeta) -> Value {
    json!({"apiVersion": api_version, "kind": kind, "name": meta.name, "uid": meta.uid, "controller": true, "blockOwnerDeletion": true})
}

/// A pod document of a template. Its name is generated: `<owner>-<5>`.
pub fn from_template(template: &Value, owner: &ObjectMeta, owner_reference: Value) -> Value {
    let mut metadata =
        json!({"generateName": format!("{}-", owner.name), "namespace": owner.namespace, "ownerReferences": [owner_reference]});
    for member in ["labels", "annotations", "finalizers"] {
        if let Some(value) = template.at("metadata").and_then(|meta| meta.get(member)) {
            metadata[member] = value.clone();
        }
    }
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template.get("spec").cloned().unwrap_or_else(|| json!({}))})
}

/// Sorts so that the pods to delete come first (upstream's `ActivePodsWithRanks`): not bound before bound, pending before
/// running, not ready before ready, cheap before dear, crowded nodes first, lately ready first, restarted first, young first.
pub fn deletion_order(pods: &mut [(&Pod, usize)], now: Timestamp) {
    pods.sort_by(|(a, a_crowd), (b, b_crowd)| {
        let bound = |pod: &Pod| !pod.spec.node_name.is_empty();
        let phase = |pod: &Pod| match pod.status.phase.as_str() {
            "Running" => 2,
            "Unknown" => 1,
            _ => 0,
        };
        let cost = |pod: &Pod| pod.metadata.annotations.get(DELETION_COST).and_then(|text| text.parse::<i32>().ok()).unwrap_or_default();
        let ready_age = |pod: &Pod| ready_since(pod).map_or(0, |since| age_bucket(since, now));
        let created_age = |pod: &Pod| schema::time::parse(&pod.metadata.creation_timestamp).map_or(0, |created| age_bucket(created, now));
        (bound(a).cmp(&bound(b)))
            .then(phase(a).cmp(&phase(b)))
            .then(is_ready(a).cmp(&is_ready(b)))
            .then(cost(a).cmp(&cost(b)))
            .then(b_crowd.cmp(a_crowd))
            .then(ready_age(a).cmp(&ready_age(b)))
            .then(max_restarts(b).cmp(&max_restarts(a)))
            .then(created_age(a).cmp(&created_age(b)))
            .then(a.metadata.uid.cmp(&b.metadata.uid))
    });
}

/// Ages compare by powers of two, so that pods of one roll-out are equal and chance decides.
fn age_bucket(since: Timestamp, now: Timestamp) -> u32 {
    let nanoseconds = now.duration_since(since).as_nanos().max(0);
    128 - nanoseconds.unsigned_abs().leading_zeros()
}

fn max_restarts(pod: &Pod) -> i32 {
    pod.status.container_statuses.iter().map(|status| status.restart_count).max().unwrap_or_default()
}
