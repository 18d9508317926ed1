//! The kinds of `certificates.k8s.io`.

pub mod certificate_signing_request;
pub mod cluster_trust_bundle;
pub mod pod_certificate_request;
mod signer;

pub use self::certificate_signing_request::CertificateSigningRequest;
pub use self::cluster_trust_bundle::ClusterTrustBundle;
pub use self::pod_certificate_request::PodCertificateRequest;

use crate::descriptor::Descriptor;

/// The rows of this group.
pub(crate) fn rows() -> Vec<Descriptor> {
    vec![Descriptor::of::<CertificateSigningRequest>(), Descriptor::of::<ClusterTrustBundle>(), Descriptor::of::<PodCertificateRequest>()]
}
