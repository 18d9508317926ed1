//! Tells from its lease whether a node lives, and taints it by its conditions.
//!
//! A node whose lease was not renewed for a while gets `Ready: Unknown`; its pods then count as not ready. The time that counts is
//! when *we* saw the renewal, never the clock of the node. Taints follow conditions and `spec.unschedulable`; taints of others
//! are left alone.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use client::Target;
use client::events::Reference;
use client::request::Patch;
use kinds::coordination::Lease;
use kinds::core::{Node, Pod, Taint};
use reconcile::informers::BY_NODE;
use reconcile::{Action, Controller, Cx, Retry, Wiring};
use schema::{DocExt, Status, Value, json};
use tokio::time::Instant;

pub const NAME: &str = "node-controller";
/// Without a renewal for so long a node counts as unreachable.
const GRACE: Duration = Duration::from_secs(50);
/// A node that has never renewed gets longer to start.
const STARTUP_GRACE: Duration = Duration::from_secs(60);
const LEASES: &str = "kube-node-lease";

/// Which condition states give which taint; all `NoSchedule`, the first two `NoExecute` as well.
const TAINTS: &[(&str, &str, &str)] = &[
    ("Ready", "False", "node.kubernetes.io/not-ready"),
    ("Ready", "Unknown", "node.kubernetes.io/unreachable"),
    ("MemoryPressure", "True", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "True", "node.kubernetes.io/disk-pressure"),
    ("PIDPressure", "True", "node.kubernetes.io/pid-pressure"),
    ("NetworkUnavailable", "True", "node.kubernetes.io/network-unavailable"),
];
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";

#[derive(Default)]
pub struct NodeLifecycle {
    /// Node name to (renewTime as read, when we read it first).
    renewals: Mutex<HashMap<String, (String, Instant)>>,
}

#[async_trait]
impl Controller for NodeLifecycle {
    fn name(&self) -> &'static str {
        NAME
    }

    fn wire(&self, wiring: &mut Wiring<'_>) {
        wiring.primary("v1", "nodes");
        wiring.maps("coordination.k8s.io/v1", "leases", |lease| {
            if lease.meta.namespace == LEASES { vec![lease.meta.name.clone()] } else { Vec::new() }
        });
    }

    async fn reconcile(&self, cx: &Cx, name: &str) -> Result<Action, Retry> {
        let Some(object) = cx.get("v1", "nodes", name) else {
            self.renewals.lock().expect("no holder panics").remove(name);
            return Ok(Action::AwaitChange);
        };
        let node = object.lens::<Node>()?;
        let left = self.time_left(cx, name)?;
        let unknown = left.is_zero();
        if unknown && ready_status(&node) != "Unknown" {
            // The node's own change brings the next look, which goes on below.
            mark_unknown(cx, &node).await?;
            return Ok(Action::AwaitChange);
        }
        // At each look: a crash or a failed write in the midst of the pods must not leave the others ready.
        if matches!(ready_status(&node), "False" | "Unknown") {
            mark_pods_not_ready(cx, name).await?;
        }
        write_taints(cx, &node, &object).await?;
        Ok(if unknown { Action::AwaitChange } else { Action::After(left) })
    }
}

impl NodeLifecycle {
    /// Until the node counts as unreachable; zero when it does.
    fn time_left(&self, cx: &Cx, name: &str) -> Result<Duration, Status> {
        let lease = cx.get("coordination.k8s.io/v1", "leases", &format!("{LEASES}/{name}"));
        let renewed = match &lease {
            Some(lease) => lease.lens::<Lease>()?.spec.renew_time.clone().unwrap_or_default(),
            None => String::new(),
        };
        Ok(self.left_after(name, renewed, cx.env.instant()))
    }

