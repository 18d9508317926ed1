//! Lens on `ObjectReference`, which several kinds embed.

use serde::{Deserialize, Serialize};

use crate::lens::{is_default, null_default};

/// Another object, by name and as exactly as the writer knew.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ObjectReference {
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub kind: String,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub namespace: String,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub name: String,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub uid: String,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub api_version: String,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub resource_version: String,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub field_path: String,
}
