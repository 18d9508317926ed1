//! What of a claim stays as it was, and what its status must hold.

use schema::quantity::Format;
use schema::{DocExt, FieldErrors, Path, Quantity, Value};

use crate::kind::{copy_member, same};
use crate::rules::{amounts, immutable_pointer, is_given, sub};

const STORAGE: &str = "resources.requests.storage";
const CLASS: &str = "volumeAttributesClassName";
const BETA_CLASS: &str = "volume.beta.kubernetes.io/storage-class";

/// The volume is named once; a bound claim may grow and change its attributes.
pub(super) fn update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    let (spec, before, path) = (sub(new, "spec"), sub(old, "spec"), Path::new("spec"));
    let mut kept = spec.clone();
    if before.str_at("volumeName").is_empty() {
        copy_member(&mut kept, before, "volumeName");
    }
    if !is_given(before, "storageClassName") && annotation(old).is_none() || is_class_of_annotation(spec, old) {
        copy_member(&mut kept, before, "storageClassName");
    }
    if new.str_at("status.phase") == "Bound" && is_given(&kept, "resources.requests") {
        copy_member(&mut kept, before, STORAGE);
    }
    copy_member(&mut kept, before, CLASS);
    if !same(&kept, before) {
        let text = "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims";
        errors.forbidden(&path, text);
    }
    shrinks(new, old, &path.child(STORAGE), errors);
    immutable_pointer(spec, before, "volumeMode", &Path::root(), errors);
    attributes_class(new, old, &path.child(CLASS), errors);
}

/// The class of before may move from the annotation to its field.
fn is_class_of_annotation(spec: &Value, old: &Value) -> bool {
    !is_given(old, "spec.storageClassName") && annotation(old).is_some_and(|class| spec.at("storageClassName") == Some(class))
}

fn annotation(doc: &Value) -> Option<&Value> {
    doc.map_at("metadata.annotations").and_then(|map| map.get(BETA_CLASS))
}

/// Less may be asked only while more than that has not been given.
fn shrinks(new: &Value, old: &Value, path: &Path, errors: &mut FieldErrors) {
    let size = |doc: &Value, at: &str| amounts::quantity(doc, at).unwrap_or(Quantity::from_value(0, Format::BinarySi));
    let (asked, before) = (size(sub(new, "spec"), STORAGE), size(sub(old, "spec"), STORAGE));
    if asked < before && asked <= size(old, "status.capacity.storage") {
        errors.forbidden(path, "field can not be less than status.capacity");
    }
}

fn attributes_class(new: &Value, old: &Value, path: &Path, errors: &mut FieldErrors) {
    let (now, before) = (sub(new, "spec").at(CLASS), sub(old, "spec").at(CLASS));
    if before.is_none_or(Value::is_null) || now == before || !is_given(old, "status.currentVolumeAttributesClassName") {
        return;
    }
    match now.and_then(Value::as_str) {
        None => errors.forbidden(path, "update from non-nil value to nil is forbidden"),
        Some("") => errors.forbidden(path, "update from non-nil value to an empty string is forbidden"),
        Some(_) => {}
    }
}

pub(super) fn status(new: &Value, errors: &mut FieldErrors) {
    if sub(new, "spec").items_at("accessModes").is_empty() {
        errors.required(&Path::new("Spec.accessModes"), "");
    }
    for member in ["capacity", "allocatedResources"] {
        let path = Path::new("status").child(member);
        for (name, amount) in amounts::quantities(sub(new, "status"), member) {
            if amount.nano < 0 {
                errors.invalid(&path.key(name), amount.value(), "must be a valid resource quantity");
            }
        }
    }
}
