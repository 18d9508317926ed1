//! Quantities: `quantity('1.5Gi').isGreaterThan(quantity('1G'))`.

use std::cmp::Ordering;

use ::schema::Quantity;
use ::schema::quantity::Format;

use super::{Outcome, Table, mismatch};
use crate::fault::Fault;
use crate::value::Value;

pub(super) const FUNCTIONS: Table = &[
    ("quantity", |args| {
        let parse = |text: &str| text.parse().map(Value::Quantity).map_err(|wrong: ::schema::quantity::QuantityError| Fault::new(wrong.0));
        args[0].as_str().map_or_else(mismatch, parse)
    }),
    ("isQuantity", |args| args[0].as_str().map_or_else(mismatch, |text| Ok(Value::Bool(text.parse::<Quantity>().is_ok())))),
    ("asInteger", |args| one(args, |amount| whole(amount).map(Value::Int).ok_or_else(|| Fault::new("cannot convert value to integer")))),
    ("isInteger", |args| one(args, |amount| Ok(Value::Bool(whole(amount).is_some())))),
    ("asApproximateFloat", |args| one(args, |amount| Ok(Value::Double(amount.nano as f64 / 1e9)))),
    ("sign", |args| one(args, |amount| Ok(Value::Int(amount.nano.signum() as i64)))),
    ("isGreaterThan", |args| ordered(args, |ordering| Value::Bool(ordering.is_gt()))),
    ("isLessThan", |args| ordered(args, |ordering| Value::Bool(ordering.is_lt()))),
    ("compareTo", |args| ordered(args, |ordering| Value::Int(ordering as i64))),
    ("add", |args| combined(args, Quantity::plus)),
    ("sub", |args| combined(args, Quantity::minus)),
];

const NANO: i128 = 1_000_000_000;

fn one<'a>(args: &[Value<'a>], map: fn(Quantity) -> Outcome<'a>) -> Outcome<'a> {
    if let Value::Quantity(amount) = &args[0] { map(*amount) } else { mismatch() }
}

/// The amount, where it is a whole number that fits.
fn whole(amount: Quantity) -> Option<i64> {
    (amount.nano % NANO == 0).then(|| i64::try_from(amount.nano / NANO).ok()).flatten()
}

fn ordered<'a>(args: &[Value<'a>], map: fn(Ordering) -> Value<'a>) -> Outcome<'a> {
    match (&args[0], &args[1]) {
        (Value::Quantity(one), Value::Quantity(other)) => Ok(map(one.nano.cmp(&other.nano))),
        _ => mismatch(),
    }
}

fn combined<'a>(args: &[Value<'a>], combine: fn(Quantity, Quantity) -> Quantity) -> Outcome<'a> {
    let other = match &args[1] {
        Value::Quantity(other) => *other,
        Value::Int(units) => Quantity { nano: i128::from(*units) * NANO, format: Format::DecimalExponent, decimal: false },
        _ => return mismatch(),
    };
    if let Value::Quantity(amount) = &args[0] { Ok(Value::Quantity(combine(*amount, other))) } else { mismatch() }
}
