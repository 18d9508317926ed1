//! ClusterTrustBundle: root certificates for everybody.

use schema::DocExt;

use crate::cells::NAME;
use crate::kind::{Col, Kind, Meta, Selectable};

/// Root certificates for everybody.
pub struct ClusterTrustBundle;

impl Kind for ClusterTrustBundle {
    const META: Meta = Meta::cluster("certificates.k8s.io", "ClusterTrustBundle", "clustertrustbundles");
    const COLUMNS: &[Col] = &[NAME, Col::path("SignerName", "spec.signerName")];
    const FIELDS: &[Selectable] = &[Selectable::new("spec.signerName", |doc| doc.str_at("spec.signerName").to_owned())];
}
