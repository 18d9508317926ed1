//! ResourceClaim: asks for devices.

use crate::kind::{Kind, Meta, Sub};

/// Asks for devices.
pub struct ResourceClaim;

impl Kind for ResourceClaim {
    const META: Meta =
        Meta { subresources: &[Sub::STATUS], generation: true, ..Meta::namespaced("resource.k8s.io", "ResourceClaim", "resourceclaims") };
}
