//! Secret: confidential settings by key.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use schema::{DocExt, FieldErrors, Map, ObjectMeta, Path, Value, json, names};
use serde::{Deserialize, Serialize};

use crate::cells::{AGE, NAME, count};
use crate::core::config_map::{BYTES_MAX, decoded_len, immutable_once_set};
use crate::core::pod::defaults::default_text;
use crate::kind::{Col, Kind, Meta, Question, Selectable, immutable};
use crate::lens::{is_default, null_default};
use crate::rules::each;

const ACCOUNT_NAME: &str = "kubernetes.io/service-account.name";

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
    const NOTHING: &[Question] = &[Question::Subresources, Question::Warnings];
    const COLUMNS: &[Col] = &[NAME, Col::path("Type", "type"), Col::of("Data", |doc| json!(count(doc.at("data")))), AGE];
    const FIELDS: &[Selectable] = &[Selectable::new("type", |doc| doc.str_at("type").to_owned())];

    fn fill_defaults(doc: &mut Value) {
        default_text(doc, "type", "Opaque");
        encode_texts(doc);
    }

    fn validate(new: &Value, _old: Option<&Value>, errors: &mut FieldErrors) {
        let path = Path::new("data");
        let mut bytes = 0;
        for (key, value) in new.map_at("data").into_iter().flatten() {
            each(&path.key(key), key.as_str(), names::is_config_map_key(key), errors);
            bytes += decoded_len(value);
        }
        if bytes > BYTES_MAX {
            errors.too_long(&path, BYTES_MAX);
        }
        of_type(new, &path, errors);
    }

    fn validate_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
        immutable(new, old, "type", &Path::root(), errors);
        immutable_once_set(new, old, &["data"], errors);
    }
}

/// `stringData` is for writing only: its texts go into `data`, over what is there.
fn encode_texts(doc: &mut Value) {
    let Some(Value::Object(texts)) = doc.remove_at("stringData") else { return };
    for (key, text) in texts {
        let encoded = STANDARD.encode(text.as_str().unwrap_or_default());
        if !doc["data"].is_object() {
            doc["data"] = Value::Object(Map::new());
        }
        doc["data"][key] = Value::from(encoded);
    }
}

/// What some types must hold.
fn of_type(doc: &Value, path: &Path, errors: &mut FieldErrors) {
    let has = |key: &str| doc.map_at("data").is_some_and(|data| data.contains_key(key));
    let annotation =
        |key: &str| doc.map_at("metadata.annotations").and_then(|map| map.get(key)).and_then(Value::as_str).unwrap_or_default();
    let verbatim = Path::new("data[%s]"); // upstream's path of these two, a format string never filled in
    match doc.str_at("type") {
        "kubernetes.io/service-account-token" if annotation(ACCOUNT_NAME).is_empty() => {
            errors.required(&Path::new("metadata.annotations").key(ACCOUNT_NAME), "");
        }
        "kubernetes.io/dockercfg" => docker_config(doc, ".dockercfg", path, errors),
        "kubernetes.io/dockerconfigjson" => docker_config(doc, ".dockerconfigjson", path, errors),
        "kubernetes.io/basic-auth" if !has("username") && !has("password") => {
            errors.required(&verbatim.key("username"), "");
            errors.required(&verbatim.key("password"), "");
        }
        "kubernetes.io/ssh-auth" if doc["data"]["ssh-privatekey"].as_str().unwrap_or_default().is_empty() => {
            errors.required(&verbatim.key("ssh-privatekey"), "");
        }
        "kubernetes.io/tls" => {
            for key in ["tls.crt", "tls.key"].into_iter().filter(|key| !has(key)) {
                errors.required(&path.key(key), "");
            }
        }
        _ => {}
    }
}

/// The key must be there and hold a JSON object.
fn docker_config(doc: &Value, key: &str, path: &Path, errors: &mut FieldErrors) {
    let Some(encoded) = doc.map_at("data").and_then(|data| data.get(key)).and_then(Value::as_str) else {
        return errors.required(&path.key(key), "");
    };
    let bytes = STANDARD.decode(encoded).unwrap_or_default();
    if let Err(error) = serde_json::from_slice::<Map<String, Value>>(&bytes) {
        errors.invalid(&path.key(key), "<secret contents redacted>", &json_complaint(&bytes, &error));
    }
}

/// As Go's decoder complains of what is no JSON at all.
fn json_complaint(bytes: &[u8], error: &serde_json::Error) -> String {
    match bytes.iter().find(|byte| !byte.is_ascii_whitespace()) {
        None => "unexpected end of JSON input".to_owned(),
        Some(byte) if !b"{[\"-0123456789tfn".contains(byte) => {
            format!("invalid character {:?} looking for beginning of value", char::from(*byte))
        }
        Some(_) => error.to_string(),
    }
}
