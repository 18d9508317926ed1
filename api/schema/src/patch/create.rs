//! Making patches, as `kubectl apply` does: of two documents, or of three (the last applied, the new, the live one).

use super::go_print;
use super::lookup::{Place, Strategy};
use super::merge;
use super::order::{self, DIRECTIVE, Elements, deduplicated, key_of, sorted};
use super::strategic::{DELETE_FROM, Merger, RETAIN_KEYS, SET_ORDER, same_type};
use crate::{Map, TypeId, Value, yaml};

#[derive(Clone, Debug, thiserror::Error, PartialEq)]
pub enum CreateError {
    /// The patch would change what may not change (apiVersion, kind, name).
    #[error("{0}")]
    Precondition(String),
    /// The patch would undo what somebody else changed.
    #[error("{0}")]
    Conflict(String),
    /// The documents cannot be compared.
    #[error("{0}")]
    Unprocessable(String),
}

type Members = Map<String, Value>;

/// The strategic patch that makes `modified` of `original`.
pub fn two_way(ty: TypeId, original: &Value, modified: &Value) -> Result<Value, CreateError> {
    let all = Differ { additions: true, deletions: true, element_order: true, retain_keys: false };
    let patch = all.maps(&mut members(original), &members(modified), Place::root(ty));
    patch.map(Value::Object).map_err(CreateError::Unprocessable)
}

/// The strategic patch that brings `current` to `modified` and takes away what `original` had and `modified` has not.
/// Without `overwrite`, a change that somebody else made since `original` and that the patch would undo is a conflict.
pub fn three_way(ty: TypeId, original: &Value, modified: &Value, current: &Value, overwrite: bool) -> Result<Value, CreateError> {
    let place = Place::root(ty);
    let additions = Differ { additions: true, deletions: false, element_order: true, retain_keys: false };
    let deletions = Differ { additions: false, deletions: true, element_order: true, retain_keys: false };
    let (mut original, modified, mut current) = (members(original), members(modified), members(current));
    let delta = additions.maps(&mut current, &modified, place).map_err(CreateError::Unprocessable)?;
    let gone = deletions.maps(&mut original, &modified, place).map_err(CreateError::Unprocessable)?;
    let patch = Merger::COMBINING.maps(gone, delta, place).map_err(CreateError::Unprocessable)?;
    let mut patch = checked(patch)?;
    if overwrite {
        return Ok(patch);
    }
    let all = Differ { additions: true, deletions: true, element_order: false, retain_keys: false };
    let changed = all.maps(&mut original, &current, place).map_err(CreateError::Unprocessable)?;
    let mut changed = Value::Object(changed);
    match conflicts(&mut patch, &mut changed, place, Strategy::default()).map_err(CreateError::Unprocessable)? {
        false => Ok(patch),
        true => Err(conflict(&patch, &changed)),
    }
}

/// As [`three_way`] where no schema is known: a JSON merge patch.
pub fn three_way_merge(original: &Value, modified: &Value, current: &Value) -> Result<Value, CreateError> {
    let additions = filtered(&merge::diff(current, modified), false);
    let deletions = filtered(&merge::diff(original, modified), true);
    if overlap(&additions, &deletions) {
        return Err(conflict(&additions, &deletions));
    }
    let patch = merge::apply_keeping_nulls(deletions, additions);
    if breaks_identity(&patch) {
        return Err(CreateError::Precondition(format!("precondition failed for: {}", go_print::plain(&patch))));
    }
    Ok(patch)
}

fn conflict(patch: &Value, changed: &Value) -> CreateError {
    let (patch, changed) = (yaml::to_string(patch), yaml::to_string(changed));
    CreateError::Conflict(format!("patch:\n{patch}\nconflicts with changes made from original to current:\n{changed}\n"))
}

fn members(document: &Value) -> Members {
    document.as_object().cloned().unwrap_or_default()
}

fn checked(patch: Members) -> Result<Value, CreateError> {
    let patch = Value::Object(patch);
    if breaks_identity(&patch) {
        return Err(CreateError::Precondition(format!("precondition failed for: {}", go_print::plain(&patch))));
    }
    Ok(patch)
}

fn breaks_identity(patch: &Value) -> bool {
    patch.get("apiVersion").is_some() || patch.get("kind").is_some() || patch["metadata"].get("name").is_some()
}

