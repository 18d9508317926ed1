//! Affinity, tolerations and spreading.

use schema::{DocExt, FieldErrors, LabelSelector, Path, Value, names};

use crate::rules::{NOT_POSITIVE, dns_label, dns_subdomain, each, is_given, not_supported, one_of_if_set, qualified_name};

const EFFECTS: &[&str] = &["NoSchedule", "PreferNoSchedule", "NoExecute"];
const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";
const WEIGHT_TEXT: &str = "must be in the range 1-100";

pub(super) fn affinity(affinity: Option<&Value>, path: &Path, errors: &mut FieldErrors) {
    let Some(affinity) = affinity else { return };
    if let Some(node) = affinity.at("nodeAffinity").filter(|node| node.is_object()) {
        node_affinity(node, &path.child("nodeAffinity"), errors);
    }
    for name in ["podAffinity", "podAntiAffinity"] {
        if let Some(pods) = affinity.at(name).filter(|pods| pods.is_object()) {
            pod_affinity(pods, &path.child(name), errors);
        }
    }
}

fn node_affinity(affinity: &Value, path: &Path, errors: &mut FieldErrors) {
    if is_given(affinity, REQUIRED) {
        node_selector(&affinity[REQUIRED], &path.child(REQUIRED), errors);
    }
    for (at, term) in affinity.items_at(PREFERRED).iter().enumerate() {
        let path = path.child(PREFERRED).index(at);
        weight(term, &path, errors);
        node_term(term.at("preference").unwrap_or(&Value::Null), false, &path.child("preference"), errors);
    }
}

/// A `NodeSelector`: alternatives, at least one.
pub(crate) fn node_selector(selector: &Value, path: &Path, errors: &mut FieldErrors) {
    let (terms, path) = (selector.items_at("nodeSelectorTerms"), path.child("nodeSelectorTerms"));
    if terms.is_empty() {
        return errors.required(&path, "must have at least one node selector term");
    }
    for (at, term) in terms.iter().enumerate() {
        node_term(term, true, &path.index(at), errors);
    }
}

fn node_term(term: &Value, strict: bool, path: &Path, errors: &mut FieldErrors) {
    for (at, requirement) in term.items_at("matchExpressions").iter().enumerate() {
        node_requirement(requirement, strict, &path.child("matchExpressions").index(at), errors);
    }
    for (at, requirement) in term.items_at("matchFields").iter().enumerate() {
        node_field(requirement, &path.child("matchFields").index(at), errors);
    }
}

fn node_requirement(requirement: &Value, strict: bool, path: &Path, errors: &mut FieldErrors) {
    let values = requirement.items_at("values");
    let values_path = path.child("values");
    match requirement.str_at("operator") {
        "In" | "NotIn" if values.is_empty() => errors.required(&values_path, "must be specified when `operator` is 'In' or 'NotIn'"),
        "Exists" | "DoesNotExist" if !values.is_empty() => {
            errors.forbidden(&values_path, "may not be specified when `operator` is 'Exists' or 'DoesNotExist'");
        }
        "Gt" | "Lt" if values.len() != 1 => {
            errors.required(&values_path, "must be specified single value when `operator` is 'Lt' or 'Gt'");
        }
        "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" => {}
        other => errors.invalid(&path.child("operator"), other, "not a valid selector operator"),
    }
    qualified_name(requirement.str_at("key"), &path.child("key"), errors);
    for (at, value) in values.iter().enumerate().filter(|_| strict) {
        let value = value.as_str().unwrap_or_default();
        each(&values_path.index(at), value, names::is_label_value(value), errors);
    }
}

fn node_field(requirement: &Value, path: &Path, errors: &mut FieldErrors) {
    let values = requirement.items_at("values");
    match requirement.str_at("operator") {
        "In" | "NotIn" if values.len() == 1 => {}
        "In" | "NotIn" => {
            let text = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector";
            errors.required(&path.child("values"), text);
        }
        other => errors.invalid(&path.child("operator"), other, "not a valid selector operator"),
    }
    if requirement.str_at("key") != "metadata.name" {
        return errors.invalid(&path.child("key"), requirement.str_at("key"), "not a valid field selector key");
    }
    for (at, value) in values.iter().enumerate() {
        dns_subdomain(value.as_str().unwrap_or_default(), &path.child("values").index(at), errors);
    }
}

fn pod_affinity(affinity: &Value, path: &Path, errors: &mut FieldErrors) {
    for (at, term) in affinity.items_at(REQUIRED).iter().enumerate() {
        pod_term(term, &path.child(REQUIRED).index(at), errors);
    }
    for (at, weighted) in affinity.items_at(PREFERRED).iter().enumerate() {
        let path = path.child(PREFERRED).index(at);
        weight(weighted, &path, errors);
        pod_term(weighted.at("podAffinityTerm").unwrap_or(&Value::Null), &path.child("podAffinityTerm"), errors);
    }
}

fn weight(term: &Value, path: &Path, errors: &mut FieldErrors) {
    let weight = term.i64_at("weight").unwrap_or_default();
    if !(1..=100).contains(&weight) {
        errors.invalid(&path.child("weight"), weight, WEIGHT_TEXT);
    }
}

