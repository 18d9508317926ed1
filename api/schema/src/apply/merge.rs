//! A configuration laid over the live document, and fields taken out of a document.

use std::collections::BTreeMap;

use super::path::Step;
use super::set::FieldSet;
use super::shape::{Atom, Keys, Place};
use super::typed::{items, members};
use crate::facts::ListType;
use crate::{Map, Value};

/// `live` with what `config` says; what `config` does not name stays.
pub(super) fn merge(place: Place<'_>, live: &Value, config: &Value) -> Value {
    over(place, Some(live), Some(config)).unwrap_or(Value::Null)
}

fn over(place: Place<'_>, live: Option<&Value>, config: Option<&Value>) -> Option<Value> {
    let leaf = || config.or(live).cloned();
    if live.is_none() || config.is_none() {
        return leaf(); // nothing to merge with
    }
    match place.atom(config.or(live)) {
        Atom::Scalar(_) => leaf(),
        Atom::List { element, list_type, keys } => {
            let (old, new) = (live.map(items).unwrap_or_default(), config.map(items).unwrap_or_default());
            if list_type == ListType::Atomic || (old.is_empty() && new.is_empty()) {
                return leaf();
            }
            let merged = Lists { element, list_type, keys }.merge(old, new);
            (!merged.is_empty()).then_some(Value::Array(merged))
        }
        Atom::Map { of, atomic } => {
            let empty = |value: Option<&Value>| value.is_none_or(|value| members(value).next().is_none());
            if atomic || (empty(live) && empty(config)) {
                return leaf();
            }
            let merged = maps(of, live, config);
            (!merged.is_empty()).then_some(Value::Object(merged))
        }
    }
}

fn maps(of: Place<'_>, live: Option<&Value>, config: Option<&Value>) -> Map<String, Value> {
    let mut merged = Map::new();
    let names = live.into_iter().chain(config).flat_map(members).map(|(name, _)| name);
    for name in names.collect::<std::collections::BTreeSet<_>>() {
        let [live, config] = [live, config].map(|doc| doc?.get(name));
        if let Some(value) = over(of.member(name).unwrap_or(Place::Free), live, config) {
            merged.insert(name.clone(), value);
        }
    }
    merged
}

/// Lists whose items merge.
struct Lists<'s> {
    element: Place<'s>,
    list_type: ListType,
    keys: Keys<'s>,
}

/// One of the two lists, by its items' steps. An item that is there twice is not merged with anything.
struct Indexed<'v> {
    steps: Vec<(Step, &'v Value)>,
    once: BTreeMap<Step, Option<&'v Value>>,
}

impl Lists<'_> {
    fn index<'v>(&self, list: &'v [Value]) -> Indexed<'v> {
        let mut found = Indexed { steps: Vec::new(), once: BTreeMap::new() };
        for item in list {
            let Ok(step) = self.keys.step(self.list_type, item) else { continue };
            found.once.entry(step.clone()).and_modify(|value| *value = None).or_insert(Some(item));
            found.steps.push((step, item));
        }
        found
    }

    /// The configuration's order holds for its own items; those of others stay where they are among them.
    fn merge(&self, old: &[Value], new: &[Value]) -> Vec<Value> {
        let (live, config) = (self.index(old), self.index(new));
        let mut shared = config.steps.iter().map(|(step, _)| step).filter(|step| live.once.contains_key(*step));
        let mut next = shared.next();
        let mut done = std::collections::BTreeSet::new();
        let mut merged = Vec::with_capacity(old.len().max(new.len()));
        let (mut at_live, mut at_config) = (0, 0);
        while at_live < live.steps.len() || at_config < config.steps.len() {
            if let (Some((step, _)), Some((wanted, _))) = (live.steps.get(at_live), config.steps.get(at_config)) {
                if step == wanted {
                    done.insert(step);
                    merged.extend(self.item(step, &live, &config));
                    (at_live, at_config, next) = (at_live + 1, at_config + 1, shared.next());
                    continue;
                }
                if config.once.contains_key(step) && next.is_some_and(|next| next != step) {
                    at_live += 1; // of both, but its turn comes later
                    continue;
                }
            }
            if let Some((step, item)) = live.steps.get(at_live) {
                if !config.once.contains_key(step) {
                    merged.push((*item).clone());
                    at_live += 1;
                    continue;
                }
                if done.contains(step) {
                    at_live += 1;
                }
            }
            if let Some((step, _)) = config.steps.get(at_config) {
                done.insert(step);
                merged.extend(self.item(step, &live, &config));
                at_config += 1;
                if next == Some(step) {
                    next = shared.next();
                }
            }
        }
        merged
    }

    fn item(&self, step: &Step, live: &Indexed<'_>, config: &Indexed<'_>) -> Option<Value> {
        let [live, config] = [live, config].map(|list| list.once.get(step).copied().flatten());
        over(self.element, live, config)
    }
}

/// `doc` without the fields of `gone`.
pub(super) fn remove(place: Place<'_>, doc: &Value, gone: &FieldSet) -> Value {
    match place.atom(Some(doc)) {
        Atom::Scalar(_) => doc.clone(),
        // What is replaced as a whole is removed as a whole.
        Atom::List { list_type: ListType::Atomic, .. } | Atom::Map { atomic: true, .. } => Value::Null,
        Atom::List { element, list_type, keys } => {
            let kept: Vec<Value> = items(doc)
                .iter()
                .filter_map(|item| match keys.step(list_type, item) {
                    Ok(step) => keep(element, &step, item, gone),
                    Err(_) => Some(item.clone()),
                })
                .collect();
            if kept.is_empty() { Value::Null } else { Value::Array(kept) }
        }
        Atom::Map { of, .. } => {
            let kept = members(doc).filter_map(|(name, value)| {
                let place = of.member(name).unwrap_or(Place::Free);
                Some((name.clone(), keep(place, &Step::field(name), value, gone)?))
            });
            let kept: Map<String, Value> = kept.collect();
            if kept.is_empty() { Value::Null } else { Value::Object(kept) }
        }
    }
}

fn keep(place: Place<'_>, step: &Step, value: &Value, gone: &FieldSet) -> Option<Value> {
    if gone.has_step(step) {
        return None;
    }
    match gone.below(step) {
        Some(below) => Some(remove(place, value, below)),
        None => Some(value.clone()),
    }
}
