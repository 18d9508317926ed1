//! Counts again what resource quotas limit: after a change of the quota, and when something is given back.
//!
//! What is taken was charged when it was written, by the API server and in the same transaction; so creates need no look. Deletes,
//! pods that end and objects that shrink do. The count is exact: the quota is read first and written back only at that revision,
//! everything else is read after it, and whatever is charged meanwhile moves the quota on. New limits are counted twice: what was
//! made uncharged while the first count was under way is in the second.

use std::time::Duration;

use async_trait::async_trait;
use client::{Change, Object, Options, Target};
use jiff::Timestamp;
use kinds::quota::{self, Counted};
use kinds::{KindRef, Resources};
use reconcile::{Action, Controller, Cx, Retry, Wiring};
use schema::{DocExt, Status, Value};

pub const NAME: &str = "resourcequota-controller";
const QUOTAS: &str = "resourcequotas";
/// Deadlines have whole seconds, and count until they are over.
const PAST: Duration = Duration::from_secs(1);

pub struct ResourceQuotas;

#[async_trait]
impl Controller for ResourceQuotas {
    fn name(&self) -> &'static str {
        NAME
    }

    fn wire(&self, wiring: &mut Wiring<'_>) {
        // What admission charges is right already; who limits something else has to be counted, and once more when that is in force.
        wiring.maps_when("v1", QUOTAS, limits_differ, |quota| vec![quota.meta.key()]);
        for kind in counted_collections() {
            let quotas = wiring.lister("v1", QUOTAS);
            let (group, resource, env) = (kind.group.to_string(), kind.resource.to_string(), wiring.env().clone());
            let (for_group, for_resource) = (group.clone(), resource.clone());
            let gives_back = move |change: &Change| gives_back(Counted::new(&group, &resource), change, env.now());
            wiring.maps_when(&kind.api_version(), &kind.resource, gives_back, move |object| {
                let held = quotas.by(client::informer::BY_NAMESPACE, &object.meta.namespace);
                let kind = Counted::new(&for_group, &for_resource);
                held.iter().filter(|quota| quota::asks_for(&quota.value(), kind)).map(|quota| quota.meta.key()).collect()
            });
        }
    }

    async fn reconcile(&self, cx: &Cx, key: &str) -> Result<Action, Retry> {
        let Some((namespace, name)) = key.split_once('/') else { return Ok(Action::AwaitChange) };
        let Some(quota) = read(cx, namespace, name).await? else { return Ok(Action::AwaitChange) };
        let now = cx.env.now();
        let (mut used, mut until) = (Resources::new(), None);
        for kind in counted_collections().filter(|kind| quota::asks_for(&quota, counted(kind))) {
            let list = cx.client.list(Target::of(&kind.api_version(), &kind.resource, namespace), Options::default()).await?;
            let docs: Vec<Value> = list.items.iter().map(|item| item.value()).collect();
            used.extend(quota::total(&quota, counted(&kind), docs.iter(), now));
            let ends = docs.iter().filter(|_| kind.resource == "pods").filter_map(|pod| quota::counts_until(pod, now));
            until = until.into_iter().chain(ends).min();
        }
        write(cx, quota, &used).await?;
        Ok(until.map_or(Action::AwaitChange, |until| Action::After(left(until, now) + PAST)))
    }
}

fn limits_differ(change: &Change) -> bool {
    let Change::Upsert { old: Some(old), new } = change else { return true };
    let (old, new) = (old.value(), new.value());
    ["spec", "status.hard"].iter().any(|path| old.at(path) != new.at(path))
}

/// Everything that quotas can count.
fn counted_collections() -> impl Iterator<Item = KindRef> {
    reconcile::collections::built_in().filter(|kind| kind.is_namespaced() && counted(kind).grows_by(true, ""))
}

fn counted(kind: &KindRef) -> Counted<'_> {
    Counted::new(&kind.group, &kind.resource)
}

/// Whether somebody may use less, or something else, than was charged.
fn gives_back(kind: Counted<'_>, change: &Change, now: Timestamp) -> bool {
    match change {
        Change::Delete { .. } => true,
        Change::Upsert { old: None, .. } => false,
        Change::Upsert { old: Some(old), new } => {
            changes_usage(kind) && kind.is_recounted(&old.value(), &new.value(), now) || ends(old, new)
        }
    }
}

/// The pod has been given a deadline, after which it does not count.
fn ends(old: &Object, new: &Object) -> bool {
    !old.meta.is_deleting() && new.meta.is_deleting()
}

/// Kinds of which an object uses more or less by what is in it.
fn changes_usage(kind: Counted<'_>) -> bool {
    kind.group.is_empty() && matches!(kind.resource, "pods" | "services" | "persistentvolumeclaims")
}

fn left(until: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(until.duration_since(now)).unwrap_or_default()
}

/// The quota as it is now, not as an informer has it.
async fn read(cx: &Cx, namespace: &str, name: &str) -> Result<Option<Value>, Status> {
    let options = Options { field_selector: format!("metadata.name={name}"), ..Options::default() };
    let found = cx.client.list(Target::of("v1", QUOTAS, namespace), options).await?;
    Ok(found.items.first().filter(|quota| !quota.meta.is_deleting()).map(|quota| quota.value()))
}

async fn write(cx: &Cx, mut quota: Value, used: &Resources) -> Result<(), Status> {
    let status = quota::status(&quota, used);
    if quota.at("status") == Some(&status) {
        return Ok(());
    }
    quota.set_at("status", status);
    let target = Target::of("v1", QUOTAS, quota.str_at("metadata.namespace")).named(quota.str_at("metadata.name")).sub("status");
    match cx.client.update(target, quota).await {
        Err(status) if !status.is_not_found() => Err(status),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use schema::json;

    use super::*;

    fn pod(more: Value) -> Arc<Object> {
        let mut doc = json!({"metadata": {"name": "p", "namespace": "n"}, "spec": {"containers": [{"name": "c"}]}});
        for (path, value) in more.as_object().unwrap() {
            doc.set_at(path, value.clone());
        }
        Object::from_value(&doc).unwrap()
    }

    #[test]
    fn only_what_may_give_back_is_looked_at() {
        let (pods, now) = (Counted::new("", "pods"), Timestamp::UNIX_EPOCH);
        let upsert = |old: Value, new: Value| Change::Upsert { old: Some(pod(old)), new: pod(new) };
        let rows = [
            (Change::Upsert { old: None, new: pod(json!({})) }, false),
            (Change::Delete { old: pod(json!({})) }, true),
            (upsert(json!({}), json!({"status.phase": "Running"})), false),
            (upsert(json!({"status.phase": "Running"}), json!({"status.phase": "Failed"})), true),
            (upsert(json!({}), json!({"metadata.deletionTimestamp": "2026-01-01T00:00:00Z"})), true),
            (upsert(json!({}), json!({"spec.activeDeadlineSeconds": 5})), true),
        ];
        for (change, want) in rows {
            assert_eq!(gives_back(pods, &change, now), want, "{change:?}");
        }
        let labelled = Change::Upsert { old: Some(pod(json!({}))), new: pod(json!({"metadata.labels": {"a": "b"}})) };
        assert!(!gives_back(Counted::new("", "secrets"), &labelled, now));
    }
}
