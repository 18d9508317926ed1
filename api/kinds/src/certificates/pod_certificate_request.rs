//! PodCertificateRequest: asks for a certificate in a pod's name.

use schema::DocExt;

use crate::kind::{Kind, Meta, Selectable, Sub};

/// Asks for a certificate in a pod's name.
pub struct PodCertificateRequest;

impl Kind for PodCertificateRequest {
    const META: Meta =
        Meta { subresources: &[Sub::STATUS], ..Meta::namespaced("certificates.k8s.io", "PodCertificateRequest", "podcertificaterequests") };
    const FIELDS: &[Selectable] = &[
        Selectable::new("spec.signerName", |doc| doc.str_at("spec.signerName").to_owned()),
        Selectable::new("spec.podName", |doc| doc.str_at("spec.podName").to_owned()),
        Selectable::new("spec.nodeName", |doc| doc.str_at("spec.nodeName").to_owned()),
    ];
}
