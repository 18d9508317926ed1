//! ControllerRevision: a snapshot of a controller's template.

use schema::{DocExt, Value, json};

use crate::cells::{AGE, NAME};
use crate::kind::{Col, Kind, Meta};

/// A snapshot of a controller's template.
pub struct ControllerRevision;

impl Kind for ControllerRevision {
    const META: Meta = Meta::namespaced("apps", "ControllerRevision", "controllerrevisions");
    const COLUMNS: &[Col] = &[NAME, Col::of("Controller", controller), Col::path("Revision", "revision"), AGE];
}

/// `statefulset.apps/web`
fn controller(doc: &Value) -> Value {
    let owners = doc.items_at("metadata.ownerReferences");
    let Some(owner) = owners.iter().find(|owner| owner.bool_at("controller")) else { return json!("<none>") };
    let group = owner.str_at("apiVersion").split_once('/').map_or(String::new(), |(group, _)| format!(".{group}"));
    json!(format!("{}{group}/{}", owner.str_at("kind").to_lowercase(), owner.str_at("name")))
}
