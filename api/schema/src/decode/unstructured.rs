//! Why a tree of values is no object of a type, in the words of upstream's converter from trees to structs: it reads what
//! strategic merge patches make, where JSON's decoder reads everything else.

use crate::facts::{Arity, Facts, Field, Shape, Type};
use crate::{TypeId, Value};

/// The first misfit, in the order of the type's fields.
pub(super) fn misfit(ty: TypeId, value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::Object(_) => in_fields(Facts::builtin().get(ty), value),
        other => Some(format!("cannot restore struct from: {}", word(other))),
    }
}

/// Structs declare their fields in the order of protobuf's numbers, but for few.
fn in_fields(one: &Type, object: &Value) -> Option<String> {
    let mut fields: Vec<&Field> = one.fields.iter().collect();
    fields.sort_by_key(|field| field.proto);
    fields.into_iter().find_map(|field| in_field(field, object.get(field.name).filter(|value| !value.is_null())?))
}

fn in_field(field: &Field, value: &Value) -> Option<String> {
    match (field.arity, value) {
        (Arity::One, value) => in_value(field.shape, value),
        (Arity::List, Value::Array(elements)) => elements.iter().find_map(|element| in_value(field.shape, element)),
        (Arity::List, other) => Some(format!("cannot restore slice from {}", word(other))),
        (Arity::Map, Value::Object(members)) => members.values().find_map(|member| in_value(field.shape, member)),
        (Arity::MapOfList, Value::Object(members)) => members.values().find_map(|member| in_list(field.shape, member)),
        (_, other) => Some(format!("cannot restore map from {}", word(other))),
    }
}

fn in_list(shape: Shape, value: &Value) -> Option<String> {
    match value {
        Value::Array(elements) => elements.iter().find_map(|element| in_value(shape, element)),
        other => Some(format!("cannot restore slice from {}", word(other))),
    }
}

fn in_value(shape: Shape, value: &Value) -> Option<String> {
    match (shape, value) {
        (_, Value::Null) => None,
        (Shape::Object(ty), value) => misfit(ty, value),
        (Shape::Bytes, Value::String(_)) => None,
        (Shape::Bytes, other) => Some(format!("cannot restore slice from {}", word(other))),
        (Shape::String, Value::String(_)) | (Shape::Bool, Value::Bool(_)) | (Shape::Number, Value::Number(_)) => None,
        (Shape::Int32 | Shape::Int64, Value::Number(number)) if !number.is_f64() => None,
        (Shape::String, Value::Number(_)) | (Shape::Int32 | Shape::Int64, Value::Number(_)) => {
            Some(format!("cannot convert {} to {}", word(value), kind(shape)))
        }
        (Shape::String | Shape::Bool | Shape::Number | Shape::Int32 | Shape::Int64, _) => {
            Some(format!("unrecognized type: {}", kind(shape)))
        }
        // The rest have decoders of their own, which say it as for any JSON.
        _ => None,
    }
}

/// Go's word for the sort of a value.
fn word(value: &Value) -> &'static str {
    match value {
        Value::Null => "invalid",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "slice",
        Value::Object(_) => "map",
    }
}

fn kind(shape: Shape) -> &'static str {
    match shape {
        Shape::Bool => "bool",
        Shape::Number => "float64",
        Shape::Int32 => "int32",
        Shape::Int64 => "int64",
        _ => "string",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json;

    #[test]
    fn a_tree_that_is_no_pod_is_told_as_upstreams_converter_tells_it() {
        let pod = Facts::builtin().kind("v1", "Pod").expect("a kind");
        for (tree, why) in [
            (json!({"spec": []}), "cannot restore struct from: slice"),
            (json!({"metadata": {"labels": ["a"]}}), "cannot restore map from slice"),
            (json!({"spec": {"containers": {}}}), "cannot restore slice from map"),
            (json!({"metadata": {"labels": {"a": 1}}}), "cannot convert int64 to string"),
            (json!({"metadata": {"name": true}}), "unrecognized type: string"),
            (json!({"spec": {"containers": [{"ports": [{"containerPort": "x"}]}]}}), "unrecognized type: int32"),
            (json!({"spec": {"hostNetwork": 1}}), "unrecognized type: bool"),
        ] {
            assert_eq!(misfit(pod, &tree).as_deref(), Some(why), "{tree}");
        }
        assert_eq!(misfit(pod, &json!({"spec": {"containers": [{"name": "a", "ports": null}], "bogus": 1}})), None);
    }
}
