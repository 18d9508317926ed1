//! The scalars that are messages of their own.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::Timestamp;

use super::wire::{self, Reader, Wire};
use crate::decode::DecodeError;
use crate::{Value, duration, quantity, time};

/// `Time{seconds, nanos}`; a text that is no time is the zero time, an empty message.
pub(super) fn write_time(value: &Value, micro: bool, out: &mut Vec<u8>) {
    let Some(time) = value.as_str().and_then(time::parse) else { return };
    let nanos = if micro { i64::from(time.subsec_nanosecond()) / 1000 * 1000 } else { 0 };
    // A time before 1970 has its fraction counted downwards in jiff, upwards in Go.
    let seconds = time.as_nanosecond().div_euclid(1_000_000_000) as i64;
    wire::varint_field(1, seconds as u64, out);
    wire::varint_field(2, nanos.rem_euclid(1_000_000_000) as u64, out);
}

/// `None` is the zero time.
pub(super) fn read_time(bytes: &[u8], micro: bool) -> Result<Option<Value>, DecodeError> {
    let numbers = numbers(bytes, [1, 2])?;
    let [seconds, nanos] = numbers;
    let (Some(seconds), nanos) = (seconds, nanos.unwrap_or_default()) else {
        return Ok(None);
    };
    let out_of_range = || DecodeError::Type(format!("time of {seconds} seconds and {nanos} nanoseconds is out of range"));
    let nanos = i128::from(seconds as i64) * 1_000_000_000 + i128::from(nanos as i64);
    let instant = Timestamp::from_nanosecond(nanos).map_err(|_| out_of_range())?;
    Ok(Some(if micro { time::format_micro(instant) } else { time::format(instant) }.into()))
}

/// The varints with these numbers.
fn numbers<const N: usize>(bytes: &[u8], wanted: [u32; N]) -> Result<[Option<u64>; N], DecodeError> {
    let mut found = [None; N];
    let mut reader = Reader::new(bytes);
    while let Some((number, wire)) = reader.field()? {
        if let (Some(at), Wire::Varint(value)) = (wanted.iter().position(|one| *one == number), wire) {
            found[at] = Some(value);
        }
    }
    Ok(found)
}

pub(super) fn write_quantity(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::String(text) => wire::bytes(1, text.as_bytes(), out),
        Value::Number(number) => wire::bytes(1, number.to_string().as_bytes(), out),
        _ => wire::bytes(1, b"0", out),
    }
}

pub(super) fn read_quantity(bytes: &[u8]) -> Result<Value, DecodeError> {
    let text = bytes_of(bytes, 1)?.map(wire::text).unwrap_or_default();
    if text.is_empty() {
        return Ok("0".into());
    }
    quantity::canonical_text(&text).map(Value::from).map_err(|error| DecodeError::Type(error.0))
}

/// `IntOrString{type, intVal, strVal}`, all three always.
pub(super) fn write_int_or_string(value: &Value, out: &mut Vec<u8>) {
    let text = value.as_str();
    wire::varint_field(1, u64::from(text.is_some()), out);
    wire::varint_field(2, value.as_i64().unwrap_or_default() as u64, out);
    wire::bytes(3, text.unwrap_or_default().as_bytes(), out);
}

pub(super) fn read_int_or_string(bytes: &[u8]) -> Result<Value, DecodeError> {
    let [kind, integer] = numbers(bytes, [1, 2])?;
    Ok(match kind.unwrap_or_default() {
        0 => Value::from(integer.unwrap_or_default() as i32),
        _ => bytes_of(bytes, 3)?.map(wire::text).unwrap_or_default().into(),
    })
}

pub(super) fn write_duration(value: &Value, out: &mut Vec<u8>) {
    let nanos = value.as_str().and_then(|text| duration::parse_nanos(text).ok()).unwrap_or_default();
    wire::varint_field(1, nanos as u64, out);
}

pub(super) fn read_duration(bytes: &[u8]) -> Result<Value, DecodeError> {
    let [nanos] = numbers(bytes, [1])?;
    Ok(duration::format_nanos(nanos.unwrap_or_default() as i64).into())
}

/// The last value of the bytes field `number`.
pub(super) fn bytes_of(bytes: &[u8], number: u32) -> Result<Option<&[u8]>, DecodeError> {
    let mut reader = Reader::new(bytes);
    let mut found = None;
    while let Some(field) = reader.field()? {
        if let (at, Wire::Bytes(value)) = field
            && at == number
        {
            found = Some(value);
        }
    }
    Ok(found)
}

pub(super) fn from_base64(value: &Value) -> Vec<u8> {
    value.as_str().and_then(|text| BASE64.decode(text).ok()).unwrap_or_default()
}

pub(super) fn to_base64(bytes: &[u8]) -> Value {
    BASE64.encode(bytes).into()
}
