//! Resource requests and limits, of containers, pods and nodes.

use std::collections::BTreeSet;

use schema::field::Reason;
use schema::{DocExt, FieldErrors, Path, Quantity, Value, names};

use crate::core::pod::resources::{amounts as amounts_at, effective_requests, is_pod_level};
use crate::rules::{NEGATIVE, dns_label, not_supported};

/// Names that need no domain.
const STANDARD: &[&str] = &[
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
    "storage",
    "requests.storage",
    "services.nodeports",
    "services.loadbalancers",
];
/// Names that are counted in whole numbers.
const COUNTED: &[&str] = &[
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
    "services.nodeports",
    "services.loadbalancers",
];

pub(super) fn of_container(container: &Value, spec: &Value, path: &Path, errors: &mut FieldErrors) {
    let Some(resources) = container.at("resources") else { return };
    requirements(resources, container_name, path, errors);
    claims(resources.items_at("claims"), spec, &path.child("claims"), errors);
}

/// The pod's own amounts: no less than what its containers ask for together, no less than each one's limit.
pub(super) fn of_pod(spec: &Value, path: &Path, errors: &mut FieldErrors) {
    let Some(resources) = spec.at("resources").filter(|resources| resources.is_object()) else { return };
    if !resources.items_at("claims").is_empty() {
        errors.forbidden(&path.child("claims"), "claims cannot be set for Resources at pod-level");
    }
    requirements(resources, pod_name, path, errors);
    let mut alone = spec.clone();
    alone.remove_at("resources");
    let requests = amounts_at(spec, "resources.requests");
    for (name, asked) in effective_requests(&alone).into_iter().filter(|(name, _)| is_pod_level(name)) {
        let own = requests.get(&name).copied().unwrap_or_default();
        if asked > own {
            let text = format!("must be greater than or equal to aggregate container requests of {asked}");
            errors.invalid(&path.child("requests").key(&name), own.to_string(), &text);
        }
    }
    limits_within_the_pods(spec, path, errors);
}

fn limits_within_the_pods(spec: &Value, path: &Path, errors: &mut FieldErrors) {
    let own = amounts_at(spec, "resources.limits");
    for (at, container) in spec.items_at("containers").iter().enumerate() {
        for (name, limit) in amounts_at(container, "resources.limits") {
            if let Some(own) = own.get(&name).filter(|own| limit > **own) {
                let path = path.child("containers").index(at).key(&name).child("limits");
                errors.invalid(&path, limit.to_string(), &format!("must be less than or equal to pod limits of {own}"));
            }
        }
    }
}

/// Plain amounts under a member: `overhead`, a node's `capacity`.
pub(crate) fn amounts(parent: &Value, member: &str, path: &Path, errors: &mut FieldErrors) {
    for (name, amount) in amounts_at(parent, member) {
        quantity(&name, amount, &path.child(member).key(&name), errors);
    }
}

fn requirements(resources: &Value, name_rule: fn(&str, &Path, &mut FieldErrors), path: &Path, errors: &mut FieldErrors) {
    let (limits, requests) = (amounts_at(resources, "limits"), amounts_at(resources, "requests"));
    for (name, amount) in &limits {
        let path = path.child("limits").key(name);
        name_rule(name, &path, errors);
        quantity(name, *amount, &path, errors);
        huge_pages(name, *amount, &path, errors);
    }
    let requests_path = path.child("requests");
    for (name, amount) in &requests {
        let path = requests_path.key(name);
        name_rule(name, &path, errors);
        quantity(name, *amount, &path, errors);
        within_limit(name, *amount, limits.get(name), &requests_path, errors);
        huge_pages(name, *amount, &path, errors);
    }
    let names: BTreeSet<&String> = limits.keys().chain(requests.keys()).collect();
    let computes = names.iter().any(|name| matches!(name.as_str(), "cpu" | "memory"));
    if !computes && names.iter().any(|name| name.starts_with("hugepages-")) {
        errors.forbidden(path, "HugePages require cpu or memory");
    }
}

