//! ResourceClaim: asks for devices.

use schema::{DocExt, Value, json};

use crate::cells::{AGE, NAME};
use crate::kind::{Col, Kind, Meta, Sub};

/// Asks for devices.
pub struct ResourceClaim;

impl Kind for ResourceClaim {
    const META: Meta =
        Meta { subresources: &[Sub::STATUS], generation: true, ..Meta::namespaced("resource.k8s.io", "ResourceClaim", "resourceclaims") };
    const COLUMNS: &[Col] = &[NAME, Col::of("State", state), AGE];
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
