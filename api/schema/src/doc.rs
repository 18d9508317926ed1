//! Reading and writing a decoded document by dotted path (`spec.template.spec`).
//!
//! Paths name object members only; lists are reached with [`DocExt::items_at`]. A member name that itself holds a dot
//! (an annotation key) is reached through its parent map.

use crate::{Map, Value};

/// What every reader of documents needs. Getters are total: absent and of-another-type are both `None`.
pub trait DocExt {
    /// The value at `path`, if each step is an object that has the member.
    fn at(&self, path: &str) -> Option<&Value>;
    /// As [`DocExt::at`], mutable.
    fn at_mut(&mut self, path: &str) -> Option<&mut Value>;
    /// The string at `path`; absent is `""`, as Go's zero value.
    fn str_at(&self, path: &str) -> &str;
    /// The integer at `path`.
    fn i64_at(&self, path: &str) -> Option<i64>;
    /// The boolean at `path`; absent is `false`.
    fn bool_at(&self, path: &str) -> bool;
    /// The list at `path`; absent is empty.
    fn items_at(&self, path: &str) -> &[Value];
    /// The list at `path`, mutable; absent is empty.
    fn items_at_mut(&mut self, path: &str) -> &mut [Value];
    /// The map at `path`.
    fn map_at(&self, path: &str) -> Option<&Map<String, Value>>;
    /// Sets `path`, making missing objects on the way. A step that is no object is replaced by one.
    fn set_at(&mut self, path: &str, value: impl Into<Value>);
    /// Sets `path` only where it is absent or null: the shape of almost every default.
    fn default_at(&mut self, path: &str, value: impl Into<Value>);
    /// Removes and returns the value at `path`.
    fn remove_at(&mut self, path: &str) -> Option<Value>;
}

impl DocExt for Value {
    fn at(&self, path: &str) -> Option<&Value> {
        path.split('.').try_fold(self, |value, step| value.get(step))
    }

    fn at_mut(&mut self, path: &str) -> Option<&mut Value> {
        path.split('.').try_fold(self, |value, step| value.get_mut(step))
    }

    fn str_at(&self, path: &str) -> &str {
        self.at(path).and_then(Value::as_str).unwrap_or_default()
    }

    fn i64_at(&self, path: &str) -> Option<i64> {
        self.at(path).and_then(Value::as_i64)
    }

    fn bool_at(&self, path: &str) -> bool {
        self.at(path).and_then(Value::as_bool).unwrap_or_default()
    }

    fn items_at(&self, path: &str) -> &[Value] {
        self.at(path).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
    }

    fn items_at_mut(&mut self, path: &str) -> &mut [Value] {
        self.at_mut(path).and_then(Value::as_array_mut).map(Vec::as_mut_slice).unwrap_or_default()
    }

    fn map_at(&self, path: &str) -> Option<&Map<String, Value>> {
        self.at(path).and_then(Value::as_object)
    }

    fn set_at(&mut self, path: &str, value: impl Into<Value>) {
        let mut here = self;
        for step in path.split('.') {
            here = object(here).entry(step).or_insert(Value::Null);
        }
        *here = value.into();
    }

    fn default_at(&mut self, path: &str, value: impl Into<Value>) {
        if self.at(path).is_none_or(Value::is_null) {
            self.set_at(path, value);
        }
    }

    fn remove_at(&mut self, path: &str) -> Option<Value> {
        let (parent, last) = match path.rsplit_once('.') {
            Some((parent, last)) => (self.at_mut(parent)?, last),
            None => (self, path),
        };
        parent.as_object_mut()?.remove(last)
    }
}

/// `value` as an object, replaced by an empty one where it is something else.
fn object(value: &mut Value) -> &mut Map<String, Value> {
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    value.as_object_mut().expect("made an object just above")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json;

    #[test]
    fn default_at_fills_what_is_absent_and_keeps_what_is_there() {
        let mut doc = json!({"spec": {"replicas": 0, "paused": null}});
        doc.default_at("spec.replicas", 1);
        doc.default_at("spec.paused", false);
        doc.default_at("spec.strategy.type", "RollingUpdate");
        assert_eq!(doc, json!({"spec": {"replicas": 0, "paused": false, "strategy": {"type": "RollingUpdate"}}}));
    }

    #[test]
    fn remove_at_leaves_the_parent() {
        let mut doc = json!({"a": {"b": 1}});
        assert_eq!(doc.remove_at("a.b"), Some(json!(1)));
        assert_eq!(doc.remove_at("a.b"), None);
        assert_eq!(doc, json!({"a": {}}));
    }
}