fn within_limit(name: &str, amount: Quantity, limit: Option<&Quantity>, path: &Path, errors: &mut FieldErrors) {
    let Some(limit) = limit else {
        if !may_overcommit(name) {
            let limits = path.to_string().replace("requests", "limits");
            errors.required(&Path::new(&limits), "Limit must be set for non overcommitable resources");
        }
        return;
    };
    if amount != *limit && amount.cmp(limit).is_ne() && !may_overcommit(name) {
        errors.invalid(path, amount.to_string(), &format!("must be equal to {name} limit of {limit}"));
    } else if amount > *limit {
        errors.invalid(path, amount.to_string(), &format!("must be less than or equal to {name} limit of {limit}"));
    }
}

/// An amount is not below zero, and whole where things are counted.
pub(crate) fn quantity(name: &str, amount: Quantity, path: &Path, errors: &mut FieldErrors) {
    if amount.nano < 0 {
        errors.invalid(path, amount.to_string(), NEGATIVE);
    }
    let counted = COUNTED.contains(&name) || is_extended(name);
    if counted && amount.milli_value() % 1000 != 0 {
        errors.invalid(path, amount.to_string(), "must be an integer");
    }
}

fn huge_pages(name: &str, amount: Quantity, path: &Path, errors: &mut FieldErrors) {
    let Some(page) = name.strip_prefix("hugepages-").and_then(|size| size.parse::<Quantity>().ok()) else { return };
    if page.nano <= 0 || amount.nano % page.nano != 0 {
        errors.invalid(path, amount.to_string(), &format!("{amount} is not positive integer multiple of {name}"));
    }
}

fn container_name(name: &str, path: &Path, errors: &mut FieldErrors) {
    resource_name(name, path, errors);
    if !name.contains('/') {
        if !matches!(name, "cpu" | "memory" | "ephemeral-storage") && !name.starts_with("hugepages-") {
            errors.invalid(path, name, "must be a standard resource for containers");
        }
    } else if !is_native(name) && !is_extended(name) {
        errors.invalid(path, name, "doesn't follow extended resource name standard");
    }
}

fn pod_name(name: &str, path: &Path, errors: &mut FieldErrors) {
    let found = errors.0.len();
    resource_name(name, path, errors);
    if errors.0.len() == found && !is_pod_level(name) {
        not_supported(path, &name.into(), &["cpu", "hugepages-", "memory"], errors);
    }
}

/// A resource's name in general: standard, or with a domain.
pub(crate) fn resource_name(name: &str, path: &Path, errors: &mut FieldErrors) {
    let wrong = names::is_qualified_name(name);
    if !wrong.is_empty() {
        return crate::rules::each(path, name, wrong, errors);
    }
    if !name.contains('/') && !STANDARD.contains(&name) && !name.starts_with("hugepages-") {
        errors.invalid(path, name, "must be a standard resource type or fully qualified");
    }
}

fn is_native(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}

/// `example.com/gpu`: with a foreign domain that also fits a quota's `requests.` name.
fn is_extended(name: &str) -> bool {
    !is_native(name) && !name.starts_with("requests.") && names::is_qualified_name(&format!("requests.{name}")).is_empty()
}

/// Processor time and memory can be promised twice; devices and huge pages cannot.
fn may_overcommit(name: &str) -> bool {
    is_native(name) && !name.starts_with("hugepages-")
}

fn claims(claims: &[Value], spec: &Value, path: &Path, errors: &mut FieldErrors) {
    let known: BTreeSet<&str> = spec.items_at("resourceClaims").iter().map(|claim| claim.str_at("name")).collect();
    let mut seen: Vec<(&str, &str)> = Vec::new();
    for (at, claim) in claims.iter().enumerate() {
        let (name, request, path) = (claim.str_at("name"), claim.str_at("request"), path.index(at));
        if name.is_empty() {
            errors.required(&path, "");
            continue;
        }
        if !request.is_empty() {
            dns_label(request, &path.child("request"), errors);
        }
        if seen.iter().any(|(other, part)| *other == name && (part.is_empty() || request.is_empty() || *part == request)) {
            errors.duplicate(&path, if request.is_empty() { name.to_owned() } else { format!("{name}/{request}") });
        }
        seen.push((name, request));
        if !known.contains(name) {
            let listed: Vec<&str> = known.iter().copied().collect();
            let which = if listed.is_empty() { " which is empty".to_owned() } else { format!(": {}", listed.join(", ")) };
            let text = format!("Not found: {name:?}: must be one of the names in pod.spec.resourceClaims{which}");
            errors.add(&path, Reason::NotFound, text);
        }
    }
}
