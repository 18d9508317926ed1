//! What roles and bindings are made of.

use schema::{DocExt, FieldErrors, Path, Value, json, names};
use serde::{Deserialize, Serialize};

use crate::cells::{AGE, NAME};
use crate::core::pod::defaults::default_text;
use crate::kind::Col;
use crate::lens::{is_default, null_default};
use crate::rules::{each, not_supported};

const GROUP: &str = "rbac.authorization.k8s.io";

/// What may be done to what.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PolicyRule {
    #[serde(deserialize_with = "null_default")]
    pub verbs: Vec<String>,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub api_groups: Vec<String>,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub resources: Vec<String>,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub resource_names: Vec<String>,
    #[serde(rename = "nonResourceURLs", deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub non_resource_urls: Vec<String>,
}

/// Who may.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Subject {
    /// `User`, `Group` or `ServiceAccount`.
    #[serde(deserialize_with = "null_default")]
    pub kind: String,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub api_group: String,
    #[serde(deserialize_with = "null_default")]
    pub name: String,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub namespace: String,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RoleRef {
    #[serde(deserialize_with = "null_default")]
    pub api_group: String,
    #[serde(deserialize_with = "null_default")]
    pub kind: String,
    #[serde(deserialize_with = "null_default")]
    pub name: String,
}

/// The rules of a role. A namespaced one cannot grant paths outside the API.
pub(super) fn check_rules(doc: &Value, is_namespaced: bool, errors: &mut FieldErrors) {
    for (at, rule) in doc.items_at("rules").iter().enumerate() {
        check_rule(rule, is_namespaced, &Path::new("rules").index(at), errors);
    }
}

fn check_rule(rule: &Value, is_namespaced: bool, path: &Path, errors: &mut FieldErrors) {
    let is_empty = |member: &str| rule.items_at(member).is_empty();
    if is_empty("verbs") {
        errors.required(&path.child("verbs"), "verbs must contain at least one value");
    }
    let urls = rule.items_at("nonResourceURLs");
    if !urls.is_empty() {
        let path = path.child("nonResourceURLs");
        if is_namespaced {
            errors.invalid(&path, urls.to_vec(), "namespaced rules cannot apply to non-resource URLs");
        }
        if !["apiGroups", "resources", "resourceNames"].into_iter().all(is_empty) {
            errors.invalid(&path, urls.to_vec(), "rules cannot apply to both regular resources and non-resource URLs");
        }
        return;
    }
    if is_empty("apiGroups") {
        errors.required(&path.child("apiGroups"), "resource rules must supply at least one api group");
    }
    if is_empty("resources") {
        errors.required(&path.child("resources"), "resource rules must supply at least one resource");
    }
}

/// Groups that follow from what is named.
pub(super) fn fill_binding(doc: &mut Value) {
    default_text(doc, "roleRef.apiGroup", GROUP);
    for subject in doc.items_at_mut("subjects") {
        if matches!(subject.str_at("kind"), "User" | "Group") {
            default_text(subject, "apiGroup", GROUP);
        }
    }
}

/// A binding's role and subjects.
pub(super) fn check_binding(doc: &Value, is_namespaced: bool, errors: &mut FieldErrors) {
    let (role, path) = (doc.at("roleRef").unwrap_or(&Value::Null), Path::new("roleRef"));
    let kinds: &[&str] = if is_namespaced { &["Role", "ClusterRole"] } else { &["ClusterRole"] };
    for (member, supported) in [("apiGroup", &[GROUP][..]), ("kind", kinds)] {
        let text = role.str_at(member);
        if !supported.contains(&text) {
            not_supported(&path.child(member), &text.into(), supported, errors);
        }
    }
    match role.str_at("name") {
        "" => errors.required(&path.child("name"), ""),
        name => each(&path.child("name"), name, names::is_path_segment_name(name), errors),
    }
    for (at, subject) in doc.items_at("subjects").iter().enumerate() {
        check_subject(subject, is_namespaced, &Path::new("subjects").index(at), errors);
    }
}

fn check_subject(subject: &Value, is_namespaced: bool, path: &Path, errors: &mut FieldErrors) {
    let (name, group) = (subject.str_at("name"), subject.str_at("apiGroup"));
    if name.is_empty() {
        errors.required(&path.child("name"), "");
    }
    let own_group = match subject.str_at("kind") {
        "ServiceAccount" => {
            if !name.is_empty() {
                each(&path.child("name"), name, names::is_dns1123_subdomain(name), errors);
            }
            if !is_namespaced && subject.str_at("namespace").is_empty() {
                errors.required(&path.child("namespace"), "");
            }
            ""
        }
        "User" | "Group" => GROUP,
        other => return not_supported(&path.child("kind"), &other.into(), &["ServiceAccount", "User", "Group"], errors),
    };
    if group != own_group {
        not_supported(&path.child("apiGroup"), &group.into(), &[own_group], errors);
    }
}

/// Who may be bound may change, to what may not: a new role is a new binding.
pub(super) fn role_ref_stays(new: &Value, old: &Value, errors: &mut FieldErrors) {
    if new["roleRef"] != old["roleRef"] {
        errors.invalid(&Path::new("roleRef"), new["roleRef"].clone(), "cannot change roleRef");
    }
}

/// Both sorts of bindings show the same.
pub(super) const BINDING_COLUMNS: &[Col] = &[
    NAME,
    Col::of("Role", |doc| json!(format!("{}/{}", doc.str_at("roleRef.kind"), doc.str_at("roleRef.name")))),
    AGE,
    Col::of("Users", |doc| subjects(doc, "User")).wide(),
    Col::of("Groups", |doc| subjects(doc, "Group")).wide(),
    Col::of("ServiceAccounts", |doc| subjects(doc, "ServiceAccount")).wide(),
];

fn subjects(doc: &Value, kind: &str) -> Value {
    let named = doc.items_at("subjects").iter().filter(|subject| subject.str_at("kind") == kind);
    let text = |subject: &Value| match kind {
        "ServiceAccount" => format!("{}/{}", subject.str_at("namespace"), subject.str_at("name")),
        _ => subject.str_at("name").to_owned(),
    };
    json!(named.map(text).collect::<Vec<_>>().join(", "))
}
