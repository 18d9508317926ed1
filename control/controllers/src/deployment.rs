//! Rolls a Deployment's pods from one template to the next by scaling replica sets.
//!
//! Watches Deployments and ReplicaSets (and pods, for `Recreate`). Makes, scales, adopts and prunes ReplicaSets; never touches
//! a pod. One look takes one step; the ReplicaSets' own status changes bring the next look.
//!
//! ```text
//! revision ─► scaling event? ─► proportional scale
//!    │              no
//!    └─► new set up ─► old sets down ─► complete? prune history ─► status
//! ```

pub mod plan;
pub mod scale;
pub mod sets;
pub mod status;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use client::events::Reference;
use client::request::Patch;
use client::{Object, Options, Target};
use kinds::apps::Deployment;
use kinds::core::Pod;
use reconcile::controller::is_terminating;
use reconcile::writes::Expectation;
use reconcile::{Action, Controller, Cx, Retry, Wiring};
use schema::{DocExt, LabelSelector, Status, Value, json};

use self::plan::{Plan, Step};
use self::sets::{Set, Sets};
use self::status::Progress;
use crate::claim::{Claim, claim};
use crate::pods;

pub const NAME: &str = "deployment-controller";
const APPS: &str = "apps/v1";

pub struct Deployments;

#[async_trait]
impl Controller for Deployments {
    fn name(&self) -> &'static str {
        NAME
    }

    fn wire(&self, wiring: &mut Wiring<'_>) {
        wiring.primary(APPS, "deployments");
        wiring.owns(APPS, "replicasets", "Deployment");
        let (deployments, sets, pods) =
            (wiring.lister(APPS, "deployments"), wiring.lister(APPS, "replicasets"), wiring.lister("v1", "pods"));
        // Only Recreate waits for pods to be gone; everything else it learns from the sets' status.
        wiring.maps("v1", "pods", move |pod| {
            let gone = || pods.get(&pod.meta.key()).is_none_or(|held| held.meta.uid != pod.meta.uid);
            if !pod.lens::<Pod>().is_ok_and(|lens| pods::is_finished(&lens)) && !gone() {
                return Vec::new();
            }
            let set = pod
                .meta
                .controller()
                .filter(|owner| owner.kind == "ReplicaSet")
                .map(|owner| format!("{}/{}", pod.meta.namespace, owner.name));
            let set = set.and_then(|key| sets.get(&key));
            let owner = set.as_ref().and_then(|set| set.meta.controller()).map(|owner| format!("{}/{}", pod.meta.namespace, owner.name));
            owner.into_iter().filter(|key| deployments.get(key).is_none_or(|held| is_recreated(&held))).collect()
        });
    }

    async fn reconcile(&self, cx: &Cx, key: &str) -> Result<Action, Retry> {
        let Some(object) = cx.get(APPS, "deployments", key) else {
            cx.expectations.forget(key);
            return Ok(Action::AwaitChange);
        };
        if !cx.expectations.are_met(key, &cx.lister(APPS, "replicasets")) {
            return Ok(Action::AwaitChange);
        }
        let deployment = object.lens::<Deployment>()?;
        let selector = LabelSelector::from_value(&deployment.spec.selector).map_err(|error| Status::bad_request(error.0))?;
        if selector.is_everything() {
            let about = Reference::to(APPS, "Deployment", &deployment.metadata);
            cx.events.warning(about, "SelectingAll", "This deployment is selecting all pods. A non-empty selector is required.");
            return Ok(Action::AwaitChange);
        }
        let claimed = claim(cx, &claim_of(&deployment, &selector)).await?;
        let sets = Sets::new(&deployment, &claimed)?;
        if deployment.metadata.is_deleting() {
            return report(cx, &object, &deployment, &sets, None).await;
        }
        let now = cx.env.now();
        let old_pods_running = plan::recreates(&deployment) && old_pods_running(cx, &sets)?;
        let plan = plan::plan(&deployment, &sets, old_pods_running);
        let progress = match act(cx, key, &object, &deployment, &plan).await {
            Ok(progress) => progress,
            Err(Failed::Create(why, status)) if !is_terminating(&status) => {
                report(cx, &object, &deployment, &sets, Some(Progress::CreateFailed(why))).await?;
                return Err(status.into());
            }
            Err(Failed::Create(_, status) | Failed::Other(status)) => return Err(status.into()),
        };
        let object = match plan.revision.filter(|revision| sets::revision(&deployment.metadata) != *revision) {
            Some(revision) => write_revision(cx, &object, revision).await?,
            None => object,
        };
        let action = report(cx, &object, &deployment, &sets, progress).await?;
        Ok(status::deadline(&deployment, now).map_or(action, |seconds| Action::After(Duration::from_secs(seconds))))
    }
}

