//! A v3 document as the protobuf message `openapi.v3.Document` of gnostic, which client-go prefers over JSON.
//!
//! Only what our own documents hold is written; a field of them that has no place here is a bug that the test finds.

use schema::{Map, Value};

use super::super::message::{Message, any, only};

/// Both forms are asked for; the answer always has dots, as in version 2.
pub(super) const MEDIA: &str = "application/com.github.proto-openapi.spec.v3.v1.0+protobuf";
pub(super) const MEDIA_AT: &str = "application/com.github.proto-openapi.spec.v3@v1.0+protobuf";

/// The whole document.
pub(super) fn document(doc: &Value) -> Vec<u8> {
    let (mut info, mut paths, mut schemas) = (Message::default(), Message::default(), Message::default());
    info.text(1, doc["info"].get("title")).text(6, doc["info"].get("version"));
    paths.named(1, doc.get("paths"), path_item);
    schemas.named(1, doc["components"].get("schemas"), schema_or_reference);
    let mut message = Message::default();
    message.text(1, doc.get("openapi")).message(2, info).message(4, paths).message(5, only(1, schemas));
    message.0
}

fn path_item(item: &Value) -> Message {
    const METHODS: [(&str, u64); 7] = [("get", 4), ("put", 5), ("post", 6), ("delete", 7), ("options", 8), ("head", 9), ("patch", 10)];
    let mut message = Message::default();
    for (method, field) in METHODS {
        if let Some(one) = item.get(method) {
            message.message(field, operation(one));
        }
    }
    message.each(13, item.get("parameters"), |one| only(1, parameter(one)));
    message
}

fn operation(operation: &Value) -> Message {
    let mut message = Message::default();
    message.texts(1, operation.get("tags")).text(3, operation.get("description")).text(5, operation.get("operationId"));
    message.each(6, operation.get("parameters"), |one| only(1, parameter(one)));
    if let Some(body) = operation.get("requestBody") {
        let mut of_body = Message::default();
        of_body.text(1, body.get("description")).message(2, content(body.get("content"))).flag(3, body.get("required"));
        message.message(7, only(1, of_body));
    }
    let mut responses = Message::default();
    responses.named(2, operation.get("responses"), |one| only(1, response(one)));
    message.message(8, responses);
    if let Some(object) = operation.as_object() {
        message.extensions(13, object);
    }
    message
}

fn response(response: &Value) -> Message {
    let mut message = Message::default();
    message.text(1, response.get("description"));
    if response.get("content").is_some() {
        message.message(3, content(response.get("content")));
    }
    message
}

/// A schema for each media type.
fn content(types: Option<&Value>) -> Message {
    let mut message = Message::default();
    message.named(1, types, |one| one.get("schema").map(|schema| only(1, schema_or_reference(schema))).unwrap_or_default());
    message
}

fn parameter(parameter: &Value) -> Message {
    let of = |name: &str| parameter.get(name);
    let mut message = Message::default();
    message.text(1, of("name")).text(2, of("in")).text(3, of("description")).flag(4, of("required"));
    if let Some(schema) = of("schema") {
        message.message(10, schema_or_reference(schema));
    }
    message
}

fn schema_or_reference(value: &Value) -> Message {
    match value.get("$ref") {
        Some(target) => {
            let mut reference = Message::default();
            reference.text(1, Some(target));
            only(2, reference)
        }
        None => only(1, schema(value)),
    }
}

fn schema(schema: &Value) -> Message {
    let mut message = Message::default();
    let Some(object) = schema.as_object() else { return message };
    let of = |name: &str| object.get(name);
    message.flag(1, of("nullable")).text(9, of("title"));
    bounds(&mut message, object);
    message.texts(23, of("required"));
    message.each(24, of("enum"), any);
    message.text(25, of("type"));
    for (name, field) in [("allOf", 26), ("oneOf", 27), ("anyOf", 28)] {
        message.each(field, of(name), schema_or_reference);
    }
    if let Some(not) = of("not") {
        message.message(29, self::schema(not));
    }
    if let Some(items) = of("items") {
        message.message(30, only(1, schema_or_reference(items)));
    }
    if of("properties").is_some() {
        let mut properties = Message::default();
        properties.named(1, of("properties"), schema_or_reference);
        message.message(31, properties);
    }
    if let Some(rest) = of("additionalProperties") {
        message.message(32, additional(rest));
    }
    if let Some(value) = of("default") {
        message.message(33, default(value));
    }
    message.text(34, of("description")).text(35, of("format")).extensions(36, object);
    message
}

fn additional(rest: &Value) -> Message {
    match rest {
        Value::Bool(_) => {
            let mut message = Message::default();
            message.flag(2, Some(rest));
            message
        }
        schema => only(1, schema_or_reference(schema)),
    }
}

