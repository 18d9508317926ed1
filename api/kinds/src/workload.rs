//! What the workload kinds share: replicas, selectors, templates, and their columns.

use schema::{DocExt, FieldErrors, LabelSelector, Map, Path, Value, json};

use crate::core::pod::{rules, warnings};
use crate::kind::Col;
use crate::rules::{is_given, non_negative, not_supported};

/// A `metav1.LabelSelector` that must be there, must not be empty and cannot be read only if it is wrong.
/// `noun` ends the sentence `empty selector is invalid for …`.
pub(crate) fn selector(spec: &Value, noun: &str, path: &Path, errors: &mut FieldErrors) {
    let path = path.child("selector");
    if !is_given(spec, "selector") {
        return errors.required(&path, "");
    }
    let selector = &spec["selector"];
    LabelSelector::validate(selector, &path, errors);
    if selector.map_at("matchLabels").is_none_or(Map::is_empty) && selector.items_at("matchExpressions").is_empty() {
        errors.invalid(&path, selector.clone(), &format!("empty selector is invalid for {noun}"));
    }
}

/// The template of a workload that restarts its pods for ever. `kind` stands in the refusal of deadlines.
pub(crate) fn running_template(spec: &Value, kind: &str, path: &Path, errors: &mut FieldErrors) {
    template_matches(spec, path, errors);
    let (template, path) = (spec.at("template").unwrap_or(&Value::Null), path.child("template"));
    rules::template(template, &path, errors);
    always_restarts(template, kind, &path, errors);
}

/// What runs for ever restarts always and has no deadline. `path` is the template's.
pub(crate) fn always_restarts(template: &Value, kind: &str, path: &Path, errors: &mut FieldErrors) {
    let policy = template.str_at("spec.restartPolicy");
    if policy != "Always" {
        not_supported(&path.child("spec.restartPolicy"), &policy.into(), &["Always"], errors);
    }
    if is_given(template, "spec.activeDeadlineSeconds") {
        errors.forbidden(&path.child("spec.activeDeadlineSeconds"), &format!("activeDeadlineSeconds in {kind} is not Supported"));
    }
}

/// The selector must match the template's labels; one that cannot be read is `invalid label selector`.
fn template_matches(spec: &Value, path: &Path, errors: &mut FieldErrors) {
    let labels = spec.at("template.metadata.labels").cloned().unwrap_or(Value::Null);
    match LabelSelector::from_value(spec.at("selector").unwrap_or(&Value::Null)) {
        Err(_) => errors.invalid(&path.child("selector"), spec["selector"].clone(), "invalid label selector"),
        Ok(selector) if selector.is_everything() => {}
        Ok(selector) if selector.matches(&label_map(&labels)) => {}
        Ok(_) => errors.invalid(&path.child("template.metadata.labels"), labels, "`selector` does not match template `labels`"),
    }
}

pub(crate) fn label_map(labels: &Value) -> std::collections::BTreeMap<String, String> {
    let members = labels.as_object().into_iter().flatten();
    members.map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned())).collect()
}

/// Warnings about the template at `path`.
pub(crate) fn template_warnings(doc: &Value, path: &str) -> Vec<String> {
    doc.at(path).map(|template| warnings::of(template, &Path::new(path))).unwrap_or_default()
}

/// The counters of a status: none below zero, none above `replicas` where they count part of it. `ready` is what the
/// refusal of too many available ones calls the ready ones.
pub(crate) fn replica_status(doc: &Value, counters: &[&str], parts: &[&str], ready: &str, errors: &mut FieldErrors) {
    let (status, path) = (doc.at("status").unwrap_or(&Value::Null), Path::new("status"));
    non_negative(status, counters, &path, errors);
    let count = |name: &str| status.i64_at(name).unwrap_or_default();
    for part in parts.iter().filter(|part| count(part) > count("replicas")) {
        errors.invalid(&path.child(part), count(part), "cannot be greater than status.replicas");
    }
    if count("availableReplicas") > count("readyReplicas") {
        errors.invalid(&path.child("availableReplicas"), count("availableReplicas"), &format!("cannot be greater than {ready}"));
    }
}

/// How often a name was taken already may not go down.
pub(crate) fn collisions_only_grow(new: &Value, old: &Value, errors: &mut FieldErrors) {
    let (new, old) = (new.i64_at("status.collisionCount"), old.i64_at("status.collisionCount"));
    if old.is_some() && new < old {
        errors.invalid(&Path::new("status.collisionCount"), new.unwrap_or_default(), "cannot be decremented");
    }
}

/// `1/3`: ready of wanted.
pub(crate) fn ready(doc: &Value) -> Value {
    json!(format!("{}/{}", doc.i64_at("status.readyReplicas").unwrap_or_default(), doc.i64_at("spec.replicas").unwrap_or_default()))
}

/// Names of the template's containers, `a,b`.
pub(crate) const CONTAINERS: Col = Col::of("Containers", |doc| containers(doc, "name")).wide();
/// Images of the template's containers.
pub(crate) const IMAGES: Col = Col::of("Images", |doc| containers(doc, "image")).wide();
/// The label selector as `kubectl` writes it.
pub(crate) const SELECTOR: Col = Col::of("Selector", |doc| selector_text(doc.at("spec.selector"))).wide();

fn containers(doc: &Value, member: &str) -> Value {
    list_of(doc.items_at("spec.template.spec.containers"), member)
}

pub(crate) fn list_of(containers: &[Value], member: &str) -> Value {
    let names: Vec<&str> = containers.iter().map(|container| container.str_at(member)).collect();
    json!(names.join(","))
}

/// `app=a,tier in (x,y)`; none and one that cannot be read are `<none>` and `<error>`.
pub(crate) fn selector_text(selector: Option<&Value>) -> Value {
    match LabelSelector::from_value(selector.unwrap_or(&Value::Null)) {
        Err(_) => json!("<error>"),
        Ok(selector) if selector.requirements().is_empty() => json!("<none>"),
        Ok(selector) => json!(selector.to_string()),
    }
}
