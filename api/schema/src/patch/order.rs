//! The order of a merged list: what the patch names stands in the patch's order, the rest keeps its own.

use std::collections::HashMap;

use crate::Value;

use super::go_print;

pub(super) const DIRECTIVE: &str = "$patch";

/// What identifies an element of a list: its merge key's value, or the scalar itself where there is no key.
pub(super) fn identity<'v>(element: &'v Value, merge_key: &str) -> &'v Value {
    if merge_key.is_empty() { element } else { &element[merge_key] }
}

/// Where each identity stands first in a list.
struct Positions(HashMap<String, usize>);

impl Positions {
    fn of(list: &[Value], merge_key: &str) -> Self {
        let mut first = HashMap::new();
        for (at, element) in list.iter().enumerate() {
            first.entry(identity(element, merge_key).to_string()).or_insert(at);
        }
        Self(first)
    }

    fn get(&self, element: &Value, merge_key: &str) -> Option<usize> {
        self.0.get(&identity(element, merge_key).to_string()).copied()
    }
}

/// Sorts the patch's part by the patch's order, the server's by the server's, and runs them together.
pub(super) fn normalize(
    patch: Vec<Value>,
    server_only: Vec<Value>,
    patch_order: &[Value],
    server_order: &[Value],
    merge_key: &str,
) -> Result<Vec<Value>, String> {
    let patch = sorted(patch, patch_order, merge_key)?;
    let server_only = sorted(server_only, server_order, merge_key)?;
    let positions = Positions::of(server_order, merge_key);
    let position = |element: &Value| positions.get(element, merge_key);
    let mut all = Vec::with_capacity(patch.len() + server_only.len());
    let mut left = server_only.into_iter().peekable();
    let mut right = patch.into_iter().peekable();
    while let (Some(server), Some(patched)) = (left.peek(), right.peek()) {
        let server_first = matches!((position(server), position(patched)), (Some(l), Some(r)) if l < r);
        all.extend(if server_first { left.next() } else { right.next() });
    }
    all.extend(right);
    all.extend(left);
    Ok(all)
}

/// Stable by `order`; elements to be deleted go last.
pub(super) fn sorted(list: Vec<Value>, order: &[Value], merge_key: &str) -> Result<Vec<Value>, String> {
    let mut deleted = Vec::new();
    let mut kept = list;
    if !merge_key.is_empty() {
        require_key(merge_key, kept.iter().chain(order))?;
        (kept, deleted) = kept.into_iter().partition(|element| element[DIRECTIVE] != "delete");
    }
    let positions = Positions::of(order, merge_key);
    let mut keyed: Vec<(Option<usize>, Value)> = kept.into_iter().map(|element| (positions.get(&element, merge_key), element)).collect();
    insertion_sort(&mut keyed);
    Ok(keyed.into_iter().map(|(_, element)| element).chain(deleted).collect())
}

/// Upstream's comparison is no order where an element is unknown (it then sorts before its neighbour), so its sort's
/// steps are repeated here. Long lists without unknown elements, the usual ones, take the quick way.
fn insertion_sort(keyed: &mut [(Option<usize>, Value)]) {
    if keyed.iter().all(|(at, _)| at.is_some()) {
        return keyed.sort_by_key(|(at, _)| *at);
    }
    for i in 1..keyed.len() {
        let mut j = i;
        while j > 0 && before(keyed[j].0, keyed[j - 1].0) {
            keyed.swap(j, j - 1);
            j -= 1;
        }
    }
}

fn before(one: Option<usize>, other: Option<usize>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => one < other,
        _ => true,
    }
}

/// Every element must be an object with the merge key.
fn require_key<'v>(merge_key: &str, elements: impl Iterator<Item = &'v Value>) -> Result<(), String> {
    for element in elements {
        key_of(element, merge_key)?;
    }
    Ok(())
}

/// The merge key's value of an element.
pub(super) fn key_of<'v>(element: &'v Value, merge_key: &str) -> Result<&'v Value, String> {
    if !element.is_object() {
        return Err(bad_argument("map[string]interface {}", element));
    }
    element.get(merge_key).ok_or_else(|| no_merge_key(element, merge_key))
}

pub(super) fn no_merge_key(element: &Value, merge_key: &str) -> String {
    format!("map: {} does not contain declared merge key: {merge_key}", go_print::plain(element))
}

pub(super) fn bad_argument(expected: &str, actual: &Value) -> String {
    format!("expected a {expected}, but received a {}", go_print::type_of(actual))
}

/// Splits `list` into what `by` names and what it does not.
pub(super) fn partition(list: Vec<Value>, by: &[Value], merge_key: &str) -> Result<(Vec<Value>, Vec<Value>), String> {
    if !merge_key.is_empty() {
        require_key(merge_key, list.iter())?;
        if let Some(at) = by.iter().position(|element| !element.is_object()) {
            return Err(format!("value for key {at} is not a map"));
        }
    }
    let positions = Positions::of(by, merge_key);
    Ok(list.into_iter().partition(|element| positions.get(element, merge_key).is_some()))
}

/// Drops repeated scalars in upstream's way: the last element takes the place of a repeated one.
pub(super) fn deduplicated(mut list: Vec<Value>) -> Vec<Value> {
    let mut seen = HashMap::new();
    if list.iter().all(|element| seen.insert(element.to_string(), ()).is_none()) {
        return list;
    }
    let mut i = 0;
    while i + 1 < list.len() {
        let mut j = i + 1;
        while j < list.len() {
            if list[i] == list[j] {
                list.swap_remove(j);
            } else {
                j += 1;
            }
        }
        i += 1;
    }
    list
}

/// The one type of all elements, as far as merging cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Elements {
    Maps,
    Scalars,
}

pub(super) fn elements_of(lists: &[&[Value]]) -> Result<Elements, String> {
    let mut all = lists.iter().flat_map(|list| list.iter());
    let first = all.next().ok_or("no elements in any of the given slices")?;
    if first.is_array() {
        return Err("lists of lists are not supported".into());
    }
    if all.any(|element| go_print::type_of(element) != go_print::type_of(first)) {
        let printed: Vec<String> = lists.iter().map(|list| go_print::list(list)).collect();
        return Err(format!("list element types are not identical: [{}]", printed.join(" ")));
    }
    Ok(if first.is_object() { Elements::Maps } else { Elements::Scalars })
}
