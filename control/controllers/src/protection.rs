//! Keeps claims, volumes and attribute classes that are in use: their finalizers go only when nobody uses them any more.
//!
//! | | in use while | finalizer |
//! |---|---|---|
//! | claims | a pod that has its node names it | `kubernetes.io/pvc-protection` |
//! | volumes | it is bound | `kubernetes.io/pv-protection` |
//! | attribute classes | a claim or a volume names it | `kubernetes.io/vac-protection` |
//!
//! Admission gives the finalizers to new objects; older ones get them here. Before something goes, its users are read from the API
//! itself: an informer may not have seen the newest yet.

use std::sync::Arc;

use async_trait::async_trait;
use client::informer::BY_NAMESPACE;
use client::{Change, Object, Options, Target};
use kinds::core::Pod;
use reconcile::{Action, Controller, Cx, Retry, Wiring};
use schema::{DocExt, Status, Value, json};

pub const CLAIMS_NAME: &str = "pvc-protection-controller";
pub const VOLUMES_NAME: &str = "pv-protection-controller";
pub const CLASSES_NAME: &str = "volumeattributesclass-protection-controller";
const CLAIMS: &str = "persistentvolumeclaims";
const VOLUMES: &str = "persistentvolumes";
const STORAGE: &str = "storage.k8s.io/v1";
const CLASSES: &str = "volumeattributesclasses";
const CLAIM_FINALIZER: &str = "kubernetes.io/pvc-protection";
const VOLUME_FINALIZER: &str = "kubernetes.io/pv-protection";
const CLASS_FINALIZER: &str = "kubernetes.io/vac-protection";

pub struct ClaimProtection;
pub struct VolumeProtection;
pub struct ClassProtection;

#[async_trait]
impl Controller for ClaimProtection {
    fn name(&self) -> &'static str {
        CLAIMS_NAME
    }

    fn wire(&self, wiring: &mut Wiring<'_>) {
        wiring.primary("v1", CLAIMS);
        let claims = wiring.lister("v1", CLAIMS);
        wiring.maps_when("v1", "pods", may_free_claims, move |pod| {
            let named = claims_of(pod).into_iter().map(|claim| format!("{}/{claim}", pod.meta.namespace));
            named.filter(|key| claims.get(key).is_some_and(|claim| claim.meta.is_deleting())).collect()
        });
    }

    async fn reconcile(&self, cx: &Cx, key: &str) -> Result<Action, Retry> {
        let Some(claim) = cx.get("v1", CLAIMS, key) else { return Ok(Action::AwaitChange) };
        let next = match next(&claim, CLAIM_FINALIZER) {
            Next::Nothing => return Ok(Action::AwaitChange),
            Next::Protect => protected(&claim, CLAIM_FINALIZER),
            Next::Release if is_claim_used(cx, &claim).await? => return Ok(Action::AwaitChange),
            Next::Release => released(&claim, CLAIM_FINALIZER),
        };
        write(cx, Target::of("v1", CLAIMS, &claim.meta.namespace).named(&claim.meta.name), next).await?;
        Ok(Action::AwaitChange)
    }
}

#[async_trait]
impl Controller for VolumeProtection {
    fn name(&self) -> &'static str {
        VOLUMES_NAME
    }

    fn wire(&self, wiring: &mut Wiring<'_>) {
        wiring.primary("v1", VOLUMES);
    }

    async fn reconcile(&self, cx: &Cx, key: &str) -> Result<Action, Retry> {
        let Some(volume) = cx.get("v1", VOLUMES, key) else { return Ok(Action::AwaitChange) };
        let next = match next(&volume, VOLUME_FINALIZER) {
            Next::Nothing => return Ok(Action::AwaitChange),
            Next::Protect => protected(&volume, VOLUME_FINALIZER),
            Next::Release if volume.value().str_at("status.phase") == "Bound" => return Ok(Action::AwaitChange),
            Next::Release => released(&volume, VOLUME_FINALIZER),
        };
        write(cx, Target::of("v1", VOLUMES, "").named(&volume.meta.name), next).await?;
        Ok(Action::AwaitChange)
    }
}

