//! ConfigMap: plain settings by key.

use std::collections::BTreeMap;

use crate::kind::{Kind, Meta};
use schema::ObjectMeta;
use serde::{Deserialize, Serialize};

use crate::lens::{is_default, null_default};

/// Plain settings by key.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConfigMap {
    pub metadata: ObjectMeta,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub data: BTreeMap<String, String>,
    /// base64.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub binary_data: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub immutable: Option<bool>,
}

impl Kind for ConfigMap {
    const META: Meta = Meta { short: &["cm"], ..Meta::namespaced("", "ConfigMap", "configmaps") };
}
