//! Documents to messages.

use super::{scalars, wire};
use crate::facts::{Arity, Facts, Field, Presence, Shape, Slot, SlotTo, Type};
use crate::{Map, TypeId, Value, go};

const ABSENT: Value = Value::Null;

pub(super) fn message(ty: TypeId, value: &Value, out: &mut Vec<u8>) {
    let one = Facts::builtin().get(ty);
    slots(one, &one.layout, value, out);
}

fn slots(one: &Type, layout: &[Slot], value: &Value, out: &mut Vec<u8>) {
    for slot in layout {
        match &slot.to {
            SlotTo::Inline(_, inner) => wire::nested(slot.number, out, |out| slots(one, inner, value, out)),
            SlotTo::Field(index) => {
                let field = &one.fields[usize::from(*index)];
                write_field(field, slot.number, value.get(field.name).unwrap_or(&ABSENT), out);
            }
        }
    }
}

fn write_field(field: &Field, number: u32, value: &Value, out: &mut Vec<u8>) {
    match (field.arity, value) {
        (Arity::One, Value::Null) if field.presence == Presence::Pointer => {}
        (Arity::One, value) => one(field.shape, number, value, out),
        (Arity::List, Value::Array(elements)) if field.wrapped => {
            wire::nested(number, out, |out| elements.iter().for_each(|element| one(field.shape, 1, element, out)));
        }
        (Arity::List, Value::Array(elements)) => elements.iter().for_each(|element| one(field.shape, number, element, out)),
        (Arity::Map | Arity::MapOfList, Value::Object(members)) => entries(field, number, members, out),
        _ => {}
    }
}

/// Map entries, by key.
fn entries(field: &Field, number: u32, members: &Map<String, Value>, out: &mut Vec<u8>) {
    for (key, value) in members {
        wire::nested(number, out, |out| {
            wire::bytes(1, key.as_bytes(), out);
            if field.arity == Arity::Map {
                return one(field.shape, 2, value, out);
            }
            wire::nested(2, out, |out| {
                let elements = value.as_array().map(Vec::as_slice).unwrap_or_default();
                elements.iter().for_each(|element| one(field.shape, 1, element, out));
            });
        });
    }
}

/// One value; what is absent or of another type is zero.
fn one(shape: Shape, number: u32, value: &Value, out: &mut Vec<u8>) {
    match shape {
        Shape::String => wire::bytes(number, value.as_str().unwrap_or_default().as_bytes(), out),
        Shape::Int32 | Shape::Int64 => wire::varint_field(number, value.as_i64().unwrap_or_default() as u64, out),
        Shape::Bool => wire::varint_field(number, u64::from(value.as_bool().unwrap_or_default()), out),
        Shape::Number => wire::double(number, value.as_f64().unwrap_or_default(), out),
        Shape::Bytes if value.is_null() => {}
        Shape::Bytes => wire::bytes(number, &scalars::from_base64(value), out),
        Shape::Time => wire::nested(number, out, |out| scalars::write_time(value, false, out)),
        Shape::MicroTime => wire::nested(number, out, |out| scalars::write_time(value, true, out)),
        Shape::Quantity => wire::nested(number, out, |out| scalars::write_quantity(value, out)),
        Shape::IntOrString => wire::nested(number, out, |out| scalars::write_int_or_string(value, out)),
        Shape::Duration => wire::nested(number, out, |out| scalars::write_duration(value, out)),
        Shape::Any | Shape::FieldsV1 => wire::nested(number, out, |out| any(value, out)),
        Shape::Object(ty) => wire::nested(number, out, |out| message(ty, value, out)),
        Shape::SchemaOrArray(ty) => wire::nested(number, out, |out| schema_or_array(ty, value, out)),
        Shape::SchemaOrBool(ty) => wire::nested(number, out, |out| schema_or_bool(ty, value, out)),
        Shape::SchemaOrStrings(ty) => wire::nested(number, out, |out| schema_or_strings(ty, value, out)),
    }
}

/// `RawExtension`, `JSON` and `FieldsV1` hold JSON text, as Go's encoder writes it.
fn any(value: &Value, out: &mut Vec<u8>) {
    if !value.is_null() {
        wire::bytes(1, &go::json_bytes(value), out);
    }
}

fn schema_or_array(ty: TypeId, value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Array(schemas) => schemas.iter().for_each(|schema| wire::nested(2, out, |out| message(ty, schema, out))),
        schema => wire::nested(1, out, |out| message(ty, schema, out)),
    }
}

/// A schema allows, as `true` does.
fn schema_or_bool(ty: TypeId, value: &Value, out: &mut Vec<u8>) {
    wire::varint_field(1, u64::from(value.as_bool().unwrap_or(true)), out);
    if value.is_object() {
        wire::nested(2, out, |out| message(ty, value, out));
    }
}

fn schema_or_strings(ty: TypeId, value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Array(words) => words.iter().for_each(|word| one(Shape::String, 2, word, out)),
        schema => wire::nested(1, out, |out| message(ty, schema, out)),
    }
}
