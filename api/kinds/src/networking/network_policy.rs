//! NetworkPolicy: which traffic pods accept and send.

use schema::{DocExt, Value, json};

use crate::cells::{AGE, NAME};
use crate::core::pod::defaults::default_text;
use crate::kind::{Col, Kind, Meta};
use crate::workload;

/// Which traffic pods accept and send.
pub struct NetworkPolicy;

impl Kind for NetworkPolicy {
    const META: Meta =
        Meta { short: &["netpol"], generation: true, ..Meta::namespaced("networking.k8s.io", "NetworkPolicy", "networkpolicies") };
    const COLUMNS: &[Col] = &[NAME, Col::of("Pod-Selector", |doc| workload::selector_text(doc.at("spec.podSelector"))), AGE];

    fn fill_defaults(doc: &mut Value) {
        for list in ["spec.ingress", "spec.egress"] {
            for rule in doc.items_at_mut(list) {
                rule.items_at_mut("ports").iter_mut().for_each(|port| default_text(port, "protocol", "TCP"));
            }
        }
        if doc.items_at("spec.policyTypes").is_empty() {
            let has_egress = !doc.items_at("spec.egress").is_empty();
            doc.set_at("spec.policyTypes", if has_egress { json!(["Ingress", "Egress"]) } else { json!(["Ingress"]) });
        }
    }
}
