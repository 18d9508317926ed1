//! Delete: preconditions, finalizers, grace, propagation.
//!
//! ```text
//! delete ─► nothing holds it ──────────────────────────────► gone
//!        └► finalizers or grace ─► deletionTimestamp is set ─► last finalizer removed / grace 0 delete ─► gone
//! ```

use std::sync::Arc;
use std::time::Duration;

use client::{Body, Delete, Object, Options, Response, Target};
use schema::{DocExt, Status, Value, json, time};
use store::{Op, Txn};

use super::commit::unchanged;
use super::{ATTEMPTS_MAX, Current, Outcome, commit, current, transact};
use crate::admission::{Facet, Operation};
use crate::body::{self, Expected};
use crate::core::Call;
use crate::{allocate, failure, meta, quota};

/// Finalizers that the garbage collector removes.
const ORPHAN: &str = "orphan";
const FOREGROUND: &str = "foregroundDeletion";

/// Kinds whose delete answers with the last state rather than a Status.
const ANSWERS_OBJECT: &[(&str, &str)] = &[
    ("", "pods"),
    ("", "podtemplates"),
    ("", "persistentvolumes"),
    ("", "persistentvolumeclaims"),
    ("", "resourcequotas"),
    ("", "services"),
    ("", "serviceaccounts"),
    ("storage.k8s.io", "storageclasses"),
    ("storage.k8s.io", "csidrivers"),
    ("storage.k8s.io", "csinodes"),
    ("storage.k8s.io", "volumeattachments"),
];

/// Deletes the call's object.
pub(crate) async fn delete(call: &mut Call<'_>, body: Body) -> Result<Response, Status> {
    let options = delete_options(call, &body)?;
    let target = call.target.clone();
    delete_one(call, &target, &options, Facet::Whole).await
}

/// What is done in a delete's own transaction.
#[derive(Clone, Copy)]
pub(crate) struct Also<'a> {
    /// Decides from the object as it is, at each attempt; an error refuses the delete.
    pub decide: &'a (dyn Fn(&Value) -> Result<Txn, Status> + Send + Sync),
    /// Changes the object that stays for a while.
    pub mark: &'a (dyn Fn(&mut Value) + Send + Sync),
}

const NOTHING_ELSE: Also<'static> = Also { decide: &|_| Ok(Txn { guards: Vec::new(), ops: Vec::new() }), mark: &|_| {} };

/// Deletes the object that the call is about and that admission has been asked for, whatever subresource it came by, as `options` say
/// and `also` lets it.
pub(crate) async fn delete_also(call: &mut Call<'_>, options: &Options, also: Also<'_>) -> Result<Response, Status> {
    let target = Target { subresource: String::new(), ..call.target.clone() };
    let mut whole = Call { facet: Facet::Passed, ..call.about(&target, options) };
    let answer = delete_with(&mut whole, &options.delete, also).await;
    call.warnings = whole.warnings;
    answer
}

async fn delete_one(call: &mut Call<'_>, target: &Target, options: &Options, facet: Facet) -> Result<Response, Status> {
    let mut one = Call { facet, ..call.about(target, options) };
    let answer = delete_with(&mut one, &options.delete, NOTHING_ELSE).await;
    call.warnings = one.warnings;
    answer
}

/// Deletes what the call's selectors match; answers with the list of it as one document.
pub(crate) async fn delete_collection(call: &mut Call<'_>, body: Body) -> Result<Response, Status> {
    let options = delete_options(call, &body)?;
    let list = call.core.read_list(&call.kind, call.target, &options).await?;
    for object in &list.items {
        let this_one = Delete { uid: Some(object.meta.uid.clone()), ..options.delete.clone() };
        let options = Options { delete: this_one, ..options.clone() };
        let target = Target { namespace: object.meta.namespace.clone(), name: object.meta.name.clone(), ..call.target.clone() };
        match delete_one(call, &target, &options, Facet::Whole).await {
            Ok(_) => {}
            Err(status) if status.is_not_found() || status.is_conflict() => {} // somebody else was faster
            Err(status) => return Err(status),
        }
    }
    let custom = call.kind.custom.is_some();
    let item = |object: &Arc<Object>| if custom { object.value() } else { untyped(object.value()) };
    let items: Vec<Value> = list.items.iter().map(item).collect();
    let mut metadata = json!({"resourceVersion": list.resource_version});
    if custom {
        metadata["continue"] = json!("");
    }
    let value = json!({"apiVersion": call.kind.api_version(), "kind": call.kind.list_kind, "items": items, "metadata": metadata});
    Ok(Response::Value { value, code: 200 })
}

