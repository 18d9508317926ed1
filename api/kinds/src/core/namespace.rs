//! Namespace: a room for names.

use schema::{DocExt, FieldErrors, ObjectMeta, Path, Value, json, names};
use serde::{Deserialize, Serialize};

use crate::cells::{AGE, NAME};
use crate::core::pod::defaults::default_text;
use crate::descriptor::{Verbs, WriteContext};
use crate::kind::{Col, Kind, Meta, Question, Selectable, Sub, copy_member};
use crate::lens::{is_default, null_default};
use crate::rules::qualified_name;

const FINALIZER: &str = "kubernetes";
const NAME_LABEL: &str = "kubernetes.io/metadata.name";
const NOT_STANDARD: &str = "name is neither a standard finalizer name nor is it fully qualified";

/// A room for names.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Namespace {
    pub metadata: ObjectMeta,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub spec: NamespaceSpec,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub status: NamespaceStatus,
}

impl Kind for Namespace {
    const META: Meta = Meta {
        name: names::is_dns1123_label,
        empty_status: r#"{"phase": "Active"}"#,
        short: &["ns"],
        verbs: Verbs::These(&["create", "delete", "get", "list", "patch", "update", "watch"]),
        subresources: &[Sub { name: "finalize", kind: None, verbs: &["update"] }, Sub::STATUS],
        ..Meta::cluster("", "Namespace", "namespaces")
    };
    const NOTHING: &[Question] = &[Question::Updates, Question::Warnings];
    const COLUMNS: &[Col] = &[NAME, Col::path("Status", "status.phase"), AGE];
    const FIELDS: &[Selectable] = &[Selectable::new("status.phase", |doc| doc.str_at("status.phase").to_owned())];

    fn fill_defaults(doc: &mut Value) {
        doc.default_at("spec", json!({}));
        default_text(doc, "status.phase", "Active");
        label_with_name(doc);
    }

    fn prepare_create(doc: &mut Value, _cx: &WriteContext<'_>) {
        label_with_name(doc);
        let mut finalizers = doc.items_at("spec.finalizers").to_vec();
        if !finalizers.iter().any(|finalizer| finalizer == FINALIZER) {
            finalizers.push(json!(FINALIZER));
        }
        doc.set_at("spec.finalizers", finalizers);
    }

    fn prepare_update(new: &mut Value, old: &Value, cx: &WriteContext<'_>) {
        match cx.subresource {
            "" => copy_member(new, old, "spec.finalizers"),
            "finalize" => copy_member(new, old, "status"),
            _ => {}
        }
    }

    fn validate(new: &Value, _old: Option<&Value>, errors: &mut FieldErrors) {
        for finalizer in finalizers(new) {
            check_finalizer(finalizer, &Path::new("spec.finalizers"), errors);
        }
    }

    fn validate_subresource(new: &Value, _old: &Value, cx: &WriteContext<'_>, errors: &mut FieldErrors) {
        match cx.subresource {
            "status" => phase(new, errors),
            "finalize" => {
                for (at, finalizer) in finalizers(new).enumerate() {
                    check_finalizer(finalizer, &Path::new("spec.finalizers").index(at), errors);
                }
            }
            _ => {}
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NamespaceSpec {
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub finalizers: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NamespaceStatus {
    /// `Active` or `Terminating`.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub phase: String,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub conditions: Vec<NamespaceCondition>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NamespaceCondition {
    #[serde(deserialize_with = "null_default")]
    pub r#type: String,
    #[serde(deserialize_with = "null_default")]
    pub status: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_transition_time: Option<String>,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub reason: String,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub message: String,
}

fn label_with_name(doc: &mut Value) {
    let name = doc.str_at("metadata.name").to_owned();
    if !name.is_empty() {
        doc.default_at("metadata.labels", json!({}));
        doc["metadata"]["labels"][NAME_LABEL] = json!(name);
    }
}

fn finalizers(doc: &Value) -> impl Iterator<Item = &str> {
    doc.items_at("spec.finalizers").iter().filter_map(Value::as_str)
}

fn check_finalizer(name: &str, path: &Path, errors: &mut FieldErrors) {
    qualified_name(name, path, errors);
    if !name.contains('/') && !matches!(name, "kubernetes" | "orphan" | "foregroundDeletion") {
        errors.invalid(path, name, NOT_STANDARD);
    }
}

fn phase(doc: &Value, errors: &mut FieldErrors) {
    let (phase, path) = (doc.str_at("status.phase"), Path::new("status.Phase"));
    if doc.str_at("metadata.deletionTimestamp").is_empty() {
        if phase != "Active" {
            errors.invalid(&path, phase, "may only be 'Active' if `deletionTimestamp` is empty");
        }
    } else if phase != "Terminating" {
        errors.invalid(&path, phase, "may only be 'Terminating' if `deletionTimestamp` is not empty");
    }
}
