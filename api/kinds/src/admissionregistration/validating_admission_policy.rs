//! ValidatingAdmissionPolicy: refuses requests by CEL expressions.

use schema::{DocExt, FieldErrors, Path, Value, json};

use super::matching;
use crate::cells::{AGE, NAME, count};
use crate::core::pod::defaults::default_text;
use crate::descriptor::WriteContext;
use crate::expressions::{Compiler, Use};
use crate::kind::{Col, Kind, Meta, Question, Sub};
use crate::rules::{conditions, one_of_if_set, qualified_name, required, sub};

const REASONS: &[&str] = &["Forbidden", "Invalid", "RequestEntityTooLarge", "Unauthorized"];
const ANNOTATIONS_MAX: usize = 20;
const ANNOTATION_BYTES_MAX: usize = 5 * 1024;

/// Refuses requests by CEL expressions.
pub struct ValidatingAdmissionPolicy;

impl Kind for ValidatingAdmissionPolicy {
    const META: Meta = Meta {
        categories: &["api-extensions"],
        subresources: &[Sub::STATUS],
        generation: true,
        ..Meta::cluster("admissionregistration.k8s.io", "ValidatingAdmissionPolicy", "validatingadmissionpolicies")
    };
    const NOTHING: &[Question] = &[Question::Fields, Question::Updates, Question::Warnings];
    const COLUMNS: &[Col] = &[
        NAME,
        Col::of("Validations", |doc| json!(count(doc.at("spec.validations")))).ty("integer"),
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
        let (validations, annotations) = (spec.items_at("validations"), spec.items_at("auditAnnotations"));
        if validations.is_empty() && annotations.is_empty() {
            for member in ["validations", "auditAnnotations"] {
                errors.required(&path.child(member), "validations or auditAnnotations must contain at least one item");
            }
            return;
        }
        for (at, given) in validations.iter().enumerate() {
            validation(&compiler, given, &path.child("validations").index(at), errors);
        }
        audit_annotations(&compiler, new.str_at("metadata.name"), annotations, &path.child("auditAnnotations"), errors);
    }

    fn validate_subresource(new: &Value, _old: &Value, cx: &WriteContext<'_>, errors: &mut FieldErrors) {
        if cx.subresource != "status" {
            return;
        }
        for (at, warning) in new.items_at("status.typeChecking.expressionWarnings").iter().enumerate() {
            let path = Path::new("status.typeChecking.expressionWarnings").index(at);
            required(warning, "warning", &path, errors);
            required(warning, "fieldRef", &path, errors);
        }
        conditions(new.items_at("status.conditions"), &Path::new("status.conditions"), errors);
    }
}

fn validation(compiler: &Compiler, given: &Value, path: &Path, errors: &mut FieldErrors) {
    let rule = given.str_at("expression");
    compiler.check(Use::Validation, rule, "expression is not specified", &path.child("expression"), errors);
    let (computed, message) = (given.str_at("messageExpression"), given.str_at("message"));
    if !computed.is_empty() && computed.trim().is_empty() {
        errors.invalid(&path.child("messageExpression"), computed, "must be non-empty if specified");
    } else if !computed.is_empty() {
        compiler.check(Use::Message, computed, "", &path.child("messageExpression"), errors);
    }
    if !message.is_empty() && message.trim().is_empty() {
        errors.invalid(&path.child("message"), message, "message must be non-empty if specified");
    } else if message.trim().contains(['\n', '\r']) {
        errors.invalid(&path.child("message"), message, "message must not contain line breaks");
    }
    one_of_if_set(given, "reason", REASONS, path, errors);
}

fn audit_annotations(compiler: &Compiler, policy: &str, annotations: &[Value], path: &Path, errors: &mut FieldErrors) {
    if annotations.len() > ANNOTATIONS_MAX {
        let text = format!("must not have more than {ANNOTATIONS_MAX} auditAnnotations");
        errors.invalid(path, annotations.to_vec(), &text);
    }
    for (at, annotation) in annotations.iter().enumerate() {
        let (key, text, path) = (annotation.str_at("key"), annotation.str_at("valueExpression"), path.index(at));
        qualified_name(&format!("{policy}/{key}"), &path.child("key"), errors);
        if text.trim().len() > ANNOTATION_BYTES_MAX {
            let text = format!("must not exceed {ANNOTATION_BYTES_MAX} bytes in length");
            errors.required(&path.child("valueExpression"), &text);
        } else {
            let path = path.child("valueExpression");
            compiler.check(Use::AuditAnnotation, text, "valueExpression is not specified", &path, errors);
        }
        if annotations[..at].iter().any(|before| before.str_at("key") == key) {
            errors.duplicate(&path.child("key"), key);
        }
    }
}
