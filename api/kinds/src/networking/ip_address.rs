//! IPAddress: one allocated cluster address.

use schema::{DocExt, Value};

use crate::cells::{AGE, NAME, or_none};
use crate::kind::{Col, Kind, Meta};

/// One allocated cluster address.
pub struct IpAddress;

impl Kind for IpAddress {
    const META: Meta = Meta { short: &["ip"], generation: true, ..Meta::cluster("networking.k8s.io", "IPAddress", "ipaddresses") };
    const COLUMNS: &[Col] = &[NAME, Col::of("ParentRef", parent), AGE];
}

/// `services/default/kubernetes`
fn parent(doc: &Value) -> Value {
    let members = ["group", "resource", "namespace", "name"].map(|member| doc.str_at(&format!("spec.parentRef.{member}")));
    let parts: Vec<&str> = members.into_iter().filter(|part| !part.is_empty()).collect();
    or_none(&parts.join("/"))
}
