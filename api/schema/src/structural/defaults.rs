//! What a document is given: defaults where a member is absent, or null where it may not be null. A null without a
//! default is an absent member.

use super::Structural;
use crate::Value;

impl Structural {
    /// Drops nulls that mean nothing and fills what is absent. Idempotent.
    pub fn fill_defaults(&self, value: &mut Value) {
        self.drop_nulls(value);
        if self.has_defaults {
            self.fill(value);
        }
    }

    fn drop_nulls(&self, value: &mut Value) {
        match value {
            Value::Object(members) => members.retain(|name, value| match self.member(name) {
                Some(schema) if value.is_null() => schema.nullable || schema.default.is_some(),
                Some(schema) => {
                    schema.drop_nulls(value);
                    true
                }
                None => true,
            }),
            Value::Array(items) => {
                if let Some(schema) = &self.items {
                    items.iter_mut().for_each(|item| schema.drop_nulls(item));
                }
            }
            _ => {}
        }
    }

    fn fill(&self, value: &mut Value) {
        match value {
            Value::Object(members) => {
                for (name, schema) in &self.properties {
                    let Some(default) = &schema.default else { continue };
                    let is_absent = members.get(&**name).is_none_or(|held| schema.refuses_null(held));
                    if is_absent {
                        members.insert(name.to_string(), default.clone());
                    }
                }
                for (name, value) in members.iter_mut() {
                    if let Some(schema) = self.member(name) {
                        schema.fill_here(value);
                    }
                }
            }
            Value::Array(items) => {
                if let Some(schema) = &self.items {
                    items.iter_mut().for_each(|item| schema.fill_here(item));
                }
            }
            _ => {}
        }
    }

    /// The value itself, where it is a null that has a default, then what is below.
    fn fill_here(&self, value: &mut Value) {
        if !self.has_defaults {
            return;
        }
        if let Some(default) = self.default.as_ref().filter(|_| self.refuses_null(value)) {
            *value = default.clone();
        }
        self.fill(value);
    }

    fn refuses_null(&self, value: &Value) -> bool {
        value.is_null() && !self.nullable
    }
}
