//! A document under its schema: what is not in it is dropped and told, `metadata` has its own well-known type, and so
//! have the `apiVersion`, `kind` and `metadata` of embedded resources.

use super::{Rest, Structural};
use crate::decode::{self, DecodeError, Decoded};
use crate::{Facts, Map, TypeId, Value};

/// The members that every object has, whatever its schema says.
const HEAD: [&str; 3] = ["apiVersion", "kind", "metadata"];

impl Structural {
    /// Checks and prunes a decoded document. `strict_errors` are the unknown members, sorted.
    pub fn decode(&self, value: Value) -> Result<Decoded, DecodeError> {
        let Value::Object(mut members) = value else {
            return Err(DecodeError::Type(format!(
                "json: cannot unmarshal {} into Go value of type map[string]interface {{}}",
                word(&value)
            )));
        };
        let mut unknown = Vec::new();
        coerce(&mut members, "", &mut unknown)?;
        self.embedded(&mut members, "", &mut unknown)?;
        let mut value = Value::Object(members);
        settle_numbers(&mut value);
        prune(Some(self), &mut value, true, "", &mut unknown);
        unknown.sort();
        unknown.dedup();
        let strict_errors = unknown.into_iter().map(|path| format!("unknown field \"{path}\"")).collect();
        Ok(Decoded { value, strict_errors })
    }

    /// Drops what the schema does not know; returns the paths of what was dropped, sorted.
    pub fn prune(&self, value: &mut Value) -> Vec<String> {
        self.prune_as(value, true)
    }

    pub(super) fn prune_as(&self, value: &mut Value, is_resource: bool) -> Vec<String> {
        let mut unknown = Vec::new();
        prune(Some(self), value, is_resource, "", &mut unknown);
        unknown.sort();
        unknown
    }

    /// Gives the metadata of embedded resources its type.
    fn embedded(&self, members: &mut Map<String, Value>, path: &str, unknown: &mut Vec<String>) -> Result<(), DecodeError> {
        for (name, value) in members.iter_mut() {
            if let Some(schema) = self.member(name).filter(|schema| schema.holds_embedded()) {
                schema.embedded_in(value, &join(path, name), unknown)?;
            }
        }
        Ok(())
    }

    fn embedded_in(&self, value: &mut Value, path: &str, unknown: &mut Vec<String>) -> Result<(), DecodeError> {
        match value {
            Value::Object(members) => {
                if self.embedded {
                    coerce(members, path, unknown)?;
                }
                self.embedded(members, path, unknown)
            }
            Value::Array(items) => {
                let Some(schema) = &self.items else { return Ok(()) };
                items.iter_mut().enumerate().try_for_each(|(at, item)| schema.embedded_in(item, &format!("{path}[{at}]"), unknown))
            }
            _ => Ok(()),
        }
    }

    fn holds_embedded(&self) -> bool {
        self.embedded || self.below().any(Self::holds_embedded)
    }
}

/// A whole float is an integer: so JSON prints it, and so the next reader finds it.
pub fn settle_numbers(value: &mut Value) {
    const EXACT_MAX: f64 = 1e15;
    match value {
        Value::Number(number) if number.is_f64() => {
            let whole = number.as_f64().filter(|float| float.fract() == 0.0 && float.abs() < EXACT_MAX);
            if let Some(whole) = whole {
                *value = Value::from(whole as i64);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(settle_numbers),
        Value::Object(members) => members.values_mut().for_each(settle_numbers),
        _ => {}
    }
}

/// Decodes the head of an object under its built-in type; null members are absent ones.
fn coerce(members: &mut Map<String, Value>, path: &str, unknown: &mut Vec<String>) -> Result<(), DecodeError> {
    let head: Map<String, Value> = HEAD.iter().filter_map(|name| Some(((*name).to_owned(), members.remove(*name)?))).collect();
    if head.is_empty() {
        return Ok(());
    }
    let Decoded { value, strict_errors } = decode::value(head_type(), Value::Object(head))?;
    for text in strict_errors {
        let field = text.strip_prefix("unknown field \"").and_then(|rest| rest.strip_suffix('"'));
        unknown.extend(field.map(|field| join(path, field)));
    }
    if let Value::Object(head) = value {
        members.extend(head);
    }
    Ok(())
}

/// The type with nothing but a head.
pub fn head_type() -> TypeId {
    let facts = Facts::builtin();
    let found = facts.definition("io.k8s.apimachinery.pkg.apis.meta.v1.PartialObjectMetadata");
    found.or_else(|| facts.kind("meta.k8s.io/v1", "PartialObjectMetadata")).expect("the facts table holds PartialObjectMetadata")
}

fn prune(schema: Option<&Structural>, value: &mut Value, is_resource: bool, path: &str, unknown: &mut Vec<String>) {
    let preserves = schema.is_some_and(|schema| schema.preserves);
    match value {
        Value::Object(members) => members.retain(|name, value| {
            if is_resource && HEAD.contains(&name.as_str()) {
                return true;
            }
            let place = place(schema, name);
            if matches!(place, Place::Unknown) && !preserves {
                unknown.push(join(path, name));
                return false;
            }
            match place {
                Place::Known(schema) => prune(Some(schema), value, schema.embedded, &join(path, name), unknown),
                Place::Free if !preserves => prune(None, value, false, &join(path, name), unknown),
                Place::Free | Place::Unknown => {}
            }
            true
        }),
        Value::Array(items) => {
            let element = schema.and_then(|schema| schema.items.as_deref());
            if element.is_none() && preserves {
                return;
            }
            for (at, item) in items.iter_mut().enumerate() {
                prune(element, item, element.is_some_and(|schema| schema.embedded), &format!("{path}[{at}]"), unknown);
            }
        }
        _ => {}
    }
}

enum Place<'a> {
    Known(&'a Structural),
    /// Allowed, with nothing said of what is below.
    Free,
    Unknown,
}

fn place<'a>(schema: Option<&'a Structural>, name: &str) -> Place<'a> {
    let Some(schema) = schema else { return Place::Unknown };
    match (schema.property(name), &schema.rest) {
        (Some(one), _) => Place::Known(one),
        (None, Rest::Of(one)) => Place::Known(one),
        (None, Rest::Free) => Place::Free,
        (None, Rest::Unsaid) => Place::Unknown,
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

fn word(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}
