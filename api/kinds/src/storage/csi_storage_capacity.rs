//! CSIStorageCapacity: how much a driver can still provision where.

use schema::DocExt;

use crate::cells::{NAME, or_unset};
use crate::kind::{Col, Kind, Meta};

/// How much a driver can still provision where.
pub struct CsiStorageCapacity;

impl Kind for CsiStorageCapacity {
    const META: Meta = Meta::namespaced("storage.k8s.io", "CSIStorageCapacity", "csistoragecapacities");
    const COLUMNS: &[Col] =
        &[NAME, Col::path("StorageClassName", "storageClassName"), Col::of("Capacity", |doc| or_unset(doc.str_at("capacity")))];
}