    /// Counts from when this process first read that renewal: a restart, or a node whose clock is wrong, flips nothing.
    fn left_after(&self, name: &str, renewed: String, now: Instant) -> Duration {
        let grace = if renewed.is_empty() { STARTUP_GRACE } else { GRACE };
        let mut renewals = self.renewals.lock().expect("no holder panics");
        let seen = renewals.entry(name.to_owned()).or_insert_with(|| (renewed.clone(), now));
        if seen.0 != renewed {
            *seen = (renewed, now);
        }
        grace.saturating_sub(now.duration_since(seen.1))
    }
}

fn ready_status(node: &Node) -> &str {
    node.status.conditions.iter().find(|condition| condition.r#type == "Ready").map_or("Unknown-", |condition| condition.status.as_str())
}

async fn mark_unknown(cx: &Cx, node: &Node) -> Result<(), Status> {
    let conditions = unknown_conditions(node, &schema::time::format(cx.env.now()));
    let target = Target::of("v1", "nodes", "").named(&node.metadata.name).sub("status");
    let patch = json!({"metadata": {"uid": node.metadata.uid}, "status": {"conditions": conditions}});
    ignore_gone(cx.client.patch(target, Patch::Strategic, &patch).await)?;
    let about = Reference { uid: node.metadata.name.clone(), ..Reference::to("v1", "Node", &node.metadata) };
    cx.events.normal(about, "NodeNotReady", format!("Node {} status is now: NodeNotReady", node.metadata.name));
    Ok(())
}

/// The conditions that the node alone can tell, where they are not unknown yet.
fn unknown_conditions(node: &Node, now: &str) -> Vec<Value> {
    let held = |r#type: &str| node.status.conditions.iter().find(|condition| condition.r#type == r#type);
    let types = ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"].into_iter();
    let made = types.filter(|r#type| held(r#type).is_none_or(|held| held.status != "Unknown")).map(|r#type| {
        let (reason, message) = match held(r#type) {
            Some(_) => ("NodeStatusUnknown", "Kubelet stopped posting node status."),
            None => ("NodeStatusNeverUpdated", "Kubelet never posted node status."),
        };
        json!({"type": r#type, "status": "Unknown", "reason": reason, "message": message, "lastTransitionTime": now})
    });
    made.collect()
}

/// Services must stop sending to them; the node cannot say so itself.
async fn mark_pods_not_ready(cx: &Cx, node: &str) -> Result<(), Status> {
    for object in cx.lister("v1", "pods").by(BY_NODE, node) {
        let pod = object.lens::<Pod>()?;
        if !crate::pods::is_ready(&pod) {
            continue;
        }
        let condition = json!({"type": "Ready", "status": "False", "lastTransitionTime": schema::time::format(cx.env.now())});
        let patch = json!({"metadata": {"uid": pod.metadata.uid}, "status": {"conditions": [condition]}});
        let target = Target::of("v1", "pods", &pod.metadata.namespace).named(&pod.metadata.name).sub("status");
        ignore_gone(cx.client.patch(target, Patch::Strategic, &patch).await)?;
        cx.events.warning(Reference::to("v1", "Pod", &pod.metadata), "NodeNotReady", "Node is not ready");
    }
    Ok(())
}

async fn write_taints(cx: &Cx, node: &Node, object: &client::Object) -> Result<(), Status> {
    let taints = taints(node, &schema::time::format(cx.env.now()));
    if taints == node.spec.taints {
        return Ok(());
    }
    let mut doc = object.value();
    doc.set_at("spec.taints", serde_json::to_value(&taints).map_err(Status::internal)?);
    ignore_gone(cx.client.update(Target::of("v1", "nodes", "").named(&node.metadata.name), doc).await)
}

/// Foreign taints as they are, ours as the conditions say; one that stays keeps the time at which it was added. Pure.
fn taints(node: &Node, now: &str) -> Vec<Taint> {
    let wanted = wanted_taints(node);
    let ours = |taint: &Taint| taint.key == UNSCHEDULABLE || TAINTS.iter().any(|(_, _, key)| *key == taint.key);
    let is_wanted = |taint: &Taint| wanted.iter().any(|(key, effect)| *key == taint.key && *effect == taint.effect);
    let mut taints: Vec<Taint> = node.spec.taints.iter().filter(|taint| !ours(taint) || is_wanted(taint)).cloned().collect();
    for (key, effect) in wanted {
        if !taints.iter().any(|taint| taint.key == key && taint.effect == effect) {
            taints.push(Taint { key: key.into(), effect: effect.into(), time_added: Some(now.into()), ..Taint::default() });
        }
    }
    taints
}

fn wanted_taints(node: &Node) -> Vec<(&'static str, &'static str)> {
    let mut wanted = Vec::new();
    for (r#type, status, key) in TAINTS {
        if node.status.conditions.iter().any(|condition| condition.r#type == *r#type && condition.status == *status) {
            wanted.push((*key, "NoSchedule"));
            if *r#type == "Ready" {
                wanted.push((*key, "NoExecute"));
            }
        }
    }
    if node.spec.unschedulable {
        wanted.push((UNSCHEDULABLE, "NoSchedule"));
    }
    wanted
}

fn ignore_gone<T>(result: Result<T, Status>) -> Result<(), Status> {
    match result {
        Err(status) if !status.is_not_found() => Err(status),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn grace_counts_from_when_we_read_a_renewal() {
        let (start, long_ago) = (Instant::now(), "2001-01-01T00:00:00.000000Z".to_owned());
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let nodes = NodeLifecycle::default();
        assert_eq!(nodes.left_after("n", String::new(), at(0)), STARTUP_GRACE);
        assert_eq!(nodes.left_after("n", long_ago.clone(), at(10)), GRACE, "whatever the node's clock says");
        assert_eq!(nodes.left_after("n", long_ago.clone(), at(40)), Duration::from_secs(20));
        assert_eq!(nodes.left_after("n", long_ago.clone(), at(60)), Duration::ZERO);
        assert_eq!(NodeLifecycle::default().left_after("n", long_ago, at(60)), GRACE, "after a restart nobody is late");
    }

    #[test]
    fn only_what_is_not_unknown_yet_becomes_unknown() {
        let node: Node = serde_json::from_value(json!({"metadata": {"name": "n"}, "status": {"conditions": [
            {"type": "Ready", "status": "True"}, {"type": "DiskPressure", "status": "Unknown"}, {"type": "PIDPressure", "status": "False"},
        ]}}))
        .unwrap();
        let made = unknown_conditions(&node, "t");
        let texts: Vec<_> = made.iter().map(|one| format!("{} {}", one.str_at("type"), one.str_at("reason"))).collect();
        assert_eq!(texts, ["Ready NodeStatusUnknown", "MemoryPressure NodeStatusNeverUpdated", "PIDPressure NodeStatusUnknown"]);
    }

    #[test]
    fn taints_follow_conditions_and_leave_others_alone() {
        let node: Node = serde_json::from_value(json!({
            "metadata": {"name": "n"},
            "spec": {"unschedulable": true, "taints": [
                {"key": "mine", "effect": "NoExecute"},
                {"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule", "timeAdded": "t0"},
                {"key": "node.kubernetes.io/disk-pressure", "effect": "NoSchedule"},
            ]},
            "status": {"conditions": [{"type": "Ready", "status": "False"}, {"type": "DiskPressure", "status": "False"}]},
        }))
        .unwrap();
        let made = taints(&node, "t1");
        let texts: Vec<String> =
            made.iter().map(|taint| format!("{}:{} {}", taint.key, taint.effect, taint.time_added.as_deref().unwrap_or("-"))).collect();
        assert_eq!(
            texts,
            [
                "mine:NoExecute -",
                "node.kubernetes.io/not-ready:NoSchedule t0",
                "node.kubernetes.io/not-ready:NoExecute t1",
                "node.kubernetes.io/unschedulable:NoSchedule t1",
            ]
        );
        let mut healthy = node.clone();
        healthy.spec.unschedulable = false;
        healthy.status.conditions[0].status = "True".into();
        assert_eq!(taints(&healthy, "t1").len(), 1, "everything of ours goes when all is well");
    }
}
