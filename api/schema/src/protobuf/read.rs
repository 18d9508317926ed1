//! Messages to documents. Zero values that JSON leaves out are left out.

use super::wire::{self, Reader, Wire};
use super::{Members, document_at_depth, scalars};
use crate::decode::{DEPTH_MAX, DecodeError};
use crate::facts::{Arity, Facts, Field, Presence, Shape, Slot, SlotTo, Type};
use crate::{Map, TypeId, Value};

type Read<T> = Result<T, DecodeError>;

pub(super) fn message(ty: TypeId, bytes: &[u8]) -> Read<Members> {
    message_at_depth(ty, bytes, 0)
}

pub(super) fn message_at_depth(ty: TypeId, bytes: &[u8], depth: usize) -> Read<Members> {
    let one = Facts::builtin().get(ty);
    let mut members = Map::new();
    slots(one, &one.layout, bytes, depth, &mut members)?;
    Ok(members)
}

fn slots(one: &'static Type, layout: &[Slot], bytes: &[u8], depth: usize, members: &mut Members) -> Read<()> {
    if depth > DEPTH_MAX {
        return Err(DecodeError::Limit(format!("exceeded max depth: messages nest at most {DEPTH_MAX} levels")));
    }
    let mut reader = Reader::new(bytes);
    while let Some((number, wire)) = reader.field()? {
        let Ok(at) = layout.binary_search_by_key(&number, |slot| slot.number) else { continue };
        match (&layout[at].to, wire) {
            (SlotTo::Inline(_, inner), Wire::Bytes(bytes)) => slots(one, inner, bytes, depth + 1, members)?,
            (SlotTo::Inline(..), _) => return Err(wrong_wire(one.name, number)),
            (SlotTo::Field(index), wire) => field(&one.fields[usize::from(*index)], wire, depth, members)?,
        }
    }
    Ok(())
}

fn field(field: &Field, wire: Wire<'_>, depth: usize, members: &mut Members) -> Read<()> {
    match field.arity {
        Arity::One => {
            if let Some(value) = value(field.shape, wire, field.name, depth)?.filter(|value| is_shown(field, value)) {
                members.insert(field.name.into(), value);
            }
        }
        Arity::List => {
            let list = entry(members, field.name, || Value::Array(Vec::new()));
            let Value::Array(list) = list else { return Ok(()) };
            match wire {
                Wire::Bytes(bytes) if field.wrapped => elements(field.shape, bytes, field.name, depth, list)?,
                Wire::Bytes(bytes) if is_varint(field.shape) => packed(field.shape, bytes, list)?,
                wire => list.push(value(field.shape, wire, field.name, depth)?.unwrap_or_default()),
            }
        }
        Arity::Map | Arity::MapOfList => {
            let (key, value) = map_entry(field, wire, depth)?;
            if let Value::Object(map) = entry(members, field.name, || Value::Object(Map::new())) {
                map.insert(key, value);
            }
        }
    }
    Ok(())
}

fn entry<'m>(members: &'m mut Members, name: &str, empty: impl FnOnce() -> Value) -> &'m mut Value {
    members.entry(name).or_insert_with(empty)
}

/// Whether JSON shows a single value that stands on the wire.
fn is_shown(field: &Field, value: &Value) -> bool {
    match field.presence {
        Presence::Pointer | Presence::Always => true,
        Presence::Value => match value {
            Value::String(text) => !text.is_empty() || field.shape == Shape::Bytes,
            Value::Bool(flag) => *flag,
            Value::Number(number) => number.as_f64() != Some(0.0) || field.shape == Shape::IntOrString,
            _ => true,
        },
    }
}

fn map_entry(field: &Field, wire: Wire<'_>, depth: usize) -> Read<(String, Value)> {
    let Wire::Bytes(bytes) = wire else { return Err(wrong_wire(field.name, field.proto)) };
    let mut key = String::new();
    let mut found = None;
    let mut reader = Reader::new(bytes);
    while let Some((number, wire)) = reader.field()? {
        match (number, wire) {
            (1, Wire::Bytes(bytes)) => key = wire::text(bytes),
            (2, Wire::Bytes(bytes)) if field.arity == Arity::MapOfList => {
                let mut list = Vec::new();
                elements(field.shape, bytes, field.name, depth, &mut list)?;
                found = Some(Value::Array(list));
            }
            (2, wire) => found = value(field.shape, wire, field.name, depth)?,
            _ => {}
        }
    }
    let absent = || if field.arity == Arity::MapOfList { Value::Array(Vec::new()) } else { zero(field.shape) };
    Ok((key, found.unwrap_or_else(absent)))
}

/// What a map entry without a value holds.
fn zero(shape: Shape) -> Value {
    match shape {
        Shape::String => "".into(),
        Shape::Int32 | Shape::Int64 | Shape::Number | Shape::IntOrString => 0.into(),
        Shape::Bool => false.into(),
        Shape::Quantity => "0".into(),
        Shape::Object(_) => Value::Object(Map::new()),
        _ => Value::Null,
    }
}

