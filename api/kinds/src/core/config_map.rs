//! ConfigMap: plain settings by key.

use std::collections::BTreeMap;

use schema::{DocExt, FieldErrors, ObjectMeta, Path, Value, json, names};
use serde::{Deserialize, Serialize};

use crate::cells::{AGE, NAME, count};
use crate::kind::{Col, Kind, Meta, Question, same};
use crate::lens::{is_default, null_default};
use crate::rules::each;

/// What a config map or secret may hold in all.
pub(super) const BYTES_MAX: usize = 1024 * 1024;

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
    const NOTHING: &[Question] = &[Question::Fields, Question::Defaults, Question::Subresources, Question::Warnings];
    const COLUMNS: &[Col] = &[NAME, Col::of("Data", |doc| json!(count(doc.at("data")) + count(doc.at("binaryData")))), AGE];

    fn validate(new: &Value, _old: Option<&Value>, errors: &mut FieldErrors) {
        let binary = new.map_at("binaryData");
        let mut bytes = 0;
        for (key, value) in new.map_at("data").into_iter().flatten() {
            let path = Path::new("data").key(key);
            each(&path, key.as_str(), names::is_config_map_key(key), errors);
            if binary.is_some_and(|binary| binary.contains_key(key)) {
                errors.invalid(&path, key.as_str(), "duplicate of key present in binaryData");
            }
            bytes += value.as_str().map_or(0, str::len);
        }
        for (key, value) in binary.into_iter().flatten() {
            each(&Path::new("binaryData").key(key), key.as_str(), names::is_config_map_key(key), errors);
            bytes += decoded_len(value);
        }
        if bytes > BYTES_MAX {
            errors.too_long(&Path::new("[]"), BYTES_MAX);
        }
    }

    fn validate_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
        immutable_once_set(new, old, &["data", "binaryData"], errors);
    }
}

/// Bytes behind a base64 text.
pub(super) fn decoded_len(value: &Value) -> usize {
    let text = value.as_str().unwrap_or_default();
    text.len() / 4 * 3 - text.bytes().rev().take_while(|byte| *byte == b'=').count().min(2)
}

/// Once `immutable` is true it stays so, and the payload with it.
pub(super) fn immutable_once_set(new: &Value, old: &Value, members: &[&str], errors: &mut FieldErrors) {
    const TEXT: &str = "field is immutable when `immutable` is set";
    if !old.bool_at("immutable") {
        return;
    }
    if !new.bool_at("immutable") {
        errors.forbidden(&Path::new("immutable"), TEXT);
    }
    for member in members {
        if !same(new.at(member).unwrap_or(&Value::Null), old.at(member).unwrap_or(&Value::Null)) {
            errors.forbidden(&Path::new(member), TEXT);
        }
    }
}
