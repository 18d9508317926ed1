//! MutatingAdmissionPolicy: changes requests by CEL expressions.

use crate::kind::{Kind, Meta};

/// Changes requests by CEL expressions.
pub struct MutatingAdmissionPolicy;

impl Kind for MutatingAdmissionPolicy {
    const META: Meta = Meta {
        categories: &["api-extensions"],
        generation: true,
        ..Meta::cluster("admissionregistration.k8s.io", "MutatingAdmissionPolicy", "mutatingadmissionpolicies")
    };
}
