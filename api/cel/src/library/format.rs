//! `string.format`: clauses `%s %d %f %e %b %x %X %o`, with a precision for the floating ones.
//!
//! The same walk over the clauses serves the check of constant formats at compile time ([`clauses`]).

use super::convert::text_of;
use super::{Outcome, Table, mismatch};
use crate::fault::Fault;
use crate::value::{List, Value};
use crate::work;

pub(super) const FUNCTIONS: Table = &[("format", format)];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Clause {
    String,
    Decimal,
    Fixed(usize),
    /// Always six digits; the precision is the least width, as upstream has it.
    Scientific(usize),
    Binary,
    Hex {
        upper: bool,
    },
    Octal,
}

/// Part of a format: text, or a clause that takes the next argument.
#[derive(Debug, PartialEq)]
pub(crate) enum Part<'a> {
    Text(&'a str),
    Clause(Clause),
}

const PRECISION_DEFAULT: usize = 6;
/// Digits that a clause may ask for; more would be a way to make large texts from small ones.
const PRECISION_MAX: usize = 1_000;

/// The parts of a format that takes at most `args` arguments; an error comes after the parts before it.
pub(crate) fn clauses(format: &str, args: usize) -> impl Iterator<Item = Result<Part<'_>, String>> {
    let mut rest = format;
    let mut taken = 0;
    std::iter::from_fn(move || {
        let (part, after) = match next_part(rest, taken, args) {
            Ok(None) => return None,
            Ok(Some((part, after))) => (Ok(part), after),
            Err(wrong) => (Err(wrong), ""),
        };
        taken += usize::from(matches!(part, Ok(Part::Clause(_))));
        rest = after;
        Some(part)
    })
}

fn next_part(rest: &str, taken: usize, args: usize) -> Result<Option<(Part<'_>, &str)>, String> {
    if rest.is_empty() {
        return Ok(None);
    }
    let Some(clause) = rest.strip_prefix('%') else {
        let end = rest.find('%').unwrap_or(rest.len());
        return Ok(Some((Part::Text(&rest[..end]), &rest[end..])));
    };
    if let Some(after) = clause.strip_prefix('%') {
        return Ok(Some((Part::Text("%"), after)));
    }
    if taken >= args {
        return Err(format!("index {taken} out of range"));
    }
    if clause.is_empty() {
        return Err("unexpected end of string".into());
    }
    let (precision, after) = precision(clause).map_err(|wrong| format!("could not parse formatting clause: {wrong}"))?;
    let digits = precision.unwrap_or(PRECISION_DEFAULT);
    let letter = after.chars().next().unwrap_or('\u{0}');
    let clause = match letter {
        's' => Clause::String,
        'd' => Clause::Decimal,
        'f' => Clause::Fixed(digits),
        'e' => Clause::Scientific(digits),
        'b' => Clause::Binary,
        'x' | 'X' => Clause::Hex { upper: letter == 'X' },
        'o' => Clause::Octal,
        other => return Err(format!("could not parse formatting clause: unrecognized formatting clause \"{other}\"")),
    };
    Ok(Some((Part::Clause(clause), &after[1..])))
}

fn precision(clause: &str) -> Result<(Option<usize>, &str), String> {
    let Some(rest) = clause.strip_prefix('.') else { return Ok((None, clause)) };
    let end = rest.find(|c: char| !c.is_ascii_digit());
    let end = end.ok_or("error while parsing precision: could not find end of precision specifier")?;
    let digits: usize = rest[..end].parse().map_err(|_| {
        let wrong = &rest[..end];
        format!(
            "error while parsing precision: error while converting precision to integer: strconv.Atoi: parsing {wrong:?}: invalid syntax"
        )
    })?;
    if digits > PRECISION_MAX {
        return Err(format!("error while parsing precision: precision {digits} exceeds maximum allowed precision {PRECISION_MAX}"));
    }
    Ok((Some(digits), &rest[end..]))
}

