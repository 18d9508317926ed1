//! Keeps as many pods of a ReplicaSet alive as it asks for.
//!
//! Watches ReplicaSets and pods; creates, deletes, adopts and releases pods; writes the ReplicaSet's status last, also after a
//! failure. It never touches finished pods, and never acts before it has seen its own last writes.

pub mod plan;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use client::events::Reference;
use client::informer::BY_OWNER;
use client::{Object, Options, Target};
use kinds::apps::ReplicaSet;
use kinds::core::Pod;
use reconcile::controller::is_terminating;
use reconcile::writes::{Expectation, slow_start};
use reconcile::{Action, Controller, Cx, Retry, Wiring};
use schema::{DocExt, LabelSelector, Status};

use self::plan::{Failure, Plan};
use crate::claim::{Claim, claim};
use crate::pods;

pub const NAME: &str = "replicaset-controller";
const APPS: &str = "apps/v1";
/// The most pods that one look creates or deletes.
const BURST: usize = 500;

pub struct ReplicaSets;

#[async_trait]
impl Controller for ReplicaSets {
    fn name(&self) -> &'static str {
        NAME
    }

    fn wire(&self, wiring: &mut Wiring<'_>) {
        wiring.primary(APPS, "replicasets");
        wiring.owns("v1", "pods", "ReplicaSet");
        let sets = wiring.lister(APPS, "replicasets");
        wiring.maps("v1", "pods", move |pod| {
            if pod.meta.controller().is_some() {
                return Vec::new();
            }
            let candidates = sets.by(client::informer::BY_NAMESPACE, &pod.meta.namespace);
            candidates.iter().filter(|set| selects(set, pod)).map(|set| set.meta.key()).collect()
        });
    }

    async fn reconcile(&self, cx: &Cx, key: &str) -> Result<Action, Retry> {
        let Some(object) = cx.get(APPS, "replicasets", key) else {
            cx.expectations.forget(key);
            return Ok(Action::AwaitChange);
        };
        let set = object.lens::<ReplicaSet>()?;
        let selector = LabelSelector::from_value(&set.spec.selector).map_err(|error| Status::bad_request(error.0))?;
        let claimed = claim(cx, &claim_of(&set, &selector)).await?;
        let owned = claimed.iter().map(|pod| pod.lens::<Pod>()).collect::<Result<Vec<_>, _>>()?;
        let settled = cx.expectations.are_met(key, &cx.lister("v1", "pods"));
        let plan = if settled && !set.metadata.is_deleting() {
            plan::plan(&set, &owned, &related(cx, &set, &owned)?, cx.env.now())
        } else {
            Plan::default()
        };
        let failure = act(cx, key, &object, &set, &plan).await;
        write_status(cx, &object, &set, &owned, failure.as_ref()).await?;
        match failure {
            // Also what is called invalid is tried again: the pod is made of more than this object (accounts, classes, limits).
            Some(failure) => Err(Retry::Soon(failure.error)),
            None => Ok(plan::next_look(&set, &owned, cx.env.now())
                .map_or(Action::AwaitChange, |seconds| Action::After(Duration::from_secs(seconds)))),
        }
    }
}

fn selects(set: &Object, pod: &Object) -> bool {
    let set = set.lens::<ReplicaSet>();
    set.is_ok_and(|set| LabelSelector::from_value(&set.spec.selector).is_ok_and(|selector| selector.matches(&pod.meta.labels)))
}

/// Active pods by node, of all sets that have the same owner as this one. Counted only where there are pods to give up.
fn related(cx: &Cx, set: &ReplicaSet, owned: &[Arc<Pod>]) -> Result<HashMap<String, usize>, Status> {
    let mut crowd = HashMap::new();
    if owned.len() <= usize::try_from(set.spec.replicas.unwrap_or(1)).unwrap_or_default() {
        return Ok(crowd);
    }
    let sets = match set.metadata.controller() {
        Some(owner) => cx.lister(APPS, "replicasets").by(BY_OWNER, &owner.uid).iter().map(|set| set.meta.uid.clone()).collect(),
        None => vec![set.metadata.uid.clone()],
    };
    let pods = cx.lister("v1", "pods");
    for object in sets.iter().flat_map(|uid| pods.by(BY_OWNER, uid)) {
        let pod = object.lens::<Pod>()?;
        if pods::is_active(&pod) {
            *crowd.entry(pod.spec.node_name.clone()).or_default() += 1;
        }
    }
    Ok(crowd)
}