/// An item of a list of built-in kinds, which says once for all what its items are.
fn untyped(mut doc: Value) -> Value {
    doc.remove_at("apiVersion");
    doc.remove_at("kind");
    doc
}

/// The request's options, with the body's in place of the query's where there is a body.
fn delete_options(call: &mut Call<'_>, body: &Body) -> Result<Options, Status> {
    let body_is_empty = match body {
        Body::None => true,
        Body::Encoded { bytes, .. } => bytes.is_empty(),
        _ => false,
    };
    if body_is_empty {
        check_options(&call.options.delete, &[])?;
        return Ok(call.options.clone());
    }
    let doc = body::document(&Expected::option("v1", "DeleteOptions")?, body, call.options, &mut call.warnings)?;
    overlaid(call.options, &doc)
}

/// `options` with what a `DeleteOptions` document says.
pub(crate) fn overlaid(options: &Options, doc: &Value) -> Result<Options, Status> {
    let text = |path: &str| doc.at(path).and_then(Value::as_str).map(str::to_owned);
    let delete = Delete {
        grace_period_seconds: doc.i64_at("gracePeriodSeconds"),
        propagation_policy: text("propagationPolicy"),
        orphan_dependents: doc.at("orphanDependents").and_then(Value::as_bool),
        uid: text("preconditions.uid"),
        resource_version: text("preconditions.resourceVersion"),
    };
    let dry_run = doc.items_at("dryRun");
    check_options(&delete, dry_run)?;
    Ok(Options { delete, dry_run: options.dry_run || !dry_run.is_empty(), ..options.clone() })
}

fn check_options(options: &Delete, dry_run: &[Value]) -> Result<(), Status> {
    let mut errors = schema::FieldErrors::default();
    let path = schema::Path::new("propagationPolicy");
    match options.propagation_policy.as_deref() {
        Some(_) if options.orphan_dependents.is_some() => {
            errors.invalid(&path, options.propagation_policy.clone(), "orphanDependents and deletionPropagation cannot be both set");
        }
        None | Some("Foreground" | "Background" | "Orphan" | "") => {}
        Some(other) => {
            let message = format!("Unsupported value: {other:?}: supported values: \"Foreground\", \"Background\", \"Orphan\", \"nil\"");
            errors.add(&path, schema::field::Reason::NotSupported, message);
        }
    }
    if dry_run.iter().any(|stage| stage != "All") {
        errors.not_supported(&schema::Path::new("dryRun"), dry_run.to_vec(), &["All"]);
    }
    if errors.is_empty() { Ok(()) } else { Err(failure::invalid_options("DeleteOptions", &errors)) }
}

async fn delete_with(call: &mut Call<'_>, options: &Delete, also: Also<'_>) -> Result<Response, Status> {
    for _ in 0..ATTEMPTS_MAX {
        let current = current(call).await?;
        check_preconditions(call, &current, options)?;
        admit(call, &current).await?;
        warn_of_orphans(call, options);
        if let Some(answer) = attempt(call, current, options, also).await? {
            return Ok(answer);
        }
        call.core.cache.catch_up().await.map_err(|error| failure::of_store(&error))?;
    }
    Err(Status::stale(&call.kind.group, &call.kind.resource, &call.target.name))
}

fn warn_of_orphans(call: &mut Call<'_>, options: &Delete) {
    let told = options.propagation_policy.is_some() || options.orphan_dependents.is_some();
    let text = "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them or set \
                propagationPolicy=Orphan to suppress this warning";
    if call.kind.resource == "jobs" && !told && !call.warnings.iter().any(|have| have == text) {
        call.warnings.push(text.to_owned());
    }
}

/// What a delete comes to.
enum Plan {
    /// The object goes; its last state answers.
    Remove(Value),
    /// The object stays, changed like this.
    Mark(Value),
    /// It is on its way out already.
    Nothing,
}

