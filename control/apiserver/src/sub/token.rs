//! `serviceaccounts/token`: a bound token for an account.

use std::sync::Arc;

use auth::{BoundObject, TokenRequest};
use client::{Body, Object, Response};
use schema::{DocExt, FieldErrors, Path, Status, Value, json, time};

use crate::body::{self, Expected};
use crate::core::Call;

const DEFAULT_SECONDS: i64 = 3_600;
const SECONDS_MIN: i64 = 600;
const SECONDS_MAX: i64 = 1 << 32;

pub(super) async fn issue(call: &mut Call<'_>, body: &Body) -> Result<Response, Status> {
    let expected = Expected::option("authentication.k8s.io/v1", "TokenRequest")?;
    let mut doc = body::document(&expected, body, call.options, &mut call.warnings)?;
    doc.default_at("spec.expirationSeconds", DEFAULT_SECONDS);
    check(&doc)?;
    let account = find(call, "/serviceaccounts/", &call.target.name).ok_or_else(|| call.not_found())?;
    check_names(call, &doc, &account.meta.uid)?;
    call.pass(&mut doc).await?;
    check(&doc)?;
    let request = TokenRequest {
        namespace: call.target.namespace.clone(),
        service_account: call.target.name.clone(),
        service_account_uid: account.meta.uid.clone(),
        audiences: doc.items_at("spec.audiences").iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        expiration_seconds: doc.i64_at("spec.expirationSeconds").unwrap_or(DEFAULT_SECONDS),
        bound: bound(call, &doc)?,
    };
    let issued = call.core.tokens()?.issuer.issue(request).await?;
    call.warnings.extend(issued.shortened.clone());
    doc.set_at("metadata.name", call.target.name.as_str());
    doc.set_at("metadata.namespace", call.target.namespace.as_str());
    doc.set_at("metadata.creationTimestamp", time::format(call.core.env().now()));
    doc.set_at("spec.audiences", json!(issued.audiences));
    doc.default_at("spec.boundObjectRef", Value::Null);
    doc.set_at("status", json!({"token": issued.token, "expirationTimestamp": issued.expiration_timestamp}));
    Ok(Response::Value { value: doc, code: 201 })
}

/// The request may say whose token it wants; then it must be this very account's.
fn check_names(call: &Call<'_>, doc: &Value, uid: &str) -> Result<(), Status> {
    let (name, namespace, own) = (doc.str_at("metadata.name"), doc.str_at("metadata.namespace"), &call.target);
    if !name.is_empty() && name != own.name {
        return Err(Status::bad_request(format!(
            "the name of the service account in the token request ({name}) does not match the name in the URL ({})",
            own.name
        )));
    }
    if !namespace.is_empty() && namespace != own.namespace {
        return Err(Status::bad_request("the namespace of the provided object does not match the namespace sent on the request"));
    }
    let given = doc.str_at("metadata.uid");
    if given.is_empty() || given == uid {
        return Ok(());
    }
    let why = format!("the UID in the token request ({given}) does not match the UID of the service account ({uid})");
    Err(Status::conflict("", "serviceaccounts", &own.name, &why))
}

fn check(doc: &Value) -> Result<(), Status> {
    let mut errors = FieldErrors::default();
    let path = Path::new("spec").child("expirationSeconds");
    let seconds = doc.i64_at("spec.expirationSeconds").unwrap_or(DEFAULT_SECONDS);
    if seconds < SECONDS_MIN {
        errors.invalid(&path, seconds, "may not specify a duration less than 10 minutes");
    }
    if seconds > SECONDS_MAX {
        errors.invalid(&path, seconds, "may not specify a duration larger than 2^32 seconds");
    }
    if errors.is_empty() { Ok(()) } else { Err(Status::invalid("authentication.k8s.io", "TokenRequest", "", &errors)) }
}

/// The object that the token lives and dies with; it must exist, and a pod must run as the account.
fn bound(call: &Call<'_>, doc: &Value) -> Result<Option<BoundObject>, Status> {
    let Some(reference) = doc.at("spec.boundObjectRef").filter(|reference| reference.is_object()) else { return Ok(None) };
    let (kind, name, uid) = (reference.str_at("kind"), reference.str_at("name"), reference.str_at("uid"));
    let (prefix, resource) = match kind {
        "Pod" => ("/pods/", "pods"),
        "Secret" => ("/secrets/", "secrets"),
        "Node" => ("/nodes/", "nodes"),
        other => {
            return Err(Status::bad_request(format!("cannot bind token for serviceaccount {:?} to object type {other}", call.target.name)));
        }
    };
    let object = find(call, prefix, name).ok_or_else(|| Status::not_found("", resource, name))?;
    if kind == "Pod" && object.value().str_at("spec.serviceAccountName") != call.target.name {
        let why = format!("cannot bind token for serviceaccount {:?} to pod running with different serviceaccount name.", call.target.name);
        return Err(Status::bad_request(why));
    }
    if !uid.is_empty() && uid != object.meta.uid {
        let found = &object.meta.uid;
        let why = format!(
            "the UID in the bound object reference ({uid}) does not match the UID in record. The object might have been deleted and then recreated (now {found})"
        );
        return Err(Status::conflict("", resource, name, &why));
    }
    Ok(Some(BoundObject { kind: kind.into(), api_version: "v1".into(), name: name.into(), uid: object.meta.uid.clone() }))
}

fn find(call: &Call<'_>, prefix: &str, name: &str) -> Option<Arc<Object>> {
    let namespace = if prefix == "/nodes/" { "" } else { call.target.namespace.as_str() };
    let key = format!("{}{name}", crate::list::bounds(prefix, namespace).0);
    Some(Arc::clone(&call.core.cache.kind(prefix)?.get(&key)?.object))
}
