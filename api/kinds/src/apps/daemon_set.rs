//! DaemonSet: one pod on every matching node.

use crate::kind::{Kind, Meta, Sub};

/// One pod on every matching node.
pub struct DaemonSet;

impl Kind for DaemonSet {
    const META: Meta = Meta {
        short: &["ds"],
        categories: &["all"],
        subresources: &[Sub::STATUS],
        generation: true,
        ..Meta::namespaced("apps", "DaemonSet", "daemonsets")
    };
}
