//! NetworkPolicy: which traffic pods accept and send.

use crate::kind::{Kind, Meta};

/// Which traffic pods accept and send.
pub struct NetworkPolicy;

impl Kind for NetworkPolicy {
    const META: Meta =
        Meta { short: &["netpol"], generation: true, ..Meta::namespaced("networking.k8s.io", "NetworkPolicy", "networkpolicies") };
}
