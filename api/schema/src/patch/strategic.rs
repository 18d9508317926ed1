//! Strategic merge patch: maps merge, lists merge by their merge key where the facts say so, `$`-members direct it.

use super::lookup::{Place, Strategy};
use super::order::{self, DIRECTIVE, Elements, bad_argument, no_merge_key};
use super::{PatchError, go_print};
use crate::{Map, TypeId, Value};

pub(super) const RETAIN_KEYS: &str = "$retainKeys";
pub(super) const DELETE_FROM: &str = "$deleteFromPrimitiveList";
pub(super) const SET_ORDER: &str = "$setElementOrder";

const BAD_RETAIN_KEYS: &str = "invalid patch format of retainKeys";
const BAD_DELETE_FROM: &str = "invalid patch format of primitive list";
const BAD_SET_ORDER: &str = "invalid patch format of setElementOrder list";

pub(super) fn apply(ty: TypeId, doc: &Value, patch: &Value) -> Result<Value, PatchError> {
    let members = |value: &Value| match value {
        Value::Object(members) => Ok(members.clone()),
        Value::Null => Ok(Map::new()),
        _ => Err(PatchError::Malformed("invalid JSON document".into())),
    };
    let merged = Merger::APPLYING.maps(members(doc)?, members(patch)?, Place::root(ty));
    merged.map(Value::Object).map_err(PatchError::Unprocessable)
}

/// The two uses of merging.
#[derive(Clone, Copy)]
pub(super) struct Merger {
    /// Parallel lists (`$…/name`) are carried out; while a three-way patch is made they are carried along instead.
    applying: bool,
}

type Members = Map<String, Value>;

impl Merger {
    pub(super) const APPLYING: Self = Self { applying: true };
    pub(super) const COMBINING: Self = Self { applying: false };

    pub(super) fn maps(self, mut original: Members, mut patch: Members, place: Place) -> Result<Members, String> {
        if let Some(directive) = patch.get(DIRECTIVE).cloned() {
            return directed(&directive, patch);
        }
        self.retain_keys(&mut original, &mut patch)?;
        self.ordered_lists(&mut original, &mut patch, place)?;
        for (name, value) in patch {
            if !name.starts_with(DELETE_FROM) {
                self.member(&mut original, name, value, false, place)?;
            } else if self.applying {
                let target = parallel(&name, DELETE_FROM, BAD_DELETE_FROM)?.to_owned();
                self.member(&mut original, target, value, true, place)?;
            } else {
                original.insert(name, value);
            }
        }
        Ok(original)
    }

    /// Merges one member of a patch. `deleting`: the value lists the scalars to be removed.
    fn member(self, original: &mut Members, name: String, value: Value, deleting: bool, place: Place) -> Result<(), String> {
        if value.is_null() {
            original.remove(&name);
            if self.applying {
                return Ok(());
            }
        }
        let Some(old) = original.get_mut(&name).filter(|old| same_type(old, &value)) else {
            if !deleting {
                self.set(original, name, value);
            }
            return Ok(());
        };
        let old = old.take();
        let merged = match (old, value) {
            (Value::Object(old), Value::Object(new)) => {
                let (inner, strategy) = place.member(&name)?;
                Some(Value::Object(if strategy.replace { new } else { self.maps(old, new, inner)? }))
            }
            (Value::Array(old), Value::Array(new)) => {
                let (inner, strategy) = place.element(&name)?;
                Some(Value::Array(self.lists(old, new, inner, strategy, deleting)?))
            }
            (_, value) => without_directives(value),
        };
        match merged {
            Some(merged) => original.insert(name, merged),
            None => original.remove(&name),
        };
        Ok(())
    }

    fn set(self, original: &mut Members, name: String, mut value: Value) {
        if self.applying {
            drop_nulls(&mut value);
        }
        match without_directives(value) {
            Some(value) => original.insert(name, value),
            None => original.remove(&name),
        };
    }

    fn lists(self, old: Vec<Value>, new: Vec<Value>, inner: Place, strategy: Strategy, deleting: bool) -> Result<Vec<Value>, String> {
        if !strategy.merge && !deleting {
            return Ok(new);
        }
        if old.is_empty() && new.is_empty() {
            return Ok(old);
        }
        let key = strategy.merge_key;
        let (merged, old, new) = match order::elements_of(&[&old, &new])? {
            Elements::Scalars if self.applying && deleting => {
                return Ok(old.into_iter().filter(|element| !new.contains(element)).collect());
            }
            Elements::Scalars => (order::deduplicated(old.iter().chain(&new).cloned().collect()), old, new),
            Elements::Maps if key.is_empty() => {
                return Err(format!("cannot merge lists without merge key for {}", inner.kind()));
            }
            Elements::Maps => {
                let (old, new) = special_elements(old, new, key)?;
                (self.plain_elements(old.clone(), &new, key, inner)?, old, new)
            }
        };
        let (patched, server_only) = order::partition(merged, &new, key)?;
        order::normalize(patched, server_only, &new, &old, key)
    }

