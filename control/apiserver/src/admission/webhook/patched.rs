//! What becomes of an object that a webhook has patched: it must still be of its kind, gets its defaults, and what the server
//! alone may say stays as it was. Validation comes later, for all webhooks at once.

use client::Options;
use kinds::WriteContext;
use schema::decode::FieldValidation;
use schema::{DocExt, Status, Value};

use super::hook::Hook;
use super::owners;
use super::rules::Place;
use super::subject::{self, STAMPS};
use crate::admission::{Admission, Operation};
use crate::body::{self, Expected};
use crate::meta;

/// Puts `patched`, in the version of `place`, in the place of `new`. Returns whether that changes anything.
pub(super) async fn adopt(
    request: &mut Admission<'_>,
    hook: &Hook,
    place: &Place,
    patched: Value,
    new: &mut Value,
    old: Option<&Value>,
) -> Result<bool, Status> {
    let expected = expected(request, place)?;
    let broken = |why: &str| Status::internal(format!("admission webhook {:?} made no {} of the object: {why}", hook.name, expected.kind));
    if patched.str_at("apiVersion") != expected.api_version || patched.str_at("kind") != expected.kind {
        return Err(broken("apiVersion and kind may not be changed"));
    }
    // Members that nobody knows are dropped, as everywhere.
    let options = Options { field_validation: FieldValidation::Ignore, ..Options::default() };
    let decoded = body::patched(&expected, patched, |why| body::misfit("", why), &options, &mut Vec::new())
        .map_err(|status| broken(&status.message))?;
    take(request, place, decoded, new, old).await
}

/// Puts a decoded document in the place of `new`. Returns whether that changes anything.
pub(in crate::admission) async fn take(
    request: &mut Admission<'_>,
    place: &Place,
    decoded: Value,
    new: &mut Value,
    old: Option<&Value>,
) -> Result<bool, Status> {
    let mut doc = subject::back(request, place, decoded).await?;
    if is_whole(request, &doc) {
        settle(request, &mut doc, new, old)?;
    }
    request.warnings.extend(owners::mend(&mut doc, new));
    let changed = doc != *new;
    *new = doc;
    Ok(changed)
}

/// What documents of `place` are decoded as.
pub(in crate::admission) fn expected(request: &Admission<'_>, place: &Place) -> Result<Expected, Status> {
    let [group, version, kind] = &place.kind;
    let api_version = if group.is_empty() { version.clone() } else { format!("{group}/{version}") };
    match request.core.registry().kind(&api_version, kind) {
        Some(kind) => Ok(Expected::of(&kind)),
        None => Expected::option(&api_version, kind),
    }
}

/// Whether the document is an object of the request's kind, rather than its scale, an eviction, the options of a connection.
fn is_whole(request: &Admission<'_>, doc: &Value) -> bool {
    doc.str_at("kind") == request.kind.kind && doc.str_at("apiVersion") == request.kind.api_version()
}

/// Defaults, the kind's own preparation, and the members that are the server's.
fn settle(request: &Admission<'_>, doc: &mut Value, before: &Value, old: Option<&Value>) -> Result<(), Status> {
    let strategy = &request.kind.strategy;
    let context = WriteContext { env: request.core.env(), user: &request.user.name, subresource: request.subresource };
    meta::place(doc, request.namespace)?;
    strategy.fill_defaults(doc);
    match old {
        Some(old) => {
            meta::name(doc, request.name)?;
            strategy.prepare_update(doc, old, &context);
            meta::carry_over(doc, old);
            keep(doc, before, &["resourceVersion", "deletionTimestamp", "deletionGracePeriodSeconds"]);
        }
        None if request.operation == Operation::Create => {
            strategy.prepare_create(doc, &context);
            let metadata = meta::of(doc);
            ["resourceVersion", "deletionTimestamp", "deletionGracePeriodSeconds"].iter().for_each(|name| drop(metadata.remove(*name)));
            keep(doc, before, &STAMPS);
            meta::name(doc, &named(doc, before))?;
        }
        None => {}
    }
    Ok(())
}

/// A webhook may name what it sees; else the name that the server made stays.
fn named(doc: &Value, before: &Value) -> String {
    let own = doc.str_at("metadata.name");
    if own.is_empty() { before.str_at("metadata.name").to_owned() } else { own.to_owned() }
}

/// `names` of the metadata as they were.
fn keep(doc: &mut Value, before: &Value, names: &[&str]) {
    let metadata = meta::of(doc);
    for name in names {
        match before.at("metadata").and_then(|metadata| metadata.get(*name)) {
            Some(value) => drop(metadata.insert((*name).to_owned(), value.clone())),
            None => drop(metadata.remove(*name)),
        }
    }
}