/// What a difference shall tell.
///
/// The lists of scalars of the older document are left sorted: upstream sorts them in place, and what it compares next
/// shows it.
#[derive(Clone, Copy)]
struct Differ {
    additions: bool,
    deletions: bool,
    element_order: bool,
    retain_keys: bool,
}

impl Differ {
    fn maps(self, original: &mut Members, modified: &Members, place: Place) -> Result<Members, String> {
        let mut patch = Map::new();
        for (name, new) in modified {
            let Some(old) = original.get_mut(name) else {
                self.add(&mut patch, name, new);
                continue;
            };
            if name == DIRECTIVE {
                if *old != *new {
                    patch.insert(name.clone(), new.clone());
                }
                continue;
            }
            match (old, new) {
                (old, new) if !same_type(old, new) => self.add(&mut patch, name, new),
                (Value::Object(old), Value::Object(new)) => self.map(&mut patch, name, old, new, place)?,
                (Value::Array(old), Value::Array(new)) => self.list(&mut patch, name, old, new, place)?,
                (old, new) if *old != *new => self.add(&mut patch, name, new),
                _ => {}
            }
        }
        if self.deletions {
            let gone = original.keys().filter(|name| !modified.contains_key(*name));
            patch.extend(gone.map(|name| (name.clone(), Value::Null)));
        }
        self.name_retained(&mut patch, original, modified);
        Ok(patch)
    }

    fn add(self, patch: &mut Members, name: &str, value: &Value) {
        if self.additions {
            patch.insert(name.to_owned(), value.clone());
        }
    }

    /// `$retainKeys` lists what is left of a union, wherever anything changes.
    fn name_retained(self, patch: &mut Members, original: &Members, modified: &Members) {
        let dropped = || original.iter().any(|(name, value)| !value.is_null() && !modified.contains_key(name));
        let mut kept: Vec<&String> = modified.iter().filter(|(_, value)| !value.is_null()).map(|(name, _)| name).collect();
        if self.retain_keys && !kept.is_empty() && (!patch.is_empty() || dropped()) {
            kept.sort();
            patch.insert(RETAIN_KEYS.into(), kept.into_iter().cloned().collect());
        }
    }

    fn map(self, patch: &mut Members, name: &str, old: &mut Members, new: &Members, place: Place) -> Result<(), String> {
        let (inner, strategy) = match place.member(name) {
            Ok(found) => found,
            Err(_) if *old == *new => return Ok(()),
            Err(error) => return Err(error),
        };
        if strategy.replace {
            self.add(patch, name, &Value::Object(new.clone()));
            return Ok(());
        }
        let deeper = Self { retain_keys: strategy.retain_keys, ..self };
        let difference = deeper.maps(old, new, inner)?;
        if !difference.is_empty() {
            patch.insert(name.to_owned(), Value::Object(difference));
        }
        Ok(())
    }

    fn list(self, patch: &mut Members, name: &str, old: &mut [Value], new: &[Value], place: Place) -> Result<(), String> {
        let (inner, strategy) = match place.element(name) {
            Ok(found) => found,
            Err(_) if *old == *new => return Ok(()),
            Err(error) => return Err(error),
        };
        if !strategy.merge {
            if *old != *new {
                self.add(patch, name, &Value::Array(new.to_vec()));
            }
            return Ok(());
        }
        let deeper = Self { retain_keys: strategy.retain_keys, ..self };
        let found = deeper.lists(old, new, inner, strategy.merge_key)?;
        let mut put = |name: String, list: Vec<Value>| {
            if !list.is_empty() {
                patch.insert(name, Value::Array(list));
            }
        };
        put(name.to_owned(), found.changes);
        put(format!("{DELETE_FROM}/{name}"), found.deletions);
        put(format!("{SET_ORDER}/{name}"), found.order);
        Ok(())
    }

    fn lists(self, old: &mut [Value], new: &[Value], inner: Place, key: &str) -> Result<ListChanges, String> {
        if old.is_empty() {
            let changes = if self.additions { new.to_vec() } else { Vec::new() };
            return Ok(ListChanges { changes, ..ListChanges::default() });
        }
        match order::elements_of(&[old, new])? {
            Elements::Maps => self.lists_of_maps(old, new, inner, key),
            Elements::Scalars => self.lists_of_scalars(old, new),
        }
    }

