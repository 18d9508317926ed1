//! What is valid in `metadata` and in conditions, in upstream's words and order.

use schema::field::Reason;
use schema::meta::OwnerReference;
use schema::{DocExt, FieldErrors, Map, Path, Value, names};

/// Bytes of all annotations together.
const ANNOTATIONS_BYTES_MAX: usize = 256 << 10;

/// All errors of a new object's metadata. `validate_name` is the kind's rule.
pub fn on_create(meta: &Value, namespaced: bool, validate_name: impl Fn(&str) -> Vec<String>, errors: &mut FieldErrors) {
    let path = Path::new("metadata");
    check_names(meta, &validate_name, &path, errors);
    check_namespace(meta.str_at("namespace"), namespaced, &path.child("namespace"), errors);
    check_generation(meta, &path, errors);
    check_rest(meta, &path, errors);
    finalizers(meta, &path.child("finalizers"), errors);
    managed_fields(meta, &path.child("managedFields"), errors);
}

/// What upstream checks of every change, before the kind's own rules check [`on_update`] once more: what is wrong with a change
/// is told twice, and clients that compare causes see that.
pub fn before_update(new: &Value, old: &Value, namespaced: bool, errors: &mut FieldErrors) {
    let path = Path::new("metadata");
    check_names(new, &names::is_path_segment_name, &path, errors);
    check_namespace(new.str_at("namespace"), namespaced, &path.child("namespace"), errors);
    check_generation(new, &path, errors);
    check_rest(new, &path, errors);
    finalizers(new, &path.child("finalizers"), errors);
    managed_fields(new, &path.child("managedFields"), errors);
    on_update(new, old, errors);
}

/// All errors of a change of metadata.
pub fn on_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    let path = Path::new("metadata");
    new_finalizers(new, old, &path.child("finalizers"), errors);
    if new.str_at("resourceVersion").is_empty() {
        errors.invalid(&path.child("resourceVersion"), "", "must be specified for an update");
    }
    if new.i64_at("generation").unwrap_or_default() < old.i64_at("generation").unwrap_or_default() {
        errors.invalid(&path.child("generation"), new.i64_at("generation").unwrap_or_default(), "must not be decremented");
    }
    for name in ["name", "namespace", "uid"] {
        if new.str_at(name) != old.str_at(name) {
            errors.invalid(&path.child(name), new.str_at(name), "field is immutable");
        }
    }
    for name in ["creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"] {
        let value = |meta: &Value| meta.get(name).cloned().unwrap_or_default();
        if value(new) != value(old) {
            errors.invalid(&path.child(name), value(new), "field is immutable");
        }
    }
    check_generation(new, &path, errors);
    check_rest(new, &path, errors);
    managed_fields(new, &path.child("managedFields"), errors);
}

fn check_names(meta: &Value, validate_name: &impl Fn(&str) -> Vec<String>, path: &Path, errors: &mut FieldErrors) {
    let (name, prefix) = (meta.str_at("name"), meta.str_at("generateName"));
    if !prefix.is_empty() {
        for text in validate_name(&masked(prefix)) {
            errors.invalid(&path.child("generateName"), prefix, &text);
        }
    }
    if name.is_empty() {
        errors.required(&path.child("name"), "name or generateName is required");
    }
    for text in if name.is_empty() { Vec::new() } else { validate_name(name) } {
        errors.invalid(&path.child("name"), name, &text);
    }
}

/// A prefix may end in a dash: what follows makes the name whole. Upstream forgives the character before the dash, too.
fn masked(prefix: &str) -> String {
    match prefix.strip_suffix('-').map(|head| (head, head.char_indices().next_back())) {
        Some((head, Some((last, _)))) => format!("{}a", &head[..last]),
        _ => prefix.to_owned(),
    }
}

fn check_namespace(namespace: &str, namespaced: bool, path: &Path, errors: &mut FieldErrors) {
    match (namespaced, namespace.is_empty()) {
        (true, true) => errors.required(path, ""),
        (true, false) => names::is_dns1123_label(namespace).iter().for_each(|text| errors.invalid(path, namespace, text)),
        (false, false) => errors.forbidden(path, "not allowed on this type"),
        (false, true) => {}
    }
}

fn check_generation(meta: &Value, path: &Path, errors: &mut FieldErrors) {
    let generation = meta.i64_at("generation").unwrap_or_default();
    if generation < 0 {
        errors.invalid(&path.child("generation"), generation, "must be greater than or equal to 0");
    }
}