fn is_recreated(deployment: &Object) -> bool {
    deployment.lens::<Deployment>().is_ok_and(|deployment| plan::recreates(&deployment))
}

fn claim_of<'a>(deployment: &'a Deployment, selector: &'a LabelSelector) -> Claim<'a> {
    Claim {
        api_version: APPS,
        kind: "Deployment",
        resource: "deployments",
        owner: &deployment.metadata,
        selector,
        dependents: (APPS, "replicasets"),
    }
}

fn old_pods_running(cx: &Cx, sets: &Sets) -> Result<bool, Status> {
    // A set's own count may know of pods that we are not shown yet.
    if sets.old.iter().any(|set| set.lens.status.replicas > 0) {
        return Ok(true);
    }
    let pods = cx.lister("v1", "pods");
    for set in &sets.old {
        for pod in pods.by(client::informer::BY_OWNER, &set.lens.metadata.uid) {
            if !pods::is_finished(&*pod.lens::<Pod>()?) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// Why a step was not taken.
enum Failed {
    /// No new set could be made, for this reason: the Progressing condition tells it.
    Create(String, Status),
    Other(Status),
}

impl From<Status> for Failed {
    fn from(status: Status) -> Self {
        Self::Other(status)
    }
}

/// Takes the plan's steps; returns what the Progressing condition should say of them.
async fn act(cx: &Cx, key: &str, object: &Object, deployment: &Deployment, plan: &Plan) -> Result<Option<Progress>, Failed> {
    let mut progress = plan.progress.clone();
    for step in &plan.steps {
        match step {
            Step::Create { replicas, revision } => progress = create(cx, key, object, deployment, *replicas, *revision).await?,
            Step::Annotate { set, annotations } => annotate(cx, key, deployment, set, annotations).await?,
            Step::Scale { set, to } => scale_to(cx, key, deployment, set, *to).await?,
            Step::Delete { set } => prune(cx, deployment, set).await?,
        }
    }
    Ok(progress)
}

async fn create(
    cx: &Cx,
    key: &str,
    object: &Object,
    deployment: &Deployment,
    replicas: i32,
    revision: i64,
) -> Result<Option<Progress>, Failed> {
    let template = object.value().at("spec.template").cloned().unwrap_or_default();
    let doc = sets::document(deployment, &template, replicas, revision);
    let name = doc.str_at("metadata.name").to_owned();
    let about = Reference::to(APPS, "Deployment", &deployment.metadata);
    match cx.client.create(Target::of(APPS, "replicasets", &deployment.metadata.namespace), doc).await {
        Ok(made) => {
            cx.expectations.expect(key, [Expectation::Seen { key: made.meta.key(), revision: made.revision() }]);
            if replicas > 0 {
                cx.events.normal(about, "ScalingReplicaSet", format!("Scaled up replica set {name} from 0 to {replicas}"));
            }
            Ok(Some(Progress::Created(name)))
        }
        Err(status) if status.is_already_exists() => Ok(collide(cx, object, deployment, &name, &template).await.map(|()| None)?),
        Err(status) => {
            let failed = format!("Failed to create new replica set {name:?}: {status}");
            if !is_terminating(&status) {
                cx.events.warning(about, "ReplicaSetCreateError", failed.clone());
            }
            Err(Failed::Create(failed, status))
        }
    }
}

/// The name is taken: by our own set that the cache does not show yet, or by a foreign one, then the hash needs salt.
async fn collide(cx: &Cx, object: &Object, deployment: &Deployment, name: &str, template: &Value) -> Result<(), Status> {
    let held = cx.client.get(Target::of(APPS, "replicasets", &deployment.metadata.namespace).named(name)).await?;
    let ours = held.meta.controller().is_some_and(|owner| owner.uid == deployment.metadata.uid);
    if ours && sets::same_template(held.value().at("spec.template").unwrap_or(&Value::Null), template) {
        return Ok(());
    }
    let mut doc = object.value();
    doc.set_at("status.collisionCount", deployment.status.collision_count.unwrap_or_default() + 1);
    let target = Target::of(APPS, "deployments", &deployment.metadata.namespace).named(&deployment.metadata.name).sub("status");
    cx.client.update(target, doc).await.map(|_| ())
}

async fn annotate(cx: &Cx, key: &str, deployment: &Deployment, set: &Set, annotations: &Value) -> Result<(), Status> {
    let patch = json!({"metadata": {"uid": set.lens.metadata.uid, "annotations": annotations}, "spec": {"minReadySeconds": deployment.spec.min_ready_seconds}});
    let written = cx.client.patch(target_of(set), Patch::Merge, &patch).await?;
    cx.expectations.expect(key, [Expectation::Seen { key: written.meta.key(), revision: written.revision() }]);
    Ok(())
}

async fn scale_to(cx: &Cx, key: &str, deployment: &Deployment, set: &Set, to: i32) -> Result<(), Status> {
    let from = set.replicas();
    let (desired, max) = scale::sizes(deployment);
    let annotations = json!({sets::DESIRED: desired.to_string(), sets::MAX: max.to_string()});
    let mut patch = json!({"metadata": {"uid": set.lens.metadata.uid, "resourceVersion": set.lens.metadata.resource_version, "annotations": annotations}});
    if from != to {
        patch["spec"] = json!({"replicas": to});
    }
    let written = cx.client.patch(target_of(set), Patch::Merge, &patch).await?;
    cx.expectations.expect(key, [Expectation::Seen { key: written.meta.key(), revision: written.revision() }]);
    if from != to {
        let direction = if to > from { "up" } else { "down" };
        let message = format!("Scaled {direction} replica set {} from {from} to {to}", set.lens.metadata.name);
        cx.events.normal(Reference::to(APPS, "Deployment", &deployment.metadata), "ScalingReplicaSet", message);
    }
    Ok(())
}

async fn prune(cx: &Cx, _deployment: &Deployment, set: &Set) -> Result<(), Status> {
    let mut options = Options::default();
    options.delete.uid = Some(set.lens.metadata.uid.clone());
    match cx.client.delete(target_of(set), options).await {
        Err(status) if !status.is_not_found() => Err(status),
        _ => Ok(()),
    }
}

fn target_of(set: &Set) -> Target {
    Target::of(APPS, "replicasets", &set.lens.metadata.namespace).named(&set.lens.metadata.name)
}

/// Returns the object as written: the status is written over it.
async fn write_revision(cx: &Cx, object: &Object, revision: i64) -> Result<Arc<Object>, Status> {
    let mut doc = object.value();
    doc.default_at("metadata.annotations", json!({}));
    doc["metadata"]["annotations"][sets::REVISION] = json!(revision.to_string());
    cx.client.update(Target::of(APPS, "deployments", &object.meta.namespace).named(&object.meta.name), doc).await
}

/// Writes the status where it differs.
async fn report(cx: &Cx, object: &Arc<Object>, deployment: &Deployment, sets: &Sets, progress: Option<Progress>) -> Result<Action, Retry> {
    let made = status::status(deployment, sets, progress.as_ref(), cx.env.now());
    if made != deployment.status {
        let mut doc = object.value();
        doc.set_at("status", serde_json::to_value(&made).map_err(Status::internal)?);
        let target = Target::of(APPS, "deployments", &deployment.metadata.namespace).named(&deployment.metadata.name).sub("status");
        match cx.client.update(target, doc).await {
            Err(status) if !status.is_not_found() => return Err(status.into()),
            _ => {}
        }
    }
    Ok(Action::AwaitChange)
}
