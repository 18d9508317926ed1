//! Update, and the loop below every change of an existing object.

use std::sync::Arc;

use auth::Attributes;
use client::{Body, Object, Response};
use kinds::WriteContext;
use schema::{DocExt, FieldErrors, Path, Status, Value, json};
use store::{Guard, Op, Txn};

use super::commit::unchanged;
use super::ownership::{self, Ownership};
use super::{ATTEMPTS_MAX, Current, Outcome, commit, create_document, current, transact};
use crate::admission::{Admission, Facet, Operation};
use crate::body::{self, Expected};
use crate::core::Call;
use crate::quota::Reserved;
use crate::{allocate, failure, list, meta, quota, sub};

/// Replaces the object (or what its subresource may change) by the one in `body`.
pub(crate) async fn update(call: &mut Call<'_>, body: Body) -> Result<Response, Status> {
    let mut doc = body::document(&Expected::of(&call.kind), &body, call.options, &mut call.warnings)?;
    meta::name(&mut doc, &call.target.name)?;
    meta::place(&mut doc, &call.target.namespace)?;
    if makes_missing(call) && !exists(call).await? {
        return create_missing(call, doc).await;
    }
    check_conditional(call, &doc)?;
    let (group, resource, name) = (call.kind.group.clone(), call.kind.resource.clone(), call.target.name.clone());
    let key = format!("/registry{}", call.key());
    let object = modify(call, |old, _| {
        let (asked, found) = (doc.str_at("metadata.uid"), old.str_at("metadata.uid"));
        if !asked.is_empty() && asked != found {
            let why = format!(
                "StorageError: invalid object, Code: 4, Key: {key}, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: UID in \
                 precondition: {asked}, UID in object meta: {found}"
            );
            return Err(Status::conflict(&group, &resource, &name, &why));
        }
        Ok(doc.clone())
    });
    Ok(Response::Object { object: object.await?, created: false })
}

/// Kinds that a PUT may make.
const MADE_BY_UPDATE: &[(&str, &str)] = &[
    ("", "endpoints"),
    ("", "events"),
    ("", "limitranges"),
    ("", "services"),
    ("events.k8s.io", "events"),
    ("coordination.k8s.io", "leases"),
    ("rbac.authorization.k8s.io", "roles"),
    ("rbac.authorization.k8s.io", "rolebindings"),
    ("rbac.authorization.k8s.io", "clusterroles"),
    ("rbac.authorization.k8s.io", "clusterrolebindings"),
];

/// Kinds that a PUT without resourceVersion may not touch.
const CONDITIONAL: &[(&str, &str)] = &[
    ("coordination.k8s.io", "leases"),
    ("storage.k8s.io", "csidrivers"),
    ("storage.k8s.io", "csinodes"),
    ("storage.k8s.io", "csistoragecapacities"),
    ("storage.k8s.io", "volumeattachments"),
    ("node.k8s.io", "runtimeclasses"),
    ("policy", "poddisruptionbudgets"),
    ("apiregistration.k8s.io", "apiservices"),
    ("apiextensions.k8s.io", "customresourcedefinitions"),
    ("flowcontrol.apiserver.k8s.io", "flowschemas"),
    ("flowcontrol.apiserver.k8s.io", "prioritylevelconfigurations"),
    ("admissionregistration.k8s.io", "mutatingwebhookconfigurations"),
    ("admissionregistration.k8s.io", "validatingwebhookconfigurations"),
    ("admissionregistration.k8s.io", "validatingadmissionpolicies"),
    ("admissionregistration.k8s.io", "validatingadmissionpolicybindings"),
];

fn is_one_of(call: &Call<'_>, kinds: &[(&str, &str)]) -> bool {
    kinds.contains(&(call.kind.group.as_ref(), call.kind.resource.as_ref()))
}

fn makes_missing(call: &Call<'_>) -> bool {
    call.target.subresource.is_empty() && is_one_of(call, MADE_BY_UPDATE)
}

async fn exists(call: &Call<'_>) -> Result<bool, Status> {
    let entry = call.core.store.get(&call.key()).await.map_err(|error| failure::of_store(&error))?;
    Ok(entry.is_some())
}

/// A PUT that makes its object needs the right to create, too.
async fn create_missing(call: &mut Call<'_>, doc: Value) -> Result<Response, Status> {
    let asked = Attributes {
        namespace: &call.target.namespace,
        name: &call.target.name,
        ..Attributes::resource(call.user, "create", &call.kind.group, &call.kind.version, &call.kind.resource)
    };
    call.core.authorize(&asked).await?;
    Ok(Response::Object { object: create_document(call, doc).await?, created: true })
}

