//! What every embedded resource must say of itself.

use super::Structural;
use crate::field::{FieldErrors, Path};
use crate::{DocExt, Value, names};

impl Structural {
    /// Embedded resources without a good `apiVersion` and `kind`.
    pub fn check_embedded(&self, value: &Value, path: &Path, errors: &mut FieldErrors) {
        match value {
            Value::Object(members) => {
                if self.embedded {
                    check_head(value, path, errors);
                }
                for (name, value) in members {
                    let place = if self.property(name).is_some() { path.child(name) } else { path.key(name) };
                    if let Some(schema) = self.member(name) {
                        schema.check_embedded(value, &place, errors);
                    }
                }
            }
            Value::Array(items) => {
                let Some(schema) = &self.items else { return };
                items.iter().enumerate().for_each(|(at, item)| schema.check_embedded(item, &path.index(at), errors));
            }
            _ => {}
        }
    }
}

fn check_head(resource: &Value, path: &Path, errors: &mut FieldErrors) {
    let api_version = resource.str_at("apiVersion");
    if api_version.is_empty() {
        errors.required(&path.child("apiVersion"), "must not be empty");
    } else if api_version.matches('/').count() > 1 {
        errors.invalid(&path.child("apiVersion"), api_version, &format!("unexpected GroupVersion string: {api_version}"));
    }
    let kind = resource.str_at("kind");
    if kind.is_empty() {
        errors.required(&path.child("kind"), "must not be empty");
    }
    for text in if kind.is_empty() { Vec::new() } else { names::is_dns1035_label(&kind.to_lowercase()) } {
        errors.invalid(&path.child("kind"), kind, &format!("may have mixed case, but should otherwise match: {text}"));
    }
}