fn check_rest(meta: &Value, path: &Path, errors: &mut FieldErrors) {
    labels(meta.map_at("labels"), &path.child("labels"), errors);
    annotations(meta.map_at("annotations"), &path.child("annotations"), errors);
    owners(meta, &path.child("ownerReferences"), errors);
}

/// Label keys and values.
pub(crate) fn labels(labels: Option<&Map<String, Value>>, path: &Path, errors: &mut FieldErrors) {
    for (key, value) in labels.into_iter().flatten() {
        names::is_qualified_name(key).iter().for_each(|text| errors.invalid(path, key.as_str(), text));
        let value = value.as_str().unwrap_or_default();
        names::is_label_value(value).iter().for_each(|text| errors.invalid(path, value, text));
    }
}

fn annotations(annotations: Option<&Map<String, Value>>, path: &Path, errors: &mut FieldErrors) {
    let mut bytes = 0;
    for (key, value) in annotations.into_iter().flatten() {
        // keys are compared without case, so that upper-case prefixes pass
        names::is_qualified_name(&key.to_lowercase()).iter().for_each(|text| errors.invalid(path, key.as_str(), text));
        bytes += key.len() + value.as_str().unwrap_or_default().len();
    }
    if bytes > ANNOTATIONS_BYTES_MAX {
        errors.too_long(path, ANNOTATIONS_BYTES_MAX);
    }
}

fn owners(meta: &Value, path: &Path, errors: &mut FieldErrors) {
    let mut controller: Option<&Value> = None;
    for (index, owner) in meta.items_at("ownerReferences").iter().enumerate() {
        check_owner(owner, &path.index(index), errors);
        if owner.get("controller") != Some(&Value::Bool(true)) {
            continue;
        }
        if let Some(first) = controller {
            let name = |owner: &Value| format!("{}/{}", owner.str_at("kind"), owner.str_at("name"));
            let why = format!(
                "Only one reference can have Controller set to true. Found \"true\" in references for {} and {}",
                name(first),
                name(owner)
            );
            errors.add(path, Reason::Invalid, format!("Invalid value: {}: {why}", typed(&owners_of(meta))));
        }
        controller = Some(owner);
    }
}

fn check_owner(owner: &Value, path: &Path, errors: &mut FieldErrors) {
    let api_version = owner.str_at("apiVersion");
    if api_version.is_empty() {
        errors.required(&path.child("apiVersion"), "must not be empty");
    } else if api_version.matches('/').count() > 1 {
        errors.invalid(&path.child("apiVersion"), api_version, "must be <group>/<version> or <version>");
    }
    for name in ["kind", "name", "uid"] {
        if owner.str_at(name).is_empty() {
            errors.required(&path.child(name), "must not be empty");
        }
    }
    if api_version == "v1" && owner.str_at("kind") == "Event" {
        let why = "/v1, Kind=Event is disallowed from being an owner";
        errors.add(path, Reason::Invalid, format!("Invalid value: {}: {why}", typed(&owner_of(owner))));
    }
}

fn owners_of(meta: &Value) -> Vec<OwnerReference> {
    meta.items_at("ownerReferences").iter().map(owner_of).collect()
}

fn owner_of(owner: &Value) -> OwnerReference {
    serde_json::from_value(owner.clone()).unwrap_or_default()
}

