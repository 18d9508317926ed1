//! ServiceCIDR: a range of cluster addresses.

use crate::kind::{Kind, Meta, Sub};

/// A range of cluster addresses.
pub struct ServiceCidr;

impl Kind for ServiceCidr {
    const META: Meta =
        Meta { subresources: &[Sub::STATUS], generation: true, ..Meta::cluster("networking.k8s.io", "ServiceCIDR", "servicecidrs") };
}
