//! ValidatingAdmissionPolicyBinding: where a validating policy applies.

use schema::{DocExt, FieldErrors, Path, Value, json};

use super::matching;
use crate::cells::{AGE, NAME};
use crate::kind::{Col, Kind, Meta, Question};
use crate::rules::{not_supported, sub};

const ACTIONS: &[&str] = &["Audit", "Deny", "Warn"];

/// Where a validating policy applies.
pub struct ValidatingAdmissionPolicyBinding;

impl Kind for ValidatingAdmissionPolicyBinding {
    const META: Meta = Meta {
        categories: &["api-extensions"],
        generation: true,
        ..Meta::cluster("admissionregistration.k8s.io", "ValidatingAdmissionPolicyBinding", "validatingadmissionpolicybindings")
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
        validation_actions(sub(new, "spec").items_at("validationActions"), &Path::new("spec.validationActions"), errors);
    }
}

fn validation_actions(actions: &[Value], path: &Path, errors: &mut FieldErrors) {
    for (at, action) in actions.iter().enumerate() {
        if !ACTIONS.iter().any(|known| action == known) {
            not_supported(&path.index(at), action, ACTIONS, errors);
        }
        if actions[..at].contains(action) {
            errors.duplicate(&path.index(at), action.clone());
        }
    }
    let has = |name: &str| actions.iter().any(|action| action == name);
    if has("Deny") && has("Warn") {
        let text = "must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)";
        errors.invalid(path, actions.to_vec(), text);
    }
    if actions.is_empty() {
        errors.required(path, "at least one validation action is required");
    }
}
