//! NetworkPolicy: which traffic pods accept and send.

use schema::DocExt;

use crate::cells::{AGE, NAME};
use crate::kind::{Col, Kind, Meta};
use crate::workload;

/// Which traffic pods accept and send.
pub struct NetworkPolicy;

impl Kind for NetworkPolicy {
    const META: Meta =
        Meta { short: &["netpol"], generation: true, ..Meta::namespaced("networking.k8s.io", "NetworkPolicy", "networkpolicies") };
    const COLUMNS: &[Col] = &[NAME, Col::of("Pod-Selector", |doc| workload::selector_text(doc.at("spec.podSelector"))), AGE];
}
