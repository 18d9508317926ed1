//! Operators: sums, products, order, logic and membership, with the errors of overflow.

use std::cmp::Ordering;
use std::sync::Arc;

use super::time::Time;
use super::{Outcome, Table, mismatch};
use crate::fault::Fault;
use crate::value::{Value, compare, contains};

pub(super) const FUNCTIONS: Table = &[
    ("_+_", add),
    ("_-_", subtract),
    ("_*_", multiply),
    ("_/_", divide),
    ("_%_", modulo),
    ("-_", negate),
    ("!_", not),
    ("_<_", |args| order(args, Ordering::is_lt)),
    ("_<=_", |args| order(args, Ordering::is_le)),
    ("_>_", |args| order(args, Ordering::is_gt)),
    ("_>=_", |args| order(args, Ordering::is_ge)),
    ("@in", is_in),
];

const INT: &str = "integer overflow";
const UINT: &str = "unsigned integer overflow";
const DURATION: &str = "duration overflow";
const TIMESTAMP: &str = "timestamp overflow";

fn overflow(what: &'static str) -> Fault {
    Fault::new(what)
}

fn int<'a>(result: Option<i64>) -> Outcome<'a> {
    result.map(Value::Int).ok_or_else(|| overflow(INT))
}

fn uint<'a>(result: Option<u64>) -> Outcome<'a> {
    result.map(Value::Uint).ok_or_else(|| overflow(UINT))
}

fn duration<'a>(result: Option<i64>) -> Outcome<'a> {
    result.map(Value::Duration).ok_or_else(|| overflow(DURATION))
}

fn shifted<'a>(time: Time, nanos: i128) -> Outcome<'a> {
    Time::from_nanos(time.nanos() + nanos).map(Value::Timestamp).ok_or_else(|| overflow(TIMESTAMP))
}

fn add<'a>(args: &[Value<'a>]) -> Outcome<'a> {
    match (&args[0], &args[1]) {
        (Value::Int(one), Value::Int(other)) => int(one.checked_add(*other)),
        (Value::Uint(one), Value::Uint(other)) => uint(one.checked_add(*other)),
        (Value::Double(one), Value::Double(other)) => Ok(Value::Double(one + other)),
        (Value::String(one), Value::String(other)) => Ok(Value::string([&**one, &**other].concat())),
        (Value::Bytes(one), Value::Bytes(other)) => Ok(Value::Bytes(Arc::from([&**one, &**other].concat()))),
        (Value::List(one), Value::List(other)) => one.clone().plus(other.clone()).map(Value::List),
        (Value::Duration(one), Value::Duration(other)) => duration(one.checked_add(*other)),
        (Value::Duration(nanos), Value::Timestamp(time)) | (Value::Timestamp(time), Value::Duration(nanos)) => {
            shifted(*time, i128::from(*nanos))
        }
        _ => mismatch(),
    }
}

fn subtract<'a>(args: &[Value<'a>]) -> Outcome<'a> {
    match (&args[0], &args[1]) {
        (Value::Int(one), Value::Int(other)) => int(one.checked_sub(*other)),
        (Value::Uint(one), Value::Uint(other)) => uint(one.checked_sub(*other)),
        (Value::Double(one), Value::Double(other)) => Ok(Value::Double(one - other)),
        (Value::Duration(one), Value::Duration(other)) => duration(one.checked_sub(*other)),
        (Value::Timestamp(time), Value::Duration(nanos)) => shifted(*time, -i128::from(*nanos)),
        (Value::Timestamp(one), Value::Timestamp(other)) => duration(i64::try_from(one.nanos() - other.nanos()).ok()),
        _ => mismatch(),
    }
}

fn multiply<'a>(args: &[Value<'a>]) -> Outcome<'a> {
    match (&args[0], &args[1]) {
        (Value::Int(one), Value::Int(other)) => int(one.checked_mul(*other)),
        (Value::Uint(one), Value::Uint(other)) => uint(one.checked_mul(*other)),
        (Value::Double(one), Value::Double(other)) => Ok(Value::Double(one * other)),
        _ => mismatch(),
    }
}

fn divide<'a>(args: &[Value<'a>]) -> Outcome<'a> {
    match (&args[0], &args[1]) {
        (Value::Int(_), Value::Int(0)) | (Value::Uint(_), Value::Uint(0)) => Err(Fault::new("division by zero")),
        (Value::Int(one), Value::Int(other)) => int(one.checked_div(*other)),
        (Value::Uint(one), Value::Uint(other)) => uint(one.checked_div(*other)),
        (Value::Double(one), Value::Double(other)) => Ok(Value::Double(one / other)),
        _ => mismatch(),
    }
}

fn modulo<'a>(args: &[Value<'a>]) -> Outcome<'a> {
    match (&args[0], &args[1]) {
        (Value::Int(_), Value::Int(0)) | (Value::Uint(_), Value::Uint(0)) => Err(Fault::new("modulus by zero")),
        (Value::Int(one), Value::Int(other)) => int(one.checked_rem(*other)),
        (Value::Uint(one), Value::Uint(other)) => uint(one.checked_rem(*other)),
        _ => mismatch(),
    }
}

fn negate<'a>(args: &[Value<'a>]) -> Outcome<'a> {
    match &args[0] {
        Value::Int(number) => int(number.checked_neg()),
        Value::Double(number) => Ok(Value::Double(-number)),
        Value::Duration(nanos) => duration(nanos.checked_neg()),
        _ => mismatch(),
    }
}

fn not<'a>(args: &[Value<'a>]) -> Outcome<'a> {
    args[0].as_bool().map_or_else(mismatch, |bool| Ok(Value::Bool(!bool)))
}

fn order<'a>(args: &[Value<'a>], holds: fn(Ordering) -> bool) -> Outcome<'a> {
    if args.iter().any(|arg| matches!(arg, Value::Double(double) if double.is_nan())) {
        return Err(Fault::new("NaN values cannot be ordered"));
    }
    compare(&args[0], &args[1]).map_or_else(mismatch, |ordering| Ok(Value::Bool(holds(ordering))))
}

fn is_in<'a>(args: &[Value<'a>]) -> Outcome<'a> {
    match &args[1] {
        Value::List(list) => contains(list, &args[0]).map(Value::Bool),
        Value::Map(map) => map.get(&args[0]).map(|found| Value::Bool(found.is_some())),
        _ => mismatch(),
    }
}
