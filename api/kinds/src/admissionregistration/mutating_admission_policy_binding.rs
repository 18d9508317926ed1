//! MutatingAdmissionPolicyBinding: where a mutating policy applies.

use schema::{DocExt, json};

use crate::cells::{AGE, NAME};
use crate::kind::{Col, Kind, Meta};

/// Where a mutating policy applies.
pub struct MutatingAdmissionPolicyBinding;

impl Kind for MutatingAdmissionPolicyBinding {
    const META: Meta = Meta {
        categories: &["api-extensions"],
        generation: true,
        ..Meta::cluster("admissionregistration.k8s.io", "MutatingAdmissionPolicyBinding", "mutatingadmissionpolicybindings")
    };
    const COLUMNS: &[Col] = &[
        NAME,
        Col::path("PolicyName", "spec.policyName"),
        Col::of("ParamRef", |doc| match (doc.str_at("spec.paramRef.namespace"), doc.str_at("spec.paramRef.name")) {
            ("", "") => json!("<unset>"),
            ("", name) => json!(name),
            (namespace, name) => json!(format!("{namespace}/{name}")),
        }),
        AGE,
    ];
}
