//! What an autoscaler's spec must hold, in the words of v2; v1 is asked as the v2 that it becomes.

use schema::{DocExt, FieldErrors, Path, Value, names};

use crate::core::pod::rules::requirements::resource_name;
use crate::rules::{amounts, dns_label, each, is_given, non_negative, not_supported, sub};

/// In the order in which upstream looks at them.
const SOURCES: &[&str] = &["object", "external", "pods", "resource", "containerResource"];
const SOURCE_TYPES: &[&str] = &["ContainerResource", "External", "Object", "Pods", "Resource"];
const SELECT_POLICIES: &[&str] = &["Disabled", "Max", "Min"];
const POLICY_TYPES: &[&str] = &["Percent", "Pods"];
const WINDOW_SECONDS_MAX: i64 = 3600;
const PERIOD_SECONDS_MAX: i64 = 1800;

/// A v2 document. Zero replicas at least are allowed where they were before.
pub(super) fn autoscaler(new: &Value, old: Option<&Value>, errors: &mut FieldErrors) {
    let (spec, path) = (sub(new, "spec"), Path::new("spec"));
    let lowest = if old.and_then(|old| old.i64_at("spec.minReplicas")) == Some(0) { 0 } else { 1 };
    let (least, most) = (spec.i64_at("minReplicas"), spec.i64_at("maxReplicas").unwrap_or_default());
    if let Some(least) = least.filter(|least| *least < lowest) {
        errors.invalid(&path.child("minReplicas"), least, &format!("must be greater than or equal to {lowest}"));
    }
    if most < 1 {
        errors.invalid(&path.child("maxReplicas"), most, "must be greater than 0");
    }
    if least.is_some_and(|least| most < least) {
        errors.invalid(&path.child("maxReplicas"), most, "must be greater than or equal to `minReplicas`");
    }
    reference(sub(spec, "scaleTargetRef"), &path.child("scaleTargetRef"), errors);
    metrics(spec, &path.child("metrics"), errors);
    for side in ["scaleUp", "scaleDown"] {
        scaling(sub(spec, "behavior").at(side), &path.child("behavior").child(side), errors);
    }
}

pub(super) fn status(new: &Value, errors: &mut FieldErrors) {
    non_negative(sub(new, "status"), &["currentReplicas", "desiredReplicas"], &Path::new("status"), errors);
}

fn reference(reference: &Value, path: &Path, errors: &mut FieldErrors) {
    for member in ["kind", "name"] {
        match reference.str_at(member) {
            "" => errors.required(&path.child(member), ""),
            text => each(&path.child(member), text, names::is_path_segment_name(text), errors),
        }
    }
    let version = reference.str_at("apiVersion");
    if version.matches('/').count() > 1 {
        errors.invalid(&path.child("apiVersion"), version, &format!("unexpected GroupVersion string: {version}"));
    }
}

fn metrics(spec: &Value, path: &Path, errors: &mut FieldErrors) {
    let metrics = spec.items_at("metrics");
    for (at, metric) in metrics.iter().enumerate() {
        self::metric(metric, &path.index(at), errors);
    }
    let reaches_zero = metrics.iter().any(|metric| matches!(metric.str_at("type"), "Object" | "External"));
    if spec.i64_at("minReplicas") == Some(0) && !reaches_zero {
        errors.forbidden(path, "must specify at least one Object or External metric to support scaling to zero replicas");
    }
}

fn metric(metric: &Value, path: &Path, errors: &mut FieldErrors) {
    let kind = metric.str_at("type");
    if kind.is_empty() {
        errors.required(&path.child("type"), "must specify a metric source type");
    }
    if !SOURCE_TYPES.contains(&kind) {
        // Upstream asks before and after it looks at the sources.
        not_supported(&path.child("type"), &kind.into(), SOURCE_TYPES, errors);
        not_supported(&path.child("type"), &kind.into(), SOURCE_TYPES, errors);
    }
    let given: Vec<&str> = SOURCES.iter().copied().filter(|source| is_given(metric, source)).collect();
    if let Some(first) = given.first() {
        source(first, &metric[*first], &path.child(first), errors);
    }
    let wanted = SOURCES.iter().copied().find(|source| source.eq_ignore_ascii_case(kind));
    if let Some(wanted) = wanted.filter(|wanted| !given.contains(wanted)) {
        errors.required(&path.child(wanted), "must populate information for the given metric source");
    }
    if given.len() != 1 {
        for other in given.iter().filter(|source| Some(**source) != wanted) {
            errors.forbidden(&path.child(other), "must populate the given metric source only");
        }
    }
}

fn source(name: &str, source: &Value, path: &Path, errors: &mut FieldErrors) {
    match name {
        "object" => reference(sub(source, "describedObject"), &path.child("describedObject"), errors),
        "resource" if source.str_at("name").is_empty() => errors.required(&path.child("name"), "must specify a resource name"),
        "containerResource" => container_resource(source, path, errors),
        _ => {}
    }
    if matches!(name, "object" | "external" | "pods") {
        match source.str_at("metric.name") {
            "" => errors.required(&path.child("metric.name"), "must specify a metric name"),
            metric => each(&path.child("metric.name"), metric, names::is_path_segment_name(metric), errors),
        }
    }
    target(sub(source, "target"), &path.child("target"), errors);
    target_of(name, sub(source, "target"), &path.child("target"), errors);
}

