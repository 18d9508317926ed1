//! StorageVersionMigration: rewrites stored objects in the newest version.

use crate::kind::{Kind, Meta, Sub};

/// Rewrites stored objects in the newest version.
pub struct StorageVersionMigration;

impl Kind for StorageVersionMigration {
    const META: Meta = Meta {
        subresources: &[Sub::STATUS],
        generation: true,
        ..Meta::cluster("storagemigration.k8s.io", "StorageVersionMigration", "storageversionmigrations")
    };
}
