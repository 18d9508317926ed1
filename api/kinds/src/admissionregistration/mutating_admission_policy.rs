//! MutatingAdmissionPolicy: changes requests by CEL expressions.

use schema::{DocExt, FieldErrors, Path, Value, json};

use super::matching;
use crate::cells::{AGE, NAME, count};
use crate::core::pod::defaults::default_text;
use crate::expressions::{Compiler, Use};
use crate::kind::{Col, Kind, Meta, Question};
use crate::rules::{is_given, not_supported, one_of, sub};

/// Changes requests by CEL expressions.
pub struct MutatingAdmissionPolicy;

impl Kind for MutatingAdmissionPolicy {
    const META: Meta = Meta {
        categories: &["api-extensions"],
        generation: true,
        ..Meta::cluster("admissionregistration.k8s.io", "MutatingAdmissionPolicy", "mutatingadmissionpolicies")
    };
    const NOTHING: &[Question] = &[Question::Fields, Question::Updates, Question::Subresources, Question::Warnings];
    const COLUMNS: &[Col] = &[
        NAME,
        Col::of("Mutations", |doc| json!(count(doc.at("spec.mutations")))).ty("integer"),
        Col::of("ParamKind", |doc| match doc.str_at("spec.paramKind.kind") {
            "" => json!("<unset>"),
            kind => json!(format!("{}/{kind}", doc.str_at("spec.paramKind.apiVersion"))),
        }),
        AGE,
    ];

    fn fill_defaults(doc: &mut Value) {
        default_text(doc, "spec.failurePolicy", "Fail");
        doc.at_mut("spec.matchConstraints").filter(|given| given.is_object()).into_iter().for_each(matching::fill);
    }

    fn validate(new: &Value, old: Option<&Value>, errors: &mut FieldErrors) {
        let compiler = matching::policy(new, old, errors);
        let (spec, path) = (sub(new, "spec"), Path::new("spec"));
        if spec.items_at("mutations").is_empty() {
            errors.required(&path.child("mutations"), "mutations must contain at least one item");
        }
        for (at, given) in spec.items_at("mutations").iter().enumerate() {
            mutation(&compiler, given, &path.child("mutations").index(at), errors);
        }
        one_of(spec, "reinvocationPolicy", &["IfNeeded", "Never"], &path, errors);
    }
}

/// How to change, in the one form that the type names.
fn mutation(compiler: &Compiler, given: &Value, path: &Path, errors: &mut FieldErrors) {
    let (usage, wanted, other) = match given.str_at("patchType") {
        "" => return errors.required(&path.child("patchType"), ""),
        "JSONPatch" => (Use::JsonPatch, "jsonPatch", "applyConfiguration"),
        "ApplyConfiguration" => (Use::ApplyConfiguration, "applyConfiguration", "jsonPatch"),
        kind => return not_supported(&path.child("patchType"), &kind.into(), &["ApplyConfiguration", "JSONPatch"], errors),
    };
    let kind = given.str_at("patchType");
    if is_given(given, wanted) {
        let (text, path) = (sub(given, wanted).str_at("expression"), path.child(wanted).child("expression"));
        compiler.check(usage, text, "expression is not specified", &path, errors);
    } else {
        errors.required(&path.child(wanted), &format!("must be specified when patchType is {kind}"));
    }
    if is_given(given, other) {
        let text = format!("must not be specified when patchType is {kind}");
        errors.invalid(&path.child(other), format!("{{{other}}}"), &text);
    }
}