/// JSON in the order of Go's fields.
fn typed(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

fn finalizers(meta: &Value, path: &Path, errors: &mut FieldErrors) {
    let finalizers: Vec<&str> = meta.items_at("finalizers").iter().filter_map(Value::as_str).collect();
    for finalizer in &finalizers {
        names::is_qualified_name(finalizer).iter().for_each(|text| errors.invalid(path, *finalizer, text));
    }
    if finalizers.contains(&"orphan") && finalizers.contains(&"foregroundDeletion") {
        let why = "finalizer orphan and foregroundDeletion cannot be both set";
        errors.invalid(path, finalizers.iter().map(|one| Value::from(*one)).collect::<Value>(), why);
    }
}

/// Of built-in kinds: a finalizer without a domain is one of upstream's own three. Groups that began outside of the core
/// server never asked for that.
pub fn standard_finalizers(group: &str, meta: &Value, errors: &mut FieldErrors) {
    if matches!(group, "apiextensions.k8s.io" | "apiregistration.k8s.io") {
        return;
    }
    for (index, finalizer) in meta.items_at("finalizers").iter().filter_map(Value::as_str).enumerate() {
        if !finalizer.contains('/') && !matches!(finalizer, "kubernetes" | "orphan" | "foregroundDeletion") {
            let path = Path::new("metadata.finalizers").index(index);
            errors.invalid(&path, finalizer, "name is neither a standard finalizer name nor is it fully qualified");
        }
    }
}

/// Nothing new may hold an object that is on its way out.
fn new_finalizers(new: &Value, old: &Value, path: &Path, errors: &mut FieldErrors) {
    if old.get("deletionTimestamp").is_none_or(Value::is_null) {
        return;
    }
    let before = old.items_at("finalizers");
    let mut added: Vec<&str> = new.items_at("finalizers").iter().filter(|one| !before.contains(one)).filter_map(Value::as_str).collect();
    added.sort_unstable();
    if !added.is_empty() {
        let list = added.iter().map(|one| format!("{one:?}")).collect::<Vec<_>>().join(", ");
        let why = format!("no new finalizers can be added if the object is being deleted, found new finalizers []string{{{list}}}");
        errors.forbidden(path, &why);
    }
}

fn managed_fields(meta: &Value, path: &Path, errors: &mut FieldErrors) {
    for (index, entry) in meta.items_at("managedFields").iter().enumerate() {
        let path = path.index(index);
        let operation = entry.str_at("operation");
        if !matches!(operation, "Apply" | "Update") {
            errors.not_supported(&path.child("operation"), operation, &["Apply", "Update"]);
        }
        let fields_type = entry.str_at("fieldsType");
        if !fields_type.is_empty() && fields_type != "FieldsV1" {
            errors.invalid(&path.child("fieldsType"), fields_type, "must be `FieldsV1`");
        }
    }
}

/// `metav1.Condition` lists.
pub fn conditions(conditions: &[Value], path: &Path, errors: &mut FieldErrors) {
    let mut types: Vec<&str> = Vec::new();
    for (index, condition) in conditions.iter().enumerate() {
        let path = path.index(index);
        let ty = condition.str_at("type");
        if types.contains(&ty) {
            errors.duplicate(&path, ty); // reported once, at the later one
        }
        types.push(ty);
        check_condition(condition, &path, errors);
    }
}

fn check_condition(condition: &Value, path: &Path, errors: &mut FieldErrors) {
    let (ty, status, reason) = (condition.str_at("type"), condition.str_at("status"), condition.str_at("reason"));
    if ty.is_empty() {
        errors.required(&path.child("type"), "is required");
    } else {
        names::is_qualified_name(ty).iter().for_each(|text| errors.invalid(&path.child("type"), ty, text));
    }
    match status {
        "" => errors.required(&path.child("status"), ""),
        "True" | "False" | "Unknown" => {}
        other => errors.not_supported(&path.child("status"), other, &["True", "False", "Unknown"]),
    }
    let observed = condition.i64_at("observedGeneration").unwrap_or_default();
    if observed < 0 {
        errors.invalid(&path.child("observedGeneration"), observed, "must be greater than or equal to zero");
    }
    if condition.str_at("lastTransitionTime").is_empty() {
        errors.required(&path.child("lastTransitionTime"), "");
    }
    if reason.is_empty() {
        errors.required(&path.child("reason"), "");
    } else if !is_condition_reason(reason) {
        errors.add(&path.child("reason"), Reason::Invalid, format!("Invalid value: {}: {REASON_RULE}", Value::from(reason)));
    }
}

const REASON_RULE: &str = "a condition reason must start with alphabetic character, optionally followed by a string of alphanumeric \
     characters or '_,:', and must end with an alphanumeric character or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName',  or \
     'ReasonA,ReasonB',  or 'ReasonA:ReasonB', regex used for validation is '[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?')";

fn is_condition_reason(reason: &str) -> bool {
    let last = |c: char| c.is_ascii_alphanumeric() || c == '_';
    reason.starts_with(|c: char| c.is_ascii_alphabetic())
        && (reason.len() == 1 || reason.ends_with(last))
        && reason.chars().all(|c| last(c) || c == ',' || c == ':')
}

#[cfg(test)]
mod tests {
    use schema::json;

    use super::*;

    fn refused(group: &str, finalizer: &str) -> bool {
        let mut errors = FieldErrors::default();
        standard_finalizers(group, &json!({"finalizers": [finalizer]}), &mut errors);
        !errors.is_empty()
    }

    #[test]
    fn a_finalizer_without_a_domain_is_one_of_upstreams() {
        assert!(refused("", "mine") && refused("apps", "mine"));
        for good in ["kubernetes", "orphan", "foregroundDeletion", "example.com/mine"] {
            assert!(!refused("", good), "{good}");
        }
        assert!(!refused("apiextensions.k8s.io", "mine"));
    }
}
