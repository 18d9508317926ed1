//! CustomResourceDefinition: a kind that users bring. What it makes of a kind is in [`crate::custom`]; who accepts its names
//! and cleans up after it is the API server.

mod rules;

use schema::{DocExt, FieldErrors, Value, json, names, time};

use crate::cells::NAME_AND_CREATED_AT;
use crate::core::pod::defaults::default_text;
use crate::descriptor::WriteContext;
use crate::kind::{Col, Kind, Meta, Question, Sub};

/// Held by every definition that is deleted, until its objects are gone.
pub const CLEANUP: &str = "customresourcecleanup.apiextensions.k8s.io";

/// A kind that users bring.
pub struct CustomResourceDefinition;

impl Kind for CustomResourceDefinition {
    const META: Meta = Meta {
        short: &["crd", "crds"],
        categories: &["api-extensions"],
        subresources: &[Sub::STATUS],
        generation: true,
        name: names::is_dns1123_subdomain,
        ..Meta::cluster("apiextensions.k8s.io", "CustomResourceDefinition", "customresourcedefinitions")
    };
    const NOTHING: &[Question] = &[Question::Fields, Question::Subresources, Question::Warnings];
    const COLUMNS: &[Col] = NAME_AND_CREATED_AT;

    fn fill_defaults(doc: &mut Value) {
        let kind = doc.str_at("spec.names.kind").to_owned();
        default_text(doc, "spec.names.singular", &kind.to_lowercase());
        default_text(doc, "spec.names.listKind", &format!("{kind}List"));
        default_text(doc, "spec.conversion.strategy", "None");
        if doc.at("spec.conversion.webhook.clientConfig.service").is_some_and(Value::is_object) {
            doc.default_at("spec.conversion.webhook.clientConfig.service.port", 443);
        }
    }

    fn prepare_create(doc: &mut Value, _cx: &WriteContext<'_>) {
        let stored: Vec<Value> = stored_version(doc).into_iter().collect();
        doc.set_at("status", json!({"conditions": null, "acceptedNames": {"plural": "", "kind": ""}, "storedVersions": stored}));
        drop_false(doc);
    }

    fn prepare_update(new: &mut Value, _old: &Value, cx: &WriteContext<'_>) {
        drop_false(new);
        if !cx.subresource.is_empty() {
            return;
        }
        // Objects may be stored in every version that was ever the stored one.
        let Some(stored) = stored_version(new) else { return };
        if !new.items_at("status.storedVersions").contains(&stored) {
            let mut versions = new.items_at("status.storedVersions").to_vec();
            versions.push(stored);
            new.set_at("status.storedVersions", versions);
        }
    }

    fn prepare_delete(doc: &mut Value, now: jiff::Timestamp) {
        let mut finalizers = doc.items_at("metadata.finalizers").to_vec();
        if !finalizers.iter().any(|held| held == CLEANUP) {
            finalizers.push(json!(CLEANUP));
            doc.set_at("metadata.finalizers", finalizers);
        }
        let message = "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon";
        set_condition(doc, "Terminating", true, "InstanceDeletionPending", message, now);
    }

    fn validate(new: &Value, old: Option<&Value>, errors: &mut FieldErrors) {
        rules::validate(new, old, errors);
    }

    fn validate_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
        rules::validate_update(new, old, errors);
    }
}

fn stored_version(doc: &Value) -> Option<Value> {
    doc.items_at("spec.versions").iter().find(|version| version.bool_at("storage")).map(|version| version["name"].clone())
}

/// The one flag of `spec` that may only be false is not kept.
fn drop_false(doc: &mut Value) {
    if doc.at("spec.preserveUnknownFields") == Some(&Value::Bool(false)) {
        doc.remove_at("spec.preserveUnknownFields");
    }
}

/// Sets a condition; its transition time moves only with its status. Returns whether anything changed.
pub fn set_condition(doc: &mut Value, ty: &str, is_true: bool, reason: &str, message: &str, now: jiff::Timestamp) -> bool {
    let status = if is_true { "True" } else { "False" };
    let mut conditions = doc.items_at("status.conditions").to_vec();
    let held = conditions.iter().position(|condition| condition.str_at("type") == ty);
    let since = held.filter(|&at| conditions[at].str_at("status") == status).map(|at| conditions[at]["lastTransitionTime"].clone());
    let since = since.unwrap_or_else(|| json!(time::format(now)));
    let made = json!({"type": ty, "status": status, "lastTransitionTime": since, "reason": reason, "message": message});
    match held {
        Some(at) if conditions[at] == made => return false,
        Some(at) => conditions[at] = made,
        None => conditions.push(made),
    }
    doc.set_at("status.conditions", conditions);
    true
}
