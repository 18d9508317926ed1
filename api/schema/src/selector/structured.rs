//! `metav1.LabelSelector` documents: `matchLabels` and `matchExpressions`.

use super::{Op, Requirement, labels};
use crate::{DocExt, FieldErrors, Path, Value, names};

pub(super) fn requirements(selector: &Value) -> Result<Vec<Requirement>, String> {
    let mut all = Vec::new();
    for (key, value) in selector.map_at("matchLabels").into_iter().flatten() {
        let value = value.as_str().unwrap_or_default().to_owned();
        all.push(labels::requirement(key.clone(), Op::Equals, Some(vec![value]))?);
    }
    for expression in selector.items_at("matchExpressions") {
        let operator = expression.str_at("operator");
        let op = match operator {
            "In" => Op::In,
            "NotIn" => Op::NotIn,
            "Exists" => Op::Exists,
            "DoesNotExist" => Op::DoesNotExist,
            _ => return Err(format!("{operator:?} is not a valid label selector operator")),
        };
        all.push(labels::requirement(expression.str_at("key").to_owned(), op, values(expression))?);
    }
    Ok(all)
}

/// A list that is absent or empty is no list, as in Go.
fn values(expression: &Value) -> Option<Vec<String>> {
    let values = expression.items_at("values").iter().map(|value| value.as_str().unwrap_or_default().to_owned());
    Some(values.collect()).filter(|values: &Vec<String>| !values.is_empty())
}

pub(super) fn validate(selector: &Value, path: &Path, errors: &mut FieldErrors) {
    let labels_path = path.child("matchLabels");
    for (key, value) in selector.map_at("matchLabels").into_iter().flatten() {
        validate_label(key, value.as_str().unwrap_or_default(), &labels_path, errors);
    }
    for (at, expression) in selector.items_at("matchExpressions").iter().enumerate() {
        validate_expression(expression, &path.child("matchExpressions").index(at), errors);
    }
}

/// One label: both errors stand at the map's path.
pub(crate) fn validate_label(key: &str, value: &str, path: &Path, errors: &mut FieldErrors) {
    for text in names::is_qualified_name(key) {
        errors.invalid(path, key, &text);
    }
    for text in names::is_label_value(value) {
        errors.invalid(path, value, &text);
    }
}

fn validate_expression(expression: &Value, path: &Path, errors: &mut FieldErrors) {
    let values = expression.items_at("values");
    match expression.str_at("operator") {
        "In" | "NotIn" if values.is_empty() => {
            errors.required(&path.child("values"), "must be specified when `operator` is 'In' or 'NotIn'");
        }
        "Exists" | "DoesNotExist" if !values.is_empty() => {
            errors.forbidden(&path.child("values"), "may not be specified when `operator` is 'Exists' or 'DoesNotExist'");
        }
        "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
        operator => errors.invalid(&path.child("operator"), operator, "not a valid selector operator"),
    }
    let key = expression.str_at("key");
    for text in names::is_qualified_name(key) {
        errors.invalid(&path.child("key"), key, &text);
    }
    for (at, value) in values.iter().enumerate() {
        let value = value.as_str().unwrap_or_default();
        for text in names::is_label_value(value) {
            errors.invalid(&path.child("values").index(at), value, &text);
        }
    }
}
