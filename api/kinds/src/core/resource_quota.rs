//! ResourceQuota: how much a namespace may hold in all.

use crate::kind::{Kind, Meta, Sub};

/// How much a namespace may hold in all.
pub struct ResourceQuota;

impl Kind for ResourceQuota {
    const META: Meta = Meta { short: &["quota"], subresources: &[Sub::STATUS], ..Meta::namespaced("", "ResourceQuota", "resourcequotas") };
}
