//! The v2 document as the protobuf message `openapi.v2.Document` of gnostic, which older clients and client-go's discovery read.
//!
//! Only what our own document holds is written; a field of it that has no place here is a bug that the test finds.

use schema::{Map, Value};

use super::super::message::{Message, any, only};

/// Both forms are asked for; the `@` one is no media type that Go can parse, so the answer always has dots.
pub(super) const MEDIA: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
pub(super) const MEDIA_AT: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";

/// The whole document.
pub(super) fn document(doc: &Value) -> Vec<u8> {
    let mut paths = Message::default();
    paths.named(2, doc.get("paths"), path_item);
    let mut definitions = Message::default();
    definitions.named(1, doc.get("definitions"), schema);
    let mut info = Message::default();
    info.text(1, doc["info"].get("title")).text(2, doc["info"].get("version"));
    let mut message = Message::default();
    message.text(1, doc.get("swagger")).message(2, info).message(8, paths).message(9, definitions);
    if doc.get("parameters").is_some() {
        let mut shared = Message::default();
        shared.named(1, doc.get("parameters"), parameter);
        message.message(10, shared);
    }
    message.0
}

fn path_item(item: &Value) -> Message {
    const METHODS: [(&str, u64); 7] = [("get", 2), ("put", 3), ("post", 4), ("delete", 5), ("options", 6), ("head", 7), ("patch", 8)];
    let mut message = Message::default();
    for (method, field) in METHODS {
        if let Some(one) = item.get(method) {
            message.message(field, operation(one));
        }
    }
    parameters(&mut message, 9, item.get("parameters"));
    message
}

fn operation(operation: &Value) -> Message {
    let mut message = Message::default();
    message.texts(1, operation.get("tags")).text(3, operation.get("description")).text(5, operation.get("operationId"));
    message.texts(6, operation.get("produces")).texts(7, operation.get("consumes"));
    parameters(&mut message, 8, operation.get("parameters"));
    let mut responses = Message::default();
    responses.named(1, operation.get("responses"), |one| only(1, response(one)));
    message.message(9, responses).texts(10, operation.get("schemes"));
    if let Some(object) = operation.as_object() {
        message.extensions(13, object);
    }
    message
}

fn response(response: &Value) -> Message {
    let mut message = Message::default();
    message.text(1, response.get("description"));
    if let Some(answer) = response.get("schema") {
        message.message(2, only(1, schema(answer)));
    }
    message
}

fn parameters(message: &mut Message, field: u64, list: Option<&Value>) {
    for parameter in list.and_then(Value::as_array).into_iter().flatten() {
        message.message(field, parameter_or_reference(parameter));
    }
}

fn parameter_or_reference(value: &Value) -> Message {
    match value.get("$ref") {
        Some(target) => {
            let mut reference = Message::default();
            reference.text(1, Some(target));
            only(2, reference)
        }
        None => only(1, parameter(value)),
    }
}

fn parameter(parameter: &Value) -> Message {
    let of = |name: &str| parameter.get(name);
    let mut message = Message::default();
    match of("in").and_then(Value::as_str) {
        Some("body") => {
            message.text(1, of("description")).text(2, of("name")).text(3, of("in")).flag(4, of("required"));
            if let Some(body) = of("schema") {
                message.message(5, schema(body));
            }
            only(1, message)
        }
        Some("path") => {
            message.flag(1, of("required")).text(2, of("in")).text(3, of("description")).text(4, of("name")).text(5, of("type"));
            message.flag(19, of("uniqueItems"));
            only(2, only(4, message))
        }
        _ => {
            message.flag(1, of("required")).text(2, of("in")).text(3, of("description")).text(4, of("name")).text(6, of("type"));
            message.flag(20, of("uniqueItems"));
            only(2, only(3, message))
        }
    }
}

fn schema(schema: &Value) -> Message {
    let mut message = Message::default();
    let Some(object) = schema.as_object() else { return message };
    let of = |name: &str| object.get(name);
    message.text(1, of("$ref")).text(2, of("format")).text(3, of("title")).text(4, of("description"));
    if let Some(default) = of("default") {
        message.message(5, any(default));
    }
    bounds(&mut message, object);
    message.texts(19, of("required"));
    for value in of("enum").and_then(Value::as_array).into_iter().flatten() {
        message.message(20, any(value));
    }
    match of("additionalProperties") {
        Some(Value::Bool(any)) => {
            let mut item = Message::default();
            item.flag(2, Some(&Value::Bool(*any)));
            message.message(21, item);
        }
        Some(values) => _ = message.message(21, only(1, self::schema(values))),
        None => {}
    }
    if let Some(ty) = of("type") {
        let mut item = Message::default();
        item.texts(1, Some(&Value::Array(vec![ty.clone()])));
        message.message(22, item);
    }
    if let Some(items) = of("items") {
        message.message(23, only(1, self::schema(items)));
    }
    for part in of("allOf").and_then(Value::as_array).into_iter().flatten() {
        message.message(24, self::schema(part));
    }
    if of("properties").is_some() {
        let mut properties = Message::default();
        properties.named(1, of("properties"), self::schema);
        message.message(25, properties);
    }
    message.extensions(31, object);
    message
}

