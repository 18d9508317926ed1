//! Secret: confidential settings by key.

use std::collections::BTreeMap;

use crate::kind::{Kind, Meta, Selectable};
use schema::{DocExt, ObjectMeta};
use serde::{Deserialize, Serialize};

use crate::lens::{is_default, null_default};

/// Confidential settings by key.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Secret {
    pub metadata: ObjectMeta,
    /// base64.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub data: BTreeMap<String, String>,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub r#type: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub immutable: Option<bool>,
}

impl Kind for Secret {
    const META: Meta = Meta::namespaced("", "Secret", "secrets");
    const FIELDS: &[Selectable] = &[Selectable::new("type", |doc| doc.str_at("type").to_owned())];
}
