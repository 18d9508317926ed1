//! ValidatingAdmissionPolicyBinding: where a validating policy applies.

use crate::kind::{Kind, Meta};

/// Where a validating policy applies.
pub struct ValidatingAdmissionPolicyBinding;

impl Kind for ValidatingAdmissionPolicyBinding {
    const META: Meta = Meta {
        categories: &["api-extensions"],
        generation: true,
        ..Meta::cluster("admissionregistration.k8s.io", "ValidatingAdmissionPolicyBinding", "validatingadmissionpolicybindings")
    };
}
