//! Validation of `ObjectMeta` and of conditions, in upstream's words and order (golden/object-meta.jsonl).

use std::collections::BTreeSet;

use crate::field::Reason;
use crate::selector::validate_label;
use crate::{DocExt, FieldErrors, Path, Value, names};

/// A kind's rule for names; the texts of what is wrong.
pub type NameRule = fn(&str) -> Vec<String>;

const ANNOTATIONS_BYTES_MAX: usize = 256 << 10;
const MANAGER_BYTES_MAX: usize = 128;
const SUBRESOURCE_BYTES_MAX: usize = 256;
const REASON_BYTES_MAX: usize = 1 << 10;
const MESSAGE_BYTES_MAX: usize = 32 << 10;

/// Checks the `metadata` of a document that is to be created.
pub fn validate_object_meta_create(metadata: &Value, namespaced: bool, name_rule: NameRule, path: &Path, errors: &mut FieldErrors) {
    let generate_name = metadata.str_at("generateName");
    if !generate_name.is_empty() {
        for text in name_rule(&names::generate_name_stem(generate_name)) {
            errors.invalid(&path.child("generateName"), generate_name, &text);
        }
    }
    let name = metadata.str_at("name");
    if name.is_empty() {
        errors.required(&path.child("name"), "name or generateName is required");
    } else {
        for text in name_rule(name) {
            errors.invalid(&path.child("name"), name, &text);
        }
    }
    validate_namespace(metadata.str_at("namespace"), namespaced, &path.child("namespace"), errors);
    nonnegative(metadata, path, errors);
    common(metadata, path, errors, true);
}

/// Checks the `metadata` of a document that is to replace one with the metadata `old`.
pub fn validate_object_meta_update(metadata: &Value, old: &Value, path: &Path, errors: &mut FieldErrors) {
    if is_set(old, "deletionTimestamp") {
        no_new_finalizers(metadata, old, &path.child("finalizers"), errors);
    }
    if metadata.str_at("resourceVersion").is_empty() {
        errors.invalid(&path.child("resourceVersion"), "", "must be specified for an update");
    }
    nonnegative(metadata, path, errors);
    let generation = metadata.i64_at("generation").unwrap_or_default();
    if generation < old.i64_at("generation").unwrap_or_default() {
        errors.invalid(&path.child("generation"), generation, "must not be decremented");
    }
    for text in ["name", "namespace", "uid"] {
        if metadata.str_at(text) != old.str_at(text) {
            errors.invalid(&path.child(text), metadata.str_at(text), "field is immutable");
        }
    }
    for field in ["creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"] {
        let (new, old) = (metadata.at(field).unwrap_or(&Value::Null), old.at(field).unwrap_or(&Value::Null));
        if new != old {
            errors.invalid(&path.child(field), new.clone(), "field is immutable");
        }
    }
    common(metadata, path, errors, false);
}

/// Checks a list of `metav1.Condition`.
pub fn validate_conditions(conditions: &[Value], path: &Path, errors: &mut FieldErrors) {
    let mut seen = BTreeSet::new();
    for (at, condition) in conditions.iter().enumerate() {
        let path = path.index(at);
        let kind = condition.str_at("type");
        if !seen.insert(kind) {
            errors.duplicate(&path, kind);
        }
        validate_condition(condition, &path, errors);
    }
}

fn validate_condition(condition: &Value, path: &Path, errors: &mut FieldErrors) {
    match condition.str_at("type") {
        "" => errors.required(&path.child("type"), "is required"),
        kind => names::is_qualified_name(kind).iter().for_each(|text| errors.invalid(&path.child("type"), kind, text)),
    }
    match condition.str_at("status") {
        "" => errors.required(&path.child("status"), ""),
        "True" | "False" | "Unknown" => {}
        status => errors.not_supported(&path.child("status"), status, &["True", "False", "Unknown"]),
    }
    let generation = condition.i64_at("observedGeneration").unwrap_or_default();
    if generation < 0 {
        errors.invalid(&path.child("observedGeneration"), generation, "must be greater than or equal to zero");
    }
    if !is_set(condition, "lastTransitionTime") {
        errors.required(&path.child("lastTransitionTime"), "");
    }
    let reason = condition.str_at("reason");
    if reason.is_empty() {
        errors.required(&path.child("reason"), "");
    } else {
        names::is_condition_reason(reason).iter().for_each(|text| errors.invalid(&path.child("reason"), reason, text));
    }
    bounded(reason, REASON_BYTES_MAX, &path.child("reason"), errors);
    bounded(condition.str_at("message"), MESSAGE_BYTES_MAX, &path.child("message"), errors);
}

