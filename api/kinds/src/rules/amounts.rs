//! Amounts that are whole numbers or percentages, and quantities above zero.

use schema::quantity::Format;
use schema::{DocExt, FieldErrors, Path, Quantity, Value};

use super::NEGATIVE;
use crate::lens::IntOrString;

const NOT_A_PERCENT: &str = "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')";

/// The amount at a member; absent and what is neither number nor text is 0.
pub(crate) fn int_or_percent(parent: &Value, member: &str) -> IntOrString {
    parent.at(member).and_then(|value| serde_json::from_value(value.clone()).ok()).unwrap_or_default()
}

/// The amount as it prints in an error.
pub(crate) fn shown(amount: &IntOrString) -> Value {
    serde_json::to_value(amount).unwrap_or_default()
}

/// 0 or 0 %.
pub(crate) fn is_zero(amount: &IntOrString) -> bool {
    match amount {
        IntOrString::Int(number) => *number == 0,
        IntOrString::String(_) => percent(amount) == Some(0),
    }
}

/// A whole number that is not negative, or a percentage.
pub(crate) fn positive_int_or_percent(amount: &IntOrString, path: &Path, errors: &mut FieldErrors) {
    match amount {
        IntOrString::Int(number) if *number < 0 => errors.invalid(path, *number, NEGATIVE),
        IntOrString::String(text) if percent(amount).is_none() => errors.invalid(path, text.clone(), NOT_A_PERCENT),
        _ => {}
    }
}

/// A percentage may not be above 100.
pub(crate) fn at_most_100_percent(amount: &IntOrString, path: &Path, errors: &mut FieldErrors) {
    if percent(amount).is_some_and(|percent| percent > 100) {
        errors.invalid(path, shown(amount), "must not be greater than 100%");
    }
}

fn percent(amount: &IntOrString) -> Option<u64> {
    let IntOrString::String(text) = amount else { return None };
    let digits = text.strip_suffix('%').filter(|digits| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()))?;
    Some(digits.parse().unwrap_or(u64::MAX))
}

/// The quantity at a member, where there is one that can be read.
pub(crate) fn quantity(parent: &Value, member: &str) -> Option<Quantity> {
    parent.at(member).and_then(|value| Quantity::from_json(value).ok())
}

/// The amounts of a map of resources, in order of their names; one that cannot be read is 0.
pub(crate) fn quantities<'a>(parent: &'a Value, member: &str) -> Vec<(&'a str, Quantity)> {
    let read = |value: &Value| Quantity::from_json(value).unwrap_or(Quantity::from_value(0, Format::DecimalSi));
    let mut found: Vec<_> = parent.map_at(member).into_iter().flatten().map(|(name, value)| (name.as_str(), read(value))).collect();
    found.sort_by_key(|(name, _)| *name);
    found
}

#[cfg(test)]
mod tests {
    use schema::json;

    use super::*;

    #[test]
    fn amounts_are_whole_numbers_or_percentages_up_to_a_hundred() {
        for (amount, wrong) in [
            (json!(0), ""),
            (json!("0%"), ""),
            (json!("100%"), ""),
            (json!(-1), NEGATIVE),
            (json!("x"), NOT_A_PERCENT),
            (json!("%"), NOT_A_PERCENT),
            (json!("101%"), "must not be greater than 100%"),
        ] {
            let (given, mut errors) = (int_or_percent(&json!({"a": amount}), "a"), FieldErrors::default());
            positive_int_or_percent(&given, &Path::new("a"), &mut errors);
            at_most_100_percent(&given, &Path::new("a"), &mut errors);
            let found = errors.0.first().map(|error| error.message.clone()).unwrap_or_default();
            assert!(if wrong.is_empty() { found.is_empty() } else { found.ends_with(wrong) }, "{amount}: {found}");
        }
    }
}
