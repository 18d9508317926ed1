//! `eq`, `ne`, `lt` and the like: like with like alone.

use std::cmp::Ordering;

use schema::Value as Document;

use super::Outcome;
use crate::value::Value;

const BAD_TYPE: &str = "invalid type for comparison";
const INCOMPATIBLE: &str = "incompatible types for comparison";

/// Whether the first equals one of the others.
pub(super) fn equal<'a>(arguments: &[Value<'_>]) -> Outcome<'a> {
    let (first, others) = arguments.split_first().ok_or("missing argument for comparison")?;
    if others.is_empty() {
        return Err("missing argument for comparison".into());
    }
    for other in others {
        if are_equal(first, other)? {
            return Ok(Value::of(true.into()));
        }
    }
    Ok(Value::of(false.into()))
}

pub(super) fn unequal<'a>(arguments: &[Value<'_>]) -> Outcome<'a> {
    are_equal(&arguments[0], &arguments[1]).map(|equal| Value::of((!equal).into()))
}

fn are_equal(left: &Value<'_>, right: &Value<'_>) -> Result<bool, String> {
    match (sort(left.document()), sort(right.document())) {
        (None, None) if left.is_nothing() || right.is_nothing() => Ok(left.is_nothing() == right.is_nothing()),
        (None, None) => {
            let odd = right;
            Err(format!("non-comparable type {}: {}", odd.printed(), odd.type_name()))
        }
        (one, other) if one == other => Ok(order(left.document(), right.document()) == Some(Ordering::Equal)),
        _ if left.is_nothing() || right.is_nothing() => Ok(false),
        _ => Err(INCOMPATIBLE.into()),
    }
}

/// `lt` and its kin, by what the order must be.
pub(super) fn ordered<'a>(arguments: &[Value<'_>], holds: fn(Ordering) -> bool) -> Outcome<'a> {
    let (left, right) = (arguments[0].document(), arguments[1].document());
    match (sort(left).ok_or(BAD_TYPE)?, sort(right).ok_or(BAD_TYPE)?) {
        (one, other) if one != other => Err(INCOMPATIBLE.into()),
        (Sort::Bool, _) => Err(BAD_TYPE.into()),
        _ => Ok(Value::of(order(left, right).is_some_and(holds).into())),
    }
}

#[derive(PartialEq)]
enum Sort {
    Bool,
    Whole,
    Float,
    Text,
}

fn sort(document: &Document) -> Option<Sort> {
    match document {
        Document::Bool(_) => Some(Sort::Bool),
        Document::Number(number) if number.is_f64() => Some(Sort::Float),
        Document::Number(_) => Some(Sort::Whole),
        Document::String(_) => Some(Sort::Text),
        _ => None,
    }
}

/// Of two of one sort.
fn order(left: &Document, right: &Document) -> Option<Ordering> {
    match (left, right) {
        (Document::Bool(left), Document::Bool(right)) => Some(left.cmp(right)),
        (Document::String(left), Document::String(right)) => Some(left.cmp(right)),
        (Document::Number(left), Document::Number(right)) if left.is_f64() => left.as_f64()?.partial_cmp(&right.as_f64()?),
        (Document::Number(left), Document::Number(right)) => Some(whole(left)?.cmp(&whole(right)?)),
        _ => None,
    }
}

fn whole(number: &serde_json::Number) -> Option<i128> {
    number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from))
}
