//! The small languages: expressions, selectors, paths, quantities, tokens of pages.

use apiserver::page::Continue;
use expressions::{Environment, Type, Value, limits};
use schema::jsonpath::{JsonPath, Missing, Template};
use schema::quantity::{Format, Quantity};
use schema::{FieldSelector, LabelSelector, decode, duration, json};

use crate::{halves, text};

pub(crate) fn cel(input: &[u8]) {
    let (expression, doc) = halves(input);
    let Some(expression) = text(expression) else { return };
    let mut environment = Environment::kubernetes();
    environment.variable("self", Type::Dyn).variable("oldSelf", Type::Dyn);
    let Ok(program) = environment.compile(expression) else { return };
    let doc = decode::json_value(doc).map_or_else(|_| json!({"a": [1, "b", null, {"c": 1.5}]}), |decoded| decoded.value);
    let variables = [("self", Value::json(&doc)), ("oldSelf", Value::json(&doc))];
    let evaluation = program.evaluate(&variables, limits::PER_CALL);
    if let Ok(value) = evaluation.result {
        let _ = value.shown();
    }
}

pub(crate) fn selectors(input: &[u8]) {
    let Some(text) = text(input) else { return };
    if let Ok(labels) = LabelSelector::parse(text) {
        let _ = labels.matches(&[("app".to_owned(), "web".to_owned()), ("x".to_owned(), String::new())].into());
    }
    if let Ok(fields) = FieldSelector::parse(text) {
        let _ = fields.matches(str::to_owned);
    }
}

pub(crate) fn json_path(input: &[u8]) {
    let (path, doc) = halves(input);
    let Some(path) = text(path) else { return };
    let doc =
        decode::json_value(doc).map_or_else(|_| json!({"a": [{"b": 1, "c": "x"}, {"b": 2}], "d": {"e": null}}), |decoded| decoded.value);
    if let Ok(path) = JsonPath::parse(path) {
        let _ = path.first(&doc);
    }
    if let Ok(template) = Template::parse(path) {
        let _ = template.execute(&doc, Missing::Allowed);
        let _ = template.execute(&doc, Missing::Refused);
    }
}

pub(crate) fn quantity(input: &[u8]) {
    let Some(text) = text(input) else { return };
    let _ = duration::parse_nanos(text);
    let Ok(quantity) = text.parse::<Quantity>() else { return };
    let _ = (quantity.value(), quantity.milli_value());
    let _ = quantity.plus(quantity).minus(Quantity::from_value(1, Format::BinarySi)).to_string();
    let again: Quantity = quantity.to_string().parse().expect("what was written is read");
    assert_eq!(again.to_string(), quantity.to_string(), "writing is idempotent");
}

pub(crate) fn continue_token(input: &[u8]) {
    let Some(token) = text(input).and_then(|text| Continue::parse(text).ok()) else { return };
    assert_eq!(Continue::parse(&token.encode()).expect("what was written is read"), token);
}
