//! Create.

use std::sync::Arc;

use client::{Body, Object, Response};
use kinds::WriteContext;
use schema::{DocExt, FieldErrors, Status, Value};
use store::{Guard, Key, Txn};

use super::ownership::{self, Ownership};
use super::{ATTEMPTS_MAX, Outcome, commit};
use crate::admission::{Admission, Operation};
use crate::body::{self, Expected};
use crate::core::Call;
use crate::quota::Reserved;
use crate::{allocate, custom, meta, quota};

/// Creates the object in `body`.
pub(crate) async fn create(call: &mut Call<'_>, body: Body) -> Result<Response, Status> {
    let doc = body::document(&Expected::of(&call.kind), &body, call.options, &mut call.warnings)?;
    let object = create_document(call, doc).await?;
    Ok(Response::Object { object, created: true })
}

/// Creates a decoded document in the namespace of the call.
pub(crate) async fn create_document(call: &mut Call<'_>, doc: Value) -> Result<Arc<Object>, Status> {
    create_as(call, doc, Ownership::Writer).await
}

pub(crate) async fn create_as(call: &mut Call<'_>, mut doc: Value, ownership: Ownership) -> Result<Arc<Object>, Status> {
    meta::place(&mut doc, &call.target.namespace)?;
    if !call.target.name.is_empty() {
        meta::name(&mut doc, &call.target.name)?;
    }
    meta::stamp_created(&mut doc, &call.kind, &call.core.env)?;
    let strategy = Arc::clone(&call.kind.strategy);
    strategy.fill_defaults(&mut doc);
    if ownership != Ownership::Told {
        ownership::tell_new(call, &mut doc).await?;
    }
    strategy.prepare_create(&mut doc, &context(call));
    let warnings = call.warnings.len();
    for _ in 0..ATTEMPTS_MAX {
        call.warnings.truncate(warnings);
        call.renew()?;
        custom::check_creatable(&call.kind, doc.str_at("metadata.name"))?;
        let mut named = doc.clone();
        let generated = meta::generate_name(&mut named, &call.core.env);
        match attempt(call, named, generated).await? {
            Attempt::Done(object) => return Ok(object),
            Attempt::Taken(_) if generated => {}
            Attempt::Taken(name) => return Err(taken(call, &name)),
            Attempt::Again => call.core.cache.catch_up().await.map_err(|error| crate::failure::of_store(&error))?,
        }
    }
    Err(Status::already_exists(&call.kind.group, &call.kind.resource, doc.str_at("metadata.generateName")))
}

/// 409, which says so when the one that is there is on its way out.
fn taken(call: &Call<'_>, name: &str) -> Status {
    let mut status = Status::already_exists(&call.kind.group, &call.kind.resource, name);
    let there = call.core.kind_cache(&call.kind).ok().and_then(|cache| cache.get(&call.key_of(name)));
    if there.is_some_and(|item| item.object.meta.is_deleting()) {
        status.message = format!("object is being deleted: {}", status.message);
    }
    status
}

enum Attempt {
    Done(Arc<Object>),
    /// The name is in use.
    Taken(String),
    /// Something that the attempt relied on has changed.
    Again,
}

async fn attempt(call: &mut Call<'_>, mut doc: Value, generated: bool) -> Result<Attempt, Status> {
    let mut guards = Vec::new();
    let name = admit(call, &mut doc, generated, &mut guards).await?;
    let key: Key = call.key_of(&name).into();
    guards.push(Guard::Absent(Arc::clone(&key)));
    if call.core.kind_cache(&call.kind)?.get(&key).is_some() {
        return Ok(Attempt::Taken(name));
    }
    let allocated = allocate::plan(call.core, &call.kind, None, &mut doc)?;
    guards.extend(allocated.guards);
    let Reserved { guards: uncharged, ops: charges, gate: _gate } = quota::reserve(call, None, &doc).await?;
    guards.extend(uncharged);
    call.warnings.extend(call.kind.strategy.warnings(&doc, None));
    if call.options.dry_run {
        return Ok(Attempt::Done(unstored(&doc)?));
    }
    let ops = allocated.ops.into_iter().chain(charges).chain(quota::fence(&call.kind, None, &doc)).collect();
    match commit(call, Arc::clone(&key), doc, Txn { guards, ops }).await? {
        Outcome::Done(object) => Ok(Attempt::Done(object)),
        Outcome::Lost { key: lost } if lost == key => Ok(Attempt::Taken(name)),
        Outcome::Lost { .. } => Ok(Attempt::Again),
    }
}

/// Mutating admission, defaults of what it added, validation, validating admission. Returns the name, which a webhook may change.
async fn admit(call: &mut Call<'_>, doc: &mut Value, generated: bool, guards: &mut Vec<Guard>) -> Result<String, Status> {
    let (core, asked) = (call.core, doc.str_at("metadata.name").to_owned());
    let mut admission = call.admission(Operation::Create, guards);
    (admission.name, admission.subresource, admission.generated) = (&asked, "", generated);
    core.admission.mutate(&mut admission, doc, None).await?;
    admission.kind.strategy.fill_defaults(doc);
    let name = doc.str_at("metadata.name").to_owned();
    admission.name = &name;
    validate(&admission, doc)?;
    core.admission.validate(&mut admission, Some(doc), None).await?;
    Ok(name)
}

fn validate(admission: &Admission<'_>, doc: &Value) -> Result<(), Status> {
    let kind = &admission.kind;
    let mut errors = FieldErrors::default();
    let metadata = doc.at("metadata").unwrap_or(&Value::Null);
    meta::on_create(metadata, kind.is_namespaced(), |name| kind.strategy.validate_name(name), &mut errors);
    if kind.custom.is_none() {
        meta::standard_finalizers(&kind.group, metadata, &mut errors);
    }
    kind.strategy.validate_create(doc, &mut errors);
    if errors.is_empty() { Ok(()) } else { Err(Status::invalid(&kind.group, &kind.kind, admission.name, &errors)) }
}

fn context<'a>(call: &'a Call<'_>) -> WriteContext<'a> {
    WriteContext { env: &call.core.env, user: &call.user.name, subresource: "" }
}

/// The object as a dry run shows it: without a resourceVersion.
fn unstored(doc: &Value) -> Result<Arc<Object>, Status> {
    let mut doc = doc.clone();
    meta::of(&mut doc).remove("resourceVersion");
    Object::from_value(&doc)
}
