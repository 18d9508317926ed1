//! Scopes: which of the objects a quota is about. Kinds that have no scopes are never in one.

use schema::{DocExt, Value};

use super::Counted;
use crate::core::pod::resources::qos_class;

/// One requirement of a quota.
struct Requirement<'a> {
    scope: &'a str,
    operator: &'a str,
    values: &'a [Value],
}

/// Whether `doc` is within every scope of `quota`.
pub fn in_scope(quota: &Value, kind: Counted<'_>, doc: &Value) -> bool {
    let matches: fn(&Requirement<'_>, &Value) -> bool = match (kind.group, kind.resource) {
        ("", "pods") => pod_matches,
        ("", "persistentvolumeclaims") => claim_matches,
        _ => |_, _| false,
    };
    requirements(quota).all(|requirement| matches(&requirement, doc))
}

/// Everything of an object that scopes look at, to see that it has changed.
pub(super) fn marks(doc: &Value) -> Vec<Value> {
    let spec = doc.at("spec").unwrap_or(&Value::Null);
    let paths = ["spec.activeDeadlineSeconds", "spec.priorityClassName"].map(|path| doc.at(path).cloned().unwrap_or_default());
    let classes = attribute_classes(doc).map(|class| Value::String(class.to_owned()));
    paths.into_iter().chain(classes).chain([Value::Bool(crosses_namespaces(doc)), Value::String(qos_class(spec).to_owned())]).collect()
}

fn requirements(quota: &Value) -> impl Iterator<Item = Requirement<'_>> {
    let plain = quota.items_at("spec.scopes").iter().filter_map(Value::as_str);
    let plain = plain.map(|scope| Requirement { scope, operator: "Exists", values: &[] });
    let selected = quota.items_at("spec.scopeSelector.matchExpressions").iter();
    plain.chain(selected.map(|one| Requirement {
        scope: one.str_at("scopeName"),
        operator: one.str_at("operator"),
        values: one.items_at("values"),
    }))
}

fn pod_matches(requirement: &Requirement<'_>, pod: &Value) -> bool {
    let is_terminating = || pod.i64_at("spec.activeDeadlineSeconds").is_some_and(|seconds| seconds >= 0);
    let is_best_effort = || qos_class(pod.at("spec").unwrap_or(&Value::Null)) == "BestEffort";
    match requirement.scope {
        "Terminating" => is_terminating(),
        "NotTerminating" => !is_terminating(),
        "BestEffort" => is_best_effort(),
        "NotBestEffort" => !is_best_effort(),
        "PriorityClass" => requirement.accepts(Some(pod.str_at("spec.priorityClassName")).filter(|name| !name.is_empty())),
        "CrossNamespacePodAffinity" => crosses_namespaces(pod),
        _ => false,
    }
}

fn claim_matches(requirement: &Requirement<'_>, claim: &Value) -> bool {
    if requirement.scope != "VolumeAttributesClass" {
        return false;
    }
    let mut classes = attribute_classes(claim).peekable();
    if classes.peek().is_none() { requirement.accepts(None) } else { classes.any(|class| requirement.accepts(Some(class))) }
}

impl Requirement<'_> {
    fn accepts(&self, value: Option<&str>) -> bool {
        let among = || value.is_some_and(|value| self.values.iter().any(|one| one == value));
        match self.operator {
            "In" => among(),
            "NotIn" => !among(),
            "Exists" => value.is_some(),
            "DoesNotExist" => value.is_none(),
            _ => false,
        }
    }
}

/// The class that a claim asks for, has, and is on its way to.
fn attribute_classes(claim: &Value) -> impl Iterator<Item = &str> {
    let paths = [
        "spec.volumeAttributesClassName",
        "status.currentVolumeAttributesClassName",
        "status.modifyVolumeStatus.targetVolumeAttributesClassName",
    ];
    paths.into_iter().map(|path| claim.str_at(path)).filter(|name| !name.is_empty())
}

/// Whether the pod's place depends on pods of other namespaces.
fn crosses_namespaces(pod: &Value) -> bool {
    let crosses = |term: &Value| !term.items_at("namespaces").is_empty() || term.at("namespaceSelector").is_some_and(|one| !one.is_null());
    ["spec.affinity.podAffinity", "spec.affinity.podAntiAffinity"].into_iter().filter_map(|path| pod.at(path)).any(|affinity| {
        let required = affinity.items_at("requiredDuringSchedulingIgnoredDuringExecution").iter();
        let preferred = affinity.items_at("preferredDuringSchedulingIgnoredDuringExecution").iter();
        required.chain(preferred.filter_map(|one| one.at("podAffinityTerm"))).any(crosses)
    })
}
