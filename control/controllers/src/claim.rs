//! Which objects are a controller's own: those that name it as controller and still match, and orphans that match.

use std::sync::Arc;

use client::informer::BY_OWNER;
use client::request::Patch;
use client::{Object, Target};
use reconcile::Cx;
use reconcile::informers::ORPHANS;
use schema::{LabelSelector, ObjectMeta, Status, json};

use crate::pods::owner_reference;

/// Who claims, and what.
pub struct Claim<'a> {
    pub api_version: &'a str,
    pub kind: &'a str,
    /// Plural of the claimer.
    pub resource: &'a str,
    pub owner: &'a ObjectMeta,
    pub selector: &'a LabelSelector,
    /// What is claimed.
    pub dependents: (&'a str, &'a str),
}

/// The claimed objects. Adopts and releases through the API on the way.
pub async fn claim(cx: &Cx, claim: &Claim<'_>) -> Result<Vec<Arc<Object>>, Status> {
    let lister = cx.lister(claim.dependents.0, claim.dependents.1);
    let mut claimed = Vec::new();
    for object in lister.by(BY_OWNER, &claim.owner.uid) {
        if claim.selector.matches(&object.meta.labels) {
            claimed.push(object);
        } else if !claim.owner.is_deleting() && !object.meta.is_deleting() {
            release(cx, claim, &object).await?;
        }
    }
    let orphans = lister.by(ORPHANS, &claim.owner.namespace);
    let adoptable =
        orphans.into_iter().filter(|object| !object.meta.is_deleting() && claim.selector.matches(&object.meta.labels)).collect::<Vec<_>>();
    if !adoptable.is_empty() && !claim.owner.is_deleting() && still_there(cx, claim).await? {
        for object in adoptable {
            claimed.extend(adopt(cx, claim, &object).await?);
        }
    }
    Ok(claimed)
}

/// The cache may show a claimer that is gone or on its way out; an orphan must not be given to it.
async fn still_there(cx: &Cx, claim: &Claim<'_>) -> Result<bool, Status> {
    let target = Target::of(claim.api_version, claim.resource, &claim.owner.namespace).named(&claim.owner.name);
    match cx.client.get(target).await {
        Ok(fresh) => Ok(fresh.meta.uid == claim.owner.uid && !fresh.meta.is_deleting()),
        Err(status) if status.is_not_found() => Ok(false),
        Err(status) => Err(status),
    }
}

/// The uid in the patch makes it fail if the name is another object's by now.
async fn adopt(cx: &Cx, claim: &Claim<'_>, object: &Object) -> Result<Option<Arc<Object>>, Status> {
    let reference = owner_reference(claim.api_version, claim.kind, claim.owner);
    let patch = json!({"metadata": {"ownerReferences": [reference], "uid": object.meta.uid}});
    ignore_gone(cx.client.patch(dependent(claim, object), Patch::Strategic, &patch).await)
}

async fn release(cx: &Cx, claim: &Claim<'_>, object: &Object) -> Result<(), Status> {
    let patch = json!({"metadata": {"ownerReferences": [{"$patch": "delete", "uid": claim.owner.uid}], "uid": object.meta.uid}});
    ignore_gone(cx.client.patch(dependent(claim, object), Patch::Strategic, &patch).await).map(|_| ())
}

fn dependent(claim: &Claim<'_>, object: &Object) -> Target {
    Target::of(claim.dependents.0, claim.dependents.1, &object.meta.namespace).named(&object.meta.name)
}

fn ignore_gone(result: Result<Arc<Object>, Status>) -> Result<Option<Arc<Object>>, Status> {
    match result {
        Ok(object) => Ok(Some(object)),
        Err(status) if status.is_not_found() || status.code == 422 => Ok(None),
        Err(status) => Err(status),
    }
}
