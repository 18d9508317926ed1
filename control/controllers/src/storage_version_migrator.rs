//! StorageVersionMigration: writes every object of a kind once more, so that all are stored in the version that new ones are.
//!
//! ```text
//! no resourceVersion ─► the collection's, noted in the status ─► Running ─► an empty apply of each object ─► Succeeded | Failed
//! ```
//! What was written since then is in the new version already, and a conflict says so; what is gone needs nothing. A migration
//! that was interrupted begins again: writing twice changes nothing.

use async_trait::async_trait;
use client::{Options, Patch, Request, Target, Verb};
use futures::StreamExt;
use kinds::KindRef;
use reconcile::{Action, Controller, Cx, Retry, Wiring};
use schema::{DocExt, Status, Value, json, time};

pub const NAME: &str = "storage-version-migrator-controller";
const API_VERSION: &str = "storagemigration.k8s.io/v1";
const RESOURCE: &str = "storageversionmigrations";
const PAGE: u64 = 500;
/// Writes under way at once: they share the store's commits.
const WRITES_AT_ONCE: usize = 16;

pub struct StorageVersionMigrator;

#[async_trait]
impl Controller for StorageVersionMigrator {
    fn name(&self) -> &'static str {
        NAME
    }

    fn wire(&self, wiring: &mut Wiring<'_>) {
        wiring.primary(API_VERSION, RESOURCE);
        // Only a kind that is followed can be found.
        wiring.maps_every(|_, _| None);
    }

    async fn reconcile(&self, cx: &Cx, name: &str) -> Result<Action, Retry> {
        let Some(held) = cx.get(API_VERSION, RESOURCE, name) else { return Ok(Action::AwaitChange) };
        let mut migration = held.value();
        if is_over(&migration) {
            return Ok(Action::AwaitChange);
        }
        let Some(kind) = find(cx, &migration) else {
            tell(cx, &mut migration, "Failed", "StorageVersionMigrationFailed", "resource not found").await?;
            return Ok(Action::AwaitChange);
        };
        if migration.str_at("status.resourceVersion").is_empty() {
            let target = Target::of(&kind.api_version(), &kind.resource, "");
            let first = cx.client.list(target, Options { limit: 1, ..Options::default() }).await?;
            migration.set_at("status.resourceVersion", first.resource_version);
            write(cx, &migration).await?; // its change brings us back
            return Ok(Action::AwaitChange);
        }
        if !is(&migration, "Running") {
            tell(cx, &mut migration, "Running", "StorageVersionMigrationInProgress", "").await?;
            return Ok(Action::AwaitChange);
        }
        match migrate(cx, &kind).await {
            Ok(()) => tell(cx, &mut migration, "Succeeded", "StorageVersionMigrationSucceeded", "").await?,
            Err(error) => {
                tracing::warn!(name, %error, "a storage migration failed");
                tell(cx, &mut migration, "Failed", "StorageVersionMigrationFailed", "migration encountered unhandled error").await?;
            }
        }
        Ok(Action::AwaitChange)
    }
}

/// The kind that is meant, in the version that controllers follow.
fn find(cx: &Cx, migration: &Value) -> Option<KindRef> {
    let (group, resource) = (migration.str_at("spec.resource.group"), migration.str_at("spec.resource.resource"));
    cx.collections.all().into_iter().find(|kind| kind.group == group && kind.resource == resource)
}

/// Writes every object, page by page.
async fn migrate(cx: &Cx, kind: &KindRef) -> Result<(), Status> {
    let target = Target::of(&kind.api_version(), &kind.resource, "");
    let mut options = Options { limit: PAGE, ..Options::default() };
    loop {
        let page = cx.client.list(target.clone(), options.clone()).await?;
        let written: Vec<_> = page.items.iter().map(|object| rewrite(cx, kind, &object.meta)).collect();
        let written: Vec<Result<(), Status>> = futures::stream::iter(written).buffer_unordered(WRITES_AT_ONCE).collect().await;
        written.into_iter().collect::<Result<(), Status>>()?;
        if page.continue_token.is_empty() {
            return Ok(());
        }
        options.continue_token = page.continue_token;
    }
}

/// An apply that says nothing but which object it means, in which state.
async fn rewrite(cx: &Cx, kind: &KindRef, meta: &schema::ObjectMeta) -> Result<(), Status> {
    let target = Target::of(&kind.api_version(), &kind.resource, &meta.namespace).named(&meta.name);
    let same = json!({"apiVersion": kind.api_version(), "kind": kind.kind,
        "metadata": {"name": meta.name, "uid": meta.uid, "resourceVersion": meta.resource_version}});
    let body = client::Body::Patch { kind: Patch::Apply, bytes: same.to_string().into() };
    let options = Options { field_manager: NAME.into(), ..Options::default() };
    match cx.client.call(Request { verb: Verb::Patch, target, options, body }).await {
        Err(status) if !status.is_conflict() && !status.is_not_found() => Err(status),
        _ => Ok(()),
    }
}

fn is_over(migration: &Value) -> bool {
    is(migration, "Succeeded") || is(migration, "Failed")
}

fn is(migration: &Value, ty: &str) -> bool {
    migration.items_at("status.conditions").iter().any(|one| one.str_at("type") == ty && one.str_at("status") == "True")
}

/// Sets a condition; a migration that is over does not run.
async fn tell(cx: &Cx, migration: &mut Value, ty: &str, reason: &str, message: &str) -> Result<(), Status> {
    let now = time::format(cx.env.now());
    let mut conditions = migration.items_at("status.conditions").to_vec();
    for one in conditions.iter_mut().filter(|one| ty != "Running" && one.str_at("type") == "Running") {
        one["status"] = json!("False");
        one["lastTransitionTime"] = json!(now);
        one["reason"] = json!(reason);
    }
    let made = json!({"type": ty, "status": "True", "lastTransitionTime": now, "reason": reason, "message": message});
    conditions.retain(|one| one.str_at("type") != ty);
    conditions.push(made);
    migration.set_at("status.conditions", conditions);
    write(cx, migration).await
}

async fn write(cx: &Cx, migration: &Value) -> Result<(), Status> {
    let target = Target::of(API_VERSION, RESOURCE, "").named(migration.str_at("metadata.name")).sub("status");
    cx.client.update(target, migration.clone()).await.map(|_| ())
}
