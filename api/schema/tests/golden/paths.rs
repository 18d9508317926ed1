//! kubectl's JSONPath templates.

use schema::jsonpath::{Missing, Template};

use super::{Case, DocExt, Value, outcome, same};

pub fn templates(case: &Case<'_>) -> Result<(), String> {
    let line = case.line;
    let at = line["object"].as_u64().and_then(|at| usize::try_from(at).ok()).ok_or("no object")?;
    let doc = as_floats(&case.notes.first().ok_or("no note")?["objects"][at]);
    let template = match (Template::parse(line.str_at("template")), line.get("parseError").and_then(Value::as_str)) {
        (Err(got), Some(want)) => return same("parse error", got.as_str(), want),
        (Ok(template), None) => template,
        (got, want) => return Err(format!("got {got:?}, want {want:?}")),
    };
    let missing = if line.bool_at("allowMissingKeys") { Missing::Allowed } else { Missing::Refused };
    outcome(case, template.execute(&doc, missing).map(Value::from))
}

/// The vectors' maker read its documents with a decoder that knows no whole numbers.
fn as_floats(value: &Value) -> Value {
    match value {
        Value::Number(number) => number.as_f64().map_or(Value::Null, Value::from),
        Value::Array(items) => items.iter().map(as_floats).collect(),
        Value::Object(members) => members.iter().map(|(name, value)| (name.clone(), as_floats(value))).collect(),
        other => other.clone(),
    }
}
