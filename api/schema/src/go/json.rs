//! JSON as `encoding/json` writes it: floats that are whole have no fraction, large ones an exponent with a sign.

use std::fmt::Write as _;

use super::scientific;
use crate::Value;

/// As `encoding/json` writes a value: no white space, `<`, `>` and `&` escaped.
pub fn json(value: &Value) -> String {
    let mut out = String::new();
    write_json(value, None, &mut out);
    out
}

/// The same in lines, four spaces for each level.
pub fn json_lines(value: &Value) -> String {
    let mut out = String::new();
    write_json(value, Some(0), &mut out);
    out
}

fn write_json(value: &Value, level: Option<usize>, out: &mut String) {
    match value {
        Value::Number(number) if number.is_f64() => out.push_str(&json_float(number.as_f64().unwrap_or_default())),
        Value::String(text) => json_text(text, out),
        Value::Array(items) if !items.is_empty() => {
            write_members(items.len(), ['[', ']'], level, out, |at, out| write_json(&items[at], level.map(|level| level + 1), out));
        }
        Value::Object(members) if !members.is_empty() => {
            let members: Vec<_> = members.iter().collect();
            write_members(members.len(), ['{', '}'], level, out, |at, out| {
                let (name, value) = members[at];
                json_text(name, out);
                out.push_str(if level.is_some() { ": " } else { ":" });
                write_json(value, level.map(|level| level + 1), out);
            });
        }
        other => out.push_str(&other.to_string()),
    }
}

fn write_members(
    count: usize,
    [open, close]: [char; 2],
    level: Option<usize>,
    out: &mut String,
    mut member: impl FnMut(usize, &mut String),
) {
    let line = |level: usize, out: &mut String| {
        out.push('\n');
        (0..level).for_each(|_| out.push_str("    "));
    };
    out.push(open);
    for at in 0..count {
        if at > 0 {
            out.push(',');
        }
        if let Some(level) = level {
            line(level + 1, out);
        }
        member(at, out);
    }
    if let Some(level) = level {
        line(level, out);
    }
    out.push(close);
}

fn json_float(value: f64) -> String {
    let size = value.abs();
    if size == 0.0 || (1e-6..1e21).contains(&size) {
        return value.to_string();
    }
    let (digits, exponent) = scientific(value);
    format!("{digits}e{}{}", if exponent < 0 { '-' } else { '+' }, exponent.abs())
}

fn json_text(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '\0'..='\u{1f}' => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}
