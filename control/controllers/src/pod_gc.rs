//! Removes pods that no node will ever finish: bound to a node that is gone, deleted before they were bound, or deleted on a node that
//! is out of service. And finished pods, when there are too many.
//!
//! A node must be gone for a while, and gone from the store itself, before its pods go: a node that was deleted and made
//! again keeps them.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use client::request::Patch;
use client::{Object, Options, Target};
use kinds::core::{Node, Pod};
use reconcile::informers::BY_NODE;
use reconcile::{Action, Controller, Cx, Retry, Wiring};
use schema::{Status, Value, json};

pub const NAME: &str = "pod-garbage-collector";
/// How long a node must be missing.
const QUARANTINE: Duration = Duration::from_secs(40);

/// The key of all finished pods together; no pod has a key without a slash.
const FINISHED: &str = "finished";
/// An administrator's word that a node is switched off for good.
const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";
/// Finished pods that are kept.
pub const FINISHED_MAX: usize = 12_500;

pub struct PodGc {
    /// Finished pods that are kept; of more, the oldest go.
    pub finished_max: usize,
}

impl Default for PodGc {
    fn default() -> Self {
        Self { finished_max: FINISHED_MAX }
    }
}

#[async_trait]
impl Controller for PodGc {
    fn name(&self) -> &'static str {
        NAME
    }

    fn wire(&self, wiring: &mut Wiring<'_>) {
        let nodes = wiring.lister("v1", "nodes");
        let (finished_max, all) = (self.finished_max, wiring.lister("v1", "pods"));
        wiring.maps("v1", "pods", move |pod| {
            let Ok(lens) = pod.lens::<Pod>() else { return Vec::new() };
            let node = &lens.spec.node_name;
            let lost = if node.is_empty() { pod.meta.is_deleting() } else { nodes.get(node).is_none_or(|node| is_switched_off(&node)) };
            let too_many = crate::pods::is_finished(&lens) && all.len() > finished_max;
            let keys = lost.then(|| pod.meta.key()).into_iter().chain(too_many.then(|| FINISHED.to_owned()));
            keys.collect()
        });
        let pods = wiring.lister("v1", "pods");
        let nodes = wiring.lister("v1", "nodes");
        wiring.maps("v1", "nodes", move |node| {
            let gone = nodes.get(&node.meta.name).is_none_or(|node| is_switched_off(&node));
            if gone { pods.by(BY_NODE, &node.meta.name).iter().map(|pod| pod.meta.key()).collect() } else { Vec::new() }
        });
    }

    async fn reconcile(&self, cx: &Cx, key: &str) -> Result<Action, Retry> {
        if key == FINISHED {
            for pod in surplus(&cx.lister("v1", "pods").all(), self.finished_max) {
                remove(cx, &pod).await?;
            }
            return Ok(Action::AwaitChange);
        }
        let Some(object) = cx.get("v1", "pods", key) else { return Ok(Action::AwaitChange) };
        let pod = object.lens::<Pod>()?;
        let node = &pod.spec.node_name;
        if node.is_empty() {
            if object.meta.is_deleting() {
                mark_failed(cx, &pod, None).await?;
                remove(cx, &pod).await?;
            }
            return Ok(Action::AwaitChange);
        }
        if let Some(node) = cx.get("v1", "nodes", node) {
            cx.quarantine.forget(key);
            if object.meta.is_deleting() && is_switched_off(&node) {
                mark_failed(cx, &pod, None).await?;
                remove(cx, &pod).await?;
            }
            return Ok(Action::AwaitChange);
        }
        match cx.client.get(Target::of("v1", "nodes", "").named(node)).await {
            Err(status) if status.is_not_found() => {}
            Ok(_) => {
                cx.quarantine.forget(key);
                return Ok(Action::AwaitChange);
            }
            Err(status) => return Err(status.into()),
        }
        if !cx.quarantine.passed(key, QUARANTINE) {
            return Ok(Action::After(QUARANTINE));
        }
        mark_failed(cx, &pod, Some("PodGC: node no longer exists")).await?;
        remove(cx, &pod).await?;
        Ok(Action::AwaitChange)
    }
}

