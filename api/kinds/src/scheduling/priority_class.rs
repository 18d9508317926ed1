//! PriorityClass: a named pod priority.

use schema::Value;

use crate::cells::{AGE, NAME};
use crate::core::pod::defaults::default_text;
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

    fn bumps_generation(_new: &Value, _old: &Value) -> bool {
        false
    }

    fn fill_defaults(doc: &mut Value) {
        default_text(doc, "preemptionPolicy", "PreemptLowerPriority");
    }
}
