//! Strings: positions count characters.

use super::{Outcome, Table, mismatch};
use crate::fault::Fault;
use crate::value::{Text, Value};

pub(super) const FUNCTIONS: Table = &[
    ("charAt", char_at),
    ("contains", |args| text_test(args, |text, part| text.contains(part))),
    ("startsWith", |args| text_test(args, |text, part| text.starts_with(part))),
    ("endsWith", |args| text_test(args, |text, part| text.ends_with(part))),
    ("indexOf", index_of),
    ("lastIndexOf", last_index_of),
    ("lowerAscii", |args| mapped(args, |text| text.to_ascii_lowercase())),
    ("upperAscii", |args| mapped(args, |text| text.to_ascii_uppercase())),
    ("trim", |args| mapped(args, |text| text.trim_matches(is_space).to_owned())),
    ("replace", replace),
    ("split", split),
    ("substring", substring),
    ("join", join),
    ("strings.quote", |args| mapped(args, quoted)),
];

fn out_of_range<'a>(index: i64) -> Outcome<'a> {
    Err(Fault::new(format!("index out of range: {index}")))
}

fn text_test<'a>(args: &[Value<'a>], test: fn(&str, &str) -> bool) -> Outcome<'a> {
    match (&args[0], &args[1]) {
        (Value::String(text), Value::String(part)) => Ok(Value::Bool(test(text, part))),
        _ => mismatch(),
    }
}

fn mapped<'a>(args: &[Value<'a>], map: fn(&str) -> String) -> Outcome<'a> {
    args[0].as_str().map_or_else(mismatch, |text| Ok(Value::string(map(text))))
}

fn is_space(c: char) -> bool {
    c.is_whitespace()
}

fn char_at<'a>(args: &[Value<'a>]) -> Outcome<'a> {
    let (Value::String(text), Value::Int(index)) = (&args[0], &args[1]) else { return mismatch() };
    let Some(at) = usize::try_from(*index).ok() else { return out_of_range(*index) };
    let mut rest = text.chars().skip(at);
    match rest.next() {
        Some(c) => Ok(Value::string(c.to_string())),
        None if text.chars().count() == at => Ok(Value::borrowed("")),
        None => out_of_range(*index),
    }
}

fn index_of<'a>(args: &[Value<'a>]) -> Outcome<'a> {
    let (Value::String(text), Value::String(part)) = (&args[0], &args[1]) else { return mismatch() };
    let offset = match args.get(2) {
        None => 0,
        Some(Value::Int(offset)) => *offset,
        Some(_) => return mismatch(),
    };
    let Some(from) = usize::try_from(offset).ok() else { return out_of_range(offset) };
    let len = text.chars().count();
    if part.is_empty() {
        return Ok(Value::Int(from.min(len) as i64));
    }
    let found = byte_of(text, from).and_then(|byte| Some(from + text[byte..][..text[byte..].find(&**part)?].chars().count()));
    Ok(Value::Int(found.map_or(-1, |at| at as i64)))
}

fn last_index_of<'a>(args: &[Value<'a>]) -> Outcome<'a> {
    let (Value::String(text), Value::String(part)) = (&args[0], &args[1]) else { return mismatch() };
    let len = text.chars().count();
    let offset = match args.get(2) {
        None if part.is_empty() => return Ok(Value::Int(len as i64)),
        None if text.len() < part.len() => return Ok(Value::Int(-1)),
        None => len as i64 - 1,
        Some(Value::Int(offset)) => *offset,
        Some(_) => return mismatch(),
    };
    let Some(last) = usize::try_from(offset).ok() else { return out_of_range(offset) };
    if part.is_empty() {
        return Ok(Value::Int(last.min(len) as i64));
    }
    if last >= len {
        return Ok(Value::Int(-1));
    }
    let part_len = part.chars().count();
    let end = byte_of(text, last + part_len).unwrap_or(text.len());
    let found = text[..end].rfind(&**part).map(|byte| text[..byte].chars().count());
    Ok(Value::Int(found.map_or(-1, |at| at as i64)))
}

/// The byte where a character starts; the text's end counts as one.
fn byte_of(text: &str, character: usize) -> Option<usize> {
    text.char_indices().map(|(byte, _)| byte).chain([text.len()]).nth(character)
}

/// A larger result is refused: replacing with longer text multiplies, and cost is counted only afterwards.
const RESULT_BYTES_MAX: usize = 16 << 20;

