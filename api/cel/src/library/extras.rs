//! What Kubernetes' own environments do not have: `math.*`, `base64.*`; and `jsonpatch.escapeKey` of mutations.

use std::cmp::Ordering;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};

use super::{Outcome, Table, mismatch};
use crate::fault::Fault;
use crate::value::{Value, compare};

pub(super) const FUNCTIONS: Table = &[
    ("jsonpatch.escapeKey", |args| {
        args[0].as_str().map_or_else(mismatch, |key| Ok(Value::string(key.replace('~', "~0").replace('/', "~1"))))
    }),
    ("base64.encode", |args| if let Value::Bytes(bytes) = &args[0] { Ok(Value::string(STANDARD.encode(bytes))) } else { mismatch() }),
    ("base64.decode", decode),
    ("math.greatest", |args| extreme(args, Ordering::Less)),
    ("math.least", |args| extreme(args, Ordering::Greater)),
    ("math.ceil", |args| double(args, |double| Value::Double(double.ceil()))),
    ("math.floor", |args| double(args, |double| Value::Double(double.floor()))),
    ("math.round", |args| double(args, |double| Value::Double(double.round()))),
    ("math.trunc", |args| double(args, |double| Value::Double(double.trunc()))),
    ("math.isInf", |args| double(args, |double| Value::Bool(double.is_infinite()))),
    ("math.isNaN", |args| double(args, |double| Value::Bool(double.is_nan()))),
    ("math.isFinite", |args| double(args, |double| Value::Bool(double.is_finite()))),
    ("math.abs", abs),
    ("math.sign", sign),
    ("math.sqrt", sqrt),
    ("math.bitAnd", |args| bits(args, |one, other| one & other)),
    ("math.bitOr", |args| bits(args, |one, other| one | other)),
    ("math.bitXor", |args| bits(args, |one, other| one ^ other)),
    ("math.bitNot", |args| match &args[0] {
        Value::Int(int) => Ok(Value::Int(!int)),
        Value::Uint(uint) => Ok(Value::Uint(!uint)),
        _ => mismatch(),
    }),
    ("math.bitShiftLeft", |args| shifted(args, "math.bitShiftLeft", |bits, by| bits.checked_shl(by).unwrap_or(0))),
    ("math.bitShiftRight", |args| shifted(args, "math.bitShiftRight", |bits, by| bits.checked_shr(by).unwrap_or(0))),
];

fn decode<'a>(args: &[Value<'a>]) -> Outcome<'a> {
    let Value::String(text) = &args[0] else { return mismatch() };
    let decoded = STANDARD.decode(text.as_bytes()).or_else(|_| STANDARD_NO_PAD.decode(text.as_bytes()));
    decoded.map(|bytes| Value::Bytes(Arc::from(bytes))).map_err(|_| Fault::new("illegal base64 data"))
}

fn extreme<'a>(args: &[Value<'a>], replaced: Ordering) -> Outcome<'a> {
    let values = match args {
        [Value::List(list)] => list.values()?,
        values => values.to_vec(),
    };
    let numeric = |value: &Value<'_>| matches!(value, Value::Int(_) | Value::Uint(_) | Value::Double(_));
    if values.is_empty() || !values.iter().all(numeric) {
        return mismatch();
    }
    let pick = |best: Value<'a>, value: Value<'a>| if compare(&best, &value) == Some(replaced) { value } else { best };
    values.into_iter().reduce(pick).map_or_else(mismatch, Ok)
}

fn double<'a>(args: &[Value<'a>], map: fn(f64) -> Value<'a>) -> Outcome<'a> {
    if let Value::Double(double) = &args[0] { Ok(map(*double)) } else { mismatch() }
}

fn abs<'a>(args: &[Value<'a>]) -> Outcome<'a> {
    match &args[0] {
        Value::Int(int) => int.checked_abs().map(Value::Int).ok_or_else(|| Fault::new("integer overflow")),
        Value::Uint(uint) => Ok(Value::Uint(*uint)),
        Value::Double(double) => Ok(Value::Double(double.abs())),
        _ => mismatch(),
    }
}

fn sign<'a>(args: &[Value<'a>]) -> Outcome<'a> {
    match &args[0] {
        Value::Int(int) => Ok(Value::Int(int.signum())),
        Value::Uint(uint) => Ok(Value::Uint(u64::from(*uint > 0))),
        Value::Double(double) if double.is_nan() || *double == 0.0 => Ok(Value::Double(*double)),
        Value::Double(double) => Ok(Value::Double(double.signum())),
        _ => mismatch(),
    }
}

fn sqrt<'a>(args: &[Value<'a>]) -> Outcome<'a> {
    match &args[0] {
        Value::Int(int) => Ok(Value::Double((*int as f64).sqrt())),
        Value::Uint(uint) => Ok(Value::Double((*uint as f64).sqrt())),
        Value::Double(double) => Ok(Value::Double(double.sqrt())),
        _ => mismatch(),
    }
}

fn bits<'a>(args: &[Value<'a>], combine: fn(u64, u64) -> u64) -> Outcome<'a> {
    match (&args[0], &args[1]) {
        (Value::Int(one), Value::Int(other)) => Ok(Value::Int(combine(one.cast_unsigned(), other.cast_unsigned()).cast_signed())),
        (Value::Uint(one), Value::Uint(other)) => Ok(Value::Uint(combine(*one, *other))),
        _ => mismatch(),
    }
}

fn shifted<'a>(args: &[Value<'a>], name: &str, shift: fn(u64, u32) -> u64) -> Outcome<'a> {
    let Value::Int(by) = &args[1] else { return mismatch() };
    if *by < 0 {
        return Err(Fault::new(format!("{name}() negative offset: {by}")));
    }
    let by = u32::try_from(*by).unwrap_or(u32::MAX);
    match &args[0] {
        Value::Int(int) => Ok(Value::Int(shift(int.cast_unsigned(), by).cast_signed())),
        Value::Uint(uint) => Ok(Value::Uint(shift(*uint, by))),
        _ => mismatch(),
    }
}
