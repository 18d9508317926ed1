//! CSINode: the storage drivers of a node.

use crate::kind::{Kind, Meta, Sub};

/// The storage drivers of a node.
pub struct CsiNode;

impl Kind for CsiNode {
    const META: Meta = Meta { subresources: &[Sub::STATUS], ..Meta::cluster("storage.k8s.io", "CSINode", "csinodes") };
}
