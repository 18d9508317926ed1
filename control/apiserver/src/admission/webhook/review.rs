//! `AdmissionReview`, there and back.

use std::collections::BTreeMap;

use auth::UserInfo;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use client::Options;
use schema::status::Details;
use schema::{Map, Status, Value, json};
use serde::{Deserialize, Serialize};

use super::hook::{Type, Version};
use super::rules::{self, Place};
use super::subject::{self, Subject};
use super::word;
use crate::admission::{Admission, Operation};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Review<'a> {
    kind: &'static str,
    api_version: &'static str,
    request: Request<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Request<'a> {
    uid: &'a str,
    kind: Value,
    resource: Value,
    #[serde(skip_serializing_if = "str::is_empty")]
    sub_resource: &'a str,
    request_kind: Value,
    request_resource: Value,
    #[serde(skip_serializing_if = "str::is_empty")]
    request_sub_resource: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    namespace: &'a str,
    operation: &'static str,
    user_info: Value,
    object: Option<&'a Value>,
    old_object: Option<&'a Value>,
    dry_run: bool,
    options: Option<Value>,
}

/// The body of a call.
pub(super) fn body(version: Version, uid: &str, request: &Admission<'_>, place: &Place, subject: &Subject<'_>) -> Vec<u8> {
    let api_version = match version {
        Version::V1 => "admission.k8s.io/v1",
        Version::V1beta1 => "admission.k8s.io/v1beta1",
    };
    let (new, old) = (subject.new.as_deref(), subject.old.as_deref());
    let review = Review { kind: "AdmissionReview", api_version, request: describe(uid, request, place, new, old) };
    serde_json::to_vec(&review).expect("documents serialise into memory")
}

/// The request without its objects.
pub(in crate::admission) fn attributes(request: &Admission<'_>, place: &Place) -> Value {
    let mut value = serde_json::to_value(describe("", request, place, None, None)).expect("documents serialise into memory");
    if let Some(members) = value.as_object_mut() {
        ["object", "oldObject", "uid"].iter().for_each(|member| drop(members.remove(*member)));
    }
    value
}

fn describe<'a>(uid: &'a str, request: &'a Admission<'_>, place: &Place, new: Option<&'a Value>, old: Option<&'a Value>) -> Request<'a> {
    let own = &request.kind;
    let kind = |[group, version, kind]: &[String; 3]| json!({"group": group, "version": version, "kind": kind});
    let own_kind =
        if place.converted.is_some() { [own.group.to_string(), own.version.to_string(), own.kind.to_string()] } else { place.kind.clone() };
    Request {
        uid,
        kind: kind(&place.kind),
        resource: json!({"group": place.group, "version": place.version, "resource": place.resource}),
        sub_resource: request.subresource,
        request_kind: kind(&own_kind),
        request_resource: json!({"group": own.group, "version": own.version, "resource": own.resource}),
        request_sub_resource: request.subresource,
        name: subject::name(request, new),
        namespace: rules::namespace(request),
        operation: word(request.operation),
        user_info: user_info(request.user),
        object: new,
        old_object: old,
        dry_run: request.dry_run,
        options: options(request.operation, request.options),
    }
}

fn user_info(user: &UserInfo) -> Value {
    let mut info = Map::new();
    let mut add = |member: &str, value: Value, empty: bool| {
        if !empty {
            info.insert(member.to_owned(), value);
        }
    };
    add("username", json!(user.name), user.name.is_empty());
    add("uid", json!(user.uid), user.uid.is_empty());
    add("groups", json!(user.groups), user.groups.is_empty());
    add("extra", json!(user.extra), user.extra.is_empty());
    Value::Object(info)
}

/// The options of the request as a document; a connection has none.
fn options(operation: Operation, options: &Options) -> Option<Value> {
    let kind = match operation {
        Operation::Create => "CreateOptions",
        Operation::Update => "UpdateOptions",
        Operation::Delete => "DeleteOptions",
        Operation::Connect => return None,
    };
    let mut doc = json!({"kind": kind, "apiVersion": "meta.k8s.io/v1"});
    if options.dry_run {
        doc["dryRun"] = json!(["All"]);
    }
    if operation == Operation::Delete {
        add_delete(&mut doc, options);
    } else if !options.field_manager.is_empty() {
        doc["fieldManager"] = json!(options.field_manager);
    }
    Some(doc)
}

