//! The fields of a new object as its maker owns them, written down in one walk.
//!
//! What [`super::compare`] and [`super::set`] say of an object that comes out of nothing, without making their sets: a pod has
//! hundreds of fields, and every pod is made once. What this walk cannot tell is left to them, with the same outcome.

use std::collections::BTreeMap;

use super::compare::same;
use super::ownership::UNOWNED;
use super::path::{Path, Step};
use super::set::FieldSet;
use super::shape::{Atom, Keys, Place};
use super::typed::{items, members};
use crate::facts::ListType;
use crate::{Map, Value};

/// A level of `fieldsV1`.
type Level = Map<String, Value>;

/// `fieldsV1` of what `new` has and `empty` has not, without what `ignored` names at the root; None where only the long way
/// can tell. `empty` is what the types of `new` print of nothing.
pub(super) fn fields(place: Place<'_>, empty: &Value, new: &Value, ignored: &FieldSet) -> Option<Value> {
    if ignored.children().next().is_some() {
        return None;
    }
    let mut walk = Walk { path: Vec::new(), ignored };
    Some(Value::Object(walk.below(place, Some(empty), new)?.1))
}

struct Walk<'i> {
    /// As long as somebody may not own what stands there: a step below the root.
    path: Path,
    ignored: &'i FieldSet,
}

impl Walk<'_> {
    /// Whether the value itself came, and what came below of it.
    fn below(&mut self, place: Place<'_>, old: Option<&Value>, new: &Value) -> Option<(bool, Level)> {
        let leaf = || old.is_none_or(|old| !same(old, new));
        match place.atom(Some(new)) {
            Atom::Scalar(_) | Atom::List { list_type: ListType::Atomic, .. } | Atom::Map { atomic: true, .. } => {
                Some((leaf(), Level::new()))
            }
            Atom::List { element, list_type, keys } => match (old.map(items).unwrap_or_default(), items(new)) {
                ([], []) => Some((leaf(), Level::new())),
                ([], new) => Some((old.is_none(), self.items(element, list_type, keys, new)?)),
                _ => None,
            },
            Atom::Map { of, .. } => match old {
                Some(old) if !old.is_object() && !old.is_null() => None,
                _ if is_empty(new) && old.is_none_or(is_empty) => Some((leaf(), Level::new())),
                _ => Some((old.is_none(), self.members(of, old, new)?)),
            },
        }
    }

    fn members(&mut self, of: Place<'_>, old: Option<&Value>, new: &Value) -> Option<Level> {
        let mut level = Level::new();
        // Only the root and its metadata have members that nobody owns.
        let is_near_root = self.path.is_empty() || matches!(self.path.as_slice(), [Step::Field(name)] if name == "metadata");
        for (name, value) in members(new) {
            let place = of.member(name).unwrap_or(Place::Free);
            let old = old.and_then(|old| old.get(name));
            if !is_near_root {
                let came = self.below(place, old, value)?;
                put(&mut level, || format!("f:{name}"), came);
                continue;
            }
            self.path.push(Step::field(name));
            if self.path.len() > 1 || !self.ignored.has(&self.path) {
                let (came, below) = self.below(place, old, value)?;
                put(&mut level, || format!("f:{name}"), (came && !UNOWNED.has(&self.path), below));
            }
            self.path.pop();
        }
        Some(level)
    }

    fn items(&mut self, element: Place<'_>, list_type: ListType, keys: Keys<'_>, new: &[Value]) -> Option<Level> {
        let mut steps: BTreeMap<Step, Option<&Value>> = BTreeMap::new();
        for item in new {
            let step = keys.step(list_type, item).ok()?;
            // An item that is there twice is one field.
            steps.entry(step).and_modify(|twice| *twice = None).or_insert(Some(item));
        }
        let mut level = Level::new();
        for (step, item) in steps {
            let below = match item {
                Some(item) => self.below(element, None, item)?.1,
                None => Level::new(),
            };
            put(&mut level, || step.encode(), (true, below));
        }
        Some(level)
    }
}

fn put(level: &mut Level, step: impl Fn() -> String, (came, mut below): (bool, Level)) {
    if !came && below.is_empty() {
        return;
    }
    if came && !below.is_empty() {
        below.insert(".".to_owned(), Value::Object(Map::new()));
    }
    level.insert(step(), Value::Object(below));
}

fn is_empty(value: &Value) -> bool {
    members(value).next().is_none()
}
