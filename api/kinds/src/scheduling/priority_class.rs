//! PriorityClass: a named pod priority.

use crate::cells::{AGE, NAME};
use crate::kind::{Col, Kind, Meta};

/// A named pod priority.
pub struct PriorityClass;

impl Kind for PriorityClass {
    const META: Meta = Meta { short: &["pc"], generation: true, ..Meta::cluster("scheduling.k8s.io", "PriorityClass", "priorityclasses") };
    const COLUMNS: &[Col] = &[
        NAME,
        Col::path("Value", "value").ty("integer"),
        Col::path("Global-Default", "globalDefault").ty("boolean"),
        AGE,
        Col::path("PreemptionPolicy", "preemptionPolicy"),
    ];
}
