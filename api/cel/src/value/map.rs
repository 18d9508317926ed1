//! Maps: a document's object, with or without a schema, or entries made at run time.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value as Json;

use super::{Text, Value, from_json};
use crate::fault::Fault;
use crate::schema::{ObjectSchema, Schema, escape};

#[derive(Clone, Debug)]
pub enum Map<'a> {
    /// Of a document, any keys.
    Json(&'a serde_json::Map<String, Json>),
    /// Of a document, declared fields under their escaped names; others are not seen.
    Object(&'a serde_json::Map<String, Json>, &'a ObjectSchema),
    /// Of a document, any keys, values of one schema.
    Values(&'a serde_json::Map<String, Json>, &'a Schema),
    Made(Arc<BTreeMap<Key<'a>, Value<'a>>>),
}

/// What may be a key. Numbers are equal when their amounts are, whatever their types.
#[derive(Clone, Debug)]
pub enum Key<'a> {
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    String(Text<'a>),
}

impl<'a> Map<'a> {
    pub fn len(&self) -> usize {
        match self {
            Self::Json(map) | Self::Object(map, _) | Self::Values(map, _) => map.len(),
            Self::Made(entries) => entries.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn get(&self, key: &Value<'_>) -> Result<Option<Value<'a>>, Fault> {
        let Self::Made(entries) = self else {
            return match (self, key.as_str()) {
                (_, Some(name)) => self.field(name).transpose(),
                (Self::Json(_), None) => Ok(None),
                _ => Err(Fault::no_such_overload()),
            };
        };
        Ok(Key::owned(key).and_then(|key| entries.get(&key)).cloned())
    }

    fn field(&self, name: &str) -> Option<Result<Value<'a>, Fault>> {
        match self {
            Self::Json(map) => map.get(name).map(|value| Ok(Value::json(value))),
            Self::Values(map, schema) => map.get(name).map(|value| from_json(value, schema)),
            Self::Object(map, object) => {
                let field = object.field(name)?;
                map.get(&field.name).filter(|value| !value.is_null()).map(|value| from_json(value, &field.schema))
            }
            Self::Made(_) => None,
        }
    }

    /// The keys in their order; a declared field's is its escaped name.
    pub fn keys(&self) -> Vec<Value<'a>> {
        match self {
            Self::Json(map) | Self::Values(map, _) => map.keys().map(|key| Value::borrowed(key)).collect(),
            Self::Object(map, object) => {
                let known = map.keys().filter(|key| object.declares(key));
                known.map(|key| escape::escaped(key).map_or(Value::borrowed(key), Value::string)).collect()
            }
            Self::Made(entries) => entries.keys().map(|key| key.clone().into_value()).collect(),
        }
    }

    /// Keys with their values.
    pub fn entries(&self) -> Result<Vec<(Value<'a>, Value<'a>)>, Fault> {
        if let Self::Made(entries) = self {
            return Ok(entries.iter().map(|(key, value)| (key.clone().into_value(), value.clone())).collect());
        }
        let entry = |key: Value<'a>| Ok((key.clone(), self.get(&key)?.unwrap_or(Value::Null)));
        self.keys().into_iter().map(entry).collect()
    }

    /// The document's object, where it is one.
    pub(super) fn document(&self) -> Option<&'a serde_json::Map<String, Json>> {
        match self {
            Self::Json(map) | Self::Object(map, _) | Self::Values(map, _) => Some(map),
            Self::Made(_) => None,
        }
    }

    /// A document's member as JSON.
    pub(super) fn raw(&self, name: &str) -> Option<&'a Json> {
        self.document()?.get(name)
    }

    pub(super) fn sees(&self, name: &str) -> bool {
        if let Self::Object(_, object) = self { object.declares(name) } else { true }
    }
}

impl<'a> Key<'a> {
    /// `None` where a value of this type cannot be a key.
    pub(crate) fn of(value: &Value<'a>) -> Option<Self> {
        Some(match value {
            Value::Bool(bool) => Self::Bool(*bool),
            Value::Int(int) => Self::Int(*int),
            Value::Uint(uint) => Self::Uint(*uint),
            Value::Double(double) if !double.is_nan() => Self::Double(*double),
            Value::String(text) => Self::String(text.clone()),
            _ => return None,
        })
    }

    /// As [`Self::of`], borrowing nothing.
    pub(crate) fn owned(value: &Value<'_>) -> Option<Key<'static>> {
        Some(match value {
            Value::Bool(bool) => Key::Bool(*bool),
            Value::Int(int) => Key::Int(*int),
            Value::Uint(uint) => Key::Uint(*uint),
            Value::Double(double) if !double.is_nan() => Key::Double(*double),
            Value::String(Text::Borrowed(text)) => Key::String(Text::Shared(Arc::from(*text))),
            Value::String(Text::Shared(text)) => Key::String(Text::Shared(text.clone())),
            _ => return None,
        })
    }

    pub(crate) fn into_value(self) -> Value<'a> {
        match self {
            Self::Bool(bool) => Value::Bool(bool),
            Self::Int(int) => Value::Int(int),
            Self::Uint(uint) => Value::Uint(uint),
            Self::Double(double) => Value::Double(double),
            Self::String(text) => Value::String(text),
        }
    }

    fn rank(&self) -> u8 {
        match self {
            Self::Bool(_) => 0,
            Self::Int(_) | Self::Uint(_) | Self::Double(_) => 1,
            Self::String(_) => 2,
        }
    }

    fn whole(&self) -> Option<i128> {
        match self {
            Self::Int(int) => Some(i128::from(*int)),
            Self::Uint(uint) => Some(i128::from(*uint)),
            _ => None,
        }
    }
}

impl Ord for Key<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Bool(one), Self::Bool(other)) => one.cmp(other),
            (Self::String(one), Self::String(other)) => (**one).cmp(&**other),
            (Self::Double(one), Self::Double(other)) => one.partial_cmp(other).unwrap_or(Ordering::Equal),
            (Self::Double(double), number) if number.rank() == 1 => compare_whole(number.whole().unwrap_or(0), *double).reverse(),
            (number, Self::Double(double)) if number.rank() == 1 => compare_whole(number.whole().unwrap_or(0), *double),
            _ => self.rank().cmp(&other.rank()).then_with(|| self.whole().cmp(&other.whole())),
        }
    }
}

/// A whole number against a double, by amount.
pub(super) fn compare_whole(whole: i128, double: f64) -> Ordering {
    let rough = (whole as f64).partial_cmp(&double).unwrap_or(Ordering::Equal);
    // Beyond 2^53 a double names a neighbourhood: equal is what rounds to it.
    if rough == Ordering::Equal && double.abs() < 9.0e15 { whole.cmp(&(double as i128)) } else { rough }
}

impl PartialOrd for Key<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Key<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Key<'_> {}
