//! CSINode: the storage drivers of a node.

use schema::{DocExt, FieldErrors, Path, Value, json, names};

use crate::cells::{AGE, NAME, count};
use crate::core::pod::rules::volumes::driver_name;
use crate::kind::{Col, Kind, Meta, Question, Sub, same};
use crate::rules::{each, non_negative, sub};

const NODE_ID_BYTES_MAX: usize = 256;

/// The storage drivers of a node.
pub struct CsiNode;

impl Kind for CsiNode {
    const META: Meta = Meta { subresources: &[Sub::STATUS], ..Meta::cluster("storage.k8s.io", "CSINode", "csinodes") };
    const NOTHING: &[Question] = &[Question::Fields, Question::Defaults, Question::Subresources, Question::Warnings];
    const COLUMNS: &[Col] = &[NAME, Col::of("Drivers", |doc| json!(count(doc.at("spec.drivers")))).ty("integer"), AGE];

    /// Upstream asks a new object twice, and tells what is wrong twice.
    fn validate(new: &Value, old: Option<&Value>, errors: &mut FieldErrors) {
        for _ in 0..if old.is_none() { 2 } else { 1 } {
            drivers(new.items_at("spec.drivers"), &Path::new("spec.drivers"), errors);
        }
    }

    /// A driver's entry may go and come; what it says of the node stays, but for how many volumes fit.
    fn validate_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
        for driver in new.items_at("spec.drivers") {
            let before = old.items_at("spec.drivers").iter().find(|before| before.str_at("name") == driver.str_at("name"));
            let stays = |before: &Value| ["nodeID", "topologyKeys"].iter().all(|member| same(sub(driver, member), sub(before, member)));
            if before.is_some_and(|before| !stays(before)) {
                errors.invalid(&Path::new("CSINodeDriver"), driver.clone(), "field is immutable");
            }
        }
    }
}

fn drivers(drivers: &[Value], path: &Path, errors: &mut FieldErrors) {
    for (at, given) in drivers.iter().enumerate() {
        let path = path.index(at);
        driver(given, &path, errors);
        if drivers[..at].iter().any(|before| before.str_at("name") == given.str_at("name")) {
            errors.duplicate(&path.child("name"), given.str_at("name"));
        }
    }
}

fn driver(driver: &Value, path: &Path, errors: &mut FieldErrors) {
    driver_name(driver.str_at("name"), &path.child("name"), errors);
    let (id, id_path) = (driver.str_at("nodeID"), path.child("nodeID"));
    if id.is_empty() {
        errors.required(&id_path, "");
    } else if id.len() > NODE_ID_BYTES_MAX {
        errors.invalid(&id_path, id, &format!("must be {NODE_ID_BYTES_MAX} characters or less"));
    }
    non_negative(sub(driver, "allocatable"), &["count"], &path.child("allocatable"), errors);
    let keys = driver.items_at("topologyKeys");
    for (at, key) in keys.iter().enumerate() {
        let text = key.as_str().unwrap_or_default();
        if text.is_empty() {
            errors.required(path, "");
        }
        if keys[..at].contains(key) {
            errors.duplicate(path, text);
        }
        each(path, keys.to_vec(), names::is_qualified_name(text), errors);
    }
}
