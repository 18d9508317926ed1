//! Lists: a document's array, values made at run time, or two lists one after the other.

use std::sync::Arc;

use super::{Value, from_json};
use crate::fault::Fault;
use crate::schema::Schema;
use crate::work;

#[derive(Clone, Debug)]
pub enum List<'a> {
    /// Of a document; each item has the schema, where there is one.
    Json(&'a [serde_json::Value], Option<&'a ListSchema>),
    Made(Arc<Vec<Value<'a>>>),
    /// `a + b`: constant time, however long they are.
    Joined(Arc<(List<'a>, List<'a>)>, usize),
}

/// How the items of a document's list are read and compared.
#[derive(Debug, Clone)]
pub struct ListSchema {
    pub items: Schema,
    pub kind: ListKind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListKind {
    Atomic,
    Set,
    /// The names of the fields that make the key.
    Map(Vec<String>),
}

impl<'a> From<Vec<Value<'a>>> for List<'a> {
    fn from(values: Vec<Value<'a>>) -> Self {
        work::made(values.capacity() * size_of::<Value<'_>>());
        Self::Made(Arc::new(values))
    }
}

impl<'a> List<'a> {
    pub fn len(&self) -> usize {
        match self {
            Self::Json(items, _) => items.len(),
            Self::Made(values) => values.len(),
            Self::Joined(_, len) => *len,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn at(&self, index: i64) -> Option<Result<Value<'a>, Fault>> {
        let index = usize::try_from(index).ok().filter(|index| *index < self.len())?;
        Some(self.get(index))
    }

    /// The item at an index below the length.
    pub fn get(&self, index: usize) -> Result<Value<'a>, Fault> {
        match self {
            Self::Json(items, None) => Ok(Value::json(&items[index])),
            Self::Json(items, Some(schema)) => from_json(&items[index], &schema.items),
            Self::Made(values) => Ok(values[index].clone()),
            Self::Joined(halves, _) => {
                let first = halves.0.len();
                if index < first { halves.0.get(index) } else { halves.1.get(index - first) }
            }
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = Result<Value<'a>, Fault>> + '_ {
        (0..self.len()).map(|index| self.get(index))
    }

    /// All items, or the first that its schema refuses.
    pub fn values(&self) -> Result<Vec<Value<'a>>, Fault> {
        self.iter().collect()
    }

    pub(crate) fn kind(&self) -> &ListKind {
        if let Self::Json(_, Some(schema)) = self { &schema.kind } else { &ListKind::Atomic }
    }

    /// `self + other`: sets and keyed lists merge, others follow each other.
    pub(crate) fn plus(self, other: Self) -> Result<Self, Fault> {
        match self.kind().clone() {
            ListKind::Atomic if self.is_empty() => Ok(other),
            ListKind::Atomic if other.is_empty() => Ok(self),
            ListKind::Atomic => {
                let len = self.len().saturating_add(other.len());
                Ok(Self::Joined(Arc::new((self, other)), len))
            }
            ListKind::Set => merged_set(&self, &other),
            ListKind::Map(keys) => merged_map(&self, &other, &keys),
        }
    }
}

fn merged_set<'a>(one: &List<'a>, other: &List<'a>) -> Result<List<'a>, Fault> {
    let mut values = one.values()?;
    let mut seen = super::compare::Keys::new(&values);
    for value in other.values()? {
        if seen.insert(&value) {
            values.push(value);
        }
    }
    Ok(values.into())
}

/// Items of the same key are replaced where they stand; others follow.
fn merged_map<'a>(one: &List<'a>, other: &List<'a>, keys: &[String]) -> Result<List<'a>, Fault> {
    let mut values = one.values()?;
    let mut places = std::collections::HashMap::new();
    for (at, value) in values.iter().enumerate() {
        places.insert(item_key(value, keys), at);
    }
    for value in other.values()? {
        let key = item_key(&value, keys);
        match places.get(&key) {
            Some(at) => values[*at] = value,
            None => {
                places.insert(key, values.len());
                values.push(value);
            }
        }
    }
    Ok(values.into())
}

/// The fields of an item that tell it from the others, as text.
pub(super) fn item_key(item: &Value<'_>, keys: &[String]) -> String {
    let field = |name: &String| match item {
        Value::Map(map) => map.raw(name).map(ToString::to_string),
        _ => None,
    };
    keys.iter().map(|name| field(name).unwrap_or_default()).collect::<Vec<_>>().join("\u{0}")
}