fn claim_of<'a>(set: &'a ReplicaSet, selector: &'a LabelSelector) -> Claim<'a> {
    Claim { api_version: APPS, kind: "ReplicaSet", resource: "replicasets", owner: &set.metadata, selector, dependents: ("v1", "pods") }
}

async fn act(cx: &Cx, key: &str, object: &Object, set: &ReplicaSet, plan: &Plan) -> Option<Failure> {
    if plan.create > 0 {
        return create(cx, key, object, set, plan.create.min(BURST)).await;
    }
    delete(cx, key, set, &plan.delete[..plan.delete.len().min(BURST)]).await
}

async fn create(cx: &Cx, key: &str, object: &Object, set: &ReplicaSet, count: usize) -> Option<Failure> {
    let reference = pods::owner_reference(APPS, "ReplicaSet", &set.metadata);
    // The template comes from the document, not from the lens: nothing of it may be lost.
    let template = object.value().at("spec.template").cloned().unwrap_or_default();
    let pod = pods::from_template(&template, &set.metadata, reference);
    let about = Reference::to(APPS, "ReplicaSet", &set.metadata);
    let (_, error) = slow_start(count, |_| async {
        let made = cx.client.create(Target::of("v1", "pods", &set.metadata.namespace), pod.clone()).await;
        match &made {
            Ok(made) => {
                cx.expectations.expect(key, [Expectation::Seen { key: made.meta.key(), revision: made.revision() }]);
                cx.events.normal(about.clone(), "SuccessfulCreate", format!("Created pod: {}", made.meta.name));
            }
            // Nothing to tell: what the set belongs to is going.
            Err(error) if is_terminating(error) => return Ok(()),
            Err(error) => cx.events.warning(about.clone(), "FailedCreate", format!("Error creating: {error}")),
        }
        made.map(|_| ())
    })
    .await;
    error.map(|error| Failure { reason: "FailedCreate", error })
}

async fn delete(cx: &Cx, key: &str, set: &ReplicaSet, victims: &[Arc<Pod>]) -> Option<Failure> {
    let about = Reference::to(APPS, "ReplicaSet", &set.metadata);
    let deletions = victims.iter().map(|pod| async {
        let target = Target::of("v1", "pods", &pod.metadata.namespace).named(&pod.metadata.name);
        let mut options = Options::default();
        options.delete.uid = Some(pod.metadata.uid.clone());
        match cx.client.delete(target, options).await {
            Ok(()) => {
                cx.expectations.expect(key, [Expectation::Gone { key: pod.metadata.key(), uid: pod.metadata.uid.clone() }]);
                cx.events.normal(about.clone(), "SuccessfulDelete", format!("Deleted pod: {}", pod.metadata.name));
                Ok(())
            }
            Err(status) if status.is_not_found() || status.is_conflict() => Ok(()),
            Err(status) => {
                cx.events.warning(about.clone(), "FailedDelete", format!("Error deleting: {status}"));
                Err(status)
            }
        }
    });
    let results = futures::future::join_all(deletions).await;
    results.into_iter().find_map(Result::err).map(|error| Failure { reason: "FailedDelete", error })
}

async fn write_status(cx: &Cx, object: &Object, set: &ReplicaSet, owned: &[Arc<Pod>], failure: Option<&Failure>) -> Result<(), Status> {
    let status = plan::status(set, owned, failure, cx.env.now());
    if status == set.status {
        return Ok(());
    }
    let mut doc = object.value();
    doc.set_at("status", serde_json::to_value(&status).map_err(Status::internal)?);
    let target = Target::of(APPS, "replicasets", &set.metadata.namespace).named(&set.metadata.name).sub("status");
    match cx.client.update(target, doc).await {
        Err(status) if status.is_not_found() => Ok(()),
        other => other.map(|_| ()),
    }
}
