//! StatefulSet: pods with names and volumes of their own, in order.

use crate::kind::{Kind, Meta, Sub};

/// Pods with names and volumes of their own, in order.
pub struct StatefulSet;

impl Kind for StatefulSet {
    const META: Meta = Meta {
        short: &["sts"],
        categories: &["all"],
        subresources: &[Sub::SCALE, Sub::STATUS],
        generation: true,
        ..Meta::namespaced("apps", "StatefulSet", "statefulsets")
    };
}