/// What a clause says to an argument of the wrong type.
pub(crate) fn refusal(clause: Clause, given: &str) -> String {
    let takes = match clause {
        Clause::String => {
            "string clause can only be used on strings, bools, bytes, ints, doubles, maps, lists, types, durations, and timestamps"
        }
        Clause::Decimal => "decimal clause can only be used on integers",
        Clause::Fixed(_) => "fixed-point clause can only be used on doubles",
        Clause::Scientific(_) => "scientific clause can only be used on doubles",
        Clause::Binary => "only integers and bools can be formatted as binary",
        Clause::Hex { .. } => "only integers, byte buffers, and strings can be formatted as hex",
        Clause::Octal => "octal clause can only be used on integers",
    };
    format!("error during formatting: {takes}, was given {given}")
}

fn format<'a>(args: &[Value<'a>]) -> Outcome<'a> {
    let (Value::String(format), Value::List(list)) = (&args[0], &args[1]) else { return mismatch() };
    let mut text = String::new();
    let mut at = 0;
    for part in clauses(format, list.len()) {
        match part.map_err(Fault::new)? {
            Part::Text(plain) => text.push_str(plain),
            Part::Clause(clause) => {
                text.push_str(&formatted(clause, &list.get(at)?)?);
                at += 1;
            }
        }
    }
    Ok(Value::string(text))
}

fn formatted(clause: Clause, value: &Value<'_>) -> Result<String, Fault> {
    let text = match (clause, value) {
        (Clause::String, value) => return string(value).map_err(|wrong| Fault::new(format!("error during formatting: {wrong}"))),
        (Clause::Decimal, Value::Int(int)) => Some(int.to_string()),
        (Clause::Decimal, Value::Uint(uint)) => Some(uint.to_string()),
        (Clause::Fixed(digits), value) => floating(value).map(|double| fixed(double, digits)),
        (Clause::Scientific(digits), value) => floating(value).map(|double| scientific(double, digits)),
        (Clause::Binary, Value::Int(int)) => Some(signed(*int, |amount| format!("{amount:b}"))),
        (Clause::Binary, Value::Uint(uint)) => Some(format!("{uint:b}")),
        (Clause::Binary, Value::Bool(bool)) => Some(u8::from(*bool).to_string()),
        (Clause::Octal, Value::Int(int)) => Some(signed(*int, |amount| format!("{amount:o}"))),
        (Clause::Octal, Value::Uint(uint)) => Some(format!("{uint:o}")),
        (Clause::Hex { upper }, value) => hex(value).map(|hex| if upper { hex.to_uppercase() } else { hex }),
        _ => None,
    };
    text.ok_or_else(|| Fault::new(refusal(clause, value.type_name())))
}

fn signed(int: i64, show: fn(u64) -> String) -> String {
    let sign = if int < 0 { "-" } else { "" };
    format!("{sign}{}", show(int.unsigned_abs()))
}

fn hex(value: &Value<'_>) -> Option<String> {
    let bytes = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Some(match value {
        Value::Int(int) => signed(*int, |amount| format!("{amount:x}")),
        Value::Uint(uint) => format!("{uint:x}"),
        Value::String(text) => bytes(text.as_bytes()),
        Value::Bytes(raw) => bytes(raw),
        _ => return None,
    })
}

fn floating(value: &Value<'_>) -> Option<f64> {
    match value {
        Value::Double(double) => Some(*double),
        Value::String(text) => match &**text {
            "NaN" => Some(f64::NAN),
            "Infinity" => Some(f64::INFINITY),
            "-Infinity" => Some(f64::NEG_INFINITY),
            _ => None,
        },
        _ => None,
    }
}

fn special(double: f64) -> Option<String> {
    if double.is_nan() {
        return Some("NaN".into());
    }
    double.is_infinite().then(|| if double > 0.0 { "∞".into() } else { "-∞".into() })
}

