//! A built-in document as the Go types of the original would print it: ownership is told by that form.
//!
//! A struct that is no pointer is always there, if only as `{}`; so is a field that JSON never leaves out. A zero that JSON
//! leaves out is not there. Stored documents need neither; managedFields that clients compare do.

use std::sync::LazyLock;

use super::shape::{Custom, Place};
use crate::facts::{Arity, Facts, Field, Presence, Shape};
use crate::{Map, TypeId, Value, json};

/// What the server alone writes into an object's metadata, and nobody owns.
const MANAGED_FIELDS: &str = "managedFields";

static OBJECT_META: LazyLock<Option<TypeId>> =
    LazyLock::new(|| Facts::builtin().definition("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"));

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

/// The same with managedFields as they are.
pub(super) fn as_printed(ty: TypeId, doc: &Value) -> Value {
    let mut printed = as_go(ty, doc);
    if let Some(entries) = doc.get("metadata").and_then(|meta| meta.get(MANAGED_FIELDS)) {
        printed["metadata"][MANAGED_FIELDS] = entries.clone();
    }
    printed
}

/// The parts of two documents in which they differ: what is the same in a member of an object of named fields is left out
/// of both, so that a small write costs little. With `as_go` they come as [`as_go`] prints them. None: nothing differs.
pub(super) fn differing(place: Place<'_>, as_go: bool, old: &Value, new: &Value) -> Option<(Value, Value)> {
    let (old, new) = match place {
        Place::Object(ty) if as_go => of_structs(ty, old, new),
        _ => of_objects(place, old, new),
    };
    (!old.is_empty() || !new.is_empty()).then_some((Value::Object(old), Value::Object(new)))
}

fn of_structs(ty: TypeId, old: &Value, new: &Value) -> (Map<String, Value>, Map<String, Value>) {
    let mut parts = (Map::new(), Map::new());
    for field in Facts::builtin().get(ty).fields.iter().filter(|field| field.name != MANAGED_FIELDS) {
        let [old, new] = [old, new].map(|doc| doc.get(field.name).filter(|value| !value.is_null()));
        if old == new {
            continue;
        }
        let (old, new) = match inner_struct(field, old, new) {
            Some(inner) => {
                let (old, new) = of_structs(inner, old.unwrap_or(&Value::Null), new.unwrap_or(&Value::Null));
                (Some(Value::Object(old)), Some(Value::Object(new)))
            }
            None => (member(field, old), member(field, new)),
        };
        put(&mut parts, field.name, old, new);
    }
    parts
}

/// The type of a struct that stands on both sides: written there, or always printed.
fn inner_struct(field: &Field, old: Option<&Value>, new: Option<&Value>) -> Option<TypeId> {
    let Shape::Object(ty) = field.shape else { return None };
    let is_merged = field.arity == Arity::One && !field.map_atomic && !Facts::builtin().get(ty).map_atomic;
    let stands = |value: Option<&Value>| value.map_or(field.presence != Presence::Pointer, Value::is_object);
    (is_merged && stands(old) && stands(new)).then_some(ty)
}

fn of_objects(place: Place<'_>, old: &Value, new: &Value) -> (Map<String, Value>, Map<String, Value>) {
    let mut parts = (Map::new(), Map::new());
    let names = old.as_object().into_iter().chain(new.as_object()).flat_map(Map::keys);
    let is_meta = struct_of(place).is_some_and(|ty| Some(ty) == *OBJECT_META);
    for name in names {
        let (old, new) = (old.get(name), new.get(name));
        if old == new || parts.0.contains_key(name) || (is_meta && name == MANAGED_FIELDS) {
            continue;
        }
        let (old, new) = match (old, new, place.member(name)) {
            (Some(old), Some(new), Some(place)) if old.is_object() && new.is_object() && has_named_fields(place) => {
                let (old, new) = of_objects(place, old, new);
                (Some(Value::Object(old)), Some(Value::Object(new)))
            }
            _ => (old.cloned(), new.cloned()),
        };
        put(&mut parts, name, old, new);
    }
    parts
}

/// Whether a value here is an object of named fields that merges: a member that is the same in two of them tells nothing.
fn has_named_fields(place: Place<'_>) -> bool {
    match place {
        Place::Custom(Custom::Object { fields, atomic, .. }) => !atomic && !fields.is_empty(),
        Place::Field(field, _) if field.map_atomic => false,
        place => struct_of(place).is_some_and(|ty| !Facts::builtin().get(ty).map_atomic),
    }
}

fn struct_of(place: Place<'_>) -> Option<TypeId> {
    match place {
        Place::Object(ty) => Some(ty),
        Place::Custom(Custom::BuiltIn(ty)) => Some(*ty),
        Place::Field(field, Arity::One) => field.shape.object(),
        _ => None,
    }
}

fn put(parts: &mut (Map<String, Value>, Map<String, Value>), name: &str, old: Option<Value>, new: Option<Value>) {
    if old == new {
        return;
    }
    for (part, value) in [(&mut parts.0, old), (&mut parts.1, new)] {
        if let Some(value) = value {
            part.insert(name.to_owned(), value);
        }
    }
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