fn replace<'a>(args: &[Value<'a>]) -> Outcome<'a> {
    let (Value::String(text), Value::String(old), Value::String(new)) = (&args[0], &args[1], &args[2]) else { return mismatch() };
    let count = match args.get(3) {
        None => usize::MAX,
        Some(Value::Int(count)) => usize::try_from(*count).unwrap_or(usize::MAX),
        Some(_) => return mismatch(),
    };
    let times = if old.is_empty() { text.len() + 1 } else { text.len() / old.len() };
    if times.min(count).saturating_mul(new.len()).saturating_add(text.len()) > RESULT_BYTES_MAX {
        return Err(Fault::new(format!("replace: the result may exceed {RESULT_BYTES_MAX} bytes")));
    }
    Ok(Value::string(text.replacen(&**old, new, count)))
}

fn split<'a>(args: &[Value<'a>]) -> Outcome<'a> {
    let (Value::String(text), Value::String(separator)) = (&args[0], &args[1]) else { return mismatch() };
    let limit = match args.get(2) {
        None => usize::MAX,
        Some(Value::Int(0)) => return Ok(Value::list(Vec::new())),
        Some(Value::Int(limit)) => usize::try_from(*limit).unwrap_or(usize::MAX),
        Some(_) => return mismatch(),
    };
    let parts: Vec<&str> = if separator.is_empty() { characters(text, limit) } else { text.splitn(limit, &**separator).collect() };
    Ok(match text {
        Text::Borrowed(whole) => Value::list(parts.into_iter().map(|part| Value::borrowed(slice_of(whole, text, part))).collect()),
        Text::Shared(_) => Value::strings(parts),
    })
}

/// `part` of `text` as a part of `whole`, which is the same text.
fn slice_of<'a>(whole: &'a str, text: &str, part: &str) -> &'a str {
    let start = part.as_ptr() as usize - text.as_ptr() as usize;
    &whole[start..start + part.len()]
}

fn characters(text: &str, limit: usize) -> Vec<&str> {
    let starts = text.char_indices().map(|(at, _)| at).skip(1).take(limit - 1);
    let mut parts = Vec::new();
    let mut before = 0;
    for start in starts {
        parts.push(&text[before..start]);
        before = start;
    }
    if !text.is_empty() {
        parts.push(&text[before..]);
    }
    parts
}

fn substring<'a>(args: &[Value<'a>]) -> Outcome<'a> {
    let (Value::String(text), Value::Int(start)) = (&args[0], &args[1]) else { return mismatch() };
    let len = text.chars().count() as i64;
    let end = match args.get(2) {
        None => len,
        Some(Value::Int(end)) if start > end => {
            return Err(Fault::new(format!("invalid substring range. start: {start}, end: {end}")));
        }
        Some(Value::Int(end)) => *end,
        Some(_) => return mismatch(),
    };
    if let Some(wrong) = [*start, end].into_iter().find(|index| !(0..=len).contains(index)) {
        return out_of_range(wrong);
    }
    let byte = |character: i64| byte_of(text, character as usize).unwrap_or(text.len());
    Ok(Value::string(&text[byte(*start)..byte(end)]))
}

fn join<'a>(args: &[Value<'a>]) -> Outcome<'a> {
    let Value::List(list) = &args[0] else { return mismatch() };
    let separator = match args.get(1) {
        None => "",
        Some(Value::String(separator)) => separator,
        Some(_) => return mismatch(),
    };
    if !matches!(list.at(0), None | Some(Ok(Value::String(_)))) {
        return mismatch();
    }
    let mut joined = String::new();
    for (at, item) in list.iter().enumerate() {
        if at > 0 {
            joined.push_str(separator);
        }
        match item? {
            Value::String(text) => joined.push_str(&text),
            other => return Err(Fault::new(format!("join: invalid input: {}", other.shown()))),
        }
        if joined.len() > RESULT_BYTES_MAX {
            return Err(Fault::new(format!("join: the result exceeds {RESULT_BYTES_MAX} bytes")));
        }
    }
    Ok(Value::string(joined))
}

fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '\u{7}' => quoted.push_str("\\a"),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{c}' => quoted.push_str("\\f"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\u{b}' => quoted.push_str("\\v"),
            '\\' => quoted.push_str("\\\\"),
            '"' => quoted.push_str("\\\""),
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}
