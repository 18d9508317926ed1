//! StorageClass: how volumes are provisioned.

use crate::kind::{Kind, Meta};

/// How volumes are provisioned.
pub struct StorageClass;

impl Kind for StorageClass {
    const META: Meta = Meta { short: &["sc"], ..Meta::cluster("storage.k8s.io", "StorageClass", "storageclasses") };
}