/// Not ready, and somebody says that it stays so: what is being deleted there will never report its end.
fn is_switched_off(node: &Object) -> bool {
    let Ok(node) = node.lens::<Node>() else { return false };
    let ready = node.status.conditions.iter().any(|one| one.r#type == "Ready" && one.status == "True");
    !ready && node.spec.taints.iter().any(|taint| taint.key == OUT_OF_SERVICE)
}

/// The finished pods above `max`: evicted ones first, since no controller counts on them, then by age. Pure.
fn surplus(pods: &[Arc<Object>], max: usize) -> Vec<Arc<Pod>> {
    let lenses = pods.iter().filter_map(|pod| pod.lens::<Pod>().ok());
    let mut finished: Vec<Arc<Pod>> = lenses.filter(|pod| crate::pods::is_finished(pod) && !pod.metadata.is_deleting()).collect();
    let surplus = finished.len().saturating_sub(max);
    let is_evicted = |pod: &Pod| pod.status.phase == "Failed" && pod.status.reason == "Evicted";
    finished.sort_by_cached_key(|pod| (!is_evicted(pod), pod.metadata.creation_timestamp.clone(), pod.metadata.name.clone()));
    finished.truncate(surplus);
    finished
}

/// Nobody else can say any more how it ended; `why` the cluster ended it, if it was not asked to.
async fn mark_failed(cx: &Cx, pod: &Pod, why: Option<&str>) -> Result<(), Status> {
    if crate::pods::is_finished(pod) {
        return Ok(());
    }
    let now = schema::time::format(cx.env.now());
    let condition = why.map(
        |why| json!({"type": "DisruptionTarget", "status": "True", "reason": "DeletionByPodGC", "message": why, "lastTransitionTime": now}),
    );
    let conditions: Vec<Value> = condition.into_iter().collect();
    let patch = json!({"metadata": {"uid": pod.metadata.uid}, "status": {"phase": "Failed", "conditions": conditions}});
    let target = Target::of("v1", "pods", &pod.metadata.namespace).named(&pod.metadata.name).sub("status");
    match cx.client.patch(target, Patch::Strategic, &patch).await {
        Err(status) if !status.is_not_found() => Err(status),
        _ => Ok(()),
    }
}

async fn remove(cx: &Cx, pod: &Pod) -> Result<(), Status> {
    let mut options = Options::default();
    options.delete.grace_period_seconds = Some(0);
    options.delete.uid = Some(pod.metadata.uid.clone());
    match cx.client.delete(Target::of("v1", "pods", &pod.metadata.namespace).named(&pod.metadata.name), options).await {
        Err(status) if !status.is_not_found() && !status.is_conflict() => Err(status),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(name: &str, phase: &str, created: u32, more: Value) -> Arc<Object> {
        let mut doc = json!({"metadata": {"name": name, "namespace": "d", "uid": name, "creationTimestamp": format!("2026-01-01T00:00:{created:02}Z")},
            "status": {"phase": phase}});
        more.as_object().unwrap().iter().for_each(|(key, value)| doc["status"][key] = value.clone());
        Object::from_value(&doc).unwrap()
    }

    #[test]
    fn of_too_many_finished_pods_the_evicted_and_the_oldest_go() {
        let pods = [
            pod("new", "Failed", 9, json!({})),
            pod("old", "Succeeded", 2, json!({})),
            pod("b", "Succeeded", 3, json!({})),
            pod("a", "Succeeded", 3, json!({})),
            pod("evicted", "Failed", 8, json!({"reason": "Evicted"})),
            pod("runs", "Running", 1, json!({})),
        ];
        let names = |max: usize| surplus(&pods, max).iter().map(|pod| pod.metadata.name.clone()).collect::<Vec<_>>().join(" ");
        for (max, gone) in [(5, ""), (4, "evicted"), (2, "evicted old a"), (0, "evicted old a b new")] {
            assert_eq!(names(max), gone, "{max} are kept");
        }
    }

    #[test]
    fn out_of_service_counts_only_where_the_node_is_not_ready() {
        let node = |ready: &str, taint: &str| {
            let doc = json!({"metadata": {"name": "n"}, "spec": {"taints": [{"key": taint, "effect": "NoExecute"}]},
                "status": {"conditions": [{"type": "Ready", "status": ready}]}});
            is_switched_off(&Object::from_value(&doc).unwrap())
        };
        assert!(node("Unknown", OUT_OF_SERVICE) && node("False", OUT_OF_SERVICE));
        assert!(!node("True", OUT_OF_SERVICE) && !node("Unknown", "node.kubernetes.io/unreachable"));
    }
}
