//! CertificateSigningRequest: asks a signer for a certificate.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use schema::{DocExt, FieldErrors, Path, Value, json, names, time};

use super::signer;
use crate::cells::{AGE, NAME};
use crate::descriptor::WriteContext;
use crate::kind::{Col, Kind, Meta, Question, Selectable, Sub, copy_member};
use crate::rules::{not_supported, one_of};

/// Decisions, which are made through `approval` alone and stay.
const DECISIONS: &[&str] = &["Approved", "Denied"];
/// Conditions that stay once they are there.
const LASTING: &[&str] = &["Approved", "Denied", "Failed"];

/// A name of before signers were named.
const LEGACY: &str = "kubernetes.io/legacy-unknown";
const USAGES: &[&str] = &[
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
];

/// Asks a signer for a certificate.
pub struct CertificateSigningRequest;

impl Kind for CertificateSigningRequest {
    const META: Meta = Meta {
        name: names::is_path_segment_name,
        short: &["csr"],
        subresources: &[Sub::of_parent("approval"), Sub::STATUS],
        ..Meta::cluster("certificates.k8s.io", "CertificateSigningRequest", "certificatesigningrequests")
    };
    const NOTHING: &[Question] = &[Question::Defaults, Question::Updates, Question::Warnings];
    const COLUMNS: &[Col] = &[
        NAME,
        AGE,
        Col::path("SignerName", "spec.signerName"),
        Col::path("Requestor", "spec.username"),
        Col::of("RequestedDuration", |doc| match doc.i64_at("spec.expirationSeconds") {
            Some(seconds) => json!(schema::duration::human_seconds(seconds)),
            None => json!("<none>"),
        }),
        Col::of("Condition", conditions),
    ];
    const FIELDS: &[Selectable] = &[Selectable::new("spec.signerName", |doc| doc.str_at("spec.signerName").to_owned())];

    fn validate(new: &Value, _old: Option<&Value>, errors: &mut FieldErrors) {
        let (spec, path) = (new.at("spec").unwrap_or(&Value::Null), Path::new("spec"));
        if !is_pem(spec.str_at("request"), "CERTIFICATE REQUEST") {
            errors.invalid(&path.child("request"), spec.str_at("request"), "PEM block type must be CERTIFICATE REQUEST");
        }
        if spec.str_at("signerName") == LEGACY {
            let text = "the legacy signerName is not allowed via this API version";
            errors.invalid(&path.child("signerName"), LEGACY, text);
        } else {
            signer::name(spec.str_at("signerName"), &path.child("signerName"), errors);
        }
        if let Some(seconds) = spec.i64_at("expirationSeconds").filter(|seconds| *seconds < 600) {
            let text = "may not specify a duration less than 600 seconds (10 minutes)";
            errors.invalid(&path.child("expirationSeconds"), seconds, text);
        }
        let usages = spec.items_at("usages");
        if usages.is_empty() {
            errors.required(&path.child("usages"), "");
        }
        for (index, usage) in usages.iter().enumerate().filter(|(_, usage)| !USAGES.iter().any(|known| usage == known)) {
            not_supported(&path.child("usages").index(index), usage, USAGES, errors);
        }
        for (index, usage) in usages.iter().enumerate().filter(|(index, usage)| usages[..*index].contains(usage)) {
            errors.duplicate(&path.child("usages").index(index), usage.clone());
        }
    }

    /// What was asked for stays; a decision is all that `approval` writes, a certificate and failures all that `status` does.
    fn prepare_update(new: &mut Value, old: &Value, cx: &WriteContext<'_>) {
        copy_member(new, old, "spec");
        if cx.subresource == "approval" {
            copy_member(new, old, "status.certificate");
        }
        stamp_conditions(new, old, &time::format(cx.env.now()));
    }

    fn validate_subresource(new: &Value, old: &Value, cx: &WriteContext<'_>, errors: &mut FieldErrors) {
        let status = Path::new("status");
        complete_conditions(new, old, &status.child("conditions"), errors);
        exclusive_decisions(new, old, &status.child("conditions"), errors);
        lasting_conditions(new, old, cx.subresource, &status.child("conditions"), errors);
        if cx.subresource == "status" {
            certificate(new, old, &status.child("certificate"), errors);
        }
    }
}

/// A condition is of now unless it is as it was; when it became what it is stays with it.
fn stamp_conditions(new: &mut Value, old: &Value, now: &str) {
    let before = old.items_at("status.conditions").to_vec();
    for condition in new.items_at_mut("status.conditions") {
        let same =
            before.iter().find(|old| old.str_at("type") == condition.str_at("type") && old.str_at("status") == condition.str_at("status"));
        condition.default_at("lastUpdateTime", now);
        let since = same.map(|old| old.str_at("lastTransitionTime")).filter(|since| !since.is_empty()).unwrap_or(now);
        condition.default_at("lastTransitionTime", since);
    }
}

fn has(doc: &Value, condition: &str) -> bool {
    doc.items_at("status.conditions").iter().any(|one| one.str_at("type") == condition)
}