/// One attempt; None when the object has changed meanwhile.
async fn attempt(call: &Call<'_>, current: Current, options: &Delete, also: Also<'_>) -> Result<Option<Response>, Status> {
    let mut txn = (also.decide)(&current.doc)?;
    txn.guards.push(unchanged(&current));
    match plan(call, &current.doc, options) {
        Plan::Nothing => object(&current.doc).map(Some),
        Plan::Mark(doc) if call.options.dry_run => object(&doc).map(Some),
        Plan::Remove(last) if call.options.dry_run => removed(call, &last).map(Some),
        Plan::Mark(mut doc) => {
            (also.mark)(&mut doc);
            match commit(call, current.key, doc, txn).await? {
                Outcome::Done(object) => Ok(Some(Response::Object { object, created: false })),
                Outcome::Lost { .. } => Ok(None),
            }
        }
        Plan::Remove(last) => {
            let mut ops = txn.ops;
            ops.push(Op::Delete { key: Arc::clone(&current.key) });
            ops.extend(allocate::release(&call.kind, &current.doc));
            ops.extend(quota::release(call.core, &call.kind, &current.doc));
            match transact(call.core, Txn { guards: txn.guards, ops }).await? {
                Ok(_) => removed(call, &last).map(Some),
                Err(_) => Ok(None),
            }
        }
    }
}

fn object(doc: &Value) -> Result<Response, Status> {
    Ok(Response::Object { object: Object::from_value(doc)?, created: false })
}

fn removed(call: &Call<'_>, doc: &Value) -> Result<Response, Status> {
    let kind = &call.kind;
    if ANSWERS_OBJECT.contains(&(kind.group.as_ref(), kind.resource.as_ref())) {
        return object(doc);
    }
    let status = Status::deleted(&kind.group, &kind.resource, &call.target.name, doc.str_at("metadata.uid"));
    Ok(Response::Value { value: status.to_value(), code: 200 })
}

/// 409 where the object is not the one that the caller means.
fn check_preconditions(call: &Call<'_>, current: &Current, options: &Delete) -> Result<(), Status> {
    let conflict = |why: &str| Err(Status::conflict(&call.kind.group, &call.kind.kind, &call.target.name, why));
    let found = current.doc.str_at("metadata.uid");
    match &options.uid {
        Some(asked) if asked != found => {
            return conflict(&format!(
                "the UID in the precondition ({asked}) does not match the UID in record ({found}). The object might have been deleted and then recreated"
            ));
        }
        _ => {}
    }
    let found = current.revision.0.to_string();
    match &options.resource_version {
        Some(asked) if *asked != found => conflict(&format!(
            "the ResourceVersion in the precondition ({asked}) does not match the ResourceVersion in record ({found}). The object might have been modified"
        )),
        _ => Ok(()),
    }
}

async fn admit(call: &mut Call<'_>, current: &Current) -> Result<(), Status> {
    if call.facet == Facet::Passed {
        return Ok(());
    }
    let (core, mut guards) = (call.core, Vec::new());
    let mut admission = call.admission(Operation::Delete, &mut guards);
    core.admission.delete(&mut admission, &current.doc).await
}

/// Decides what a delete with `options` does to `doc`. Pure but for the clock.
fn plan(call: &Call<'_>, doc: &Value, options: &Delete) -> Plan {
    let mut marked = doc.clone();
    let finalizers = finalizers_after(call, doc, options);
    meta::set_finalizers(&mut marked, &finalizers);
    if !meta::is_deleting(doc) {
        call.kind.strategy.prepare_delete(&mut marked, call.core.env.now());
    }
    let grace = grace(call, doc, options);
    let held = !meta::finalizers(&marked).is_empty() || holds_namespace(call, doc);
    if meta::is_deleting(doc) {
        let left = doc.i64_at("metadata.deletionGracePeriodSeconds").unwrap_or_default();
        return match grace {
            Some(shorter) if shorter < left => {
                set_deadline(&mut marked, doc, left, shorter);
                settle(marked, held || shorter > 0)
            }
            _ if left == 0 && !held => Plan::Remove(marked),
            _ if marked != *doc => Plan::Mark(marked),
            _ => Plan::Nothing,
        };
    }
    let seconds = grace.unwrap_or_default();
    let stays = held || seconds > 0;
    if stays || call.kind.graceful {
        mark(call, &mut marked, seconds);
    }
    settle(marked, stays)
}