/// Limits of numbers, strings, lists and maps: those of custom resources.
fn bounds(message: &mut Message, object: &Map<String, Value>) {
    for (name, field) in [("multipleOf", 6), ("maximum", 7), ("minimum", 9)] {
        if let Some(number) = object.get(name).and_then(Value::as_f64) {
            message.double(field, number);
        }
    }
    for (name, field) in [("exclusiveMaximum", 8), ("exclusiveMinimum", 10), ("uniqueItems", 16)] {
        message.flag(field, object.get(name));
    }
    for (name, field) in
        [("maxLength", 11), ("minLength", 12), ("maxItems", 14), ("minItems", 15), ("maxProperties", 17), ("minProperties", 18)]
    {
        if let Some(number) = object.get(name).and_then(Value::as_u64).filter(|number| *number > 0) {
            message.number(field, number);
        }
    }
    message.text(13, object.get("pattern"));
}

#[cfg(test)]
mod tests {
    use ::schema::json;

    use super::super::wire::{at_field as at, fields};
    use super::*;

    #[test]
    fn a_schema_keeps_its_fields() {
        let doc = json!({"swagger": "2.0", "info": {"title": "K", "version": "v1"}, "paths": {"/a/{name}": {
                "parameters": [{"in": "path", "name": "name", "required": true, "type": "string", "uniqueItems": true}],
                "get": {"parameters": [{"in": "query", "name": "q", "type": "boolean"}], "responses": {"200": {"description": "OK", "schema": {"$ref": "#/d/A"}}},
                        "x-kubernetes-action": "get"}}},
            "definitions": {"A": {"type": "object", "required": ["b"], "properties": {"b": {"type": "array", "items": {"type": "string"}, "maxItems": 300}},
                "x-kubernetes-group-version-kind": [{"kind": "A"}]}}});
        let whole = fields(&document(&doc));
        assert_eq!(at(&whole, 1), b"2.0");
        let definition = fields(at(&fields(at(&whole, 9)), 1));
        assert_eq!(at(&definition, 1), b"A");
        let schema = fields(at(&definition, 2));
        assert_eq!((at(&schema, 19), at(&fields(at(&schema, 22)), 1)), (&b"b"[..], &b"object"[..]));
        let property = fields(at(&fields(at(&fields(at(&schema, 25)), 1)), 2));
        assert_eq!(at(&property, 14), b"300");
        let extension = fields(at(&schema, 31));
        assert_eq!(at(&extension, 1), b"x-kubernetes-group-version-kind");
        assert_eq!(at(&fields(at(&extension, 2)), 2), br#"[{"kind":"A"}]"#);
        let path = fields(at(&fields(at(&whole, 8)), 2));
        assert_eq!(at(&path, 1), b"/a/{name}");
        let item = fields(at(&path, 2));
        let named = fields(at(&fields(at(&fields(at(&fields(at(&item, 9)), 1)), 2)), 4));
        assert_eq!((at(&named, 1), at(&named, 4)), (&b"1"[..], &b"name"[..]));
    }

    #[test]
    fn every_word_of_our_document_has_a_place() {
        const KNOWN: [&str; 26] = [
            "$ref",
            "format",
            "title",
            "description",
            "default",
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
            "maxProperties",
            "minProperties",
            "pattern",
            "required",
            "enum",
            "additionalProperties",
            "type",
            "items",
            "allOf",
            "properties",
            "x-",
        ];
        fn check(schema: &Value) {
            for (name, value) in schema.as_object().into_iter().flatten() {
                assert!(KNOWN.contains(&name.as_str()) || name.starts_with("x-"), "{name} of {schema}");
                match name.as_str() {
                    "items" | "additionalProperties" => check(value),
                    "properties" => value.as_object().unwrap().values().for_each(check),
                    "allOf" => value.as_array().unwrap().iter().for_each(check),
                    _ => {}
                }
            }
        }
        let made = super::super::schemas::of(kinds::all(), super::super::Version::V2);
        made.values().for_each(check);
    }
}