fn is_set(document: &Value, field: &str) -> bool {
    document.at(field).is_some_and(|value| !value.is_null())
}

fn bounded(text: &str, max: usize, path: &Path, errors: &mut FieldErrors) {
    if text.len() > max {
        errors.too_long(path, max);
    }
}

fn validate_namespace(namespace: &str, namespaced: bool, path: &Path, errors: &mut FieldErrors) {
    match (namespaced, namespace) {
        (true, "") => errors.required(path, ""),
        (true, name) => names::is_dns1123_label(name).iter().for_each(|text| errors.invalid(path, name, text)),
        (false, "") => {}
        (false, _) => errors.forbidden(path, "not allowed on this type"),
    }
}

fn nonnegative(metadata: &Value, path: &Path, errors: &mut FieldErrors) {
    let generation = metadata.i64_at("generation").unwrap_or_default();
    if generation < 0 {
        errors.invalid(&path.child("generation"), generation, "must be greater than or equal to 0");
    }
}

/// What create and update have in common; finalizers' names are looked at only once.
fn common(metadata: &Value, path: &Path, errors: &mut FieldErrors, creating: bool) {
    validate_labels(metadata.at("labels").unwrap_or(&Value::Null), &path.child("labels"), errors);
    validate_annotations(metadata.at("annotations").unwrap_or(&Value::Null), &path.child("annotations"), errors);
    validate_owners(metadata.items_at("ownerReferences"), &path.child("ownerReferences"), errors);
    if creating {
        validate_finalizers(metadata.items_at("finalizers"), &path.child("finalizers"), errors);
    }
    validate_managed_fields(metadata.items_at("managedFields"), &path.child("managedFields"), errors);
}

/// Checks a map of labels.
pub fn validate_labels(labels: &Value, path: &Path, errors: &mut FieldErrors) {
    for (key, value) in labels.as_object().into_iter().flatten() {
        validate_label(key, value.as_str().unwrap_or_default(), path, errors);
    }
}

/// Checks a map of annotations: the keys, and the size of all together.
pub fn validate_annotations(annotations: &Value, path: &Path, errors: &mut FieldErrors) {
    let mut bytes = 0;
    for (key, value) in annotations.as_object().into_iter().flatten() {
        bytes += key.len() + value.as_str().unwrap_or_default().len();
        for text in names::is_qualified_name(&key.to_lowercase()) {
            errors.invalid(path, key.as_str(), &text);
        }
    }
    if bytes > ANNOTATIONS_BYTES_MAX {
        errors.too_long(path, ANNOTATIONS_BYTES_MAX);
    }
}

fn validate_owners(owners: &[Value], path: &Path, errors: &mut FieldErrors) {
    let mut controller: Option<String> = None;
    for (at, owner) in owners.iter().enumerate() {
        validate_owner(owner, &path.index(at), errors);
        if !owner.bool_at("controller") {
            continue;
        }
        let this = format!("{}/{}", owner.str_at("kind"), owner.str_at("name"));
        match &controller {
            None => controller = Some(this),
            Some(first) => {
                let all: Vec<String> = owners.iter().map(printed_owner).collect();
                let text = "Only one reference can have Controller set to true. Found \"true\" in references for";
                let message = format!("Invalid value: [{}]: {text} {first} and {this}", all.join(","));
                errors.add(path, Reason::Invalid, message);
            }
        }
    }
}