/// As an English reader writes it: thousands apart.
fn fixed(double: f64, digits: usize) -> String {
    special(double).unwrap_or_else(|| grouped(&format!("{double:.digits$}")))
}

fn grouped(number: &str) -> String {
    let (sign, number) = number.strip_prefix('-').map_or(("", number), |number| ("-", number));
    let (whole, fraction) = number.split_once('.').map_or((number, None), |(whole, fraction)| (whole, Some(fraction)));
    let mut text = String::from(sign);
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    fraction.map_or(text.clone(), |fraction| format!("{text}.{fraction}"))
}

/// `1.234568×10⁰⁴`
fn scientific(double: f64, width: usize) -> String {
    if let Some(special) = special(double) {
        return special;
    }
    let text = format!("{double:.6e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, exponent) = exponent.strip_prefix('-').map_or(("", exponent), |exponent| ("\u{207b}", exponent));
    let superscript = |digit: char| ['⁰', '¹', '²', '³', '⁴', '⁵', '⁶', '⁷', '⁸', '⁹'][digit.to_digit(10).unwrap_or(0) as usize];
    let exponent: String = format!("{exponent:0>2}").chars().map(superscript).collect();
    let text = format!("{mantissa}×10{sign}{exponent}");
    format!("{text:>width$}")
}

fn string(value: &Value<'_>) -> Result<String, String> {
    match value {
        Value::Null => Ok("null".into()),
        Value::List(list) => list_text(list),
        Value::Map(map) => {
            let mut entries = Vec::new();
            for (key, value) in map.entries().map_err(|fault| fault.to_string())? {
                entries.push(format!("{}:{}", inner(&key)?, inner(&value)?));
            }
            entries.sort();
            Ok(format!("{{{}}}", entries.join(", ")))
        }
        Value::Ip(_) | Value::Cidr(_) => Err(refused(value)),
        other => match text_of(other) {
            Some(Ok(Value::String(text))) => Ok(text.to_string()),
            Some(Err(fault)) => Err(fault.to_string()),
            _ => Err(refused(other)),
        },
    }
}

fn refused(value: &Value<'_>) -> String {
    let text = refusal(Clause::String, value.type_name());
    text.trim_start_matches("error during formatting: ").to_owned()
}

fn list_text(list: &List<'_>) -> Result<String, String> {
    let mut items = Vec::new();
    for item in list.iter() {
        items.push(inner(&item.map_err(|fault| fault.to_string())?)?);
    }
    Ok(format!("[{}]", items.join(", ")))
}

/// A value inside of a list or a map: texts are quoted, times named.
fn inner(value: &Value<'_>) -> Result<String, String> {
    work::spend(1).map_err(|fault| fault.to_string())?;
    let text = string(value);
    Ok(match value {
        Value::String(plain) => go_quoted(plain),
        Value::Bytes(_) => format!("b{}", go_quoted(&text?)),
        Value::Duration(_) => format!("duration(\"{}\")", text?),
        Value::Timestamp(_) => format!("timestamp(\"{}\")", text?),
        Value::Double(double) if double.is_finite() => format!("{double:.6}"),
        Value::Double(double) if double.is_nan() => "\"NaN\"".into(),
        Value::Double(double) => format!("\"{}Inf\"", if *double > 0.0 { '+' } else { '-' }),
        _ => text?,
    })
}

/// As Go's `%q`.
pub(crate) fn go_quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\u{7}' => quoted.push_str("\\a"),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{c}' => quoted.push_str("\\f"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\u{b}' => quoted.push_str("\\v"),
            c if (c as u32) < 0x20 || c as u32 == 0x7f => quoted.push_str(&format!("\\x{:02x}", c as u32)),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04x}", c as u32)),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_in_the_english_way() {
        assert_eq!(fixed(1234567.891, 2), "1,234,567.89");
        assert_eq!(fixed(-12.0, 0), "-12");
        assert_eq!(scientific(12345.678, 6), "1.234568×10⁰⁴");
    }
}
