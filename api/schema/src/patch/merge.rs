//! JSON merge patch: applying and making.

use crate::{Map, Value};

pub(super) fn apply(doc: Value, patch: Value) -> Value {
    match (doc, patch) {
        (Value::Object(doc), Value::Object(patch)) => Value::Object(members(doc, patch)),
        // An object that is replaced by something else takes it as it is: upstream prunes nulls only below a
        // value that was no object.
        (Value::Object(_), patch) => patch,
        (_, patch) => without_nulls(patch),
    }
}

/// Puts one patch on top of another: nulls are kept, as they are still to be carried out.
pub(super) fn apply_keeping_nulls(first: Value, second: Value) -> Value {
    let (mut first, second) = match (first, second) {
        (Value::Object(first), Value::Object(second)) => (first, second),
        (_, second) => return second,
    };
    for (name, value) in second {
        let merged = match first.remove(&name) {
            Some(old) => apply_keeping_nulls(old, value),
            None => value,
        };
        first.insert(name, merged);
    }
    Value::Object(first)
}

fn members(mut doc: Map<String, Value>, patch: Map<String, Value>) -> Map<String, Value> {
    for (name, value) in patch {
        if value.is_null() {
            doc.remove(&name);
            continue;
        }
        let merged = match doc.remove(&name) {
            None | Some(Value::Null) => without_nulls(value),
            Some(old) => apply(old, value),
        };
        doc.insert(name, merged);
    }
    doc
}

/// Null members are dropped everywhere, null elements stay.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(members) => Value::Object(
            members.into_iter().filter(|(_, value)| !value.is_null()).map(|(name, value)| (name, without_nulls(value))).collect(),
        ),
        Value::Array(elements) => Value::Array(elements.into_iter().map(without_nulls).collect()),
        other => other,
    }
}

pub(super) fn diff(original: &Value, modified: &Value) -> Value {
    match (original, modified) {
        (Value::Object(original), Value::Object(modified)) => Value::Object(diff_members(original, modified)),
        (_, modified) => modified.clone(),
    }
}

fn diff_members(original: &Map<String, Value>, modified: &Map<String, Value>) -> Map<String, Value> {
    let mut patch = Map::new();
    for (name, new) in modified {
        match (original.get(name), new) {
            (Some(Value::Object(old)), Value::Object(new)) => {
                let inner = diff_members(old, new);
                if !inner.is_empty() {
                    patch.insert(name.clone(), Value::Object(inner));
                }
            }
            (Some(old), new) if same(old, new) => {}
            _ => {
                patch.insert(name.clone(), new.clone());
            }
        }
    }
    let gone = original.keys().filter(|name| !modified.contains_key(*name));
    patch.extend(gone.map(|name| (name.clone(), Value::Null)));
    patch
}

/// Equal as JSON: `1` and `1.0` are one number.
fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => one == other || one.as_f64() == other.as_f64(),
        (Value::Array(one), Value::Array(other)) => one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other)),
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len() && one.iter().all(|(name, value)| other.get(name).is_some_and(|other| same(value, other)))
        }
        _ => one == other,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::json;

    /// Documents without nulls: a merge patch cannot make a null member.
    fn document() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![any::<bool>().prop_map(Value::from), (-9..9i64).prop_map(Value::from), "[a-c]{0,2}".prop_map(Value::from)];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                prop::collection::btree_map("[a-d]", inner, 0..4).prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    fn object() -> impl Strategy<Value = Value> {
        prop::collection::btree_map("[a-d]", document(), 0..4).prop_map(|map| Value::Object(map.into_iter().collect()))
    }

    proptest! {
        #[test]
        fn a_made_patch_makes_the_modified_document(original in object(), modified in object()) {
            prop_assert_eq!(apply(original.clone(), diff(&original, &modified)), modified);
        }

        #[test]
        fn a_patch_applied_twice_is_a_patch_applied_once(doc in object(), patch in object()) {
            let once = apply(doc, patch.clone());
            prop_assert_eq!(apply(once.clone(), patch), once);
        }

        #[test]
        fn a_document_needs_no_patch_to_become_itself(doc in object()) {
            prop_assert_eq!(diff(&doc, &doc), json!({}));
        }
    }
}