/// 422 for a write of a kind that only changes what its writer has seen. Where there is nothing to change it is 404.
fn check_conditional(call: &Call<'_>, doc: &Value) -> Result<(), Status> {
    let blind = doc.str_at("metadata.resourceVersion").is_empty();
    let there = || call.core.kind_cache(&call.kind).is_ok_and(|cache| cache.get(&call.key()).is_some());
    let conditional = call.kind.custom.is_some() || is_one_of(call, CONDITIONAL);
    if !blind || !call.target.subresource.is_empty() || !conditional || !there() {
        return Ok(());
    }
    let mut errors = FieldErrors::default();
    errors.invalid(&Path::new("metadata").child("resourceVersion"), 0, "must be specified for an update");
    Err(Status::invalid(&call.kind.group, &call.kind.resource, &call.target.name, &errors))
}

/// Changes the call's object to what `change` makes of its current state, until no race is lost. `change` may also add warnings.
/// A resourceVersion in what it makes must be the current one, else 409. What changes is the caller's manager's.
pub(crate) async fn modify(
    call: &mut Call<'_>,
    change: impl FnMut(&Value, &mut Vec<String>) -> Result<Value, Status> + Send,
) -> Result<Arc<Object>, Status> {
    modify_as(call, Ownership::Writer, change).await
}

/// As [`modify`], with a word on whose the change is.
pub(crate) async fn modify_as(
    call: &mut Call<'_>,
    ownership: Ownership,
    mut change: impl FnMut(&Value, &mut Vec<String>) -> Result<Value, Status> + Send,
) -> Result<Arc<Object>, Status> {
    let warnings = call.warnings.len();
    for _ in 0..ATTEMPTS_MAX {
        call.warnings.truncate(warnings);
        call.renew()?;
        let mut current = current(call).await?;
        let unseen = if ownership == Ownership::Writer { meta::of(&mut current.doc).remove(meta::MANAGED_FIELDS) } else { None };
        let mut changed = loop {
            let told = call.warnings.len();
            let made = change(&current.doc, &mut call.warnings);
            if !call.memo.fill(&call.core.cache).await? {
                break made;
            }
            call.warnings.truncate(told);
        };
        if let Some(entries) = unseen {
            meta::of(&mut current.doc).insert(meta::MANAGED_FIELDS.into(), entries);
            if changed.is_err() {
                // What is said of a change that fails may show the document, and then all of it.
                changed = change(&current.doc, &mut call.warnings);
            }
        }
        let new = changed?;
        if let Some(object) = attempt(call, current, new, ownership).await? {
            return Ok(object);
        }
        if call.kind.custom.is_some() {
            // Perhaps it was the definition that changed.
            call.core.cache.catch_up().await.map_err(|error| failure::of_store(&error))?;
        }
    }
    Err(Status::stale(&call.kind.group, &call.kind.resource, &call.target.name))
}

/// One attempt; None when something that it relied on has changed.
async fn attempt(call: &mut Call<'_>, current: Current, mut new: Value, ownership: Ownership) -> Result<Option<Arc<Object>>, Status> {
    let old = &current.doc;
    check_version(call, &new, &current)?;
    meta::name(&mut new, &call.target.name)?;
    meta::place(&mut new, &call.target.namespace)?;
    meta::of(&mut new).insert("resourceVersion".into(), json!(current.revision.0.to_string()));
    meta::carry_over(&mut new, old);
    allocate::carry_over(&call.kind, &mut new, old);
    let mut guards = vec![unchanged(&current)];
    prepared(call, &mut new, old);
    if ownership != Ownership::Told {
        ownership::tell(call, old, &mut new).await?;
    }
    admit(call, &mut new, old, &mut guards).await?;
    if meta::is_same(&new, old) && !current.is_outdated && !is_stale(call, &current).await? {
        return Object::from_value(old).map(Some);
    }
    if call.target.subresource.is_empty() {
        call.warnings.extend(call.kind.strategy.warnings(&new, Some(old)));
    }
    let Reserved { guards: uncharged, ops: charges, gate: _gate } = quota::reserve(call, Some(old), &new).await?;
    if call.options.dry_run {
        return Object::from_value(&new).map(Some);
    }
    if is_finished(call, &new) {
        return finish(call, &current, new, guards).await;
    }
    let allocated = allocate::plan(call.core, &call.kind, Some(old), &mut new)?;
    guards.extend(allocated.guards);
    guards.extend(uncharged);
    let ops = allocated.ops.into_iter().chain(charges).chain(quota::fence(&call.kind, Some(old), &new)).collect();
    match commit(call, current.key, new, Txn { guards, ops }).await? {
        Outcome::Done(object) => Ok(Some(object)),
        Outcome::Lost { .. } => {
            call.core.cache.catch_up().await.map_err(|error| failure::of_store(&error))?;
            Ok(None)
        }
    }
}

/// Whether a write is due although nothing changes: the store would keep the object otherwise today.
async fn is_stale(call: &Call<'_>, current: &Current) -> Result<bool, Status> {
    call.core.store.is_stale(&current.key).await.map_err(|error| failure::of_store(&error))
}

