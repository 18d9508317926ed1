//! VolumeAttachment: attaches a volume to a node.

use crate::cells::{AGE, NAME};
use crate::kind::{Col, Kind, Meta, Sub};

/// Attaches a volume to a node.
pub struct VolumeAttachment;

impl Kind for VolumeAttachment {
    const META: Meta = Meta {
        empty_status: r#"{"attached": false}"#,
        subresources: &[Sub::STATUS],
        ..Meta::cluster("storage.k8s.io", "VolumeAttachment", "volumeattachments")
    };
    const COLUMNS: &[Col] = &[
        NAME,
        Col::path("Attacher", "spec.attacher").named(),
        Col::path("PV", "spec.source.persistentVolumeName"),
        Col::path("Node", "spec.nodeName"),
        Col::path("Attached", "status.attached").ty("boolean"),
        AGE,
    ];
}
