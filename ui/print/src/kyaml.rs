//! KYAML: the part of YAML that says what it means. Braces and brackets as in JSON, texts always in quotes, names in quotes
//! only where a reader would take them for something else, a comma behind everything.

use std::fmt::Write as _;

use schema::{Map, Value, go};

/// One document with its header and a final line break.
pub fn print(document: &Value) -> String {
    let mut out = String::from("---\n");
    write(document, 0, &mut out);
    out.push('\n');
    out
}

fn write(value: &Value, level: usize, out: &mut String) {
    match value {
        Value::String(value) => text(value, level + 1, out),
        Value::Array(items) => list(items, level, out),
        Value::Object(members) => map(members, level, out),
        scalar => out.push_str(&go::json(scalar)),
    }
}

fn indent(level: usize, out: &mut String) {
    (0..level).for_each(|_| out.push_str("  "));
}

/// Maps and lists stand close to their brackets, scalars on lines of their own.
fn list(items: &[Value], level: usize, out: &mut String) {
    if items.is_empty() {
        return out.push_str("[]");
    }
    out.push('[');
    if items.iter().all(|item| item.is_object() || item.is_array()) {
        for (at, item) in items.iter().enumerate() {
            if at > 0 {
                out.push_str(", ");
            }
            write(item, level, out);
        }
    } else {
        out.push('\n');
        for item in items {
            indent(level + 1, out);
            write(item, level + 1, out);
            out.push_str(",\n");
        }
        indent(level, out);
    }
    out.push(']');
}

fn map(members: &Map<String, Value>, level: usize, out: &mut String) {
    if members.is_empty() {
        return out.push_str("{}");
    }
    out.push_str("{\n");
    for (name, value) in members {
        indent(level + 1, out);
        if needs_quotes(name) {
            quoted(name, out)
        } else {
            out.push_str(name)
        }
        out.push_str(": ");
        write(value, level + 1, out);
        out.push_str(",\n");
    }
    indent(level, out);
    out.push('}');
}

/// A text in quotes, folded at its line breaks.
fn text(value: &str, level: usize, out: &mut String) {
    const FOLD: &str = "\\\n";
    if !value.contains('\n') {
        return quoted(value, out);
    }
    out.push('"');
    out.push_str(FOLD);
    for c in value.chars() {
        if out.ends_with('\n') {
            indent(level, out);
            // Space at the front of a line would be lost.
            out.push(if c.is_whitespace() && c != '\n' { '\\' } else { ' ' });
        }
        if c == '\n' {
            out.push_str("\\n");
            out.push_str(FOLD);
        } else {
            character(c, out);
        }
    }
    if !out.ends_with('\n') {
        out.push_str(FOLD);
    }
    indent(level, out);
    out.push('"');
}

fn quoted(value: &str, out: &mut String) {
    out.push('"');
    for c in value.chars() {
        if c == '\n' { out.push_str("\\n") } else { character(c, out) }
    }
    out.push('"');
}

fn character(c: char, out: &mut String) {
    match c {
        '"' | '\\' => out.extend(['\\', c]),
        c if go::is_print(c) => out.push(c),
        '\u{7}' => out.push_str("\\a"),
        '\u{8}' => out.push_str("\\b"),
        '\u{c}' => out.push_str("\\f"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        '\u{b}' => out.push_str("\\v"),
        '\0' => out.push_str("\\0"),
        '\u{1b}' => out.push_str("\\e"),
        '\u{85}' => out.push_str("\\N"),
        '\u{a0}' => out.push_str("\\_"),
        '\u{2028}' => out.push_str("\\L"),
        '\u{2029}' => out.push_str("\\P"),
        c => {
            let code = u32::from(c);
            let _ = match code {
                0..0x20 | 0x7f => write!(out, "\\x{code:02x}"),
                0..0x10000 => write!(out, "\\u{code:04x}"),
                _ => write!(out, "\\U{code:08x}"),
            };
        }
    }
}

/// Whether a name without quotes might be read as something else.
fn needs_quotes(name: &str) -> bool {
    let last = name.chars().count().saturating_sub(1);
    let is_plain = |(at, c): (usize, char)| c == '_' || c.is_alphanumeric() || at > 0 && at < last && "-./".contains(c);
    name.is_empty() || !name.chars().enumerate().all(is_plain) || is_guessed(name)
}

/// Whether YAML 1.1 takes a text for null, a flag, a number or a time.
fn is_guessed(text: &str) -> bool {
    const WORDS: &[&str] = &[
        "null", "~", "t", "f", "true", "y", "yes", "on", "false", "n", "no", "off", ".inf", "-.inf", "+.inf", ".nan", "inf", "nan",
        "infinity",
    ];
    let lower = text.to_lowercase();
    WORDS.contains(&lower.as_str()) || is_number(&lower.replace('_', "")) || is_date(text)
}

fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let of_radix = |mark: &str, radix: u32| {
        digits.strip_prefix(mark).is_some_and(|digits| !digits.is_empty() && digits.chars().all(|c| c.is_digit(radix)))
    };
    let is_float = digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') && digits.parse::<f64>().is_ok();
    is_float || of_radix("0x", 16) || of_radix("0o", 8) || of_radix("0b", 2)
}

/// `2006-1-2`, alone or with a time.
fn is_date(text: &str) -> bool {
    let parts: Vec<&str> = text.splitn(3, '-').collect();
    let [year, month, rest] = parts.as_slice() else { return false };
    let day = rest.split(['T', 't', ' ']).next().unwrap_or_default();
    let digits = |part: &str, max: usize| !part.is_empty() && part.len() <= max && part.bytes().all(|byte| byte.is_ascii_digit());
    year.len() == 4 && digits(year, 4) && digits(month, 2) && digits(day, 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use schema::json;

    #[test]
    fn names_are_quoted_where_they_would_be_guessed() {
        for name in ["a", "x.io/tier", "a-b", "_", "kind"] {
            assert!(!needs_quotes(name), "{name}");
        }
        for name in ["", "y", "No", "1", "1.5", "0x1f", "1_0", "-a", "a-", "a b", "2020-01-01", "null", "~", "é:", "1e3", ".nan"] {
            assert!(needs_quotes(name), "{name}");
        }
    }

    #[test]
    fn texts_of_several_lines_are_folded() {
        let shown = print(&json!({"a": "x\n  y\n", "b": [1, "z"], "c": [[1], {}]}));
        assert_eq!(
            shown,
            "---\n{\n  a: \"\\\n     x\\n\\\n    \\  y\\n\\\n    \",\n  b: [\n    1,\n    \"z\",\n  ],\n  c: [[\n    1,\n  ], {}],\n}\n"
        );
    }
}
