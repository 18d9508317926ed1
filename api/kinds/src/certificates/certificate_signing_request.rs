//! CertificateSigningRequest: asks a signer for a certificate.

use schema::{DocExt, names};

use crate::kind::{Kind, Meta, Selectable, Sub};

/// Asks a signer for a certificate.
pub struct CertificateSigningRequest;

impl Kind for CertificateSigningRequest {
    const META: Meta = Meta {
        name: names::is_path_segment_name,
        short: &["csr"],
        subresources: &[Sub::of_parent("approval"), Sub::STATUS],
        ..Meta::cluster("certificates.k8s.io", "CertificateSigningRequest", "certificatesigningrequests")
    };
    const FIELDS: &[Selectable] = &[Selectable::new("spec.signerName", |doc| doc.str_at("spec.signerName").to_owned())];
}
