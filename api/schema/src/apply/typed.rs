//! A document under its shape: whether it fits, and which fields it has.

use std::collections::BTreeSet;

use super::path::{self, Path, Step};
use super::set::FieldSet;
use super::shape::{Atom, Keys, Place, Scalar};
use crate::facts::ListType;
use crate::{Map, Value, go};

/// Whether `doc` fits. What is live may have the same item twice in a list, what is applied may not.
pub(super) fn check(place: Place<'_>, doc: &Value, duplicates: bool) -> Result<(), String> {
    let mut checker = Checker { duplicates, path: Vec::new(), errors: Vec::new() };
    checker.value(place, doc);
    match checker.errors.as_slice() {
        [] => Ok(()),
        [one] => Err(one.clone()),
        many => Err(std::iter::once("errors:".to_owned()).chain(many.iter().map(|one| format!("  {one}"))).collect::<Vec<_>>().join("\n")),
    }
}

struct Checker {
    duplicates: bool,
    path: Path,
    errors: Vec<String>,
}

impl Checker {
    fn fail(&mut self, why: &str) {
        let place = path::print(&self.path);
        self.errors.push(if place.is_empty() { why.to_owned() } else { format!("{place}: {why}") });
    }

    fn value(&mut self, place: Place<'_>, value: &Value) {
        match place.atom(Some(value)) {
            Atom::Scalar(scalar) => self.scalar(scalar, value),
            Atom::List { element, list_type, keys } => match value {
                Value::Null => {}
                Value::Array(items) => self.list(element, list_type, keys, items),
                other => self.fail(&format!("expected list, got &{{{}}}", go::plain(other))),
            },
            Atom::Map { of, .. } => match value {
                Value::Null => {}
                Value::Object(members) => self.map(of, members),
                other => self.fail(&format!("expected map, got &{{{}}}", go::plain(other))),
            },
        }
    }

    fn scalar(&mut self, scalar: Scalar, value: &Value) {
        let why = match (scalar, value) {
            (_, Value::Null) | (Scalar::Text, Value::String(_)) | (Scalar::Number, Value::Number(_)) | (Scalar::Bool, Value::Bool(_)) => {
                return;
            }
            (Scalar::Any, Value::String(_) | Value::Number(_) | Value::Bool(_)) => return,
            (Scalar::Number, other) => format!("expected numeric (int or float), got {}", go_type(other)),
            (Scalar::Text, other) => format!("expected string, got &{{{}}}", go::plain(other)),
            (Scalar::Bool, other) => format!("expected boolean, got &{{{}}}", go::plain(other)),
            (Scalar::Any, other) => format!("expected any scalar, got &{{{}}}", go::plain(other)),
        };
        self.fail(&why);
    }

    fn list(&mut self, element: Place<'_>, list_type: ListType, keys: Keys<'_>, items: &[Value]) {
        let mut seen = BTreeSet::new();
        for (index, item) in items.iter().enumerate() {
            let step = match list_type {
                ListType::Atomic => Step::Index(i64::try_from(index).unwrap_or(i64::MAX)),
                merging => match keys.step(merging, item) {
                    Ok(step) => step,
                    Err(why) => {
                        self.fail(&format!("element {index}: {why}"));
                        continue;
                    }
                },
            };
            if list_type != ListType::Atomic && !seen.insert(step.clone()) && !self.duplicates {
                self.fail(&format!("duplicate entries for key {step}"));
            }
            self.within(step, |checker| checker.value(element, item));
        }
    }

    fn map(&mut self, of: Place<'_>, members: &Map<String, Value>) {
        for (name, value) in members {
            self.within(Step::field(name), |checker| match of.member(name) {
                Some(place) => checker.value(place, value),
                None => checker.fail("field not declared in schema"),
            });
        }
    }

    fn within(&mut self, step: Step, check: impl FnOnce(&mut Self)) {
        self.path.push(step);
        check(self);
        self.path.pop();
    }
}

/// The fields that `doc` has: the leaves, the items of merging lists, the keys of maps.
pub(super) fn fields(place: Place<'_>, doc: &Value) -> FieldSet {
    below(place, doc).1
}

/// Whether the value itself is a field, and the fields below of it.
fn below(place: Place<'_>, value: &Value) -> (bool, FieldSet) {
    match place.atom(Some(value)) {
        Atom::Scalar(_) | Atom::List { list_type: ListType::Atomic, .. } | Atom::Map { atomic: true, .. } => (true, FieldSet::default()),
        Atom::List { element, list_type, keys } => (false, of_items(element, list_type, keys, value)),
        Atom::Map { of, .. } => (false, of_members(of, value)),
    }
}

fn of_items(element: Place<'_>, list_type: ListType, keys: Keys<'_>, value: &Value) -> FieldSet {
    let mut set = FieldSet::default();
    let steps: Vec<Option<Step>> = items(value).iter().map(|item| keys.step(list_type, item).ok()).collect();
    for (step, item) in steps.iter().zip(items(value)).filter_map(|(step, item)| Some((step.as_ref()?, item))) {
        // An item that is there twice is one field: nobody can say which of them a field below is of.
        let twice = steps.iter().filter(|other| other.as_ref() == Some(step)).count() > 1;
        set.put(step.clone(), true, if twice { FieldSet::default() } else { below(element, item).1 });
    }
    set
}

fn of_members(of: Place<'_>, value: &Value) -> FieldSet {
    let mut set = FieldSet::default();
    for (name, value) in members(value) {
        let (leaf, inner) = below(of.member(name).unwrap_or(Place::Free), value);
        let empty = value.is_null() || value.as_object().is_some_and(Map::is_empty);
        set.put(Step::field(name), leaf || empty || !of.has_field(name), inner);
    }
    set
}

/// The items of a list; none where it is none.
pub(super) fn items(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

/// The members of a map; none where it is none.
pub(super) fn members(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

fn go_type(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::Null => "<nil>",
    }
}
