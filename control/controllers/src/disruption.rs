//! Works out how many pods of each disruption budget may go at once by choice.
//!
//! Watches budgets, the pods that they select and the owners that say how many there should be; writes the budgets' status and
//! nothing else. Evictions take from it in the transaction that deletes the pod; until its controller sees that, the pod
//! stands in `disruptedPods` and counts as gone.

pub mod plan;

use std::sync::Arc;

use async_trait::async_trait;
use client::events::Reference;
use client::informer::BY_NAMESPACE;
use client::{Change, Object, Target};
use kinds::core::Pod;
use kinds::disruption;
use reconcile::{Action, Controller, Cx, Retry, Wiring};
use schema::meta::OwnerReference;
use schema::{DocExt, LabelSelector, Status, Value};

use self::plan::{Budget, Owner, Plan};

pub const NAME: &str = "disruption-controller";
const POLICY: &str = "policy/v1";
const BUDGETS: &str = "poddisruptionbudgets";
/// Who says how many pods there should be.
const OWNERS: &[(&str, &str, &str)] = &[
    ("apps/v1", "replicasets", "ReplicaSet"),
    ("apps/v1", "statefulsets", "StatefulSet"),
    ("apps/v1", "deployments", "Deployment"),
    ("v1", "replicationcontrollers", "ReplicationController"),
];

pub struct Disruptions;

#[async_trait]
impl Controller for Disruptions {
    fn name(&self) -> &'static str {
        NAME
    }

    fn wire(&self, wiring: &mut Wiring<'_>) {
        wiring.primary(POLICY, BUDGETS);
        let budgets = wiring.lister(POLICY, BUDGETS);
        wiring.maps_when("v1", "pods", matters, move |pod| {
            let held = budgets.by(BY_NAMESPACE, &pod.meta.namespace);
            held.iter().filter(|budget| selects(budget, pod)).map(|budget| budget.meta.key()).collect()
        });
        for (api_version, resource, _) in OWNERS {
            let budgets = wiring.lister(POLICY, BUDGETS);
            wiring.maps_when(api_version, resource, is_scaled, move |owner| {
                // Which of them select its pods is for the look itself to find out: a namespace has few budgets.
                budgets.by(BY_NAMESPACE, &owner.meta.namespace).iter().map(|budget| budget.meta.key()).collect()
            });
        }
    }

    async fn reconcile(&self, cx: &Cx, key: &str) -> Result<Action, Retry> {
        let Some(object) = cx.get(POLICY, BUDGETS, key) else { return Ok(Action::AwaitChange) };
        let budget = object.lens::<Budget>()?;
        let pods = pods(cx, &object)?;
        let planned = plan::plan(&budget, &pods, |owner| scale(cx, &object.meta.namespace, owner), cx.env.now());
        let Plan { status, recheck } = planned.unwrap_or_else(|why| {
            let about = Reference::to(POLICY, "PodDisruptionBudget", &object.meta);
            cx.events.warning(about, "CalculateExpectedPodCountFailed", format!("Failed to calculate the number of expected pods: {why}"));
            let mut status = object.value().at("status").cloned().unwrap_or_default();
            disruption::set_failed(&mut status, &why, cx.env.now());
            Plan { status, recheck: None }
        });
        write(cx, &object, status).await?;
        Ok(recheck.map_or(Action::AwaitChange, Action::After))
    }
}

fn selector(budget: &Object) -> Option<LabelSelector> {
    LabelSelector::from_value(&budget.lens::<Budget>().ok()?.spec.selector).ok()
}

fn selects(budget: &Object, pod: &Object) -> bool {
    selector(budget).is_some_and(|selector| selector.matches(&pod.meta.labels))
}

/// The pods of a budget, in the order of their names.
fn pods(cx: &Cx, budget: &Object) -> Result<Vec<Arc<Pod>>, Status> {
    let Some(selector) = selector(budget) else { return Ok(Vec::new()) };
    let found = cx.lister("v1", "pods").select(BY_NAMESPACE, &budget.meta.namespace, |pod| selector.matches(&pod.meta.labels));
    let mut pods = found.iter().map(|pod| pod.lens::<Pod>()).collect::<Result<Vec<_>, _>>()?;
    pods.sort_by(|one, other| one.metadata.name.cmp(&other.metadata.name));
    Ok(pods)
}

/// Whether a change of a pod changes what its budgets count.
fn matters(change: &Change) -> bool {
    let Change::Upsert { old: Some(old), new } = change else { return true };
    let mark = |pod: &Object| {
        let lens = pod.lens::<Pod>().ok();
        let ready = lens.is_some_and(|pod| crate::pods::is_ready(&pod));
        (pod.meta.is_deleting(), ready, pod.meta.controller().map(|owner| owner.uid.clone()))
    };
    mark(old) != mark(new) || old.meta.labels != new.meta.labels
}

fn is_scaled(change: &Change) -> bool {
    let Change::Upsert { old: Some(old), new } = change else { return true };
    old.value().i64_at("spec.replicas") != new.value().i64_at("spec.replicas")
}

/// Who in the end says how many pods `owner` has, and how many; None where nobody is known to.
fn scale(cx: &Cx, namespace: &str, owner: &OwnerReference) -> Option<Owner> {
    let (api_version, resource, _) = OWNERS.iter().find(|(_, _, kind)| *kind == owner.kind)?;
    let held = cx.get(api_version, resource, &format!("{namespace}/{}", owner.name)).filter(|held| held.meta.uid == owner.uid)?;
    match held.meta.controller().filter(|above| above.kind == "Deployment" && owner.kind == "ReplicaSet") {
        Some(above) => scale(cx, namespace, above),
        None => Some(Owner { uid: held.meta.uid.clone(), replicas: held.value().i64_at("spec.replicas").unwrap_or(1) }),
    }
}

async fn write(cx: &Cx, object: &Object, status: Value) -> Result<(), Status> {
    let mut doc = object.value();
    if doc.at("status") == Some(&status) {
        return Ok(());
    }
    doc.set_at("status", status);
    let target = Target::of(POLICY, BUDGETS, &object.meta.namespace).named(&object.meta.name).sub("status");
    match cx.client.update(target, doc).await {
        Err(status) if !status.is_not_found() => Err(status),
        _ => Ok(()),
    }
}
