//! PriorityClass: a named pod priority.

use crate::kind::{Kind, Meta};

/// A named pod priority.
pub struct PriorityClass;

impl Kind for PriorityClass {
    const META: Meta = Meta { short: &["pc"], generation: true, ..Meta::cluster("scheduling.k8s.io", "PriorityClass", "priorityclasses") };
}
