//! The rules of a custom kind's objects, read from its schema.

use std::sync::Arc;

use schema::structural::{Structural, blocks_rules, rules_not_asked};
use schema::{DocExt, FieldErrors, Map, Path, Value, names};

use super::{Custom, Scale};
use crate::descriptor::{Strategy, WriteContext};
use crate::kind::copy_member;

pub(super) struct CustomRules {
    pub(super) custom: Arc<Custom>,
    pub(super) has_status: bool,
}

impl Strategy for CustomRules {
    fn fill_defaults(&self, doc: &mut Value) {
        self.custom.schema().fill_defaults(doc);
    }

    fn prepare_create(&self, doc: &mut Value, _cx: &WriteContext<'_>) {
        if self.has_status {
            doc.remove_at("status");
        }
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, cx: &WriteContext<'_>) {
        match cx.subresource {
            "" if self.has_status => copy_member(new, old, "status"),
            "status" => keep_all_but_status(new, old),
            _ => {}
        }
    }

    fn validate_create(&self, doc: &Value, errors: &mut FieldErrors) {
        self.validate(doc, None, errors);
    }

    fn validate_update(&self, new: &Value, old: &Value, cx: &WriteContext<'_>, errors: &mut FieldErrors) {
        match cx.subresource {
            "status" => self.validate_status(new, old, errors),
            _ => self.validate(new, Some(old), errors),
        }
    }

    fn validate_name(&self, name: &str) -> Vec<String> {
        names::is_dns1123_subdomain(name)
    }

    /// A stored document as this version serves it; one from before the schema is fitted to it.
    fn from_stored(&self, doc: Value) -> Value {
        let revision = doc.str_at("metadata.resourceVersion").parse().unwrap_or_default();
        if self.custom.is_outdated(revision) { self.fitted(doc) } else { doc }
    }

    /// What rules say against parts that did not change.
    fn warnings(&self, new: &Value, old: Option<&Value>) -> Vec<String> {
        let Some(rules) = self.custom.rules().filter(|_| old.is_some()) else { return Vec::new() };
        rules.evaluate(new, old, &mut FieldErrors::default())
    }

    fn bumps_generation(&self, new: &Value, old: &Value) -> bool {
        let ignored = |name: &String| matches!(name.as_str(), "metadata" | "apiVersion" | "kind") || self.has_status && name == "status";
        let counted = |doc: &Value| -> Map<String, Value> {
            let members = doc.as_object().into_iter().flatten().filter(|(name, _)| !ignored(name));
            members.map(|(name, value)| (name.clone(), value.clone())).collect()
        };
        counted(new) != counted(old)
    }
}

impl CustomRules {
    fn fitted(&self, mut doc: Value) -> Value {
        let schema = self.custom.schema();
        schema.prune(&mut doc);
        schema.fill_defaults(&mut doc);
        doc
    }

    fn validate(&self, doc: &Value, old: Option<&Value>, errors: &mut FieldErrors) {
        let schema = self.custom.schema();
        schema.validate_change(doc, old, &Path::root(), errors);
        if let Some(scale) = &self.custom.scale {
            validate_scale(scale, doc, errors);
        }
        schema.check_embedded(doc, &Path::root(), errors);
        check_lists(schema, doc, old, errors);
        self.ask_rules(doc, old, errors);
    }

    /// The status alone, by its own part of the schema.
    fn validate_status(&self, new: &Value, old: &Value, errors: &mut FieldErrors) {
        if let (Some(schema), Some(status)) = (self.custom.schema().property("status"), new.get("status")) {
            schema.validate_change(status, old.get("status"), &Path::new("status"), errors);
        }
        self.custom.schema().check_embedded(new, &Path::root(), errors);
        check_lists(self.custom.schema(), new, Some(old), errors);
        if let Some(scale) = &self.custom.scale {
            whole_number(&scale.observed, new, errors);
            text(&scale.selector, new, errors);
        }
        self.ask_rules(new, Some(old), errors);
    }

    fn ask_rules(&self, new: &Value, old: Option<&Value>, errors: &mut FieldErrors) {
        if !self.custom.schema().has_rules {
            return;
        }
        if errors.0.iter().any(|error| blocks_rules(error.reason)) {
            return rules_not_asked(errors);
        }
        if let Some(rules) = self.custom.rules() {
            rules.evaluate(new, old, errors);
        }
    }
}

/// Items that are there twice, unless some were before.
fn check_lists(schema: &Structural, new: &Value, old: Option<&Value>, errors: &mut FieldErrors) {
    let mut found = FieldErrors::default();
    schema.check_lists(new, &Path::root(), &mut found);
    let was_good = |old: &Value| {
        let mut before = FieldErrors::default();
        schema.check_lists(old, &Path::root(), &mut before);
        before.is_empty()
    };
    if !found.is_empty() && old.is_none_or(was_good) {
        errors.0.extend(found.0);
    }
}

/// A write to the status changes nothing else, not even labels.
fn keep_all_but_status(new: &mut Value, old: &Value) {
    let mut kept = old.clone();
    copy_member(&mut kept, new, "status");
    for bookkeeping in ["metadata.resourceVersion", "metadata.managedFields"] {
        copy_member(&mut kept, new, bookkeeping);
    }
    *new = kept;
}

fn validate_scale(scale: &Scale, doc: &Value, errors: &mut FieldErrors) {
    whole_number(&scale.replicas, doc, errors);
    whole_number(&scale.observed, doc, errors);
    text(&scale.selector, doc, errors);
}

fn whole_number(path: &str, doc: &Value, errors: &mut FieldErrors) {
    let at = Path::new(&format!(".{path}"));
    match doc.at(path) {
        None => {}
        Some(value) => match value.as_i64() {
            None => errors.invalid(
                &at,
                0,
                &format!(".{path} accessor error: {} is of the type {}, expected int64", plain(value), go_type(value)),
            ),
            Some(number) if number < 0 => errors.invalid(&at, number, "should be a non-negative integer"),
            Some(number) if number > i64::from(i32::MAX) => {
                errors.invalid(&at, number, &format!("should be less than or equal to {}", i32::MAX));
            }
            Some(_) => {}
        },
    }
}

fn text(path: &str, doc: &Value, errors: &mut FieldErrors) {
    match doc.at(path).filter(|value| !path.is_empty() && !value.is_string()) {
        None => {}
        Some(value) => {
            let why = format!(".{path} accessor error: {} is of the type {}, expected string", plain(value), go_type(value));
            errors.invalid(&Path::new(&format!(".{path}")), "", &why);
        }
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "<nil>".to_owned(),
        other => other.to_string(),
    }
}

fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}
