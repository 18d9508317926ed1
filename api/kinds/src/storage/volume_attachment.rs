//! VolumeAttachment: attaches a volume to a node.

use crate::kind::{Kind, Meta, Sub};

/// Attaches a volume to a node.
pub struct VolumeAttachment;

impl Kind for VolumeAttachment {
    const META: Meta = Meta {
        empty_status: r#"{"attached": false}"#,
        subresources: &[Sub::STATUS],
        ..Meta::cluster("storage.k8s.io", "VolumeAttachment", "volumeattachments")
    };
}