    fn lists_of_maps(self, old: &[Value], new: &[Value], inner: Place, key: &str) -> Result<ListChanges, String> {
        let (changes, deleted) = self.elements(old, new, inner, key)?;
        let mut changes = sorted(changes, new, key)?;
        let same_order = same_order(old, new, key)?;
        changes.extend(deleted);
        let order_matters = (self.additions && (!changes.is_empty() || !same_order)) || (self.deletions && !changes.is_empty());
        let mut order = Vec::new();
        if self.element_order && order_matters {
            let identity = |element: &Value| Value::Object(Map::from_iter([(key.to_owned(), element[key].clone())]));
            order = new.iter().map(identity).collect();
        }
        Ok(ListChanges { changes, deletions: Vec::new(), order })
    }

    /// Walks both lists by their keys' texts: what changed or came, and what went.
    fn elements(self, old: &[Value], new: &[Value], inner: Place, key: &str) -> Result<(Vec<Value>, Vec<Value>), String> {
        let (old, new) = (by_key(old, key), by_key(new, key));
        let (mut changes, mut deleted) = (Vec::new(), Vec::new());
        let (mut old, mut new) = (old.into_iter().peekable(), new.into_iter().peekable());
        loop {
            let was = old.peek().map(|element| key_of(element, key)).transpose()?;
            let is = new.peek().map(|element| key_of(element, key)).transpose()?;
            let compared = match (was, is) {
                (None, None) => return Ok((changes, deleted)),
                (None, Some(_)) => std::cmp::Ordering::Greater,
                (Some(_), None) => std::cmp::Ordering::Less,
                (Some(was), Some(is)) => go_print::plain(was).cmp(&go_print::plain(is)),
            };
            match compared {
                std::cmp::Ordering::Equal => {
                    let (Some(was), Some(is)) = (old.next(), new.next()) else { return Ok((changes, deleted)) };
                    let mut change = self.maps(&mut members(was), &members(is), inner)?;
                    if !change.is_empty() {
                        change.insert(key.to_owned(), is[key].clone());
                        changes.push(Value::Object(change));
                    }
                }
                std::cmp::Ordering::Greater => changes.extend(new.next().filter(|_| self.additions).cloned()),
                std::cmp::Ordering::Less => {
                    let gone = |element: &Value| {
                        Value::Object(Map::from_iter([(key.to_owned(), element[key].clone()), (DIRECTIVE.to_owned(), "delete".into())]))
                    };
                    deleted.extend(old.next().filter(|_| self.deletions).map(gone));
                }
            }
        }
    }

    fn lists_of_scalars(self, old: &mut [Value], new: &[Value]) -> Result<ListChanges, String> {
        let text = |value: &&Value| go_print::plain(value);
        old.sort_by_key(go_print::plain);
        let (before, mut after): (Vec<&Value>, Vec<&Value>) = (old.iter().collect(), new.iter().collect());
        after.sort_by_key(text);
        let (mut added, mut deleted) = (Vec::new(), Vec::new());
        let (mut before, mut after) = (before.into_iter().peekable(), after.into_iter().peekable());
        loop {
            match (before.peek().map(text), after.peek().map(text)) {
                (None, None) => break,
                (Some(was), Some(is)) if was == is => {
                    before.next();
                    after.next();
                }
                (was, Some(is)) if was.as_ref().is_none_or(|was| *was > is) => {
                    added.extend(after.next().filter(|_| self.additions).cloned());
                }
                _ => deleted.extend(before.next().filter(|_| self.deletions).cloned()),
            }
        }
        let deletions = deduplicated(deleted);
        let changes = sorted(added, new, "")?;
        let order_matters = (self.deletions && !deletions.is_empty()) || (self.additions && *old != *new);
        let order = if self.element_order && order_matters { new.to_vec() } else { Vec::new() };
        Ok(ListChanges { changes, deletions, order })
    }
}

#[derive(Default)]
struct ListChanges {
    changes: Vec<Value>,
    deletions: Vec<Value>,
    order: Vec<Value>,
}

/// Elements with one key come out in reverse, as upstream's sort leaves them.
fn by_key<'v>(list: &'v [Value], key: &str) -> Vec<&'v Value> {
    let mut elements: Vec<&Value> = list.iter().rev().collect();
    elements.sort_by_key(|element| go_print::plain(&element[key]));
    elements
}

