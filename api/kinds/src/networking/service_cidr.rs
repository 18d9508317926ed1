//! ServiceCIDR: a range of cluster addresses.

use schema::{DocExt, Value, json};

use crate::cells::{AGE, NAME};
use crate::kind::{Col, Kind, Meta, Sub};

/// A range of cluster addresses.
pub struct ServiceCidr;

impl Kind for ServiceCidr {
    const META: Meta =
        Meta { subresources: &[Sub::STATUS], generation: true, ..Meta::cluster("networking.k8s.io", "ServiceCIDR", "servicecidrs") };
    const COLUMNS: &[Col] = &[
        NAME,
        Col::of("CIDRs", |doc| json!(doc.items_at("spec.cidrs").iter().filter_map(Value::as_str).collect::<Vec<_>>().join(","))),
        AGE,
    ];
}
