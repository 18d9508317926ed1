//! Document values as expressions see them: as they are, or as their schema says.

use std::sync::Arc;

use base64::Engine;
use serde_json::Value as Json;

use super::{List, Map, Value};
use crate::fault::Fault;
use crate::library::time;
use crate::schema::{Schema, Shape, StringFormat};

pub(super) fn untyped(value: &Json) -> Value<'_> {
    match value {
        Json::Null => Value::Null,
        Json::Bool(bool) => Value::Bool(*bool),
        Json::String(text) => Value::borrowed(text),
        Json::Array(items) => Value::List(List::Json(items, None)),
        Json::Object(map) => Value::Map(Map::Json(map)),
        Json::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(int), _) => Value::Int(int),
            (None, Some(uint)) => Value::Uint(uint),
            _ => Value::Double(number.as_f64().unwrap_or(f64::NAN)),
        },
    }
}

/// `value` under its schema. What the schema does not allow is a fault of the evaluation.
pub(crate) fn from_json<'a>(value: &'a Json, schema: &'a Schema) -> Result<Value<'a>, Fault> {
    if value.is_null() {
        let null = schema.nullable.then_some(Value::Null);
        return null.ok_or_else(|| Fault::new("invalid data, got null for schema with nullable=false"));
    }
    match (&schema.shape, value) {
        (Shape::IntOrString, Json::String(text)) => Ok(Value::borrowed(text)),
        (Shape::IntOrString | Shape::Integer, Json::Number(number)) if number.is_i64() => Ok(untyped(value)),
        (Shape::Object(object), Json::Object(map)) => Ok(Value::Map(Map::Object(map, object))),
        (Shape::Map(values, _), Json::Object(map)) => Ok(Value::Map(Map::Values(map, values))),
        (Shape::List(list, _), Json::Array(items)) => Ok(Value::List(List::Json(items, Some(list)))),
        (Shape::String(format), Json::String(text)) => formatted(text, *format),
        (Shape::Number, Json::Number(number)) => Ok(Value::Double(number.as_f64().unwrap_or(f64::NAN))),
        (Shape::Boolean, Json::Bool(bool)) => Ok(Value::Bool(*bool)),
        (Shape::Unknown, _) => Ok(Value::Unknown(value)),
        (Shape::IntOrString, _) => Err(Fault::new("invalid data, expected XIntOrString value to be either a string or integer")),
        (Shape::Object(_) | Shape::Map(..), _) => Err(Fault::new("invalid data, expected a map for the provided schema with type=object")),
        (Shape::List(..), _) => Err(Fault::new("invalid data, expected an array for the provided schema with type=array")),
        (Shape::String(_), other) => Err(unexpected("string", other)),
        (Shape::Number, other) => Err(unexpected("float", other)),
        (Shape::Integer, other) => Err(unexpected("int", other)),
        (Shape::Boolean, other) => Err(unexpected("bool", other)),
    }
}

fn unexpected(wanted: &str, given: &Json) -> Fault {
    let given = match given {
        Json::Null => "<nil>",
        Json::Bool(_) => "bool",
        Json::Number(number) if number.is_f64() => "float64",
        Json::Number(_) => "int64",
        Json::String(_) => "string",
        Json::Array(_) => "[]interface {}",
        Json::Object(_) => "map[string]interface {}",
    };
    Fault::new(format!("invalid data, expected {wanted}, got {given}"))
}

fn formatted(text: &str, format: StringFormat) -> Result<Value<'_>, Fault> {
    let wrong = |what: &str| Fault::new(format!("Invalid {what} {text}"));
    match format {
        StringFormat::Plain => Ok(Value::borrowed(text)),
        StringFormat::Duration => time::parse_duration(text).map(Value::Duration).ok_or_else(|| wrong("duration")),
        StringFormat::Date => time::parse_date(text).map(Value::Timestamp).ok_or_else(|| wrong("date formatted string")),
        StringFormat::DateTime => time::parse_timestamp(text).map(Value::Timestamp).ok_or_else(|| wrong("date-time formatted string")),
        StringFormat::Byte => {
            let decoded = base64::engine::general_purpose::STANDARD.decode(text);
            decoded.map(|bytes| Value::Bytes(Arc::from(bytes))).map_err(|_| wrong("byte formatted string"))
        }
    }
}
