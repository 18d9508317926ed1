//! Which fields differ between two documents of one kind.

use std::collections::BTreeMap;

use super::path::Step;
use super::set::FieldSet;
use super::shape::{Atom, Keys, Place};
use super::typed::{items, members};
use crate::Value;
use crate::facts::ListType;

/// What became of the fields.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Changes {
    pub(super) added: FieldSet,
    pub(super) removed: FieldSet,
    pub(super) modified: FieldSet,
}

impl Changes {
    /// Without the fields that `ignored` names or holds.
    pub(super) fn without(self, ignored: &FieldSet) -> Self {
        Self {
            added: self.added.without_trees(ignored),
            removed: self.removed.without_trees(ignored),
            modified: self.modified.without_trees(ignored),
        }
    }

    fn of(&mut self, fate: Fate) -> Option<&mut FieldSet> {
        match fate {
            Fate::Same => None,
            Fate::Added => Some(&mut self.added),
            Fate::Removed => Some(&mut self.removed),
            Fate::Modified => Some(&mut self.modified),
        }
    }

    /// What became of one step. Most of a document stays as it is, and then nobody asks for the step's name.
    fn put(&mut self, step: impl Fn() -> Step, (fate, below): (Fate, Self)) {
        if let Some(set) = self.of(fate) {
            set.put(step(), true, FieldSet::default());
        }
        for (set, below) in [(&mut self.added, below.added), (&mut self.removed, below.removed), (&mut self.modified, below.modified)] {
            if !below.is_empty() {
                set.put(step(), false, below);
            }
        }
    }
}

/// What became of one value as a whole.
#[derive(Clone, Copy, PartialEq)]
enum Fate {
    Same,
    Added,
    Removed,
    Modified,
}

/// From `old` to `new`.
pub(super) fn changes(place: Place<'_>, old: &Value, new: &Value) -> Changes {
    compare(place, Some(old), Some(new)).1
}

fn compare(place: Place<'_>, old: Option<&Value>, new: Option<&Value>) -> (Fate, Changes) {
    let (fate, mut found) = as_atom(place.atom(new.or(old)), old, new);
    if let (Some(old_one), Some(_)) = (old, new)
        && !alike(place.atom(old), place.atom(new))
    {
        // A free value that became another sort of value: the fields of both sorts changed.
        let (before, gone) = as_atom(place.atom(Some(old_one)), old, new);
        found.added.extend(gone.added);
        found.removed.extend(gone.removed);
        found.modified.extend(gone.modified);
        return (if fate == Fate::Same { before } else { fate }, found);
    }
    match (old, new) {
        (None, Some(_)) => (Fate::Added, found),
        (Some(_), None) => (Fate::Removed, found),
        _ => (fate, found),
    }
}

fn alike(one: Atom<'_>, other: Atom<'_>) -> bool {
    matches!(
        (one, other),
        (Atom::Scalar(_), Atom::Scalar(_)) | (Atom::List { .. }, Atom::List { .. }) | (Atom::Map { .. }, Atom::Map { .. })
    )
}

fn as_atom(atom: Atom<'_>, old: Option<&Value>, new: Option<&Value>) -> (Fate, Changes) {
    match atom {
        Atom::Scalar(_) => (leaf(old, new), Changes::default()),
        Atom::List { element, list_type, keys } => {
            let (before, after) = (old.map(items).unwrap_or_default(), new.map(items).unwrap_or_default());
            // Two empty lists are a leaf: null and empty are told apart.
            if list_type == ListType::Atomic || (before.is_empty() && after.is_empty()) {
                return (leaf(old, new), Changes::default());
            }
            (Fate::Same, of_items(element, list_type, keys, before, after))
        }
        Atom::Map { of, atomic } => {
            let empty = |value: Option<&Value>| value.is_none_or(|value| members(value).next().is_none());
            if atomic || (empty(old) && empty(new)) {
                return (leaf(old, new), Changes::default());
            }
            (Fate::Same, of_members(of, old, new))
        }
    }
}

fn leaf(old: Option<&Value>, new: Option<&Value>) -> Fate {
    match (old, new) {
        (None, Some(_)) => Fate::Added,
        (Some(_), None) => Fate::Removed,
        (Some(old), Some(new)) if !same(old, new) => Fate::Modified,
        _ => Fate::Same,
    }
}

/// Go's equality of decoded JSON: 1 and 1.0 are the same number.
pub(super) fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Array(one), Value::Array(other)) => one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other)),
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len() && one.iter().all(|(name, value)| other.get(name).is_some_and(|other| same(value, other)))
        }
        (Value::Number(one), Value::Number(other)) => one == other || one.as_f64() == other.as_f64(),
        _ => one == other,
    }
}

fn of_members(of: Place<'_>, old: Option<&Value>, new: Option<&Value>) -> Changes {
    let mut found = Changes::default();
    let of_old = old.into_iter().flat_map(members).map(|(name, value)| (name, Some(value), new.and_then(|new| new.get(name))));
    let only_new = new.into_iter().flat_map(members).filter(|(name, _)| old.is_none_or(|old| old.get(*name).is_none()));
    for (name, old, new) in of_old.chain(only_new.map(|(name, value)| (name, None, Some(value)))) {
        let place = of.member(name).unwrap_or(Place::Free);
        found.put(|| Step::field(name), compare(place, old, new));
    }
    found
}

fn of_items(element: Place<'_>, list_type: ListType, keys: Keys<'_>, old: &[Value], new: &[Value]) -> Changes {
    let mut found = Changes::default();
    let mut pairs: BTreeMap<Step, (Vec<&Value>, Vec<&Value>)> = BTreeMap::new();
    for item in old {
        if let Ok(step) = keys.step(list_type, item) {
            pairs.entry(step).or_default().0.push(item);
        }
    }
    for item in new {
        if let Ok(step) = keys.step(list_type, item) {
            pairs.entry(step).or_default().1.push(item);
        }
    }
    for (step, (before, after)) in pairs {
        if before.len() <= 1 && after.len() <= 1 {
            found.put(|| step.clone(), compare(element, before.first().copied(), after.first().copied()));
            continue;
        }
        let fate = match (before.is_empty(), after.is_empty()) {
            (true, _) => Fate::Added,
            (_, true) => Fate::Removed,
            _ if before.len() == after.len() && before.iter().zip(&after).all(|(one, other)| same(one, other)) => Fate::Same,
            _ => Fate::Modified,
        };
        found.put(|| step.clone(), (fate, Changes::default()));
    }
    found
}
