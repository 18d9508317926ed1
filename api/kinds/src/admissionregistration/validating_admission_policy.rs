//! ValidatingAdmissionPolicy: refuses requests by CEL expressions.

use crate::kind::{Kind, Meta, Sub};

/// Refuses requests by CEL expressions.
pub struct ValidatingAdmissionPolicy;

impl Kind for ValidatingAdmissionPolicy {
    const META: Meta = Meta {
        categories: &["api-extensions"],
        subresources: &[Sub::STATUS],
        generation: true,
        ..Meta::cluster("admissionregistration.k8s.io", "ValidatingAdmissionPolicy", "validatingadmissionpolicies")
    };
}
