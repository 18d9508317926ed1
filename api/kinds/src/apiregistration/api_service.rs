//! APIService: a group version, served here or by an extension server.

use schema::{DocExt, FieldErrors, Path, Value, json, names, time};

use crate::cells::{AGE, NAME};
use crate::descriptor::WriteContext;
use crate::kind::{Col, Kind, Meta, Question, Sub};
use crate::rules::{dns_subdomain, each, is_given, not_supported, webhook};

const STATUSES: &[&str] = &["True", "False", "Unknown"];

/// A group version, served here or by an extension server.
pub struct ApiService;

impl Kind for ApiService {
    const META: Meta = Meta {
        categories: &["api-extensions"],
        subresources: &[Sub::STATUS],
        // The core group's has none after its dot.
        name: names::is_path_segment_name,
        ..Meta::cluster("apiregistration.k8s.io", "APIService", "apiservices")
    };
    const NOTHING: &[Question] = &[Question::Fields, Question::Updates, Question::Warnings];
    const COLUMNS: &[Col] = &[NAME, Col::of("Service", service), Col::of("Available", available), AGE];

    fn fill_defaults(doc: &mut Value) {
        if doc.at("spec.service").is_some_and(Value::is_object) {
            doc.default_at("spec.service.port", 443);
        }
    }

    /// What this server answers itself is there at once.
    fn prepare_create(doc: &mut Value, cx: &WriteContext<'_>) {
        if !doc.at("spec.service").is_some_and(Value::is_object) {
            let now = time::format(cx.env.now());
            let message = "Local APIServices are always available";
            let local = json!({"type": "Available", "status": "True", "reason": "Local", "message": message, "lastTransitionTime": now});
            doc.set_at("status.conditions", json!([local]));
        }
    }

    /// Of a create; the core has no name rule that sees the spec, so the name is asked here.
    fn validate(new: &Value, _old: Option<&Value>, errors: &mut FieldErrors) {
        let (spec, path) = (new.at("spec").unwrap_or(&Value::Null), Path::new("spec"));
        let (name, group, version) = (new.str_at("metadata.name"), spec.str_at("group"), spec.str_at("version"));
        let wanted = format!("{version}.{group}");
        if name != wanted && names::is_path_segment_name(name).is_empty() {
            let text = format!("must be `spec.version+\".\"+spec.group`: {wanted:?}");
            errors.invalid(&Path::new("metadata.name"), name, &text);
        }
        if group.is_empty() && version != "v1" {
            errors.required(&path.child("group"), "only v1 may have an empty group and it better be legacy kube");
        }
        if !group.is_empty() {
            dns_subdomain(group, &path.child("group"), errors);
        }
        each(&path.child("version"), version, names::is_dns1035_label(version), errors);
        for (member, max) in [("groupPriorityMinimum", 20_000), ("versionPriority", 1000)] {
            let number = spec.i64_at(member).unwrap_or_default();
            if !(1..=max).contains(&number) {
                errors.invalid(&path.child(member), number, &format!("must be positive and less than {max}"));
            }
        }
        backend(spec, &path, errors);
    }

    fn validate_subresource(new: &Value, _old: &Value, cx: &WriteContext<'_>, errors: &mut FieldErrors) {
        for (at, condition) in new.items_at("status.conditions").iter().enumerate().filter(|_| cx.subresource == "status") {
            let status = condition.str_at("status");
            if !STATUSES.contains(&status) {
                not_supported(&Path::new("status.conditions").index(at).child("status"), &status.into(), STATUSES, errors);
            }
        }
    }
}

/// What this server answers itself has no certificates of others.
fn backend(spec: &Value, path: &Path, errors: &mut FieldErrors) {
    let (bundle, is_insecure) = (spec.str_at("caBundle"), spec.bool_at("insecureSkipTLSVerify"));
    let insecure_path = path.child("insecureSkipTLSVerify");
    if is_given(spec, "service") {
        webhook::service(&spec["service"], &path.child("service"), errors);
        if is_insecure && !bundle.is_empty() {
            errors.invalid(&insecure_path, true, "may not be true if caBundle is present");
        }
        return;
    }
    if !bundle.is_empty() {
        let bytes = bundle.trim_end_matches('=').len() * 3 / 4;
        errors.invalid(&path.child("caBundle"), format!("{bytes} bytes"), "local APIServices may not have a caBundle");
    }
    if is_insecure {
        errors.invalid(&insecure_path, true, "local APIServices may not have insecureSkipTLSVerify");
    }
}

fn service(doc: &Value) -> Value {
    match doc.at("spec.service").filter(|service| service.is_object()) {
        Some(service) => json!(format!("{}/{}", service.str_at("namespace"), service.str_at("name"))),
        None => json!("Local"),
    }
}

/// `True`, `False (MissingEndpoints)`, `Unknown`.
fn available(doc: &Value) -> Value {
    let found = doc.items_at("status.conditions").iter().find(|condition| condition.str_at("type") == "Available");
    match found.map(|condition| (condition.str_at("status"), condition.str_at("reason"))) {
        None => json!("Unknown"),
        Some(("True", _)) => json!("True"),
        Some((status, reason)) => json!(format!("{status} ({reason})")),
    }
}
