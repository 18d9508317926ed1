//! Values and texts as Go prints them (`%v`, `%s`, `%q`, `encoding/json`): upstream's messages, templates and tables show
//! them that way, and clients match them.

mod escape;
mod json;
mod text;

pub use escape::{escape, json_bytes};
pub use json::{json, json_lines};
pub use text::{code_point, is_print, quote, unquote};

use crate::Value;

/// `%v`: `map[a:1 b:[x y]]`, members sorted.
pub fn plain(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".into(),
        Value::Bool(flag) => flag.to_string(),
        Value::Number(number) => number_text(number),
        Value::String(text) => text.clone(),
        Value::Array(elements) => list(elements),
        Value::Object(members) => {
            let members: Vec<String> = members.iter().map(|(name, value)| format!("{name}:{}", plain(value))).collect();
            format!("map[{}]", members.join(" "))
        }
    }
}

/// `%v` of a list.
pub fn list(elements: &[Value]) -> String {
    format!("[{}]", elements.iter().map(plain).collect::<Vec<_>>().join(" "))
}

/// `%s` of something that should have been a string.
pub fn as_string(value: &Value) -> String {
    match value {
        Value::Null => "%!s(<nil>)".into(),
        Value::Bool(flag) => format!("%!s(bool={flag})"),
        Value::Number(number) if number.is_f64() => format!("%!s(float64={})", number_text(number)),
        Value::Number(number) => format!("%!s(int64={number})"),
        Value::String(text) => text.clone(),
        Value::Array(elements) => format!("[{}]", elements.iter().map(as_string).collect::<Vec<_>>().join(" ")),
        Value::Object(members) => {
            let members: Vec<String> = members.iter().map(|(name, value)| format!("{name}:{}", as_string(value))).collect();
            format!("map[{}]", members.join(" "))
        }
    }
}

/// The Go type that a decoded value has, as `%s` prints it.
pub fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "%!s(<nil>)",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

fn number_text(number: &serde_json::Number) -> String {
    if number.is_f64() { number.as_f64().map(float).unwrap_or_default() } else { number.to_string() }
}

/// `%v` of a float64: the shortest digits that read back equal, `1.5`, `1e+06`.
pub fn float(value: f64) -> String {
    if value.is_nan() {
        return "NaN".into();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf".into() } else { "-Inf".into() };
    }
    let (digits, exponent) = scientific(value);
    if (-4..6).contains(&exponent) {
        return value.to_string();
    }
    format!("{digits}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs())
}

/// `-1.25` and `3` of -1250.
pub(crate) fn scientific(value: f64) -> (String, i32) {
    let text = format!("{value:e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    (digits.to_owned(), exponent.parse().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json as value;

    #[test]
    fn floats_have_the_shortest_digits() {
        for (float_, want) in [
            (0.0, "0"),
            (1.5, "1.5"),
            (-3.0, "-3"),
            (100_000.0, "100000"),
            (1e6, "1e+06"),
            (12_345_678_901.0, "1.2345678901e+10"),
            (1e21, "1e+21"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (1.5e300, "1.5e+300"),
            (f64::INFINITY, "+Inf"),
            (f64::NAN, "NaN"),
        ] {
            assert_eq!(float(float_), want);
        }
    }

    #[test]
    fn values_print_as_in_go() {
        let doc = value!({"b": [1, "x", null, true], "a": {"f": 1e21}});
        assert_eq!(plain(&doc), "map[a:map[f:1e+21] b:[1 x <nil> true]]");
        assert_eq!(as_string(&value!([1, 1.5, "x"])), "[%!s(int64=1) %!s(float64=1.5) x]");
    }

    #[test]
    fn json_is_written_as_go_writes_it() {
        let doc = value!({"a": "<&>", "b": [], "c": {}, "d": [1e21, 12_345_678_901.0, 1e-7, -0.5], "e": {"f": "\u{1}\u{2028}"}});
        assert_eq!(json(&doc), r#"{"a":"\u003c\u0026\u003e","b":[],"c":{},"d":[1e+21,12345678901,1e-7,-0.5],"e":{"f":"\u0001\u2028"}}"#);
        assert_eq!(
            json_lines(&value!({"a": [1], "b": {}, "c": "<"})),
            "{\n    \"a\": [\n        1\n    ],\n    \"b\": {},\n    \"c\": \"\\u003c\"\n}"
        );
    }
}
