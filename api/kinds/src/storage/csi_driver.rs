//! CSIDriver: what a storage driver can do.

use crate::kind::{Kind, Meta};

/// What a storage driver can do.
pub struct CsiDriver;

impl Kind for CsiDriver {
    const META: Meta = Meta { generation: true, ..Meta::cluster("storage.k8s.io", "CSIDriver", "csidrivers") };
}