fn same_order(old: &[Value], new: &[Value], key: &str) -> Result<bool, String> {
    if old.len() != new.len() {
        return Ok(false);
    }
    for (was, is) in old.iter().zip(new) {
        if key_of(was, key)? != key_of(is, key)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether two strategic patches want different things of one field. Atomic lists of scalars that are compared are left
/// sorted: upstream sorts them in place, and the patch shows it.
fn conflicts(left: &mut Value, right: &mut Value, place: Place, strategy: Strategy) -> Result<bool, String> {
    match (left, right) {
        (Value::Object(left), Value::Object(right)) => {
            if left.get(DIRECTIVE) != right.get(DIRECTIVE) {
                return Ok(true);
            }
            if strategy.replace { Ok(false) } else { members_conflict(left, right, place) }
        }
        (Value::Array(left), Value::Array(right)) => lists_conflict(left, right, place, strategy),
        (left, right) => Ok(left != right),
    }
}

fn members_conflict(left: &mut Members, right: &mut Members, place: Place) -> Result<bool, String> {
    for (name, mine) in left {
        let Some(theirs) = right.get_mut(name).filter(|_| name != DIRECTIVE && name != RETAIN_KEYS) else { continue };
        let (inner, strategy) = match mine {
            Value::Array(_) => place.element(name)?,
            Value::Object(_) => place.member(name)?,
            _ => (place, Strategy::default()),
        };
        if conflicts(mine, theirs, inner, strategy)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn lists_conflict(left: &mut [Value], right: &mut [Value], place: Place, strategy: Strategy) -> Result<bool, String> {
    let elements = order::elements_of(&[left, right])?;
    if strategy.merge {
        return match elements {
            Elements::Scalars => Ok(false),
            Elements::Maps => keyed_lists_conflict(left, right, place, strategy.merge_key),
        };
    }
    if left.len() != right.len() {
        return Ok(true);
    }
    if elements == Elements::Scalars {
        return Ok(sorted_in_place(left).iter().zip(sorted_in_place(right)).any(|(mine, theirs)| mine != theirs));
    }
    for (mine, theirs) in left.iter_mut().zip(right) {
        if conflicts(mine, theirs, place, Strategy::default())? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Sorts what stands there once to the front of the list; what stood there again stays behind it.
fn sorted_in_place(list: &mut [Value]) -> &[Value] {
    let once = deduplicated(list.to_vec()).len();
    for (at, value) in deduplicated(list.to_vec()).into_iter().enumerate() {
        list[at] = value;
    }
    list[..once].sort_by_key(go_print::plain);
    &list[..once]
}

fn keyed_lists_conflict(left: &mut [Value], right: &mut [Value], place: Place, key: &str) -> Result<bool, String> {
    // Where a key stands twice, the last one counts.
    let last = |list: &[Value], wanted: &str| list.iter().rposition(|element| go_print::plain(&element[key]) == wanted);
    for at in 0..left.len() {
        let wanted = go_print::plain(key_of(&left[at], key)?);
        let (Some(mine), Some(theirs)) = (last(left, &wanted), last(right, &wanted)) else { continue };
        if conflicts(&mut left[mine], &mut right[theirs], place, Strategy::default())? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Only the nulls of a merge patch, or everything else.
fn filtered(patch: &Value, nulls: bool) -> Value {
    let Value::Object(members) = patch else { return patch.clone() };
    let mut kept = Map::new();
    for (name, value) in members {
        let keep = match value {
            Value::Null => nulls.then_some(Value::Null),
            Value::Object(inner) if inner.is_empty() => (!nulls).then(|| value.clone()),
            Value::Object(_) => Some(filtered(value, nulls)).filter(|inner| inner.as_object().is_some_and(|inner| !inner.is_empty())),
            _ => (!nulls).then(|| value.clone()),
        };
        kept.extend(keep.map(|value| (name.clone(), value)));
    }
    Value::Object(kept)
}

/// Whether two merge patches set one field differently.
fn overlap(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Object(left), Value::Object(right)) => {
            left.iter().any(|(name, mine)| right.get(name).is_some_and(|theirs| overlap(mine, theirs)))
        }
        (Value::Array(left), Value::Array(right)) => {
            left.len() != right.len() || left.iter().zip(right).any(|(mine, theirs)| overlap(mine, theirs))
        }
        (left, right) => left != right,
    }
}
