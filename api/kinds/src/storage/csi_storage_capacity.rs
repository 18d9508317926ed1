//! CSIStorageCapacity: how much a driver can still provision where.

use crate::kind::{Kind, Meta};

/// How much a driver can still provision where.
pub struct CsiStorageCapacity;

impl Kind for CsiStorageCapacity {
    const META: Meta = Meta::namespaced("storage.k8s.io", "CSIStorageCapacity", "csistoragecapacities");
}