    fn plain_elements(self, mut old: Vec<Value>, new: &[Value], key: &str, inner: Place) -> Result<Vec<Value>, String> {
        for element in new {
            let identity = order::key_of(element, key)?;
            match find(&old, key, identity)? {
                Some(at) => {
                    let members = |value: &Value| value.as_object().cloned().unwrap_or_default();
                    old[at] = Value::Object(self.maps(members(&old[at]), members(element), inner)?);
                }
                None => old.push(element.clone()),
            }
        }
        Ok(old)
    }

    /// `$retainKeys`: members of the original that the list does not name go away.
    fn retain_keys(self, original: &mut Members, patch: &mut Members) -> Result<(), String> {
        let Some(keys) = patch.remove(RETAIN_KEYS) else { return Ok(()) };
        if !self.applying {
            return match original.get(RETAIN_KEYS) {
                Some(old) if *old != keys => {
                    let text = "are not deep equal: this may happen when calculating the 3-way diff patch";
                    Err(format!("{} and {} {text}", go_print::plain(old), go_print::plain(&keys)))
                }
                _ => {
                    original.insert(RETAIN_KEYS.into(), keys);
                    Ok(())
                }
            };
        }
        let keys = keys.as_array().ok_or(BAD_RETAIN_KEYS)?;
        let named = |name: &String| keys.iter().any(|key| key.as_str() == Some(name));
        let parallel = |name: &String| name.starts_with(DELETE_FROM) || name.starts_with(SET_ORDER);
        if patch.iter().any(|(name, value)| !value.is_null() && !parallel(name) && !named(name)) {
            return Err(BAD_RETAIN_KEYS.into());
        }
        original.retain(|name, _| named(name));
        Ok(())
    }

    /// `$setElementOrder/name`: merges the list `name` and puts it into the order given.
    fn ordered_lists(self, original: &mut Members, patch: &mut Members, place: Place) -> Result<(), String> {
        let names: Vec<String> = patch.keys().filter(|name| name.starts_with(SET_ORDER)).cloned().collect();
        for name in names {
            let Some(wanted) = patch.remove(&name) else { continue };
            if !self.applying {
                if original.get(&name).is_some_and(|old| *old != wanted) {
                    return Err(BAD_SET_ORDER.into());
                }
                original.insert(name.clone(), wanted.clone());
            }
            let Value::Array(wanted) = wanted else { return Err(bad_argument("[]interface {}", &wanted)) };
            let target = parallel(&name, SET_ORDER, BAD_SET_ORDER)?;
            self.ordered_list(original, patch, target, &wanted, place)?;
        }
        Ok(())
    }

    fn ordered_list(self, original: &mut Members, patch: &mut Members, name: &str, wanted: &[Value], place: Place) -> Result<(), String> {
        let list = |members: &Members| match members.get(name) {
            None => Ok(None),
            Some(Value::Array(list)) => Ok(Some(list.clone())),
            Some(other) => Err(bad_argument("[]interface {}", other)),
        };
        let (old, new) = (list(original)?, list(patch)?);
        let (inner, strategy) = place.element(name)?;
        let key = strategy.merge_key;
        check_order(new.as_deref().unwrap_or_default(), wanted, key)?;
        let merged = match (&old, &new) {
            (None, None) => return Ok(()),
            (Some(old), None) => old.clone(),
            (None, Some(new)) => match without_directives(Value::Array(new.clone())) {
                Some(Value::Array(new)) => new,
                _ => return Ok(()),
            },
            (Some(old), Some(new)) => self.lists(old.clone(), new.clone(), inner, strategy, false)?,
        };
        let (old, new) = (old.unwrap_or_default(), new.unwrap_or_default());
        let (patched, server_only) = order::partition(merged, wanted, key)?;
        order::elements_of(&[&old, &new])?;
        original.insert(name.to_owned(), Value::Array(order::normalize(patched, server_only, wanted, &old, key)?));
        patch.remove(name);
        Ok(())
    }
}