fn settle(marked: Value, stays: bool) -> Plan {
    if stays { Plan::Mark(marked) } else { Plan::Remove(marked) }
}

/// Sets when the object has to be gone, and what else says that it is on its way out.
fn mark(call: &Call<'_>, doc: &mut Value, seconds: i64) {
    let deadline = call.core.env.now() + Duration::from_secs(seconds.unsigned_abs());
    let meta = meta::of(doc);
    meta.insert("deletionTimestamp".into(), json!(time::format(deadline)));
    if is_definition(call) {
        return; // upstream marks these itself, without grace and without counting
    }
    meta.insert("deletionGracePeriodSeconds".into(), json!(seconds));
    if doc.i64_at("metadata.generation").is_some_and(|generation| generation > 0) {
        meta::bump_generation(doc);
    }
    if is_namespace(call) {
        doc.set_at("status.phase", "Terminating");
    }
}

/// Moves the deadline: it was `left` seconds after the request, now it is `shorter`.
fn set_deadline(marked: &mut Value, doc: &Value, left: i64, shorter: i64) {
    let deadline = time::parse(doc.str_at("metadata.deletionTimestamp"));
    let moved = deadline.map(|deadline| deadline - Duration::from_secs((left - shorter).unsigned_abs()));
    let meta = meta::of(marked);
    if let Some(moved) = moved {
        meta.insert("deletionTimestamp".into(), json!(time::format(moved)));
    }
    meta.insert("deletionGracePeriodSeconds".into(), json!(shorter));
}

/// Seconds that the object is given; None for kinds without grace, which go at once.
fn grace(call: &Call<'_>, doc: &Value, options: &Delete) -> Option<i64> {
    if !call.kind.graceful {
        return None;
    }
    let own = || doc.i64_at("spec.terminationGracePeriodSeconds");
    let asked = match options.grace_period_seconds {
        Some(seconds) => seconds,
        None if meta::is_deleting(doc) => return None,
        None => own().unwrap_or_default(),
    };
    let unbound = doc.str_at("spec.nodeName").is_empty();
    let over = matches!(doc.str_at("status.phase"), "Succeeded" | "Failed");
    Some(if unbound || over {
        0
    } else if asked < 0 {
        1
    } else {
        asked
    })
}

/// The finalizers that the propagation policy asks for.
fn finalizers_after(call: &Call<'_>, doc: &Value, options: &Delete) -> Vec<String> {
    let before = meta::finalizers(doc);
    let wanted = match (options.orphan_dependents, options.propagation_policy.as_deref()) {
        (Some(true), _) | (_, Some("Orphan")) => Some(ORPHAN),
        (_, Some("Foreground")) => Some(FOREGROUND),
        (Some(false), _) | (_, Some("Background")) => None,
        _ if orphans_by_default(call) && !before.iter().any(|one| one == ORPHAN || one == FOREGROUND) => Some(ORPHAN),
        _ => return before,
    };
    let mut after: Vec<String> = before.into_iter().filter(|one| one != ORPHAN && one != FOREGROUND).collect();
    after.extend(wanted.map(str::to_owned));
    after
}

/// Two old kinds keep what they own unless they are told otherwise.
fn orphans_by_default(call: &Call<'_>) -> bool {
    matches!((call.kind.group.as_ref(), call.kind.resource.as_ref()), ("batch", "jobs") | ("", "replicationcontrollers"))
}

/// A namespace stays until the namespace controller has emptied it.
fn holds_namespace(call: &Call<'_>, doc: &Value) -> bool {
    is_namespace(call) && !doc.items_at("spec.finalizers").is_empty()
}

fn is_definition(call: &Call<'_>) -> bool {
    call.kind.group == "apiextensions.k8s.io" && call.kind.resource == "customresourcedefinitions"
}

fn is_namespace(call: &Call<'_>) -> bool {
    call.kind.group.is_empty() && call.kind.resource == "namespaces"
}
