//! FlowSchema: sorts requests into priority levels.

use crate::kind::{Kind, Meta, Sub};

/// Sorts requests into priority levels.
pub struct FlowSchema;

impl Kind for FlowSchema {
    const META: Meta = Meta {
        subresources: &[Sub::STATUS],
        generation: true,
        ..Meta::cluster("flowcontrol.apiserver.k8s.io", "FlowSchema", "flowschemas")
    };
}
