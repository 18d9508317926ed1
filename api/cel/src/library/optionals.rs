//! Optionals. `or` and `orValue` are the evaluator's: they do not look at their argument where they need not.

use super::{Outcome, Table, mismatch};
use crate::fault::Fault;
use crate::value::Value;

pub(super) const FUNCTIONS: Table = &[
    ("optional.of", |args| Ok(Value::some(args[0].clone()))),
    ("optional.ofNonZeroValue", |args| Ok(if args[0].is_zero() { Value::none() } else { Value::some(args[0].clone()) })),
    ("optional.none", |_| Ok(Value::none())),
    ("value", value),
    ("hasValue", |args| match &args[0] {
        Value::Optional(held) => Ok(Value::Bool(held.is_some())),
        _ => mismatch(),
    }),
    ("first", |args| item(args, |len| len.checked_sub(len))),
    ("last", |args| item(args, |len| len.checked_sub(1))),
    ("optional.unwrap", unwrap),
    ("unwrapOpt", unwrap),
];

fn value<'a>(args: &[Value<'a>]) -> Outcome<'a> {
    match &args[0] {
        Value::Optional(Some(held)) => Ok((**held).clone()),
        Value::Optional(None) => Err(Fault::new("optional.none() dereference")),
        _ => mismatch(),
    }
}

fn item<'a>(args: &[Value<'a>], index: fn(usize) -> Option<usize>) -> Outcome<'a> {
    let Value::List(list) = &args[0] else { return mismatch() };
    let at = index(list.len()).filter(|at| *at < list.len());
    at.map_or(Ok(Value::none()), |at| list.get(at).map(Value::some))
}

fn unwrap<'a>(args: &[Value<'a>]) -> Outcome<'a> {
    let Value::List(list) = &args[0] else { return mismatch() };
    let mut held = Vec::new();
    for item in list.iter() {
        match item? {
            Value::Optional(Some(value)) => held.push((*value).clone()),
            Value::Optional(None) => {}
            other => return Err(Fault::new(format!("value {} is not optional", other.shown()))),
        }
    }
    Ok(Value::list(held))
}
