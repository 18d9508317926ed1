//! Printer columns of custom kinds: the name, then what the definition's paths lead to.

use std::sync::Arc;

use env::Env;
use schema::jsonpath::{self, JsonPath};
use schema::{DocExt, Value, duration, json, time};

use crate::cells;
use crate::descriptor::Column;

/// The columns of a version; its age alone where it names none.
pub(super) fn of(version: &Value) -> Vec<Column> {
    let own = version.items_at("additionalPrinterColumns");
    let age = json!({"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp", "description": cells::description("", &cells::AGE)});
    let shown: Vec<Column> = if own.is_empty() { column(&age).into_iter().collect() } else { own.iter().filter_map(column).collect() };
    let name = Column {
        name: "Name".into(),
        ty: "string".into(),
        format: "name".into(),
        priority: 0,
        description: cells::description("", &cells::NAME).into(),
        cell: Arc::new(|doc, _| doc.at("metadata.name").cloned().unwrap_or_default()),
    };
    std::iter::once(name).chain(shown).collect()
}

fn column(column: &Value) -> Option<Column> {
    let path = JsonPath::parse(column.str_at("jsonPath")).ok()?;
    let ty = column.str_at("type").to_owned();
    let description = match column.str_at("description") {
        "" => format!("Custom resource definition column (in JSONPath format): {}", column.str_at("jsonPath")),
        own => own.to_owned(),
    };
    let of = ty.clone();
    Some(Column {
        name: column.str_at("name").to_owned().into(),
        ty: ty.into(),
        format: column.str_at("format").to_owned().into(),
        priority: i32::try_from(column.i64_at("priority").unwrap_or_default()).unwrap_or_default(),
        description: description.into(),
        cell: Arc::new(move |doc, env| path.first(doc).map_or(Value::Null, |value| cell(&of, &value, env))),
    })
}

/// The value as its column's type shows it; null where it is of another type.
fn cell(ty: &str, value: &Value, env: &Env) -> Value {
    match (ty, value) {
        ("string", Value::Null) => json!("<no value>"),
        ("string", other) => json!(jsonpath::print(other)),
        ("integer", Value::Number(number)) => {
            number.as_i64().map_or_else(|| json!(number.as_f64().unwrap_or_default() as i64), Value::from)
        }
        ("number", Value::Number(_)) | ("boolean", Value::Bool(_)) => value.clone(),
        ("date", Value::String(text)) if ["", "null"].contains(&text.as_str()) => json!("<unknown>"),
        ("date", Value::String(text)) => match time::parse(text) {
            Some(then) => json!(duration::human_seconds(env.now().as_second() - then.as_second())),
            None => json!("<invalid>"),
        },
        _ => Value::Null,
    }
}
