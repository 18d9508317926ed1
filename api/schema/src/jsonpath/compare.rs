//! Comparisons as Go's templates make them: like with like alone.

use std::cmp::Ordering;

use crate::Value;

const BAD_TYPE: &str = "invalid type for comparison";
const INCOMPATIBLE: &str = "incompatible types for comparison";

/// Whether `left operator right` holds.
pub(super) fn holds(left: &Value, operator: &str, right: &Value) -> Result<bool, String> {
    let equal = || equal(left, right);
    let less = || less(left, right);
    let at_most = || if less()? { Ok(true) } else { equal() };
    let outcome = match operator {
        "<" => less(),
        ">" => at_most().map(|at_most| !at_most),
        "==" => equal(),
        "!=" => equal().map(|equal| !equal),
        "<=" => at_most(),
        ">=" => less().map(|less| !less),
        _ => return Err(format!("unrecognized filter operator {operator}")),
    };
    outcome.map_err(str::to_owned)
}

fn equal(left: &Value, right: &Value) -> Result<bool, &'static str> {
    order(left, right).map(|order| order == Some(Ordering::Equal))
}

fn less(left: &Value, right: &Value) -> Result<bool, &'static str> {
    let order = order(left, right)?;
    if left.is_boolean() { Err(BAD_TYPE) } else { Ok(order == Some(Ordering::Less)) }
}

fn order(left: &Value, right: &Value) -> Result<Option<Ordering>, &'static str> {
    let is_basic = |value: &Value| matches!(value, Value::Bool(_) | Value::Number(_) | Value::String(_));
    if !is_basic(left) || !is_basic(right) {
        return Err(BAD_TYPE);
    }
    match (left, right) {
        (Value::Bool(left), Value::Bool(right)) => Ok(Some(left.cmp(right))),
        (Value::String(left), Value::String(right)) => Ok(Some(left.cmp(right))),
        (Value::Number(left), Value::Number(right)) if left.is_f64() != right.is_f64() => Err(INCOMPATIBLE),
        (Value::Number(left), Value::Number(right)) if left.is_f64() => {
            Ok(left.as_f64().zip(right.as_f64()).and_then(|(left, right)| left.partial_cmp(&right)))
        }
        (Value::Number(left), Value::Number(right)) => {
            let whole = |number: &serde_json::Number| number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from));
            Ok(whole(left).zip(whole(right)).map(|(left, right)| left.cmp(&right)))
        }
        _ => Err(INCOMPATIBLE),
    }
}
