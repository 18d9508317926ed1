//! ResourceQuota: how much a namespace may hold in all.

use std::collections::BTreeSet;

use schema::{DocExt, FieldErrors, Path, Value, json};

use crate::cells::{AGE, NAME};
use crate::core::pod::rules::requirements::{quantity, resource_name};
use crate::descriptor::WriteContext;
use crate::kind::{Col, Kind, Meta, Question, Sub};
use crate::rules::{amounts, sub};

/// Names that a quota may bound without a domain.
const STANDARD: &[&str] = &[
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.storage",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "persistentvolumeclaims",
    "configmaps",
    "services.nodeports",
    "services.loadbalancers",
];
const OF_PODS: &[&str] = &["cpu", "memory", "limits.cpu", "limits.memory", "requests.cpu", "requests.memory"];
const OF_CLAIMS: &[&str] = &["persistentvolumeclaims", "requests.storage"];
const SCOPES: &[&str] = &[
    "Terminating",
    "NotTerminating",
    "BestEffort",
    "NotBestEffort",
    "PriorityClass",
    "CrossNamespacePodAffinity",
    "VolumeAttributesClass",
];
const CONFLICTS: &[[&str; 2]] = &[["BestEffort", "NotBestEffort"], ["Terminating", "NotTerminating"]];

/// How much a namespace may hold in all.
pub struct ResourceQuota;

impl Kind for ResourceQuota {
    const META: Meta = Meta { short: &["quota"], subresources: &[Sub::STATUS], ..Meta::namespaced("", "ResourceQuota", "resourcequotas") };
    const NOTHING: &[Question] = &[Question::Fields, Question::Defaults, Question::Warnings];
    const COLUMNS: &[Col] =
        &[NAME, Col::of("Request", |doc| used_of_hard(doc, false)), Col::of("Limit", |doc| used_of_hard(doc, true)), AGE];

    fn validate(new: &Value, _old: Option<&Value>, errors: &mut FieldErrors) {
        let (spec, path) = (sub(new, "spec"), Path::new("spec"));
        hard(spec, "hard", &path.child("hard"), errors);
        scopes(spec, &path.child("scopes"), errors);
        selector(spec, &path.child("scopeSelector.matchExpressions"), errors);
    }

    fn validate_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
        let (now, before) = (new.items_at("spec.scopes"), old.items_at("spec.scopes"));
        if now.len() != before.len() || !now.iter().all(|scope| before.contains(scope)) {
            errors.invalid(&Path::new("spec.scopes"), now.to_vec(), "field is immutable");
        }
    }

    fn validate_subresource(new: &Value, _old: &Value, cx: &WriteContext<'_>, errors: &mut FieldErrors) {
        for member in ["hard", "used"].into_iter().filter(|_| cx.subresource == "status") {
            hard(sub(new, "status"), member, &Path::new("status").child(member), errors);
        }
    }
}

/// Amounts that a quota bounds or has seen.
fn hard(parent: &Value, member: &str, path: &Path, errors: &mut FieldErrors) {
    for (name, amount) in amounts::quantities(parent, member) {
        let path = path.key(name);
        resource_name(name, &path, errors);
        if !name.contains('/') && !is_standard(name) {
            errors.invalid(&path, name, "must be a standard resource for quota");
        }
        quantity(name, amount, &path, errors);
    }
}

fn is_standard(name: &str) -> bool {
    STANDARD.contains(&name) || name.starts_with("hugepages-") || name.starts_with("requests.hugepages-")
}

/// Whether what a scope selects has the resource at all; only standard ones are known.
fn fits(scope: &str, resource: &str) -> bool {
    match scope {
        _ if !is_standard(resource) => true,
        "BestEffort" => resource == "pods",
        "VolumeAttributesClass" => OF_CLAIMS.contains(&resource),
        scope if SCOPES.contains(&scope) => resource == "pods" || OF_PODS.contains(&resource),
        _ => true,
    }
}

fn scopes(spec: &Value, path: &Path, errors: &mut FieldErrors) {
    let scopes = spec.items_at("scopes");
    let given: BTreeSet<&str> = scopes.iter().filter_map(Value::as_str).collect();
    for scope in scopes.iter().filter_map(Value::as_str) {
        if !SCOPES.contains(&scope) {
            errors.invalid(path, scopes.to_vec(), "unsupported scope");
        }
        for _ in amounts::quantities(spec, "hard").iter().filter(|(resource, _)| !fits(scope, resource)) {
            errors.invalid(path, scopes.to_vec(), "unsupported scope applied to resource");
        }
    }
    conflicts(&given, &scopes.into(), path, errors);
}

fn conflicts(given: &BTreeSet<&str>, shown: &Value, path: &Path, errors: &mut FieldErrors) {
    for _ in CONFLICTS.iter().filter(|pair| pair.iter().all(|scope| given.contains(scope))) {
        errors.invalid(path, shown.clone(), "conflicting scopes");
    }
}

/// Upstream names the list, not its elements.
fn selector(spec: &Value, path: &Path, errors: &mut FieldErrors) {
    let requirements = spec.items_at("scopeSelector.matchExpressions");
    for requirement in requirements {
        let scope = requirement.str_at("scopeName");
        if !SCOPES.contains(&scope) {
            errors.invalid(&path.child("scopeName"), scope, "unsupported scope");
        }
        for _ in amounts::quantities(spec, "hard").iter().filter(|(resource, _)| !fits(scope, resource)) {
            errors.invalid(path, sub(spec, "scopeSelector").clone(), "unsupported scope applied to resource");
        }
        operator(requirement, scope, path, errors);
    }
    let given = requirements.iter().map(|requirement| requirement.str_at("scopeName")).collect();
    conflicts(&given, sub(spec, "scopes"), path, errors);
}

fn operator(requirement: &Value, scope: &str, path: &Path, errors: &mut FieldErrors) {
    let (operator, values) = (requirement.str_at("operator"), requirement.items_at("values"));
    if SCOPES.contains(&scope) && !matches!(scope, "PriorityClass" | "VolumeAttributesClass") && operator != "Exists" {
        let text = "must be 'Exist' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity";
        errors.invalid(&path.child("operator"), operator, text);
    }
    match operator {
        "In" | "NotIn" if values.is_empty() => {
            let text = "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector";
            errors.required(&path.child("values"), text);
        }
        "Exists" | "DoesNotExist" if !values.is_empty() => {
            let text = "must be no value when `operator` is 'Exists' or 'DoesNotExist' for scope selector";
            errors.invalid(&path.child("values"), values.to_vec(), text);
        }
        "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
        other => errors.invalid(&path.child("operator"), other, "not a valid selector operator"),
    }
}

/// `pods: 3/10, services: 0/5`
fn used_of_hard(doc: &Value, is_limit: bool) -> Value {
    let mut texts: Vec<String> = Vec::new();
    for (name, hard) in doc.map_at("status.hard").into_iter().flatten() {
        if name.starts_with("limits.") == is_limit {
            let used = doc.map_at("status.used").and_then(|used| used.get(name)).and_then(Value::as_str).unwrap_or("0");
            texts.push(format!("{name}: {used}/{}", hard.as_str().unwrap_or_default()));
        }
    }
    texts.sort();
    json!(texts.join(", "))
}
