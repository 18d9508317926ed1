//! PodCertificateRequest: asks for a certificate in a pod's name.

use schema::{DocExt, FieldErrors, Path, Value};

use super::signer;
use crate::cells::condition;
use crate::descriptor::WriteContext;
use crate::kind::{Kind, Meta, Question, Selectable, Sub, same};
use crate::rules::{conditions, dns_subdomain, required, sub};

const SECONDS: i64 = 24 * 60 * 60;
const SECONDS_MIN: i64 = 60 * 60;
const SECONDS_MAX: i64 = 91 * 24 * 60 * 60;
/// How a request ends; one of them at most.
const ENDS: &[&str] = &["Denied", "Failed", "Issued"];
/// What a certificate brings with it, and what stays once it is there.
const ISSUED: &[&str] = &["certificateChain", "notBefore", "beginRefreshAt", "notAfter"];

/// Asks for a certificate in a pod's name.
pub struct PodCertificateRequest;

impl Kind for PodCertificateRequest {
    const META: Meta =
        Meta { subresources: &[Sub::STATUS], ..Meta::namespaced("certificates.k8s.io", "PodCertificateRequest", "podcertificaterequests") };
    const NOTHING: &[Question] = &[Question::Columns, Question::Warnings];
    const FIELDS: &[Selectable] = &[
        Selectable::new("spec.signerName", |doc| doc.str_at("spec.signerName").to_owned()),
        Selectable::new("spec.podName", |doc| doc.str_at("spec.podName").to_owned()),
        Selectable::new("spec.nodeName", |doc| doc.str_at("spec.nodeName").to_owned()),
    ];

    fn fill_defaults(doc: &mut Value) {
        doc.default_at("spec.maxExpirationSeconds", SECONDS);
    }

    fn validate(new: &Value, _old: Option<&Value>, errors: &mut FieldErrors) {
        let (spec, path) = (sub(new, "spec"), Path::new("spec"));
        signer::name(spec.str_at("signerName"), &path.child("signerName"), errors);
        for member in ["podName", "serviceAccountName", "nodeName"] {
            dns_subdomain(sub(spec, member).as_str().unwrap_or_default(), &path.child(member), errors);
        }
        for member in ["podUID", "serviceAccountUID", "nodeUID"] {
            required(spec, member, &path, errors);
        }
        let seconds = spec.i64_at("maxExpirationSeconds").unwrap_or(SECONDS);
        if !(SECONDS_MIN..=SECONDS_MAX).contains(&seconds) {
            let text = format!("must be in the range [{SECONDS_MIN}, {SECONDS_MAX}]");
            errors.invalid(&path.child("maxExpirationSeconds"), seconds, &text);
        }
        required(spec, "stubPKCS10Request", &path, errors);
    }

    fn validate_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
        if !same(sub(new, "spec"), sub(old, "spec")) {
            errors.invalid(&Path::new("spec"), sub(new, "spec").clone(), "field is immutable");
        }
    }

    fn validate_subresource(new: &Value, old: &Value, cx: &WriteContext<'_>, errors: &mut FieldErrors) {
        if cx.subresource == "status" {
            status(new, old, errors);
        }
    }
}

/// It ends once, with a certificate or without, and stays ended.
fn status(new: &Value, old: &Value, errors: &mut FieldErrors) {
    let (now, before, path) = (sub(new, "status"), sub(old, "status"), Path::new("status"));
    let (found, list) = (now.items_at("conditions"), path.child("conditions"));
    conditions(found, &list, errors);
    let mut ends = found.iter().enumerate().filter(|(_, one)| ENDS.contains(&one.str_at("type")));
    for (at, end) in ends.clone().filter(|(_, end)| end.str_at("status") != "True") {
        crate::rules::not_supported(&list.index(at).child("status"), sub(end, "status"), &["True"], errors);
    }
    if let Some((at, second)) = ends.nth(1) {
        let text = "There may be at most one condition with type \"Issued\", \"Denied\", or \"Failed\"";
        errors.invalid(&list.index(at).child("type"), second.str_at("type"), text);
    }
    let has_ended = ENDS.iter().any(|end| condition(old, end) == "True");
    for member in ISSUED {
        let is_there = !same(sub(now, member), &Value::Null);
        if has_ended && !same(sub(now, member), sub(before, member)) {
            errors.invalid(&path.child(member), sub(now, member).clone(), "field is immutable");
        } else if condition(new, "Issued") == "True" && !is_there {
            errors.required(&path.child(member), "must be set when the request is issued");
        } else if condition(new, "Issued") != "True" && is_there {
            errors.invalid(&path.child(member), sub(now, member).clone(), "must be empty unless the request is issued");
        }
    }
}