fn pod_term(term: &Value, path: &Path, errors: &mut FieldErrors) {
    for name in ["labelSelector", "namespaceSelector"].into_iter().filter(|name| is_given(term, name)) {
        LabelSelector::validate(&term[name], &path.child(name), errors);
    }
    for name in term.items_at("namespaces").iter().filter_map(Value::as_str) {
        dns_label(name, &path.child("namespace"), errors);
    }
    for name in ["matchLabelKeys", "mismatchLabelKeys"] {
        label_keys(term, name, path, errors);
    }
    for (at, key) in term.items_at("matchLabelKeys").iter().enumerate() {
        if term.items_at("mismatchLabelKeys").contains(key) {
            errors.invalid(&path.child("matchLabelKeys").index(at), key.clone(), "exists in both matchLabelKeys and mismatchLabelKeys");
        }
    }
    let topology = term.str_at("topologyKey");
    if topology.is_empty() {
        errors.required(&path.child("topologyKey"), "can not be empty");
    }
    qualified_name(topology, &path.child("topologyKey"), errors);
}

fn label_keys(term: &Value, member: &str, path: &Path, errors: &mut FieldErrors) {
    let (keys, path) = (term.items_at(member), path.child(member));
    if !keys.is_empty() && !is_given(term, "labelSelector") {
        return errors.forbidden(&path, "must not be specified when labelSelector is not set");
    }
    for (at, key) in keys.iter().enumerate() {
        qualified_name(key.as_str().unwrap_or_default(), &path.index(at), errors);
    }
}

pub(crate) fn tolerations(tolerations: &[Value], path: &Path, errors: &mut FieldErrors) {
    for (at, toleration) in tolerations.iter().enumerate() {
        self::toleration(toleration, &path.index(at), errors);
    }
}

fn toleration(toleration: &Value, path: &Path, errors: &mut FieldErrors) {
    let (key, operator, value, effect) =
        (toleration.str_at("key"), toleration.str_at("operator"), toleration.str_at("value"), toleration.str_at("effect"));
    let operator_path = path.child("operator");
    if !key.is_empty() {
        qualified_name(key, &path.child("key"), errors);
    } else if operator != "Exists" {
        let text = "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
        errors.invalid(&operator_path, operator, text);
    }
    if is_given(toleration, "tolerationSeconds") && effect != "NoExecute" {
        errors.invalid(&path.child("effect"), effect, "effect must be 'NoExecute' when `tolerationSeconds` is set");
    }
    match operator {
        "" | "Equal" => {
            let wrong = names::is_label_value(value);
            if !wrong.is_empty() {
                errors.invalid(&operator_path, value, &wrong.join(";"));
            }
        }
        "Exists" if !value.is_empty() => errors.invalid(&operator_path, value, "value must be empty when `operator` is 'Exists'"),
        "Exists" => {}
        "Lt" | "Gt" => {
            if value.parse::<i64>().is_err() {
                errors.invalid(&operator_path, value, "value must be a valid integer for numeric operators");
            }
        }
        other => not_supported(&operator_path, &other.into(), &["Equal", "Exists"], errors),
    }
    if !effect.is_empty() {
        taint_effect(effect, &path.child("effect"), errors);
    }
}

/// The effect of a taint or toleration, empty refused.
pub(crate) fn taint_effect(effect: &str, path: &Path, errors: &mut FieldErrors) {
    match effect {
        "" => errors.required(path, ""),
        effect if EFFECTS.contains(&effect) => {}
        effect => not_supported(path, &effect.into(), EFFECTS, errors),
    }
}

pub(super) fn spread(constraints: &[Value], path: &Path, errors: &mut FieldErrors) {
    for (at, constraint) in constraints.iter().enumerate() {
        let path = path.index(at);
        let (key, action) = (constraint.str_at("topologyKey"), constraint.str_at("whenUnsatisfiable"));
        let skew = constraint.i64_at("maxSkew").unwrap_or_default();
        if skew <= 0 {
            errors.invalid(&path.child("maxSkew"), skew, NOT_POSITIVE);
        }
        if key.is_empty() {
            errors.required(&path.child("topologyKey"), "can not be empty");
        }
        if !["DoNotSchedule", "ScheduleAnyway"].contains(&action) {
            not_supported(&path.child("whenUnsatisfiable"), &action.into(), &["DoNotSchedule", "ScheduleAnyway"], errors);
        }
        let repeats = |other: &Value| other.str_at("topologyKey") == key && other.str_at("whenUnsatisfiable") == action;
        if constraints[at + 1..].iter().any(repeats) {
            errors.duplicate(&path.child("{topologyKey, whenUnsatisfiable}"), format!("{{{key}, {action}}}"));
        }
        spread_details(constraint, &path, errors);
    }
}

fn spread_details(constraint: &Value, path: &Path, errors: &mut FieldErrors) {
    if let Some(domains) = constraint.i64_at("minDomains") {
        if domains <= 0 {
            errors.invalid(&path.child("minDomains"), domains, NOT_POSITIVE);
        }
        let action = constraint.str_at("whenUnsatisfiable");
        if action != "DoNotSchedule" {
            let text = format!("can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {action}");
            errors.invalid(&path.child("minDomains"), domains, &text);
        }
    }
    for member in ["nodeAffinityPolicy", "nodeTaintsPolicy"] {
        one_of_if_set(constraint, member, &["Honor", "Ignore"], path, errors);
    }
    label_keys(constraint, "matchLabelKeys", path, errors);
    if is_given(constraint, "labelSelector") {
        LabelSelector::validate(&constraint["labelSelector"], &path.child("labelSelector"), errors);
    }
}