#[async_trait]
impl Controller for ClassProtection {
    fn name(&self) -> &'static str {
        CLASSES_NAME
    }

    fn wire(&self, wiring: &mut Wiring<'_>) {
        wiring.primary(STORAGE, CLASSES);
        for resource in [CLAIMS, VOLUMES] {
            let classes = wiring.lister(STORAGE, CLASSES);
            wiring.maps("v1", resource, move |user| {
                // Most clusters have none, and then nobody needs to be read.
                if classes.is_empty() {
                    return Vec::new();
                }
                let going = |name: &String| classes.get(name).is_some_and(|class| class.meta.is_deleting());
                classes_of(&user.value()).into_iter().filter(going).collect()
            });
        }
    }

    async fn reconcile(&self, cx: &Cx, key: &str) -> Result<Action, Retry> {
        let Some(class) = cx.get(STORAGE, CLASSES, key) else { return Ok(Action::AwaitChange) };
        let next = match next(&class, CLASS_FINALIZER) {
            Next::Nothing => return Ok(Action::AwaitChange),
            Next::Protect => protected(&class, CLASS_FINALIZER),
            Next::Release if is_class_used(cx, key).await? => return Ok(Action::AwaitChange),
            Next::Release => released(&class, CLASS_FINALIZER),
        };
        write(cx, Target::of(STORAGE, CLASSES, "").named(key), next).await?;
        Ok(Action::AwaitChange)
    }
}

