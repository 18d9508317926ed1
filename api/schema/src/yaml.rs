//! Values as YAML, in the form that `kubectl get -o yaml` has: block style, lists not indented below their key, text
//! quoted only where a reader would take it for something else.

use crate::Value;
use crate::decode;

/// One document, with a final line break.
pub fn to_string(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Object(members) if !members.is_empty() => object(members, 0, &mut out),
        Value::Array(elements) if !elements.is_empty() => list(elements, 0, &mut out),
        scalar => line(scalar, 0, &mut out),
    }
    out
}

fn object(members: &crate::Map<String, Value>, indent: usize, out: &mut String) {
    for (at, (name, value)) in members.iter().enumerate() {
        if at > 0 {
            out.push_str(&" ".repeat(indent));
        }
        out.push_str(&key(name));
        out.push(':');
        match value {
            Value::Object(inner) if !inner.is_empty() => {
                out.push('\n');
                out.push_str(&" ".repeat(indent + 2));
                object(inner, indent + 2, out);
            }
            Value::Array(inner) if !inner.is_empty() => {
                out.push('\n');
                out.push_str(&" ".repeat(indent));
                list(inner, indent, out);
            }
            scalar => {
                out.push(' ');
                line(scalar, indent + 2, out);
            }
        }
    }
}

fn list(elements: &[Value], indent: usize, out: &mut String) {
    for (at, element) in elements.iter().enumerate() {
        if at > 0 {
            out.push_str(&" ".repeat(indent));
        }
        out.push_str("- ");
        match element {
            Value::Object(inner) if !inner.is_empty() => object(inner, indent + 2, out),
            Value::Array(inner) if !inner.is_empty() => list(inner, indent + 2, out),
            scalar => line(scalar, indent + 2, out),
        }
    }
}

/// The rest of a line: a value without members. What lies beyond the width goes on below, `indent` deep.
fn line(value: &Value, indent: usize, out: &mut String) {
    let written = inline(value, indent);
    let start = out.rfind('\n').map_or(0, |at| at + 1);
    if value.is_string() && !written.contains('\n') {
        fold(&written, out[start..].chars().count(), indent, out);
    } else {
        out.push_str(&written);
    }
    out.push('\n');
}

/// Columns that a line may have before the next space of a text ends it.
const WIDTH: usize = 80;

/// Writes a text that starts at `column`, plain or with its quotes, and breaks it at spaces beyond the width: a reader takes a
/// break for a space.
fn fold(text: &str, mut column: usize, indent: usize, out: &mut String) {
    let characters: Vec<char> = text.chars().collect();
    let quote = characters[0];
    let inside = if matches!(quote, '\'' | '"') { 2..characters.len().saturating_sub(2) } else { 1..characters.len() };
    for (at, c) in characters.iter().enumerate() {
        let alone = *c == ' ' && at > 0 && characters[at - 1] != ' ' && characters.get(at + 1) != Some(&' ');
        if alone && column > WIDTH && inside.contains(&at) {
            out.push('\n');
            out.push_str(&" ".repeat(indent));
            column = indent;
        } else {
            out.push(*c);
            column += 1;
        }
    }
}

fn inline(value: &Value, indent: usize) -> String {
    match value {
        Value::Object(_) => "{}".into(),
        Value::Array(_) => "[]".into(),
        Value::String(value) => text(value, indent),
        other => other.to_string(),
    }
}

/// A text plain, quoted, or as a literal block.
fn text(value: &str, indent: usize) -> String {
    let is_lines = value.contains('\n') && !value.contains(" \n") && !value.ends_with(' ') && !value.trim_matches('\n').is_empty();
    if is_lines && is_printable(value) { block(value, indent) } else { key(value) }
}

/// A text on one line.
fn key(value: &str) -> String {
    if value.contains('\n') || !is_printable(value) {
        return double_quoted(value);
    }
    if resolves(value) {
        return format!("\"{value}\"");
    }
    let reads_back = matches!(decode::yaml_value(value.as_bytes()), Ok(Value::String(read)) if read == value);
    if reads_back && !is_risky(value) { value.to_owned() } else { format!("'{}'", value.replace('\'', "''")) }
}

/// Whether a plain scalar would be something else than text to a reader of YAML 1.1.
fn resolves(value: &str) -> bool {
    let is_text = matches!(decode::yaml_scalar(value), Ok(Value::String(_)));
    !is_text || is_timestamp(value) || is_base_60(value)
}

