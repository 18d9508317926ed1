//! CSINode: the storage drivers of a node.

use schema::{DocExt, json};

use crate::cells::{AGE, NAME, count};
use crate::kind::{Col, Kind, Meta, Sub};

/// The storage drivers of a node.
pub struct CsiNode;

impl Kind for CsiNode {
    const META: Meta = Meta { subresources: &[Sub::STATUS], ..Meta::cluster("storage.k8s.io", "CSINode", "csinodes") };
    const COLUMNS: &[Col] = &[NAME, Col::of("Drivers", |doc| json!(count(doc.at("spec.drivers")))).ty("integer"), AGE];
}
