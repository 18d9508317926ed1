//! Items of a set are there once, and so are the keys of a list with keys.

use super::Structural;
use crate::facts::ListType;
use crate::field::{FieldErrors, Path};
use crate::{Map, Value};

impl Structural {
    /// Items that are there twice.
    pub fn check_lists(&self, value: &Value, path: &Path, errors: &mut FieldErrors) {
        match value {
            Value::Object(members) => {
                for (name, value) in members {
                    let own = self.property(name);
                    let place = if own.is_some() { path.child(name) } else { path.key(name) };
                    if let Some(schema) = self.member(name) {
                        schema.check_lists(value, &place, errors);
                    }
                }
            }
            Value::Array(items) => self.check_items(items, path, errors),
            _ => {}
        }
    }

    fn check_items(&self, items: &[Value], path: &Path, errors: &mut FieldErrors) {
        match self.list_type {
            ListType::Set => told_once(items, |item| Some(item.clone()), path, errors),
            ListType::Map => self.check_keys(items, path, errors),
            ListType::Atomic => {}
        }
        if let Some(schema) = &self.items {
            items.iter().enumerate().for_each(|(at, item)| schema.check_lists(item, &path.index(at), errors));
        }
    }

    fn check_keys(&self, items: &[Value], path: &Path, errors: &mut FieldErrors) {
        if let Some((at, item)) = items.iter().enumerate().find(|(_, item)| !item.is_object()) {
            return errors.invalid(&path.index(at), item.clone(), "must be an object for an array of list-type map");
        }
        told_once(items, |item| item.as_object().map(|item| self.keys(item)), path, errors);
    }

    fn keys(&self, item: &Map<String, Value>) -> Value {
        let keys = self.list_keys.iter().filter_map(|key| Some((key.to_string(), item.get(&**key)?.clone())));
        Value::Object(keys.collect())
    }
}

/// Whatever comes again is told, but each once.
fn told_once(items: &[Value], identity: impl Fn(&Value) -> Option<Value>, path: &Path, errors: &mut FieldErrors) {
    let mut seen: std::collections::HashMap<String, usize> = std::collections::HashMap::new();
    for (at, item) in items.iter().enumerate() {
        let Some(identity) = identity(item) else { continue };
        let times = seen.entry(canonical(&identity)).or_default();
        *times += 1;
        if *times == 2 {
            errors.duplicate(&path.index(at), identity);
        }
    }
}

/// One text for equal values: 1 and 1.0 are the same number.
fn canonical(value: &Value) -> String {
    match value.as_f64().filter(|number| number.fract() == 0.0 && number.abs() < 9e15) {
        Some(number) => format!("{}", number as i64),
        None => value.to_string(),
    }
}
