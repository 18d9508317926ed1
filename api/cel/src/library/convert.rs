//! Conversions between types, `size` and `type`.

use std::sync::Arc;

use super::time;
use super::{Outcome, Table, mismatch};
use crate::fault::Fault;
use crate::value::Value;

pub(super) const FUNCTIONS: Table = &[
    ("bool", to_bool),
    ("bytes", to_bytes),
    ("double", to_double),
    ("duration", to_duration),
    ("dyn", |args| Ok(args[0].clone())),
    ("int", to_int),
    ("string", to_string),
    ("timestamp", to_timestamp),
    ("type", |args| Ok(Value::Type(Arc::from(args[0].type_name())))),
    ("uint", to_uint),
    ("size", size),
];

/// Functions whose value on a constant is worked out before anything runs.
pub(crate) fn is_conversion(function: &str) -> bool {
    FUNCTIONS.iter().any(|(name, _)| *name == function && *name != "size")
}

fn impossible<'a>(value: &Value<'_>, to: &str) -> Outcome<'a> {
    Err(Fault::new(format!("type conversion error from '{}' to '{to}'", value.type_name())))
}

fn to_bool<'a>(args: &[Value<'a>]) -> Outcome<'a> {
    match &args[0] {
        Value::Bool(bool) => Ok(Value::Bool(*bool)),
        Value::String(text) => match &**text {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(Value::Bool(true)),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(Value::Bool(false)),
            _ => impossible(&args[0], "bool"),
        },
        _ => mismatch(),
    }
}

fn to_bytes<'a>(args: &[Value<'a>]) -> Outcome<'a> {
    match &args[0] {
        Value::Bytes(_) => Ok(args[0].clone()),
        Value::String(text) => Ok(Value::Bytes(Arc::from(text.as_bytes()))),
        _ => mismatch(),
    }
}

fn to_double<'a>(args: &[Value<'a>]) -> Outcome<'a> {
    match &args[0] {
        Value::Double(double) => Ok(Value::Double(*double)),
        Value::Int(int) => Ok(Value::Double(*int as f64)),
        Value::Uint(uint) => Ok(Value::Double(*uint as f64)),
        Value::String(text) => match text.parse::<f64>() {
            // What overflows is no number; infinity must be asked for by name.
            Ok(double) if double.is_finite() || !text.contains(|c: char| c.is_ascii_digit()) => Ok(Value::Double(double)),
            _ => impossible(&args[0], "double"),
        },
        _ => mismatch(),
    }
}

fn to_int<'a>(args: &[Value<'a>]) -> Outcome<'a> {
    let overflow = || Fault::new("integer overflow");
    match &args[0] {
        Value::Int(int) => Ok(Value::Int(*int)),
        Value::Uint(uint) => i64::try_from(*uint).map(Value::Int).map_err(|_| overflow()),
        Value::Double(double) if *double > -9.223_372_036_854_775e18 && *double < 9.223_372_036_854_775e18 => {
            Ok(Value::Int(*double as i64))
        }
        Value::Double(_) => Err(overflow()),
        Value::Duration(nanos) => Ok(Value::Int(*nanos)),
        Value::Timestamp(time) => Ok(Value::Int(time.seconds())),
        Value::String(text) => text.parse().map(Value::Int).or_else(|_| impossible(&args[0], "int")),
        _ => mismatch(),
    }
}

fn to_uint<'a>(args: &[Value<'a>]) -> Outcome<'a> {
    let overflow = || Fault::new("unsigned integer overflow");
    match &args[0] {
        Value::Uint(uint) => Ok(Value::Uint(*uint)),
        Value::Int(int) => u64::try_from(*int).map(Value::Uint).map_err(|_| overflow()),
        Value::Double(double) if *double >= 0.0 && *double < 1.844_674_407_370_955_2e19 => Ok(Value::Uint(*double as u64)),
        Value::Double(_) => Err(overflow()),
        Value::String(text) => text.parse().map(Value::Uint).or_else(|_| impossible(&args[0], "uint")),
        _ => mismatch(),
    }
}

fn to_string<'a>(args: &[Value<'a>]) -> Outcome<'a> {
    match text_of(&args[0]) {
        Some(Ok(Value::String(text))) => Ok(Value::String(text)),
        Some(other) => other,
        None => mismatch(),
    }
}

/// The value as text, for those that have one.
pub(crate) fn text_of<'a>(value: &Value<'a>) -> Option<Outcome<'a>> {
    Some(Ok(match value {
        Value::String(_) => value.clone(),
        Value::Bool(bool) => Value::borrowed(if *bool { "true" } else { "false" }),
        Value::Int(int) => Value::string(int.to_string()),
        Value::Uint(uint) => Value::string(uint.to_string()),
        Value::Double(double) => Value::string(double_text(*double)),
        Value::Duration(nanos) => Value::string(time::duration_text(*nanos)),
        Value::Timestamp(time) => Value::string(time::timestamp_text(*time)),
        Value::Type(name) => Value::string(name.clone()),
        Value::Ip(ip) => Value::string(ip.to_string()),
        Value::Cidr(cidr) => Value::string(cidr.to_string()),
        Value::Bytes(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => Value::string(text),
            Err(_) => return Some(Err(Fault::new("invalid UTF-8 in bytes, cannot convert to string"))),
        },
        _ => return None,
    }))
}

fn to_duration<'a>(args: &[Value<'a>]) -> Outcome<'a> {
    match &args[0] {
        Value::Duration(nanos) => Ok(Value::Duration(*nanos)),
        Value::String(text) => match time::parse_go_duration(text) {
            Some(nanos) => Ok(Value::Duration(nanos)),
            None => impossible(&args[0], "google.protobuf.Duration"),
        },
        _ => mismatch(),
    }
}

fn to_timestamp<'a>(args: &[Value<'a>]) -> Outcome<'a> {
    let time = match &args[0] {
        Value::Timestamp(time) => return Ok(Value::Timestamp(*time)),
        Value::Int(seconds) => time::Time::from_seconds(*seconds),
        Value::String(text) => match time::parse_timestamp(text) {
            Some(time) => Some(time),
            None => return impossible(&args[0], "google.protobuf.Timestamp"),
        },
        _ => return mismatch(),
    };
    time.map(Value::Timestamp).ok_or_else(|| Fault::new("timestamp overflow"))
}

fn size<'a>(args: &[Value<'a>]) -> Outcome<'a> {
    match &args[0] {
        Value::String(_) | Value::Bytes(_) | Value::List(_) | Value::Map(_) => Ok(Value::Int(args[0].size() as i64)),
        _ => mismatch(),
    }
}

/// A double as Go prints it with `%g`: the shortest digits, an exponent from 21 places on or below 10^-4.
pub(crate) fn double_text(double: f64) -> String {
    if double.is_nan() {
        return "NaN".into();
    }
    if double.is_infinite() {
        return if double > 0.0 { "+Inf".into() } else { "-Inf".into() };
    }
    let scientific = format!("{double:e}");
    let (digits, exponent) = scientific.split_once('e').expect("the form has an exponent");
    let exponent: i32 = exponent.parse().expect("a whole number");
    if double != 0.0 && !(-4..21).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{digits}e{sign}{:02}", exponent.abs());
    }
    double.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_print_as_go_prints_them() {
        for (double, text) in
            [(1e21, "1e+21"), (1.5, "1.5"), (100.0, "100"), (1e-7, "1e-07"), (1e20, "100000000000000000000"), (-0.0, "-0")]
        {
            assert_eq!(double_text(double), text);
        }
    }
}