/// Each type once and with a status; what is decided is `True`. Old objects that are otherwise may stay so.
fn complete_conditions(new: &Value, old: &Value, path: &Path, errors: &mut FieldErrors) {
    let has_twins = |conditions: &[Value]| {
        conditions.iter().enumerate().any(|(at, one)| conditions[..at].iter().any(|before| before.str_at("type") == one.str_at("type")))
    };
    let (conditions, before) = (new.items_at("status.conditions"), old.items_at("status.conditions"));
    for (at, condition) in conditions.iter().enumerate() {
        let (kind, path) = (condition.str_at("type"), path.index(at));
        if kind.is_empty() && !before.iter().any(|one| one.str_at("type").is_empty()) {
            errors.required(&path.child("type"), "");
        }
        let supported: &[&str] = if LASTING.contains(&kind) { &["True"] } else { &["False", "True", "Unknown"] };
        one_of(condition, "status", supported, &path, errors);
        if conditions[..at].iter().any(|one| one.str_at("type") == kind) && !has_twins(before) {
            errors.duplicate(&path.child("type"), kind);
        }
    }
}

fn exclusive_decisions(new: &Value, old: &Value, path: &Path, errors: &mut FieldErrors) {
    let both = |doc: &Value| DECISIONS.iter().all(|decision| has(doc, decision));
    if !both(new) || both(old) {
        return;
    }
    let mut decided = new.items_at("status.conditions").iter().enumerate().filter(|(_, one)| DECISIONS.contains(&one.str_at("type")));
    if let Some((at, second)) = decided.nth(1) {
        let kind = second.str_at("type");
        errors.invalid(&path.index(at).child("type"), kind, "Approved and Denied conditions are mutually exclusive");
    }
}

fn lasting_conditions(new: &Value, old: &Value, subresource: &str, path: &Path, errors: &mut FieldErrors) {
    for condition in LASTING {
        if has(old, condition) && !has(new, condition) {
            errors.forbidden(path, &format!("updates may not remove a condition of type {condition:?}"));
        }
        let decides = subresource != "approval" && DECISIONS.contains(condition);
        if decides && has(new, condition) && !has(old, condition) {
            errors.forbidden(path, &format!("updates may not add a condition of type {condition:?}"));
        }
    }
}

fn certificate(new: &Value, old: &Value, path: &Path, errors: &mut FieldErrors) {
    let (issued, before) = (new.str_at("status.certificate"), old.str_at("status.certificate"));
    if issued == before {
        return;
    }
    if !before.is_empty() {
        errors.forbidden(path, "updates may not modify existing certificate content");
    }
    if !issued.is_empty() && !is_pem(issued, "CERTIFICATE") {
        errors.invalid(path, "<certificate data>", "must contain at least one CERTIFICATE PEM block");
    }
}

/// Whether base64 data holds a PEM block of this type.
fn is_pem(data: &str, block: &str) -> bool {
    let bytes = STANDARD.decode(data).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    text.contains(&format!("-----BEGIN {block}-----")) && text.contains(&format!("-----END {block}-----"))
}

/// `Pending`, `Approved,Issued` …
fn conditions(doc: &Value) -> Value {
    let has = |name: &str| doc.items_at("status.conditions").iter().any(|condition| condition.str_at("type") == name);
    let mut texts = Vec::new();
    if has("Denied") {
        texts.push("Denied");
    } else if has("Approved") {
        texts.push("Approved");
    } else {
        texts.push("Pending");
    }
    if has("Failed") {
        texts.push("Failed");
    }
    if !doc.str_at("status.certificate").is_empty() {
        texts.push("Issued");
    }
    json!(texts.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors_of(subresource: &str, new: &Value, old: &Value) -> Vec<String> {
        let (env, mut errors) = (env::Env::real(), FieldErrors::default());
        let cx = WriteContext { env: &env, user: "", subresource };
        CertificateSigningRequest::validate_subresource(new, old, &cx, &mut errors);
        errors.0.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_decision_is_made_once_and_through_approval_alone() {
        let of = |types: &[&str]| json!({"status": {"conditions": types.iter().map(|one| json!({"type": one, "status": "True"})).collect::<Vec<_>>()}});
        let rows: &[(&str, &[&str], &[&str], &[&str])] = &[
            ("approval", &[], &["Approved"], &[]),
            (
                "approval",
                &["Approved"],
                &["Approved", "Denied"],
                &["status.conditions[1].type: Invalid value: \"Denied\": Approved and Denied conditions are mutually exclusive"],
            ),
            ("approval", &["Approved"], &[], &["status.conditions: Forbidden: updates may not remove a condition of type \"Approved\""]),
            ("status", &[], &["Approved"], &["status.conditions: Forbidden: updates may not add a condition of type \"Approved\""]),
            ("status", &["Approved"], &["Approved", "Failed"], &[]),
        ];
        for (subresource, old, new, want) in rows {
            assert_eq!(errors_of(subresource, &of(new), &of(old)), *want, "{subresource}: {old:?} to {new:?}");
        }
    }
}