/// `2006-1-2`, alone or with a time of day.
fn is_timestamp(value: &str) -> bool {
    let (date, time) = value.split_once(['T', 't', ' ']).map_or((value, None), |(date, time)| (date, Some(time)));
    let parts: Vec<&str> = date.split('-').collect();
    let [year, month, day] = parts.as_slice() else { return false };
    let digits = |part: &str, min: usize, max: usize| (min..=max).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit());
    let is_clock = |time: &str| time.contains(':') && time.bytes().all(|byte| byte.is_ascii_digit() || b":.Z+-".contains(&byte));
    digits(year, 4, 4) && digits(month, 1, 2) && digits(day, 1, 2) && time.is_none_or(is_clock)
}

/// `1:30`, which YAML 1.1 reads as a number.
fn is_base_60(value: &str) -> bool {
    let unsigned = value.strip_prefix(['-', '+']).unwrap_or(value);
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit() || byte == b'_' || byte == b'.');
    unsigned.starts_with(|first: char| first.is_ascii_digit()) && unsigned.contains(':') && unsigned.split(':').all(digits)
}

/// Text that reads back equal as a document of its own and might not inside of one.
fn is_risky(value: &str) -> bool {
    let first = value.chars().next().unwrap_or(' ');
    ",[]{}#&*!|>'\"%@`-?: ".contains(first) && !(value.len() > 1 && "-?:".contains(first) && !value[1..].starts_with(' '))
        || value.ends_with([' ', ':'])
        || value.contains(": ")
        || value.contains(" #")
        || value.starts_with("---")
        || value == "<<"
}

fn is_printable(value: &str) -> bool {
    value.chars().all(|c| c == '\n' || !c.is_control())
}

fn double_quoted(value: &str) -> String {
    let mut out = String::from("\"");
    for c in value.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if c.is_control() => out.push_str(&format!("\\x{:02X}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

fn block(value: &str, indent: usize) -> String {
    let body = value.trim_end_matches('\n');
    let chomp = match value.len() - body.len() {
        0 => "-",
        1 => "",
        _ => "+",
    };
    let hint = if value.starts_with([' ', '\n']) { "2" } else { "" };
    let pad = " ".repeat(indent.max(2));
    let lines = value.strip_suffix('\n').unwrap_or(value).split('\n');
    let lines: Vec<String> = lines.map(|line| if line.is_empty() { String::new() } else { format!("{pad}{line}") }).collect();
    format!("|{hint}{chomp}\n{}", lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::json;

    #[test]
    fn the_form_is_that_of_kubectl() {
        let value = json!({"a": {"list": [{"x": 1, "z": "y"}, [1, 2]], "none": {}, "empty": []}, "b": "yes", "c": "plain text",
            "d": "two\nlines\n", "e": "", "f": "- x", "g": null, "h": "1.5", "i": "2020-01-02T03:04:05Z", "j": "1:30", "k": "nginx:1"});
        let want = "a:\n  empty: []\n  list:\n  - x: 1\n    z: \"y\"\n  - - 1\n    - 2\n  none: {}\nb: \"yes\"\nc: plain text\nd: |\n  two\n  lines\ne: \"\"\nf: '- x'\ng: null\nh: \"1.5\"\ni: \"2020-01-02T03:04:05Z\"\nj: \"1:30\"\nk: nginx:1\n";
        assert_eq!(to_string(&value), want);
    }

    #[test]
    fn long_texts_go_on_below() {
        let words = "word ".repeat(40);
        let value = json!({"a": words.trim(), "b": [format!("it's: {}", words.trim()), "x".repeat(100)], "c": {"d": format!("\u{7} {}", words.trim())}});
        let written = to_string(&value);
        assert!(written.starts_with(&format!("a: {}\n  word", "word ".repeat(16).trim())), "{written}");
        assert_eq!(decode::yaml_value(written.as_bytes()).expect("what is written is read"), value, "{written}");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(texts in prop::collection::vec("[ -~\u{a1}-\u{ff}\n]{0,12}", 1..5)) {
            let members: crate::Map<String, Value> = texts.iter().enumerate().map(|(at, text)| (format!("k{at}"), json!([text, {"n": text}]))).collect();
            let value = Value::Object(members);
            let written = to_string(&value);
            prop_assert_eq!(decode::yaml_value(written.as_bytes()).map_err(|error| TestCaseError::fail(format!("{error}\n{written}")))?, value, "{}", written);
        }
    }
}
