//! PersistentVolumeClaim: asks for a persistent volume.

use crate::kind::{Kind, Meta, Sub};

/// Asks for a persistent volume.
pub struct PersistentVolumeClaim;

impl Kind for PersistentVolumeClaim {
    const META: Meta = Meta {
        empty_status: r#"{"phase": "Pending"}"#,
        short: &["pvc"],
        subresources: &[Sub::STATUS],
        ..Meta::namespaced("", "PersistentVolumeClaim", "persistentvolumeclaims")
    };
}
