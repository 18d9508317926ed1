//! Constants: `12`, `0x1F`, `0b1`, `1_000`, `1.5e3`, `'x'`.

use schema::{Value, go};

pub(super) fn parse(text: &str) -> Result<Value, String> {
    if let Some(inner) = text.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\'')) {
        return character(inner).ok_or_else(|| format!("malformed character constant: {text}"));
    }
    whole(text).or_else(|| float(text)).ok_or_else(|| format!("illegal number syntax: {}", go::quote(text)))
}

fn character(inner: &str) -> Option<Value> {
    let inner = go::unquote(inner, '\'')?;
    let mut chars = inner.chars();
    chars.next().filter(|_| chars.next().is_none()).map(|c| u32::from(c).into())
}

fn whole(text: &str) -> Option<Value> {
    let (sign, digits) = match text.strip_prefix(['-', '+']) {
        Some(digits) => (if text.starts_with('-') { -1 } else { 1 }, digits),
        None => (1, text),
    };
    let lower = digits.to_lowercase();
    let (radix, digits) = match lower.get(..2) {
        Some("0x") => (16, &lower[2..]),
        Some("0b") => (2, &lower[2..]),
        Some("0o") => (8, &lower[2..]),
        _ if lower.len() > 1 && lower.starts_with('0') => (8, &lower[1..]),
        _ => (10, lower.as_str()),
    };
    if digits.starts_with(['+', '-']) {
        return None;
    }
    let number = sign * i128::from_str_radix(&digits.replace('_', ""), radix).ok()?;
    i64::try_from(number).map(Value::from).or_else(|_| u64::try_from(number).map(Value::from)).ok()
}

/// A float that is whole serves as a whole number, as in Go.
fn float(text: &str) -> Option<Value> {
    let is_float = text.contains(|c: char| c.is_ascii_digit()) && text.chars().all(|c| c.is_ascii_digit() || "+-._eE".contains(c));
    let float: f64 = text.replace('_', "").parse().ok().filter(|float: &f64| is_float && float.is_finite())?;
    Some(float.into())
}
