//! Replays of the golden vectors of expressions. `cargo xtask golden` runs the same function over any folder.

use expressions::value::{List, Map, Value};
use expressions::{CompileError, Environment, Type, limits};
use serde_json::Value as Json;

pub const FILE: &str = "cel.jsonl";

/// Every line of a file: its number, its `case` and the verdict.
pub fn replay(text: &str) -> Vec<(usize, String, Result<(), String>)> {
    let lines: Vec<Json> = text.lines().map(|line| serde_json::from_str(line).expect("vectors are JSON lines")).collect();
    let document = lines.iter().find(|line| line["how"] == "note").map_or(Json::Null, |note| note["self"].clone());
    let mut environment = Environment::kubernetes();
    environment.variable("self", Type::Dyn);
    let cases = lines.iter().enumerate().filter(|(_, line)| line["how"] != "note");
    cases.map(|(at, line)| (at + 1, line["case"].as_str().unwrap_or_default().to_owned(), check(line, &document, &environment))).collect()
}

fn check(line: &Json, document: &Json, environment: &Environment) -> Result<(), String> {
    let expression = line["expression"].as_str().ok_or("no expression")?;
    let program = match environment.compile(expression) {
        Err(CompileError::Issues(issues)) => {
            return same(expression, "compileError", &Json::from(issues.to_string()), &line["compileError"]);
        }
        Err(CompileError::Constant(fault)) => return same(expression, "error", &Json::from(fault.to_string()), &line["error"]),
        Ok(_) if line["compileError"].is_string() => return Err(format!("{expression}: compiles, but want {}", line["compileError"])),
        Ok(program) => program,
    };
    let estimate = program.estimated_cost();
    same(expression, "outputType", &Json::from(output_name(program.output())), &line["outputType"])?;
    same(expression, "estimatedCost", &serde_json::json!([estimate.min.to_string(), estimate.max.to_string()]), &line["estimatedCost"])?;
    let run = program.evaluate(&[("self", Value::json(document))], limits::PER_CALL);
    match &run.result {
        Err(fault) => same(expression, "error", &Json::from(fault.to_string()), &line["error"])?,
        Ok(_) if line["error"].is_string() => return Err(format!("{expression}: runs, but want the error {}", line["error"])),
        Ok(value) => {
            same(expression, "type", &Json::from(type_name(value)), &line["type"])?;
            same(expression, "value", &shown(value), &line["want"])?;
        }
    }
    same(expression, "cost", &Json::from(run.cost), &line["cost"])
}

fn same(expression: &str, what: &str, got: &Json, want: &Json) -> Result<(), String> {
    if equal(got, want) { Ok(()) } else { Err(format!("{expression}: {what}: got {got}, want {want}")) }
}

/// Numbers by amount: the vectors write whole doubles as whole numbers.
fn equal(got: &Json, want: &Json) -> bool {
    match (got, want) {
        (Json::Number(got), Json::Number(want)) => got.as_f64() == want.as_f64(),
        (Json::Array(got), Json::Array(want)) => got.len() == want.len() && got.iter().zip(want).all(|(got, want)| equal(got, want)),
        (Json::Object(got), Json::Object(want)) => {
            got.len() == want.len() && got.iter().all(|(key, got)| want.get(key).is_some_and(|want| equal(got, want)))
        }
        _ => got == want,
    }
}

/// The vectors name times in full.
fn output_name(ty: &Type) -> String {
    match ty {
        Type::Duration => "google.protobuf.Duration".into(),
        Type::Timestamp => "google.protobuf.Timestamp".into(),
        other => other.to_string(),
    }
}

fn type_name(value: &Value<'_>) -> String {
    match value {
        Value::Null => "null_type".into(),
        Value::Bool(_) => "bool".into(),
        Value::Int(_) => "int".into(),
        Value::Uint(_) => "uint".into(),
        Value::Double(_) => "double".into(),
        Value::String(_) => "string".into(),
        Value::Bytes(_) => "bytes".into(),
        Value::Duration(_) => "google.protobuf.Duration".into(),
        Value::Timestamp(_) => "google.protobuf.Timestamp".into(),
        Value::List(_) => "list".into(),
        Value::Map(_) => "map".into(),
        Value::Optional(_) => "optional_type".into(),
        Value::Type(_) => "type".into(),
        other => other.type_name().into(),
    }
}

/// A result as the vectors write it.
fn shown(value: &Value<'_>) -> Json {
    match value {
        Value::Optional(Some(held)) => shown(held),
        Value::Optional(None) => Json::from("<nil>"),
        Value::Format(_) => Json::from("(opaque)"),
        Value::Double(double) if !double.is_finite() => Json::from(""),
        Value::List(list) => Json::Array(items(list)),
        Value::Map(map) => Json::Object(entries(map)),
        other => other.to_json().unwrap_or_else(|fault| Json::from(fault.to_string())),
    }
}

/// Within lists and maps, whole numbers that a double cannot hold are texts.
fn shown_within(value: &Value<'_>) -> Json {
    match value {
        Value::Int(int) if int.unsigned_abs() > 1 << 53 => Json::from(int.to_string()),
        other => shown(other),
    }
}

fn items(list: &List<'_>) -> Vec<Json> {
    (0..list.len()).map(|at| list.get(at).map_or(Json::Null, |item| shown_within(&item))).collect()
}

fn entries(map: &Map<'_>) -> serde_json::Map<String, Json> {
    let entries = map.entries().unwrap_or_default();
    entries.iter().map(|(key, value)| (key.shown(), shown_within(value))).collect()
}