fn validate_owner(owner: &Value, path: &Path, errors: &mut FieldErrors) {
    let api_version = owner.str_at("apiVersion");
    let version = api_version.rsplit('/').next().unwrap_or_default();
    if api_version.is_empty() {
        errors.required(&path.child("apiVersion"), "must not be empty");
    } else if api_version.matches('/').count() > 1 || version.is_empty() {
        errors.invalid(&path.child("apiVersion"), api_version, "must be <group>/<version> or <version>");
    }
    for field in ["kind", "name", "uid"] {
        if owner.str_at(field).is_empty() {
            errors.required(&path.child(field), "must not be empty");
        }
    }
    if (api_version, owner.str_at("kind")) == ("v1", "Event") {
        let text = "/v1, Kind=Event is disallowed from being an owner";
        errors.add(path, Reason::Invalid, format!("Invalid value: {}: {text}", printed_owner(owner)));
    }
}

/// An owner as Go's encoder prints the struct: in the order of its fields.
fn printed_owner(owner: &Value) -> String {
    let mut members: Vec<String> =
        ["apiVersion", "kind", "name", "uid"].iter().map(|name| format!("\"{name}\":{}", Value::from(owner.str_at(name)))).collect();
    for name in ["controller", "blockOwnerDeletion"] {
        members.extend(owner.at(name).filter(|value| !value.is_null()).map(|value| format!("\"{name}\":{value}")));
    }
    format!("{{{}}}", members.join(","))
}

fn validate_finalizers(finalizers: &[Value], path: &Path, errors: &mut FieldErrors) {
    let finalizers: Vec<&str> = finalizers.iter().filter_map(Value::as_str).collect();
    for finalizer in &finalizers {
        for text in names::is_qualified_name(finalizer) {
            errors.invalid(path, *finalizer, &text);
        }
    }
    if finalizers.contains(&"orphan") && finalizers.contains(&"foregroundDeletion") {
        errors.invalid(path, finalizers.as_slice(), "finalizer orphan and foregroundDeletion cannot be both set");
    }
}

fn no_new_finalizers(metadata: &Value, old: &Value, path: &Path, errors: &mut FieldErrors) {
    let set = |document: &Value| -> BTreeSet<String> {
        document.items_at("finalizers").iter().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let extra: Vec<String> = set(metadata).difference(&set(old)).map(|one| format!("{one:?}")).collect();
    if !extra.is_empty() {
        let text = "no new finalizers can be added if the object is being deleted, found new finalizers";
        errors.forbidden(path, &format!("{text} []string{{{}}}", extra.join(", ")));
    }
}

fn validate_managed_fields(entries: &[Value], path: &Path, errors: &mut FieldErrors) {
    for (at, entry) in entries.iter().enumerate() {
        let path = path.index(at);
        match entry.str_at("operation") {
            "" => errors.required(&path.child("operation"), "must not be empty"),
            "Apply" | "Update" => {}
            operation => errors.not_supported(&path.child("operation"), operation, &["Apply", "Update"]),
        }
        let fields_type = entry.str_at("fieldsType");
        if !matches!(fields_type, "" | "FieldsV1") {
            errors.invalid(&path.child("fieldsType"), fields_type, "must be `FieldsV1`");
        }
        validate_field_manager(entry.str_at("manager"), &path.child("manager"), errors);
        bounded(entry.str_at("subresource"), SUBRESOURCE_BYTES_MAX, &path.child("subresource"), errors);
    }
}

/// `fieldManager=` of a request, or the manager of a managedFields entry.
pub fn validate_field_manager(manager: &str, path: &Path, errors: &mut FieldErrors) {
    bounded(manager, MANAGER_BYTES_MAX, path, errors);
    for (at, c) in manager.char_indices().filter(|(_, c)| !is_print(*c)) {
        errors.invalid(path, manager, &format!("invalid character U+{:04X} (at position {at})", u32::from(c)));
    }
}

/// `dryRun=` of a request.
pub fn validate_dry_run(values: &[&str], path: &Path, errors: &mut FieldErrors) {
    if values.iter().any(|value| *value != "All") {
        errors.not_supported(path, values, &["All"]);
    }
}

/// `fieldValidation=` of a request.
pub fn validate_field_validation(value: &str, path: &Path, errors: &mut FieldErrors) {
    let supported = ["", "Ignore", "Strict", "Warn"];
    if !supported.contains(&value) {
        errors.not_supported(path, value, &supported);
    }
}

/// Go's `unicode.IsPrint`, as far as the standard library tells it: no controls, and of white space only the blank.
fn is_print(c: char) -> bool {
    c == ' ' || !(c.is_control() || c.is_whitespace())
}