fn container_resource(source: &Value, path: &Path, errors: &mut FieldErrors) {
    match source.str_at("name") {
        "" => errors.required(&path.child("name"), "must specify a resource name"),
        name => resource_name(name, &path.child("name"), errors),
    }
    match source.str_at("container") {
        "" => errors.required(&path.child("container"), "must specify a container"),
        name => dns_label(name, &path.child("container"), errors),
    }
}

fn target(target: &Value, path: &Path, errors: &mut FieldErrors) {
    let kind = target.str_at("type");
    if kind.is_empty() {
        errors.required(&path.child("type"), "must specify a metric target type");
    }
    if !matches!(kind, "Utilization" | "Value" | "AverageValue") {
        errors.invalid(&path.child("type"), kind, "must be either Utilization, Value, or AverageValue");
    }
    for member in ["value", "averageValue"] {
        if let Some(amount) = amounts::quantity(target, member).filter(|amount| amount.nano <= 0) {
            errors.invalid(&path.child(member), amount.to_string(), "must be positive");
        }
    }
    if let Some(percent) = target.i64_at("averageUtilization").filter(|percent| *percent < 1) {
        errors.invalid(&path.child("averageUtilization"), percent, "must be greater than 0");
    }
}

/// Which of the target's amounts a source needs, and which exclude each other.
fn target_of(name: &str, target: &Value, path: &Path, errors: &mut FieldErrors) {
    let has = |member: &str| is_given(target, member);
    match name {
        "object" if !has("value") && !has("averageValue") => {
            errors.required(&path.child("averageValue"), "must set either a target value or averageValue");
        }
        "external" if !has("value") && !has("averageValue") => {
            errors.required(&path.child("averageValue"), "must set either a target value for metric or a per-pod target");
        }
        "external" if has("value") && has("averageValue") => {
            errors.forbidden(&path.child("value"), "may not set both a target value for metric and a per-pod target");
        }
        "pods" if !has("averageValue") => {
            errors.required(&path.child("averageValue"), "must specify a positive target averageValue");
        }
        "resource" | "containerResource" => match (has("averageUtilization"), has("averageValue")) {
            (false, false) => {
                errors.required(&path.child("averageUtilization"), "must set either a target raw value or a target utilization");
            }
            (true, true) => {
                errors.forbidden(&path.child("averageValue"), "may not set both a target raw value and a target utilization");
            }
            _ => {}
        },
        _ => {}
    }
}

fn scaling(rules: Option<&Value>, path: &Path, errors: &mut FieldErrors) {
    let Some(rules) = rules.filter(|rules| rules.is_object()) else { return };
    let window = rules.i64_at("stabilizationWindowSeconds").unwrap_or_default();
    if window < 0 {
        errors.invalid(&path.child("stabilizationWindowSeconds"), window, "must be greater than or equal to zero");
    }
    if window > WINDOW_SECONDS_MAX {
        let text = format!("must be less than or equal to {WINDOW_SECONDS_MAX}");
        errors.invalid(&path.child("stabilizationWindowSeconds"), window, &text);
    }
    if is_given(rules, "selectPolicy") && !SELECT_POLICIES.contains(&rules.str_at("selectPolicy")) {
        not_supported(&path.child("selectPolicy"), &rules.str_at("selectPolicy").into(), SELECT_POLICIES, errors);
    }
    if rules.items_at("policies").is_empty() {
        errors.required(&path.child("policies"), "must specify at least one Policy");
    }
    for (at, policy) in rules.items_at("policies").iter().enumerate() {
        self::policy(policy, &path.child("policies").index(at), errors);
    }
    if let Some(tolerance) = amounts::quantity(rules, "tolerance").filter(|tolerance| tolerance.nano < 0) {
        errors.invalid(&path.child("tolerance"), tolerance.to_string(), "must be greater or equal to 0");
    }
}

fn policy(policy: &Value, path: &Path, errors: &mut FieldErrors) {
    let kind = policy.str_at("type");
    if !POLICY_TYPES.contains(&kind) {
        not_supported(&path.child("type"), &kind.into(), POLICY_TYPES, errors);
    }
    for member in ["value", "periodSeconds"] {
        let number = policy.i64_at(member).unwrap_or_default();
        if number <= 0 {
            errors.invalid(&path.child(member), number, "must be greater than zero");
        }
    }
    let period = policy.i64_at("periodSeconds").unwrap_or_default();
    if period > PERIOD_SECONDS_MAX {
        errors.invalid(&path.child("periodSeconds"), period, &format!("must be less than or equal to {PERIOD_SECONDS_MAX}"));
    }
}
