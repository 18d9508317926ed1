//! A built-in document as the Go types of the original would print it: ownership is told by that form.
//!
//! A struct that is no pointer is always there, if only as `{}`; so is a field that JSON never leaves out. A zero that JSON
//! leaves out is not there. Stored documents need neither; managedFields that clients compare do.

use crate::facts::{Arity, Facts, Field, Presence, Shape};
use crate::{Map, TypeId, Value, json};

/// `doc` of type `ty` in that form. Members that the type does not have are left out.
pub fn as_go(ty: TypeId, doc: &Value) -> Value {
    let mut out = Map::new();
    for field in &Facts::builtin().get(ty).fields {
        if let Some(value) = member(field, doc.get(field.name).filter(|value| !value.is_null())) {
            out.insert(field.name.to_owned(), value);
        }
    }
    Value::Object(out)
}

/// A field of a struct; None where JSON leaves it out.
fn member(field: &Field, value: Option<&Value>) -> Option<Value> {
    if field.presence == Presence::Pointer {
        return value.map(|value| whole(field, field.arity, value)).or_else(|| field.required.then_some(Value::Null));
    }
    let is_printed = field.presence == Presence::Always;
    match field.arity {
        Arity::One => match value {
            Some(value) if is_printed || is_struct(field) || !is_zero(value) => Some(whole(field, Arity::One, value)),
            None if is_printed || is_struct(field) => Some(zero(field.shape)),
            _ => None,
        },
        arity => match value {
            Some(value) if is_printed || field.required || !is_zero(value) => Some(whole(field, arity, value)),
            None if is_printed || field.required => Some(Value::Null),
            _ => None,
        },
    }
}

/// A value that is there.
fn whole(field: &Field, arity: Arity, value: &Value) -> Value {
    let inner = |value: &Value, arity| if value.is_null() { zero(field.shape) } else { whole(field, arity, value) };
    match (arity, value) {
        (Arity::One, Value::Object(_)) => match field.shape {
            Shape::Object(ty) => as_go(ty, value),
            _ => value.clone(),
        },
        (Arity::List, Value::Array(items)) => items.iter().map(|item| inner(item, Arity::One)).collect(),
        (Arity::Map, Value::Object(members)) => mapped(members, |value| inner(value, Arity::One)),
        (Arity::MapOfList, Value::Object(members)) => mapped(members, |value| whole(field, Arity::List, value)),
        _ => value.clone(),
    }
}

fn mapped(members: &Map<String, Value>, of: impl Fn(&Value) -> Value) -> Value {
    Value::Object(members.iter().map(|(name, value)| (name.clone(), of(value))).collect())
}

/// JSON never leaves out a struct, not even one with a text form of its own: a zero time is null. An object's birth is the
/// one that is told to.
fn is_struct(field: &Field) -> bool {
    match field.shape {
        Shape::Time | Shape::MicroTime => field.name != "creationTimestamp",
        shape => matches!(shape, Shape::Object(_) | Shape::IntOrString | Shape::Quantity),
    }
}

fn zero(shape: Shape) -> Value {
    match shape {
        Shape::Object(ty) => as_go(ty, &Value::Null),
        Shape::String | Shape::Bytes => json!(""),
        Shape::Int32 | Shape::Int64 | Shape::Number | Shape::IntOrString => json!(0),
        Shape::Bool => json!(false),
        Shape::Quantity => json!("0"),
        Shape::Duration => json!("0s"),
        _ => Value::Null,
    }
}

fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(flag) => !flag,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structs_are_there_and_zeros_are_not() {
        let ty = Facts::builtin().kind("v1", "Service").expect("a kind");
        let doc = json!({"kind": "Service", "metadata": {"name": "a", "labels": {}}, "spec": {"ports": [{"port": 0}], "sessionAffinity": ""}, "odd": 1});
        let want = json!({"kind": "Service", "metadata": {"name": "a"}, "spec": {"ports": [{"port": 0, "targetPort": 0}]}, "status": {"loadBalancer": {}}});
        assert_eq!(as_go(ty, &doc), want);
    }
}
