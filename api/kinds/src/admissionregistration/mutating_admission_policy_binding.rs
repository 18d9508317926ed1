//! MutatingAdmissionPolicyBinding: where a mutating policy applies.

use crate::kind::{Kind, Meta};

/// Where a mutating policy applies.
pub struct MutatingAdmissionPolicyBinding;

impl Kind for MutatingAdmissionPolicyBinding {
    const META: Meta = Meta {
        categories: &["api-extensions"],
        generation: true,
        ..Meta::cluster("admissionregistration.k8s.io", "MutatingAdmissionPolicyBinding", "mutatingadmissionpolicybindings")
    };
}