/// 409 where the writer has seen another state than the current one.
fn check_version(call: &Call<'_>, new: &Value, current: &Current) -> Result<(), Status> {
    let seen = new.str_at("metadata.resourceVersion");
    if seen.is_empty() || seen == "0" {
        return Ok(());
    }
    let seen = list::revision(seen).map_err(failure::plain)?;
    if seen == current.revision.0 { Ok(()) } else { Err(Status::stale(&call.kind.group, &call.kind.resource, &call.target.name)) }
}

/// Defaults and the kind's own preparation.
fn prepared(call: &Call<'_>, new: &mut Value, old: &Value) {
    call.kind.strategy.fill_defaults(new);
    call.kind.strategy.prepare_update(new, old, &context(call));
}

fn context<'a>(call: &'a Call<'_>) -> WriteContext<'a> {
    WriteContext { env: &call.core.env, user: &call.user.name, subresource: &call.target.subresource }
}

/// Admission, generation, validation.
async fn admit(call: &mut Call<'_>, new: &mut Value, old: &Value, guards: &mut Vec<Guard>) -> Result<(), Status> {
    let kind = Arc::clone(&call.kind);
    let (core, target, facet) = (call.core, call.target, call.facet);
    let context = WriteContext { env: &core.env, user: &call.user.name, subresource: &target.subresource };
    let mut admission = call.admission(Operation::Update, guards);
    mutate(&mut admission, facet, new, old).await?;
    kind.strategy.fill_defaults(new);
    if kind.has_generation && counts(&target.subresource) && kind.strategy.bumps_generation(new, old) {
        meta::bump_generation(new);
    }
    let mut errors = FieldErrors::default();
    let (metadata, before) = (new.at("metadata").unwrap_or(&Value::Null), old.at("metadata").unwrap_or(&Value::Null));
    meta::before_update(metadata, before, kind.is_namespaced(), &mut errors);
    meta::on_update(metadata, before, &mut errors);
    if kind.custom.is_none() {
        meta::standard_finalizers(&kind.group, metadata, &mut errors);
    }
    kind.strategy.validate_update(new, old, &context, &mut errors);
    if !errors.is_empty() {
        return Err(Status::invalid(&kind.group, &kind.kind, &target.name, &errors));
    }
    validate(&mut admission, facet, new, old).await
}

/// Mutating admission of what the chain may see of the change.
async fn mutate(admission: &mut Admission<'_>, facet: Facet, new: &mut Value, old: &Value) -> Result<(), Status> {
    let chain = &admission.core.admission;
    match facet {
        Facet::Whole => chain.mutate(admission, new, Some(old)).await,
        Facet::Scale => {
            let mut scale = sub::scale_of(&admission.kind, new)?;
            chain.mutate(admission, &mut scale, Some(&sub::scale_of(&admission.kind, old)?)).await?;
            sub::set_scale(&admission.kind, new, &scale);
            Ok(())
        }
        Facet::Passed => Ok(()),
    }
}

async fn validate(admission: &mut Admission<'_>, facet: Facet, new: &Value, old: &Value) -> Result<(), Status> {
    let chain = &admission.core.admission;
    match facet {
        Facet::Whole => chain.validate(admission, Some(new), Some(old)).await,
        Facet::Scale => {
            chain.validate(admission, Some(&sub::scale_of(&admission.kind, new)?), Some(&sub::scale_of(&admission.kind, old)?)).await
        }
        Facet::Passed => Ok(()),
    }
}

/// Subresources through which the spec is changed; a status, a binding or an approval is no new generation.
fn counts(subresource: &str) -> bool {
    matches!(subresource, "" | "resize" | "ephemeralcontainers")
}

/// Whether this change removes the last thing that an object on its way out waited for.
fn is_finished(call: &Call<'_>, new: &Value) -> bool {
    let waits = new.i64_at("metadata.deletionGracePeriodSeconds").is_some_and(|seconds| seconds != 0);
    let namespace = call.kind.group.is_empty() && call.kind.resource == "namespaces";
    let filled = namespace && !new.items_at("spec.finalizers").is_empty();
    meta::is_deleting(new) && !waits && !filled && meta::finalizers(new).is_empty()
}

async fn finish(call: &Call<'_>, current: &Current, new: Value, guards: Vec<Guard>) -> Result<Option<Arc<Object>>, Status> {
    let mut ops = vec![Op::Delete { key: Arc::clone(&current.key) }];
    ops.extend(allocate::release(&call.kind, &current.doc));
    ops.extend(quota::release(call.core, &call.kind, &current.doc));
    match transact(call.core, Txn { guards, ops }).await? {
        Ok(_) => Object::from_value(&new).map(Some),
        Err(_) => Ok(None),
    }
}
