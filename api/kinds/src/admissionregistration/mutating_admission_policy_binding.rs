//! MutatingAdmissionPolicyBinding: where a mutating policy applies.

use schema::{DocExt, FieldErrors, Path, Value, json};

use super::matching;
use crate::cells::{AGE, NAME};
use crate::kind::{Col, Kind, Meta, Question};
use crate::rules::sub;

/// Where a mutating policy applies.
pub struct MutatingAdmissionPolicyBinding;

impl Kind for MutatingAdmissionPolicyBinding {
    const META: Meta = Meta {
        categories: &["api-extensions"],
        generation: true,
        ..Meta::cluster("admissionregistration.k8s.io", "MutatingAdmissionPolicyBinding", "mutatingadmissionpolicybindings")
    };
    const NOTHING: &[Question] = &[Question::Fields, Question::Updates, Question::Subresources, Question::Warnings];
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

    fn fill_defaults(doc: &mut Value) {
        doc.at_mut("spec.matchResources").filter(|given| given.is_object()).into_iter().for_each(matching::fill);
    }

    fn validate(new: &Value, _old: Option<&Value>, errors: &mut FieldErrors) {
        matching::binding(sub(new, "spec"), &Path::new("spec"), errors);
    }
}
