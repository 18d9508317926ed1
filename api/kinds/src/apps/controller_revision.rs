//! ControllerRevision: a snapshot of a controller's template.

use schema::{DocExt, FieldErrors, Path, Value, json};

use crate::cells::{AGE, NAME};
use crate::kind::{Col, Kind, Meta, Question};
use crate::rules::{non_negative, sub};

/// A snapshot of a controller's template.
pub struct ControllerRevision;

impl Kind for ControllerRevision {
    const META: Meta = Meta::namespaced("apps", "ControllerRevision", "controllerrevisions");
    const NOTHING: &[Question] = &[Question::Fields, Question::Defaults, Question::Subresources, Question::Warnings];
    const COLUMNS: &[Col] = &[NAME, Col::of("Controller", controller), Col::path("Revision", "revision"), AGE];

    fn validate(new: &Value, _old: Option<&Value>, errors: &mut FieldErrors) {
        if sub(new, "data").is_null() {
            errors.required(&Path::new("data"), "data is mandatory");
        }
        non_negative(new, &["revision"], &Path::root(), errors);
    }

    fn validate_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
        if sub(new, "data") != sub(old, "data") {
            errors.invalid(&Path::new("data"), sub(new, "data").clone(), "field is immutable");
        }
    }
}

/// `statefulset.apps/web`
fn controller(doc: &Value) -> Value {
    let owners = doc.items_at("metadata.ownerReferences");
    let Some(owner) = owners.iter().find(|owner| owner.bool_at("controller")) else { return json!("<none>") };
    let group = owner.str_at("apiVersion").split_once('/').map_or(String::new(), |(group, _)| format!(".{group}"));
    json!(format!("{}{group}/{}", owner.str_at("kind").to_lowercase(), owner.str_at("name")))
}
