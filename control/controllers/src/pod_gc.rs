//! Removes pods that no node will ever finish: bound to a node that is gone, or deleted before they were bound.
//!
//! A node must be gone for a while, and gone from the store itself, before its pods go: a node that was deleted and made
//! again keeps them.

use std::time::Duration;

use async_trait::async_trait;
use client::request::Patch;
use client::{Options, Target};
use kinds::core::Pod;
use reconcile::informers::BY_NODE;
use reconcile::{Action, Controller, Cx, Retry, Wiring};
use schema::{Status, json};

pub const NAME: &str = "pod-garbage-collector";
/// How long a node must be missing.
const QUARANTINE: Duration = Duration::from_secs(40);

pub struct PodGc;

#[async_trait]
impl Controller for PodGc {
    fn name(&self) -> &'static str {
        NAME
    }

    fn wire(&self, wiring: &mut Wiring<'_>) {
        let nodes = wiring.lister("v1", "nodes");
        wiring.maps("v1", "pods", move |pod| {
            let Ok(lens) = pod.lens::<Pod>() else { return Vec::new() };
            let node = &lens.spec.node_name;
            let lost = if node.is_empty() { pod.meta.is_deleting() } else { nodes.get(node).is_none() };
            if lost { vec![pod.meta.key()] } else { Vec::new() }
        });
        let pods = wiring.lister("v1", "pods");
        let nodes = wiring.lister("v1", "nodes");
        wiring.maps("v1", "nodes", move |node| {
            let gone = nodes.get(&node.meta.name).is_none();
            if gone { pods.by(BY_NODE, &node.meta.name).iter().map(|pod| pod.meta.key()).collect() } else { Vec::new() }
        });
    }

    async fn reconcile(&self, cx: &Cx, key: &str) -> Result<Action, Retry> {
        let Some(object) = cx.get("v1", "pods", key) else { return Ok(Action::AwaitChange) };
        let pod = object.lens::<Pod>()?;
        let node = &pod.spec.node_name;
        if node.is_empty() {
            if object.meta.is_deleting() {
                remove(cx, &pod).await?;
            }
            return Ok(Action::AwaitChange);
        }
        if cx.get("v1", "nodes", node).is_some() {
            cx.quarantine.forget(key);
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
        mark_disrupted(cx, &pod).await?;
        remove(cx, &pod).await?;
        Ok(Action::AwaitChange)
    }
}

async fn mark_disrupted(cx: &Cx, pod: &Pod) -> Result<(), Status> {
    if crate::pods::is_finished(pod) {
        return Ok(());
    }
    let condition = json!({
        "type": "DisruptionTarget", "status": "True", "reason": "DeletionByPodGC", "message": "PodGC: node no longer exists",
        "lastTransitionTime": schema::time::format(cx.env.now()),
    });
    let patch = json!({"metadata": {"uid": pod.metadata.uid}, "status": {"phase": "Failed", "conditions": [condition]}});
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