/// Numbers, booleans and texts have a form; of other defaults only that there is one is told, as upstream does.
fn default(value: &Value) -> Message {
    let mut message = Message::default();
    match value {
        Value::Number(number) => message.double(1, number.as_f64().unwrap_or_default()),
        Value::Bool(flag) => message.number(2, u64::from(*flag)),
        Value::String(text) => message.bytes(3, text.as_bytes()),
        _ => &mut message,
    };
    message
}

/// Limits of numbers, strings, lists and maps: those of custom resources.
fn bounds(message: &mut Message, object: &Map<String, Value>) {
    for (name, field) in [("multipleOf", 10), ("maximum", 11), ("minimum", 13)] {
        if let Some(number) = object.get(name).and_then(Value::as_f64) {
            message.double(field, number);
        }
    }
    for (name, field) in [("exclusiveMaximum", 12), ("exclusiveMinimum", 14), ("uniqueItems", 20)] {
        message.flag(field, object.get(name));
    }
    for (name, field) in
        [("maxLength", 15), ("minLength", 16), ("maxItems", 18), ("minItems", 19), ("maxProperties", 21), ("minProperties", 22)]
    {
        if let Some(number) = object.get(name).and_then(Value::as_u64).filter(|number| *number > 0) {
            message.number(field, number);
        }
    }
    message.text(17, object.get("pattern"));
}

#[cfg(test)]
mod tests {
    use ::schema::json;

    use super::super::{v3_document, wire};
    use super::*;

    #[test]
    fn a_document_keeps_its_fields() {
        let doc = json!({"openapi": "3.0.0", "info": {"title": "K", "version": "v1"},
            "paths": {"/a": {"parameters": [{"name": "p", "in": "query", "schema": {"type": "string"}}], "get": {
                "operationId": "readA", "tags": ["t"], "x-kubernetes-action": "get",
                "responses": {"200": {"description": "OK", "content": {"application/json": {"schema": {"$ref": "#/c/A"}}}}}}}},
            "components": {"schemas": {"A": {"type": "object", "properties": {"b": {"type": "integer", "default": 3, "maximum": 7}},
                "x-kubernetes-group-version-kind": [{"kind": "A"}]}}}});
        let bytes = document(&doc);
        let at = |path: &[u64]| wire::at(&bytes, path);
        assert_eq!((at(&[1]), at(&[2, 6])), (b"3.0.0".to_vec(), b"v1".to_vec()));
        assert_eq!((at(&[4, 1, 1]), at(&[4, 1, 2, 4, 5])), (b"/a".to_vec(), b"readA".to_vec()));
        assert_eq!((at(&[4, 1, 2, 13, 1, 1]), at(&[4, 1, 2, 13, 1, 10, 1, 25])), (b"p".to_vec(), b"string".to_vec()));
        assert_eq!(at(&[4, 1, 2, 4, 8, 2, 2, 1, 3, 1, 2, 1, 2, 1]), b"#/c/A");
        assert_eq!((at(&[5, 1, 1, 1]), at(&[5, 1, 1, 2, 1, 25])), (b"A".to_vec(), b"object".to_vec()));
        assert_eq!(at(&[5, 1, 1, 2, 1, 31, 1, 2, 1, 33, 1]), 3f64.to_le_bytes());
        assert_eq!(at(&[5, 1, 1, 2, 1, 36, 2, 2]), br#"[{"kind":"A"}]"#);
    }

    #[test]
    fn every_word_of_our_documents_has_a_place() {
        const KNOWN: [&str; 27] = [
            "$ref",
            "nullable",
            "title",
            "required",
            "enum",
            "type",
            "allOf",
            "oneOf",
            "anyOf",
            "not",
            "items",
            "properties",
            "additionalProperties",
            "default",
            "description",
            "format",
            "multipleOf",
            "maximum",
            "minimum",
            "exclusiveMaximum",
            "exclusiveMinimum",
            "uniqueItems",
            "maxLength",
            "minLength",
            "maxItems",
            "minItems",
            "pattern",
        ];
        fn check(schema: &Value) {
            for (name, value) in schema.as_object().into_iter().flatten() {
                assert!(KNOWN.contains(&name.as_str()) || name.starts_with("x-"), "{name} of {schema}");
                match name.as_str() {
                    "items" | "additionalProperties" | "not" => check(value),
                    "properties" => value.as_object().into_iter().flatten().for_each(|(_, one)| check(one)),
                    "allOf" | "oneOf" | "anyOf" => value.as_array().into_iter().flatten().for_each(check),
                    _ => {}
                }
            }
        }
        let doc = v3_document(kinds::all());
        doc["components"]["schemas"].as_object().into_iter().flatten().for_each(|(_, one)| check(one));
    }
}
