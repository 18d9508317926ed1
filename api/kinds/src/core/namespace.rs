//! Namespace: a room for names.

use crate::descriptor::Verbs;
use crate::kind::{Kind, Meta, Selectable, Sub};
use schema::{DocExt, ObjectMeta, names};
use serde::{Deserialize, Serialize};

use crate::lens::{is_default, null_default};

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
    const FIELDS: &[Selectable] = &[Selectable::new("status.phase", |doc| doc.str_at("status.phase").to_owned())];
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
