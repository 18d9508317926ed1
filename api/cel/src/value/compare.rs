//! Equality and order, across types as the language defines them.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use serde_json::Value as Json;

use super::list::{ListKind, item_key};
use super::map::compare_whole;
use super::{Key, List, Map, Value};
use crate::fault::Fault;
use crate::work;

/// `one == other`. Values of different types are unequal, numbers are compared by amount.
pub(crate) fn equal(one: &Value<'_>, other: &Value<'_>) -> Result<bool, Fault> {
    work::spend(1)?;
    Ok(match (one, other) {
        (Value::Null, Value::Null) => true,
        (Value::Bool(one), Value::Bool(other)) => one == other,
        (Value::String(one), Value::String(other)) => **one == **other,
        (Value::Bytes(one), Value::Bytes(other)) => one == other,
        (Value::Duration(one), Value::Duration(other)) => one == other,
        (Value::Timestamp(one), Value::Timestamp(other)) => one == other,
        (Value::Type(one), Value::Type(other)) => one == other,
        (Value::List(one), Value::List(other)) => return equal_lists(one, other),
        (Value::Map(one), Value::Map(other)) => return equal_maps(one, other),
        (Value::Optional(one), Value::Optional(other)) => match (one, other) {
            (None, None) => true,
            (Some(one), Some(other)) => return equal(one, other),
            _ => false,
        },
        (Value::Object(one), Value::Object(other)) => {
            if one.name != other.name || one.fields.len() != other.fields.len() {
                return Ok(false);
            }
            for (name, value) in &one.fields {
                let Some((_, theirs)) = other.fields.iter().find(|(field, _)| field == name) else { return Ok(false) };
                if !equal(value, theirs)? {
                    return Ok(false);
                }
            }
            true
        }
        (Value::Unknown(one), Value::Unknown(other)) => one == other,
        (Value::Url(one), Value::Url(other)) => one == other,
        (Value::Quantity(one), Value::Quantity(other)) => one.nano == other.nano,
        (Value::Ip(one), Value::Ip(other)) => one == other,
        (Value::Cidr(one), Value::Cidr(other)) => one == other,
        (Value::Semver(one), Value::Semver(other)) => one.cmp(other) == Ordering::Equal,
        (Value::Format(one), Value::Format(other)) => std::ptr::eq(*one, *other),
        _ => numbers(one, other) == Some(Ordering::Equal),
    })
}

/// `<` and its like; `None` where the types have no order with each other, or one is not a number.
pub(crate) fn compare(one: &Value<'_>, other: &Value<'_>) -> Option<Ordering> {
    match (one, other) {
        (Value::Bool(one), Value::Bool(other)) => Some(one.cmp(other)),
        (Value::String(one), Value::String(other)) => Some((**one).cmp(&**other)),
        (Value::Bytes(one), Value::Bytes(other)) => Some(one.cmp(other)),
        (Value::Duration(one), Value::Duration(other)) => Some(one.cmp(other)),
        (Value::Timestamp(one), Value::Timestamp(other)) => Some(one.cmp(other)),
        _ => numbers(one, other),
    }
}

fn numbers(one: &Value<'_>, other: &Value<'_>) -> Option<Ordering> {
    let whole = |value: &Value<'_>| match value {
        Value::Int(int) => Some(i128::from(*int)),
        Value::Uint(uint) => Some(i128::from(*uint)),
        _ => None,
    };
    match (one, other) {
        (Value::Double(one), Value::Double(other)) => one.partial_cmp(other),
        (Value::Double(double), number) if !double.is_nan() => Some(compare_whole(whole(number)?, *double).reverse()),
        (number, Value::Double(double)) if !double.is_nan() => Some(compare_whole(whole(number)?, *double)),
        _ => Some(whole(one)?.cmp(&whole(other)?)),
    }
}

/// Whether a list has an item that equals `wanted`; an item that cannot be compared fails it only where none does.
pub(crate) fn contains(list: &List<'_>, wanted: &Value<'_>) -> Result<bool, Fault> {
    let mut fault = None;
    for item in list.iter() {
        match item.and_then(|item| equal(&item, wanted)) {
            Ok(true) => return Ok(true),
            Ok(false) => {}
            Err(wrong) if wrong.is_out_of_budget() => return Err(wrong),
            Err(wrong) => fault = fault.or(Some(wrong)),
        }
    }
    fault.map_or(Ok(false), Err)
}

