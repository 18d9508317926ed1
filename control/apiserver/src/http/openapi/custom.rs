//! Schemas of custom kinds as OpenAPI: as they were written, with what every object has. Version 2 cannot say everything
//! that version 3 can: what it cannot is left out rather than told wrong.

use kinds::Descriptor;
use kinds::custom::Custom;
use schema::{Map, Value, json};

use super::Version;
use super::schemas::{gvk, reference};

const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

/// The definition of a custom kind.
pub(super) fn definition(row: &Descriptor, custom: &Custom, version: Version) -> Value {
    let written = custom.schema_document();
    let mut schema = match version {
        Version::V3 => written,
        Version::V2 if preserves(&written) => json!({"type": "object"}),
        Version::V2 => second(&written, true),
    };
    if !schema.get("properties").is_some_and(Value::is_object) {
        schema["properties"] = json!({});
    }
    if version == Version::V3 || schema["properties"].as_object().is_some_and(|properties| !properties.is_empty()) {
        schema["properties"]["apiVersion"] = json!({"type": "string", "description": API_VERSION_HELP});
        schema["properties"]["kind"] = json!({"type": "string", "description": KIND_HELP});
        schema["properties"]["metadata"] = metadata(version);
    } else if let Some(members) = schema.as_object_mut() {
        members.remove("properties");
    }
    schema["x-kubernetes-group-version-kind"] = json!([gvk(&row.group, &row.version, &row.kind)]);
    schema
}

const API_VERSION_HELP: &str = "the group and version of this form of the object";
const KIND_HELP: &str = "what the object is";

fn metadata(version: Version) -> Value {
    let meta = reference(OBJECT_META, version);
    match version {
        // Nothing may stand beside a reference there.
        Version::V3 => json!({"description": "what every object has", "allOf": [meta]}),
        Version::V2 => meta,
    }
}

fn preserves(schema: &Value) -> bool {
    schema.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(true))
}

/// What version 2 knows of a schema.
const SECOND: [&str; 30] = [
    "description",
    "title",
    "default",
    "format",
    "maximum",
    "exclusiveMaximum",
    "minimum",
    "exclusiveMinimum",
    "maxLength",
    "minLength",
    "pattern",
    "maxItems",
    "minItems",
    "uniqueItems",
    "multipleOf",
    "enum",
    "maxProperties",
    "minProperties",
    "required",
    "type",
    "example",
    "externalDocs",
    "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-embedded-resource",
    "x-kubernetes-int-or-string",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-list-type",
    "x-kubernetes-map-type",
    "x-kubernetes-validations",
    "x-kubernetes-group-version-kind",
];

fn second(schema: &Value, is_root: bool) -> Value {
    let Some(members) = schema.as_object() else { return schema.clone() };
    let nullable = schema.get("nullable") == Some(&Value::Bool(true));
    let open = preserves(schema) && !is_root;
    let either = schema.get("x-kubernetes-int-or-string") == Some(&Value::Bool(true));
    let mut made = Map::new();
    for (name, value) in members.iter().filter(|(name, _)| SECOND.contains(&name.as_str())) {
        let untold = name == "type" && (nullable || open || either) || name == "default" && value.is_null();
        if !untold {
            made.insert(name.clone(), value.clone());
        }
    }
    if nullable || open {
        return Value::Object(made);
    }
    if let Some(items) = members.get("items") {
        made.insert("items".into(), second(items, false));
    }
    if let Some(rest) = members.get("additionalProperties").filter(|rest| rest.is_object()) {
        made.insert("additionalProperties".into(), second(rest, false));
    }
    if let Some(properties) = members.get("properties").and_then(Value::as_object) {
        let told = properties.iter().map(|(name, one)| (name.clone(), second(one, false)));
        made.insert("properties".into(), Value::Object(told.collect()));
    }
    Value::Object(made)
}
