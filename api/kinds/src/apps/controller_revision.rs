//! ControllerRevision: a snapshot of a controller's template.

use crate::kind::{Kind, Meta};

/// A snapshot of a controller's template.
pub struct ControllerRevision;

impl Kind for ControllerRevision {
    const META: Meta = Meta::namespaced("apps", "ControllerRevision", "controllerrevisions");
}
