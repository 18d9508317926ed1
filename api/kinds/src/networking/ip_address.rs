//! IPAddress: one allocated cluster address.

use crate::kind::{Kind, Meta};

/// One allocated cluster address.
pub struct IpAddress;

impl Kind for IpAddress {
    const META: Meta = Meta { short: &["ip"], generation: true, ..Meta::cluster("networking.k8s.io", "IPAddress", "ipaddresses") };
}