fn add_delete(doc: &mut Value, options: &Options) {
    let delete = &options.delete;
    let mut preconditions = Map::new();
    for (member, value) in [("uid", &delete.uid), ("resourceVersion", &delete.resource_version)] {
        preconditions.extend(value.iter().map(|value| (member.to_owned(), json!(value))));
    }
    if !preconditions.is_empty() {
        doc["preconditions"] = Value::Object(preconditions);
    }
    if let Some(seconds) = delete.grace_period_seconds {
        doc["gracePeriodSeconds"] = json!(seconds);
    }
    if let Some(policy) = &delete.propagation_policy {
        doc["propagationPolicy"] = json!(policy);
    }
    if let Some(orphan) = delete.orphan_dependents {
        doc["orphanDependents"] = json!(orphan);
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct Answer {
    api_version: String,
    kind: String,
    response: Option<Response>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Response {
    uid: String,
    allowed: bool,
    status: Option<Denial>,
    patch: Option<String>,
    patch_type: Option<String>,
    audit_annotations: Option<BTreeMap<String, String>>,
    warnings: Option<Vec<String>>,
}

/// Why a webhook denies a request: a `Status` that need not be whole.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub(super) struct Denial {
    code: i32,
    message: String,
    reason: String,
    details: Option<Details>,
}

/// A checked answer.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Verdict {
    pub allowed: bool,
    pub denial: Option<Denial>,
    /// A JSON patch, still as text.
    pub patch: Vec<u8>,
    pub annotations: BTreeMap<String, String>,
    pub warnings: Vec<String>,
}

/// What a webhook answered, or what is wrong with it.
pub(super) enum Misread {
    /// It is no AdmissionReview at all.
    Undecodable(String),
    /// It is not the answer to this request.
    Invalid(String),
}

/// Reads and checks an answer. `v1beta1` was never checked for its uid and kind; it is not now.
pub(super) fn read(ty: Type, version: Version, uid: &str, bytes: &[u8]) -> Result<Verdict, Misread> {
    let answer: Answer = serde_json::from_slice(bytes).map_err(|error| Misread::Undecodable(undecodable(bytes, &error)))?;
    let response = answer.response.ok_or_else(|| Misread::Invalid("webhook response was absent".into()))?;
    if version == Version::V1 {
        check_identity(uid, &answer.api_version, &answer.kind, &response.uid).map_err(Misread::Invalid)?;
        check_patch(ty, &response).map_err(Misread::Invalid)?;
    }
    let patch = match (&response.patch, ty) {
        (Some(patch), Type::Mutating) => {
            STANDARD.decode(patch).map_err(|error| Misread::Undecodable(format!("response.patch is no base64: {error}")))?
        }
        _ => Vec::new(),
    };
    Ok(Verdict {
        allowed: response.allowed,
        denial: response.status,
        patch,
        annotations: response.audit_annotations.unwrap_or_default(),
        warnings: response.warnings.unwrap_or_default(),
    })
}

fn undecodable(bytes: &[u8], error: &serde_json::Error) -> String {
    const SHOWN: usize = 64;
    let head = String::from_utf8_lossy(&bytes[..bytes.len().min(SHOWN)]);
    format!("couldn't get version/kind; json parse error: {error} (the answer begins with {head:?})")
}

fn check_identity(uid: &str, api_version: &str, kind: &str, answered: &str) -> Result<(), String> {
    if answered != uid {
        return Err(format!("expected response.uid={uid:?}, got {answered:?}"));
    }
    if api_version != "admission.k8s.io/v1" || kind != "AdmissionReview" {
        return Err(format!("expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, got {api_version}, Kind={kind}"));
    }
    Ok(())
}

fn check_patch(ty: Type, response: &Response) -> Result<(), String> {
    let has_patch = response.patch.as_ref().is_some_and(|patch| !patch.is_empty());
    match (ty, has_patch, response.patch_type.as_deref()) {
        (Type::Validating, true, _) => Err("validating webhook may not return response.patch".into()),
        (Type::Validating, _, Some(_)) => Err("validating webhook may not return response.patchType".into()),
        (Type::Mutating, true, None) => Err("webhook returned response.patch but not response.patchType".into()),
        (Type::Mutating, false, Some(_)) => Err("webhook returned response.patchType but not response.patch".into()),
        (Type::Mutating, true, Some("")) => Err("webhook returned invalid response.patchType of \"\"".into()),
        (Type::Mutating, true, Some(other)) if other != "JSONPatch" => Err(format!("unsupported patch type {other:?}")),
        _ => Ok(()),
    }
}

/// `admission webhook "x" denied the request: …`, with the code that the webhook gives, at least 400.
pub(super) fn denied(webhook: &str, denial: Option<Denial>) -> Status {
    let denial = denial.unwrap_or_default();
    let message = match (denial.message.as_str(), denial.reason.as_str()) {
        ("", "") => format!("admission webhook {webhook:?} denied the request without explanation"),
        ("", why) | (why, _) => format!("admission webhook {webhook:?} denied the request: {why}"),
    };
    let code = u16::try_from(denial.code.clamp(400, 999)).unwrap_or(400);
    let mut status = Status::failure(code, &denial.reason, message);
    status.details = denial.details;
    status
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(response: Value) -> Vec<u8> {
        json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}).to_string().into_bytes()
    }

    fn wrong(ty: Type, bytes: &[u8]) -> String {
        match read(ty, Version::V1, "u", bytes) {
            Err(Misread::Undecodable(why)) => format!("undecodable: {why}"),
            Err(Misread::Invalid(why)) => why,
            Ok(verdict) => format!("{verdict:?}"),
        }
    }

    #[test]
    fn an_answer_must_be_the_one_to_the_request() {
        use Type::{Mutating, Validating};
        for (ty, bytes, want) in [
            (Validating, answer(Value::Null), "webhook response was absent"),
            (Validating, answer(json!({"uid": "x", "allowed": true})), "expected response.uid=\"u\", got \"x\""),
            (
                Validating,
                br#"{"apiVersion":"v1","kind":"Pod","response":{"uid":"u"}}"#.to_vec(),
                "expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, got v1, Kind=Pod",
            ),
            (Validating, answer(json!({"uid": "u", "allowed": true, "patch": "W10="})), "validating webhook may not return response.patch"),
            (Validating, answer(json!({"uid": "u", "patchType": "JSONPatch"})), "validating webhook may not return response.patchType"),
            (Mutating, answer(json!({"uid": "u", "patch": "W10="})), "webhook returned response.patch but not response.patchType"),
            (Mutating, answer(json!({"uid": "u", "patchType": "JSONPatch"})), "webhook returned response.patchType but not response.patch"),
            (Mutating, answer(json!({"uid": "u", "patch": "W10=", "patchType": "Merge"})), "unsupported patch type \"Merge\""),
            (
                Mutating,
                answer(json!({"uid": "u", "patch": "[]", "patchType": "JSONPatch"})),
                "undecodable: response.patch is no base64: Invalid symbol 91, offset 0.",
            ),
        ] {
            assert_eq!(wrong(ty, &bytes), want);
        }
        assert!(wrong(Validating, b"<html>").starts_with("undecodable: couldn't get version/kind; json parse error: "));
        assert!(wrong(Validating, &answer(json!({"uid": "u", "allowed": "yes"}))).starts_with("undecodable: "));
    }

    #[test]
    fn v1beta1_is_not_checked_for_its_uid() {
        let bytes = json!({"response": {"allowed": true, "patch": "W10="}}).to_string();
        let verdict = read(Type::Mutating, Version::V1beta1, "u", bytes.as_bytes()).ok().unwrap();
        assert_eq!((verdict.allowed, verdict.patch.as_slice()), (true, b"[]".as_slice()));
    }

    #[test]
    fn a_denial_speaks_upstreams_sentence() {
        let denial =
            |code, message: &str, reason: &str| Some(Denial { code, message: message.into(), reason: reason.into(), details: None });
        for (denial, code, message) in [
            (None, 400, "admission webhook \"x\" denied the request without explanation"),
            (denial(403, "no", "Forbidden"), 403, "admission webhook \"x\" denied the request: no"),
            (denial(0, "", "BadLuck"), 400, "admission webhook \"x\" denied the request: BadLuck"),
            (denial(200, "no", ""), 400, "admission webhook \"x\" denied the request: no"),
            (denial(4_000, "no", ""), 999, "admission webhook \"x\" denied the request: no"),
        ] {
            let status = denied("x", denial);
            assert_eq!((status.code, status.message.as_str(), status.status.as_str()), (code, message, "Failure"));
        }
    }

    proptest::proptest! {
        #[test]
        fn whatever_is_answered_is_read_or_refused(bytes: Vec<u8>, allowed: bool, patch in ".{0,40}", kind in "(JSONPatch|.{0,4})", code: i32) {
            let _ = read(Type::Mutating, Version::V1, "u", &bytes);
            let response = json!({"uid": "u", "allowed": allowed, "patch": patch, "patchType": kind, "status": {"code": code, "message": patch}});
            if let Ok(verdict) = read(Type::Mutating, Version::V1, "u", &answer(response)) {
                let status = denied("x", verdict.denial);
                proptest::prop_assert!(verdict.allowed == allowed && (400..=999).contains(&status.code));
            }
        }
    }
}
