//! `index`, `slice` and `len`.

use schema::Value as Document;

use super::Outcome;
use crate::value::Value;

/// `index x 1 "a"` is `x[1]["a"]`; a map gives nothing for a key that it lacks.
pub(super) fn index<'a>(arguments: &[Value<'a>]) -> Outcome<'a> {
    let mut item = arguments[0].clone();
    if item.is_nothing() {
        return Err("index of untyped nil".into());
    }
    for index in &arguments[1..] {
        item = match item.document() {
            Document::Null => return Err("index of nil pointer".into()),
            Document::Array(items) => {
                let at = place(index, items.len())?;
                item.item(at).ok_or("reflect: slice index out of range")?
            }
            Document::String(text) => {
                let at = place(index, text.len())?;
                let byte = text.as_bytes().get(at).ok_or("reflect: string index out of range")?;
                Value::of((*byte).into())
            }
            Document::Object(_) => item.member(key(index)?).unwrap_or(Value::NIL),
            _ => return Err(format!("can't index item of type {}", item.type_name())),
        };
    }
    Ok(item)
}

fn key<'v>(index: &'v Value<'_>) -> Result<&'v str, String> {
    match index.document() {
        Document::String(key) => Ok(key),
        Document::Null => Err("value is nil; should be of type string".into()),
        _ => Err(format!("value has type {}; should be string", index.type_name())),
    }
}

/// A place in a list. One behind the last is allowed here.
fn place(index: &Value<'_>, length: usize) -> Result<usize, String> {
    match index.document() {
        Document::Null => Err("cannot index slice/array with nil".into()),
        Document::Number(number) if !number.is_f64() => {
            let at = number.as_u64().and_then(|at| usize::try_from(at).ok());
            at.filter(|at| *at <= length).ok_or_else(|| format!("index out of range: {number}"))
        }
        _ => Err(format!("cannot index slice/array with type {}", index.type_name())),
    }
}

/// `slice x 1 2` is `x[1:2]`.
pub(super) fn slice<'a>(arguments: &[Value<'a>]) -> Outcome<'a> {
    let (item, indexes) = (&arguments[0], &arguments[1..]);
    if item.is_nothing() {
        return Err("slice of untyped nil".into());
    }
    if indexes.len() > 3 {
        return Err(format!("too many slice indexes: {}", indexes.len()));
    }
    match item.document() {
        Document::String(_) if indexes.len() == 3 => Err("cannot 3-index slice a string".into()),
        Document::String(text) => {
            let (from, to) = span(indexes, text.len())?;
            Ok(Value::text(String::from_utf8_lossy(&text.as_bytes()[from..to])))
        }
        Document::Array(items) => {
            let (from, to) = span(indexes, items.len())?;
            Ok(Value::of(Document::Array(items[from..to].to_vec())))
        }
        _ => Err(format!("can't slice item of type {}", item.type_name())),
    }
}

fn span(indexes: &[Value<'_>], length: usize) -> Result<(usize, usize), String> {
    let mut ends = [0, length, length];
    for (end, index) in ends.iter_mut().zip(indexes) {
        *end = place(index, length)?;
    }
    let [from, to, capacity] = ends;
    if from > to {
        return Err(format!("invalid slice index: {from} > {to}"));
    }
    if to > capacity { Err(format!("invalid slice index: {to} > {capacity}")) } else { Ok((from, to)) }
}

pub(super) fn length<'a>(item: &Value<'a>) -> Outcome<'a> {
    let length = match item.document() {
        Document::Null => return Err("len of nil pointer".into()),
        Document::Array(items) => items.len(),
        Document::Object(members) => members.len(),
        Document::String(text) => text.len(),
        _ => return Err(format!("len of type {}", item.type_name())),
    };
    Ok(Value::int(length))
}