async fn is_class_used(cx: &Cx, name: &str) -> Result<bool, Status> {
    for resource in [CLAIMS, VOLUMES] {
        let users = cx.client.list(Target::of("v1", resource, ""), Options::default()).await?;
        if users.items.iter().any(|user| classes_of(&user.value()).iter().any(|class| class == name)) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The attribute classes that a claim or a volume asks for, has, or is on its way to.
fn classes_of(doc: &Value) -> Vec<String> {
    let paths = [
        "spec.volumeAttributesClassName",
        "status.currentVolumeAttributesClassName",
        "status.modifyVolumeStatus.targetVolumeAttributesClassName",
    ];
    paths.into_iter().map(|path| doc.str_at(path)).filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

#[derive(Debug, PartialEq, Eq)]
enum Next {
    Nothing,
    /// It lacks the finalizer.
    Protect,
    /// It is to go, and only the finalizer may keep it.
    Release,
}

fn next(object: &Object, finalizer: &str) -> Next {
    let has = object.meta.finalizers.iter().any(|held| held == finalizer);
    match (object.meta.is_deleting(), has) {
        (false, false) => Next::Protect,
        (true, true) => Next::Release,
        _ => Next::Nothing,
    }
}

fn protected(object: &Object, finalizer: &str) -> Value {
    with_finalizers(object, object.meta.finalizers.iter().map(String::as_str).chain([finalizer]).collect())
}

fn released(object: &Object, finalizer: &str) -> Value {
    with_finalizers(object, object.meta.finalizers.iter().map(String::as_str).filter(|held| *held != finalizer).collect())
}

fn with_finalizers(object: &Object, finalizers: Vec<&str>) -> Value {
    let mut doc = object.value();
    doc.set_at("metadata.finalizers", json!(finalizers));
    doc
}

async fn write(cx: &Cx, target: Target, doc: Value) -> Result<(), Status> {
    match cx.client.update(target, doc).await {
        Err(status) if !status.is_not_found() => Err(status),
        _ => Ok(()),
    }
}

/// A pod that went, ended or never got a node may have been the last to use a claim.
fn may_free_claims(change: &Change) -> bool {
    let pod = change.object();
    let is_going = matches!(change, Change::Delete { .. });
    is_going || pod.lens::<Pod>().is_ok_and(|pod| crate::pods::is_finished(&pod) || pod.spec.node_name.is_empty() || is_shut_down(&pod))
}

/// Names of the claims that a pod's volumes are, its own ones among them.
fn claims_of(pod: &Object) -> Vec<String> {
    let Ok(pod) = pod.lens::<Pod>() else { return Vec::new() };
    let volumes = pod.spec.volumes.iter();
    let claim = |volume: &kinds::core::Volume| match &volume.persistent_volume_claim {
        Some(source) => Some(source.claim_name.clone()),
        None => volume.ephemeral.is_some().then(|| format!("{}-{}", pod.metadata.name, volume.name)),
    };
    volumes.filter_map(claim).collect()
}

/// Looks in the informer first: most claims that are used are found there, without asking.
async fn is_claim_used(cx: &Cx, claim: &Object) -> Result<bool, Status> {
    if !cx.lister("v1", "pods").select(BY_NAMESPACE, &claim.meta.namespace, |pod| uses(pod, claim)).is_empty() {
        return Ok(true);
    }
    let pods = cx.client.list(Target::of("v1", "pods", &claim.meta.namespace), Options::default()).await?;
    Ok(pods.items.iter().any(|pod: &Arc<Object>| uses(pod, claim)))
}

/// Only a pod that has its node uses anything: nodes start none whose claim is on its way out.
fn uses(pod: &Object, claim: &Object) -> bool {
    let Ok(lens) = pod.lens::<Pod>() else { return true };
    let named =
        lens.spec.volumes.iter().filter_map(|volume| volume.persistent_volume_claim.as_ref()).any(|one| one.claim_name == claim.meta.name);
    let is_own = || claim.meta.controller().is_some_and(|owner| owner.uid == pod.meta.uid) && claims_of(pod).contains(&claim.meta.name);
    !lens.spec.node_name.is_empty() && (named || !is_shut_down(&lens) && is_own())
}

/// Its node is done with it; only finalizers keep it, and they may wait for the claim.
fn is_shut_down(pod: &Pod) -> bool {
    pod.metadata.is_deleting() && pod.metadata.deletion_grace_period_seconds == Some(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(doc: Value) -> Arc<Object> {
        Object::from_value(&doc).unwrap()
    }

    #[test]
    fn a_claim_is_protected_until_it_is_to_go() {
        let claim = |deleted: Value, finalizers: Value| {
            object(json!({"metadata": {"name": "c", "deletionTimestamp": deleted, "finalizers": finalizers}}))
        };
        let gone = || json!("2026-01-01T00:00:00Z");
        for (claim, want) in [
            (claim(Value::Null, json!([])), Next::Protect),
            (claim(Value::Null, json!([CLAIM_FINALIZER])), Next::Nothing),
            (claim(gone(), json!([CLAIM_FINALIZER, "a/b"])), Next::Release),
            (claim(gone(), json!(["a/b"])), Next::Nothing),
        ] {
            assert_eq!(next(&claim, CLAIM_FINALIZER), want, "{:?}", claim.value());
        }
        let left = released(&claim(gone(), json!([CLAIM_FINALIZER, "a/b"])), CLAIM_FINALIZER);
        assert_eq!(left["metadata"]["finalizers"], json!(["a/b"]));
    }

    #[test]
    fn a_pod_uses_what_it_names_once_it_has_a_node() {
        let claim = object(json!({"metadata": {"name": "p-data", "namespace": "n",
            "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u", "controller": true}]}}));
        let pod = |node: &str, volume: Value, grace: Value| {
            let deleted = if grace.is_null() { Value::Null } else { json!("2026-01-01T00:00:00Z") };
            object(
                json!({"metadata": {"name": "p", "namespace": "n", "uid": "u", "deletionTimestamp": deleted, "deletionGracePeriodSeconds": grace},
                "spec": {"nodeName": node, "volumes": [volume]}}),
            )
        };
        let named = || json!({"name": "v", "persistentVolumeClaim": {"claimName": "p-data"}});
        let own = || json!({"name": "data", "ephemeral": {}});
        for (pod, want) in [
            (pod("n1", named(), Value::Null), true),
            (pod("", named(), Value::Null), false),
            (pod("n1", own(), Value::Null), true),
            (pod("n1", own(), json!(0)), false),
            (pod("n1", json!({"name": "other", "ephemeral": {}}), Value::Null), false),
        ] {
            assert_eq!(uses(&pod, &claim), want, "{:?}", pod.value());
        }
    }
}
