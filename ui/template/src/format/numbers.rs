//! Numbers under their verbs.

use schema::go;

use super::verbs::Spec;

/// None where the verb is not for this number.
pub(super) fn print(spec: &Spec, verb: char, number: &serde_json::Number) -> Option<String> {
    match number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from)) {
        Some(whole) => print_whole(spec, verb, whole),
        None => print_float(spec, verb, number.as_f64()?),
    }
}

fn print_whole(spec: &Spec, verb: char, whole: i128) -> Option<String> {
    let size = whole.unsigned_abs();
    let (mark, digits) = match verb {
        'd' | 'v' => ("", size.to_string()),
        'b' => ("0b", format!("{size:b}")),
        'o' => ("0", format!("{size:o}")),
        'O' => ("0o", format!("{size:o}")),
        'x' => ("0x", format!("{size:x}")),
        'X' => ("0X", format!("{size:X}")),
        'c' => return Some(character(whole).to_string()),
        'q' => return Some(quoted(character(whole))),
        'U' => return Some(unicode(spec, whole)),
        _ => return None,
    };
    let digits = match spec.precision {
        Some(0) if size == 0 => return Some(String::new()),
        Some(count) => format!("{}{digits}", "0".repeat(count.saturating_sub(digits.len()))),
        None => digits,
    };
    let mark = if spec.sharp && verb != 'd' && verb != 'v' || verb == 'O' { mark } else { "" };
    Some(format!("{}{mark}{digits}", sign(spec, whole < 0)))
}

fn sign(spec: &Spec, negative: bool) -> &'static str {
    match (negative, spec.plus, spec.space) {
        (true, ..) => "-",
        (_, true, _) => "+",
        (.., true) => " ",
        _ => "",
    }
}

fn character(code: i128) -> char {
    u32::try_from(code).ok().and_then(char::from_u32).unwrap_or('\u{fffd}')
}

fn quoted(c: char) -> String {
    match c {
        '\'' => r"'\''".into(),
        '"' => "'\"'".into(),
        c => {
            let text = go::quote(&c.to_string());
            format!("'{}'", &text[1..text.len() - 1])
        }
    }
}

fn unicode(spec: &Spec, code: i128) -> String {
    let text = format!("U+{:04X}", code.max(0));
    let c = character(code);
    if spec.sharp && go::is_print(c) { format!("{text} '{c}'") } else { text }
}

fn print_float(spec: &Spec, verb: char, float: f64) -> Option<String> {
    let size = float.abs();
    let digits = match (verb, spec.precision) {
        ('v' | 'g' | 'G', None) => go::float(size),
        ('v' | 'g' | 'G', Some(precision)) => general(size, precision),
        ('e' | 'E', precision) => exponential(size, precision.unwrap_or(6)),
        ('f' | 'F', precision) => format!("{size:.*}", precision.unwrap_or(6)),
        _ => return None,
    };
    let digits = if verb.is_ascii_uppercase() { digits.to_uppercase() } else { digits };
    Some(format!("{}{digits}", sign(spec, float.is_sign_negative())))
}

/// `1.50e+03`
fn exponential(size: f64, precision: usize) -> String {
    let text = format!("{size:.precision$e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or_default();
    format!("{digits}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs())
}

/// So many digits in all, without zeros at the end.
fn general(size: f64, precision: usize) -> String {
    let precision = precision.max(1);
    let text = exponential(size, precision - 1);
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "+00"));
    let trimmed =
        |digits: &str| if digits.contains('.') { digits.trim_end_matches('0').trim_end_matches('.').to_owned() } else { digits.to_owned() };
    let power: i64 = exponent.parse().unwrap_or_default();
    if power < -4 || power >= i64::try_from(precision).unwrap_or(i64::MAX) {
        return format!("{}e{exponent}", trimmed(digits));
    }
    let after = usize::try_from(i64::try_from(precision).unwrap_or(i64::MAX) - 1 - power).unwrap_or_default();
    trimmed(&format!("{size:.after$}"))
}