/// The list inside of a wrapping message.
fn elements(shape: Shape, bytes: &[u8], name: &str, depth: usize, list: &mut Vec<Value>) -> Read<()> {
    let mut reader = Reader::new(bytes);
    while let Some((number, wire)) = reader.field()? {
        if number == 1 {
            list.push(value(shape, wire, name, depth)?.unwrap_or_default());
        }
    }
    Ok(())
}

fn is_varint(shape: Shape) -> bool {
    matches!(shape, Shape::Int32 | Shape::Int64 | Shape::Bool)
}

/// Numbers may come packed, though upstream does not write them so.
fn packed(shape: Shape, bytes: &[u8], list: &mut Vec<Value>) -> Read<()> {
    let mut reader = Reader::new(bytes);
    while !reader.is_empty() {
        list.push(number(shape, reader.varint()?));
    }
    Ok(())
}

fn number(shape: Shape, value: u64) -> Value {
    match shape {
        Shape::Bool => (value != 0).into(),
        Shape::Int32 => (value as i32).into(),
        _ => (value as i64).into(),
    }
}

fn value(shape: Shape, wire: Wire<'_>, name: &str, depth: usize) -> Read<Option<Value>> {
    let bytes = match (shape, wire) {
        (Shape::Int32 | Shape::Int64 | Shape::Bool, Wire::Varint(value)) => return Ok(Some(number(shape, value))),
        (Shape::Number, Wire::Fixed64(bits)) => return Ok(Some(float(f64::from_bits(bits)))),
        (Shape::Int32 | Shape::Int64 | Shape::Bool | Shape::Number, _) => return Err(wrong_wire(name, 0)),
        (_, Wire::Bytes(bytes)) => bytes,
        _ => return Err(wrong_wire(name, 0)),
    };
    Ok(Some(match shape {
        Shape::Bytes => scalars::to_base64(bytes),
        Shape::Time => return scalars::read_time(bytes, false),
        Shape::MicroTime => return scalars::read_time(bytes, true),
        Shape::Quantity => scalars::read_quantity(bytes)?,
        Shape::IntOrString => scalars::read_int_or_string(bytes)?,
        Shape::Duration => scalars::read_duration(bytes)?,
        Shape::Any | Shape::FieldsV1 => return any(bytes, depth),
        Shape::Object(ty) => Value::Object(message_at_depth(ty, bytes, depth + 1)?),
        Shape::SchemaOrArray(ty) => schema_or_array(ty, bytes, depth + 1)?,
        Shape::SchemaOrBool(ty) => schema_or_bool(ty, bytes, depth + 1)?,
        Shape::SchemaOrStrings(ty) => schema_or_strings(ty, bytes, depth + 1)?,
        _ => wire::text(bytes).into(),
    }))
}

/// A whole number is written without a fraction, as Go does.
fn float(value: f64) -> Value {
    if value.fract() == 0.0 && value.abs() < 1e15 { (value as i64).into() } else { value.into() }
}

/// JSON text, or an enveloped document of its own.
fn any(bytes: &[u8], depth: usize) -> Read<Option<Value>> {
    let Some(raw) = scalars::bytes_of(bytes, 1)?.filter(|raw| !raw.is_empty()) else { return Ok(None) };
    if raw.starts_with(super::MAGIC) {
        return document_at_depth(raw, depth + 1).map(Some);
    }
    crate::decode::json_value(raw).map(|decoded| Some(decoded.value).filter(|value| !value.is_null()))
}

fn schema_or_array(ty: TypeId, bytes: &[u8], depth: usize) -> Read<Value> {
    let mut schemas = Vec::new();
    let mut reader = Reader::new(bytes);
    while let Some(field) = reader.field()? {
        match field {
            (1, Wire::Bytes(schema)) => return message_at_depth(ty, schema, depth).map(Value::Object),
            (2, Wire::Bytes(schema)) => schemas.push(Value::Object(message_at_depth(ty, schema, depth)?)),
            _ => {}
        }
    }
    Ok(Value::Array(schemas))
}

fn schema_or_bool(ty: TypeId, bytes: &[u8], depth: usize) -> Read<Value> {
    let mut allows = false;
    let mut reader = Reader::new(bytes);
    while let Some(field) = reader.field()? {
        match field {
            (1, Wire::Varint(value)) => allows = value != 0,
            (2, Wire::Bytes(schema)) => return message_at_depth(ty, schema, depth).map(Value::Object),
            _ => {}
        }
    }
    Ok(allows.into())
}

fn schema_or_strings(ty: TypeId, bytes: &[u8], depth: usize) -> Read<Value> {
    let mut words = Vec::new();
    let mut reader = Reader::new(bytes);
    while let Some(field) = reader.field()? {
        match field {
            (1, Wire::Bytes(schema)) => return message_at_depth(ty, schema, depth).map(Value::Object),
            (2, Wire::Bytes(word)) => words.push(Value::from(wire::text(word))),
            _ => {}
        }
    }
    Ok(Value::Array(words))
}

fn wrong_wire(name: &str, number: u32) -> DecodeError {
    DecodeError::Syntax(format!("proto: wrong wireType for field {name} ({number})"))
}
