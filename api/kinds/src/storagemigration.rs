//! The kinds of `storagemigration.k8s.io`.

pub mod storage_version_migration;

pub use self::storage_version_migration::StorageVersionMigration;

use crate::descriptor::Descriptor;

/// The rows of this group.
pub(crate) fn rows() -> Vec<Descriptor> {
    vec![Descriptor::of::<StorageVersionMigration>()]
}
