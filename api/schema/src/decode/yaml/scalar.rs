//! Scalars of YAML 1.1 as go-yaml resolves them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::Number;

use crate::Value;
use crate::decode::DecodeError;

/// A plain scalar without a tag.
pub(super) fn plain(text: &str) -> Result<Value, DecodeError> {
    Ok(match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" | "true" | "True" | "TRUE" => true.into(),
        "n" | "N" | "no" | "No" | "NO" | "off" | "Off" | "OFF" | "false" | "False" | "FALSE" => false.into(),
        ".nan" | ".NaN" | ".NAN" | ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" | "-.inf" | "-.Inf" | "-.INF" => {
            return Err(DecodeError::Syntax(format!("json: unsupported value: {text}")));
        }
        _ => number(text).unwrap_or_else(|| text.into()),
    })
}

/// A scalar with a tag of the YAML name space; other tags make strings.
pub(super) fn tagged(tag: &str, text: &str) -> Result<Value, DecodeError> {
    let value = match tag {
        "binary" => {
            let joined: String = text.split_whitespace().collect();
            let bytes =
                BASE64.decode(joined).map_err(|_| DecodeError::Syntax("yaml: !!binary value contains invalid base64 data".into()))?;
            return Ok(String::from_utf8_lossy(&bytes).into_owned().into());
        }
        "int" | "float" | "bool" | "null" => plain(text)?,
        _ => return Ok(text.into()),
    };
    let fits = match tag {
        "int" => value.is_i64() || value.is_u64(),
        "float" => value.is_number(),
        "bool" => value.is_boolean(),
        _ => value.is_null(),
    };
    if fits { Ok(value) } else { Err(DecodeError::Syntax(format!("yaml: cannot decode !!str `{text}` as a !!{tag}"))) }
}

fn number(text: &str) -> Option<Value> {
    if !text.starts_with(|first: char| first.is_ascii_digit() || matches!(first, '+' | '-' | '.')) {
        return None;
    }
    let digits = text.replace('_', "");
    if let Some(integer) = integer(&digits) {
        return Some(integer);
    }
    if !is_float(&digits) {
        return None;
    }
    let float: f64 = digits.parse().ok()?;
    // Go prints a whole float without a fraction, so JSON sees an integer.
    if float.fract() == 0.0 && float.abs() < 1e15 {
        return Some((float as i64).into());
    }
    Number::from_f64(float).map(Value::Number)
}

/// Go's `ParseInt` with base 0: prefixes, and a leading zero for octal.
fn integer(text: &str) -> Option<Value> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let lower = digits.to_ascii_lowercase();
    let (radix, digits) = match lower.as_bytes() {
        [b'0', b'x', ..] => (16, &lower[2..]),
        [b'0', b'o', ..] => (8, &lower[2..]),
        [b'0', b'b', ..] => (2, &lower[2..]),
        [b'0', _, ..] => (8, &lower[1..]),
        _ => (10, lower.as_str()),
    };
    if digits.is_empty() || !digits.bytes().all(|byte| (byte as char).is_digit(radix)) {
        return None;
    }
    let magnitude = u64::from_str_radix(digits, radix).ok()?;
    match (negative, i64::try_from(magnitude)) {
        (false, Ok(value)) => Some(value.into()),
        (false, Err(_)) => Some(magnitude.into()),
        (true, Ok(value)) => Some((-value).into()),
        (true, Err(_)) => (magnitude == 1 << 63).then(|| i64::MIN.into()),
    }
}

/// `[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?`
fn is_float(text: &str) -> bool {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (mantissa, exponent) = unsigned.split_once(['e', 'E']).map_or((unsigned, None), |(mantissa, exponent)| (mantissa, Some(exponent)));
    let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let mantissa_fits = all_digits(whole) && all_digits(fraction) && !(whole.is_empty() && fraction.is_empty());
    let exponent_fits = exponent.is_none_or(|exponent| {
        let digits = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
        !digits.is_empty() && all_digits(digits)
    });
    mantissa_fits && exponent_fits
}
