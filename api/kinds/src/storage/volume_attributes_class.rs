//! VolumeAttributesClass: volume parameters that can change later.

use schema::{DocExt, FieldErrors, Map, Path, Value};

use super::storage_class::{parameters, provisioner};
use crate::cells::{AGE, NAME};
use crate::kind::{Col, Kind, Meta, Question, same};
use crate::rules::sub;

/// Volume parameters that can change later.
pub struct VolumeAttributesClass;

impl Kind for VolumeAttributesClass {
    const META: Meta = Meta { short: &["vac"], ..Meta::cluster("storage.k8s.io", "VolumeAttributesClass", "volumeattributesclasses") };
    const NOTHING: &[Question] = &[Question::Fields, Question::Defaults, Question::Subresources, Question::Warnings];
    const COLUMNS: &[Col] = &[NAME, Col::path("DriverName", "driverName"), AGE];

    fn validate(new: &Value, _old: Option<&Value>, errors: &mut FieldErrors) {
        provisioner(new.str_at("driverName"), &Path::new("driverName"), errors);
        if new.map_at("parameters").is_none_or(Map::is_empty) {
            errors.required(&Path::new("parameters"), "must contain at least one key/value pair");
        }
        parameters(new, &Path::new("parameters"), errors);
    }

    fn validate_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
        for member in ["driverName", "parameters"] {
            if !same(sub(new, member), sub(old, member)) {
                errors.forbidden(&Path::new(member), &format!("updates to {member} are forbidden."));
            }
        }
    }
}
