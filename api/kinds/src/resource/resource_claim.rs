//! ResourceClaim: asks for devices.

mod rules;

use schema::{DocExt, FieldErrors, Path, Value, json};

pub(super) use rules::{fill, spec};

use super::device;

use crate::cells::{AGE, NAME};
use crate::descriptor::WriteContext;
use crate::kind::{Col, Kind, Meta, Question, Sub, same};
use crate::rules::sub;

/// Asks for devices.
pub struct ResourceClaim;

impl Kind for ResourceClaim {
    const META: Meta =
        Meta { subresources: &[Sub::STATUS], generation: true, ..Meta::namespaced("resource.k8s.io", "ResourceClaim", "resourceclaims") };
    const NOTHING: &[Question] = &[Question::Fields, Question::Warnings];
    const COLUMNS: &[Col] = &[NAME, Col::of("State", state), AGE];

    fn fill_defaults(doc: &mut Value) {
        doc.at_mut("spec").into_iter().for_each(fill);
    }

    fn validate(new: &Value, old: Option<&Value>, errors: &mut FieldErrors) {
        let is_stored = old.is_some_and(|old| same(sub(old, "spec"), sub(new, "spec")));
        spec(sub(new, "spec"), is_stored, &Path::new("spec"), errors);
    }

    fn validate_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
        device::spec_stays(new, old, errors);
    }

    fn validate_subresource(new: &Value, old: &Value, cx: &WriteContext<'_>, errors: &mut FieldErrors) {
        if cx.subresource == "status" {
            rules::status(new, old, errors);
        }
    }
}

fn state(doc: &Value) -> Value {
    let mut states = Vec::new();
    if !doc.str_at("metadata.deletionTimestamp").is_empty() {
        states.push("deleted");
    }
    match doc.at("status.allocation").is_some_and(Value::is_object) {
        false if states.is_empty() => states.push("pending"),
        false => {}
        true => {
            states.push("allocated");
            states.push(if doc.items_at("status.reservedFor").is_empty() { "available" } else { "reserved" });
            if states.last() == Some(&"available") {
                states.pop();
            }
        }
    }
    json!(states.join(","))
}