/// `$patch: replace` or `delete` of a whole map.
fn directed(directive: &Value, mut patch: Members) -> Result<Members, String> {
    match directive.as_str() {
        Some("replace") => {
            patch.remove(DIRECTIVE);
            Ok(patch)
        }
        Some("delete") => Ok(Map::new()),
        _ => Err(unknown_directive(directive, &Value::Object(patch))),
    }
}

fn unknown_directive(directive: &Value, map: &Value) -> String {
    format!("unknown patch type: {} in map: {}", go_print::as_string(directive), go_print::plain(map))
}

/// Carries out the elements that are directives: deletions, and the replacement of the whole list.
fn special_elements(mut old: Vec<Value>, new: Vec<Value>, key: &str) -> Result<(Vec<Value>, Vec<Value>), String> {
    let mut plain = Vec::with_capacity(new.len());
    let mut replacing = false;
    for element in new {
        match element.get(DIRECTIVE) {
            None => plain.push(element),
            Some(Value::String(directive)) if directive == "delete" => {
                let identity = element.get(key).ok_or_else(|| no_merge_key(&element, key))?;
                while let Some(at) = find(&old, key, identity)? {
                    old.remove(at);
                }
            }
            Some(Value::String(directive)) if directive == "replace" => replacing = true,
            Some(Value::String(directive)) if directive == "merge" => {
                return Err("merging lists cannot yet be specified in the patch".into());
            }
            Some(directive) => return Err(unknown_directive(directive, &element)),
        }
    }
    Ok(if replacing { (plain, Vec::new()) } else { (old, plain) })
}

pub(super) fn find(list: &[Value], key: &str, identity: &Value) -> Result<Option<usize>, String> {
    for (at, element) in list.iter().enumerate() {
        if !element.is_object() {
            return Err(format!("value for key {at} is not a map"));
        }
        if element.get(key) == Some(identity) {
            return Ok(Some(at));
        }
    }
    Ok(None)
}

/// The list that a parallel list's name speaks of.
fn parallel<'n>(name: &'n str, prefix: &str, error: &str) -> Result<&'n str, String> {
    match name.split_once('/') {
        Some((head, target)) if head == prefix => Ok(target),
        _ => Err(error.into()),
    }
}

/// The patch's elements must stand in the order that the patch asks for.
fn check_order(patch: &[Value], wanted: &[Value], key: &str) -> Result<(), String> {
    if patch.is_empty() || wanted.is_empty() {
        return Ok(());
    }
    if !key.is_empty()
        && let Some(odd) = patch.iter().find(|element| !element.is_object())
    {
        return Err(bad_argument("map[string]interface {}", odd));
    }
    // Deleted elements have no place in the order. Other directives are passed over, but only while the order lasts:
    // one that stands last is taken for an element out of order, as upstream does.
    let mut pending = patch.iter().filter(|element| element[DIRECTIVE] != "delete").peekable();
    let mut rest = wanted.iter().peekable();
    while let (Some(element), Some(next)) = (pending.peek(), rest.peek()) {
        if element.get(DIRECTIVE).is_some() {
            pending.next();
            continue;
        }
        let same = if key.is_empty() { element == next } else { order::key_of(element, key)? == order::key_of(next, key)? };
        if same {
            pending.next();
        }
        rest.next();
    }
    if pending.peek().is_some() && rest.peek().is_none() {
        let (patch, wanted) = (go_print::list(patch), go_print::list(wanted));
        return Err(format!("The order in patch list:\n{patch}\n doesn't match {SET_ORDER} list:\n{wanted}\n"));
    }
    Ok(())
}

/// A new value without what was only direction; `None` where it is nothing else.
fn without_directives(value: Value) -> Option<Value> {
    match value {
        Value::Object(members) if members.contains_key(DIRECTIVE) => None,
        Value::Object(members) => {
            let kept = members.into_iter().filter_map(|(name, value)| Some((name, without_directives(value)?)));
            Some(Value::Object(kept.collect()))
        }
        Value::Array(elements) => Some(Value::Array(elements.into_iter().filter_map(without_directives).collect())),
        other => Some(other),
    }
}

/// Drops the null members of a new value; null elements stay.
fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|_, value| !value.is_null());
            members.values_mut().for_each(drop_nulls);
        }
        Value::Array(elements) => elements.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

/// Whether Go would decode both into the same type.
pub(super) fn same_type(one: &Value, other: &Value) -> bool {
    go_print::type_of(one) == go_print::type_of(other)
}