fn equal_lists(one: &List<'_>, other: &List<'_>) -> Result<bool, Fault> {
    if one.len() != other.len() {
        return Ok(false);
    }
    match one.kind() {
        ListKind::Set => Ok(Keys::new(&one.values()?) == Keys::new(&other.values()?)),
        ListKind::Map(keys) => equal_keyed(one, other, keys),
        ListKind::Atomic => {
            for index in 0..one.len() {
                if !equal(&one.get(index)?, &other.get(index)?)? {
                    return Ok(false);
                }
            }
            Ok(true)
        }
    }
}

/// Lists of items with keys are equal in any order.
fn equal_keyed(one: &List<'_>, other: &List<'_>, keys: &[String]) -> Result<bool, Fault> {
    let ours = one.values()?;
    let by_key: std::collections::HashMap<String, &Value<'_>> = ours.iter().map(|item| (item_key(item, keys), item)).collect();
    let mut seen = BTreeSet::new();
    for item in other.values()? {
        let key = item_key(&item, keys);
        match by_key.get(&key) {
            Some(ours) if equal(ours, &item)? => seen.insert(key),
            _ => return Ok(false),
        };
    }
    Ok(seen.len() == by_key.len())
}

fn equal_maps(one: &Map<'_>, other: &Map<'_>) -> Result<bool, Fault> {
    if one.len() != other.len() {
        return Ok(false);
    }
    if let (Some(ours), Some(theirs)) = (one.document(), other.document())
        && let Some(verdict) = equal_documents(one, other, ours, theirs)
    {
        return verdict;
    }
    for (key, value) in one.entries()? {
        match other.get(&key)? {
            Some(theirs) if equal(&value, &theirs)? => {}
            _ => return Ok(false),
        }
    }
    Ok(true)
}

/// Objects of documents: members that the schema does not describe are compared as they are.
fn equal_documents(
    one: &Map<'_>,
    other: &Map<'_>,
    ours: &serde_json::Map<String, Json>,
    theirs: &serde_json::Map<String, Json>,
) -> Option<Result<bool, Fault>> {
    let Map::Object(..) = one else { return None };
    let unseen = ours.iter().filter(|(name, _)| !one.sees(name));
    let mut differing = unseen.filter(|(name, value)| theirs.get(*name).is_some_and(|theirs| theirs != *value));
    if differing.next().is_some() {
        return Some(Ok(false));
    }
    let entries = match one.entries() {
        Ok(entries) => entries,
        Err(fault) => return Some(Err(fault)),
    };
    for (key, value) in entries {
        let same = other.get(&key).and_then(|theirs| match theirs {
            Some(theirs) => equal(&value, &theirs),
            None => Ok(matches!(value, Value::Null)),
        });
        if !matches!(same, Ok(true)) {
            return Some(same);
        }
    }
    Some(Ok(true))
}

/// Distinct values: those that can be keys by order, others by comparison.
#[derive(Debug)]
pub(crate) struct Keys<'a> {
    plain: BTreeSet<Key<'a>>,
    others: Vec<Value<'a>>,
}

impl<'a> Keys<'a> {
    pub(crate) fn new(values: &[Value<'a>]) -> Self {
        let mut keys = Self { plain: BTreeSet::new(), others: Vec::new() };
        values.iter().for_each(|value| {
            keys.insert(value);
        });
        keys
    }

    /// False where an equal one is there already.
    pub(crate) fn insert(&mut self, value: &Value<'a>) -> bool {
        if let Some(key) = Key::of(value) {
            return self.plain.insert(key);
        }
        let new = !self.others.iter().any(|known| matches!(equal(known, value), Ok(true)));
        if new {
            self.others.push(value.clone());
        }
        new
    }
}

impl PartialEq for Keys<'_> {
    fn eq(&self, other: &Self) -> bool {
        let within = |value: &Value<'_>| other.others.iter().any(|known| matches!(equal(known, value), Ok(true)));
        self.plain == other.plain && self.others.len() == other.others.len() && self.others.iter().all(within)
    }
}
