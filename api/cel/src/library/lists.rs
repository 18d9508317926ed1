//! Lists: order, sums, parts and sets.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Outcome, Table, implementations, mismatch};
use crate::fault::Fault;
use crate::value::{Key, List, Map, Value, compare, contains, equal};

pub(super) const FUNCTIONS: Table = &[
    ("isSorted", is_sorted),
    ("sum", sum),
    ("min", |args| extreme(args, "min", Ordering::Greater)),
    ("max", |args| extreme(args, "max", Ordering::Less)),
    ("indexOf", |args| index_of(args, |list| Box::new(0..list.len()))),
    ("lastIndexOf", |args| index_of(args, |list| Box::new((0..list.len()).rev()))),
    ("includes", includes),
    ("slice", slice),
    ("flatten", flatten),
    ("sort", |args| sorted(&args[0], &args[0])),
    ("@sortByAssociatedKeys", |args| sorted(&args[0], &args[1])),
    ("lists.range", range),
    ("reverse", reverse),
    ("distinct", distinct),
    ("sets.contains", |args| both(args, |one, other| all_within(other, one))),
    ("sets.equivalent", |args| both(args, |one, other| Ok(all_within(other, one)? && all_within(one, other)?))),
    ("sets.intersects", |args| both(args, intersects)),
    ("cel.@mapInsert", map_insert),
];

/// `lists.range` makes no longer list.
const RANGE_MAX: i64 = 1_000_000;

fn list<'v, 'a>(value: &'v Value<'a>) -> Result<&'v List<'a>, Fault> {
    if let Value::List(list) = value { Ok(list) } else { Err(Fault::unnamed_overload()) }
}

fn comparable(value: &Value<'_>) -> bool {
    use Value::*;
    matches!(value, Bool(_) | Int(_) | Uint(_) | Double(_) | String(_) | Bytes(_) | Duration(_) | Timestamp(_))
}

fn is_sorted<'a>(args: &[Value<'a>]) -> Outcome<'a> {
    let mut before: Option<Value<'_>> = None;
    for item in list(&args[0])?.iter() {
        let item = item?;
        if !comparable(&item) {
            return mismatch();
        }
        if before.is_some_and(|before| compare(&before, &item) == Some(Ordering::Greater)) {
            return Ok(Value::Bool(false));
        }
        before = Some(item);
    }
    Ok(Value::Bool(true))
}

fn sum<'a>(args: &[Value<'a>]) -> Outcome<'a> {
    let add = implementations("_+_")[0];
    let mut sum: Option<Value<'a>> = None;
    for item in list(&args[0])?.iter() {
        sum = Some(match (sum, item?) {
            (None, first @ (Value::Int(_) | Value::Uint(_) | Value::Double(_) | Value::Duration(_))) => first,
            (None, _) => return mismatch(),
            (Some(before), item) => add(&[before, item]).map_err(named)?,
        });
    }
    Ok(sum.unwrap_or(Value::Int(0)))
}

/// Of an item rather than of the list: not the call's to put its name to.
fn named(fault: Fault) -> Fault {
    if fault.is_unnamed() { Fault::no_such_overload() } else { fault }
}

fn extreme<'a>(args: &[Value<'a>], name: &str, replaced: Ordering) -> Outcome<'a> {
    let mut found: Option<Value<'a>> = None;
    for item in list(&args[0])?.iter() {
        let item = item?;
        if !comparable(&item) {
            return mismatch();
        }
        if found.as_ref().is_none_or(|found| compare(found, &item) == Some(replaced)) {
            found = Some(item);
        }
    }
    found.ok_or_else(|| Fault::new(format!("{name} called on empty list")))
}

fn index_of<'a>(args: &[Value<'a>], indexes: fn(&List<'a>) -> Box<dyn Iterator<Item = usize>>) -> Outcome<'a> {
    let list = list(&args[0])?;
    for index in indexes(list) {
        if equal(&list.get(index)?, &args[1]) == Ok(true) {
            return Ok(Value::Int(index as i64));
        }
    }
    Ok(Value::Int(-1))
}

fn includes<'a>(args: &[Value<'a>]) -> Outcome<'a> {
    let found = match &args[0] {
        Value::List(list) => contains(list, &args[1]),
        value => equal(value, &args[1]),
    };
    Ok(Value::Bool(found == Ok(true)))
}

fn slice<'a>(args: &[Value<'a>]) -> Outcome<'a> {
    let (Value::List(list), Value::Int(start), Value::Int(end)) = (&args[0], &args[1], &args[2]) else { return mismatch() };
    let refused = |why: String| Err(Fault::new(format!("cannot slice({start}, {end}), {why}")));
    if *start < 0 || *end < 0 {
        return refused("negative indexes not supported".into());
    }
    if start > end {
        return refused("start index must be less than or equal to end index".into());
    }
    if (list.len() as i64) < *end {
        return refused(format!("list is length {}", list.len()));
    }
    (*start..*end).map(|index| list.get(index as usize)).collect::<Result<Vec<_>, _>>().map(Value::list)
}

fn flatten<'a>(args: &[Value<'a>]) -> Outcome<'a> {
    let depth = args.get(1).map_or("", Value::type_name);
    let refused = || Err(Fault::new(format!("no such overload: {}.flatten({depth})", args[0].type_name())));
    let Value::List(list) = &args[0] else { return refused() };
    let depth = match args.get(1) {
        None => 1,
        Some(Value::Int(depth)) if *depth < 0 => return Err(Fault::new("level must be non-negative")),
        Some(Value::Int(depth)) => *depth,
        Some(_) => return refused(),
    };
    let mut flat = Vec::new();
    flatten_into(list, depth, &mut flat)?;
    Ok(Value::list(flat))
}

fn flatten_into<'a>(list: &List<'a>, depth: i64, flat: &mut Vec<Value<'a>>) -> Result<(), Fault> {
    for item in list.iter() {
        match item? {
            Value::List(inner) if depth > 0 => flatten_into(&inner, depth - 1, flat)?,
            other => flat.push(other),
        }
    }
    Ok(())
}

fn sorted<'a>(values: &Value<'a>, keys: &Value<'a>) -> Outcome<'a> {
    let (values, keys) = (list(values)?.values()?, list(keys)?.values()?);
    if values.len() != keys.len() {
        let (values, keys) = (values.len(), keys.len());
        return Err(Fault::new(format!(
            "@sortByAssociatedKeys() expected a list of the same size as the associated keys list, but got {values} and {keys} elements respectively"
        )));
    }
    let Some(first) = keys.first() else { return Ok(Value::list(values)) };
    if !comparable(first) {
        return Err(Fault::new("list elements must be comparable"));
    }
    if keys.len() > 1 && keys.iter().any(|key| key.type_name() != first.type_name()) {
        return Err(Fault::new("list elements must have the same type"));
    }
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|one, other| compare(&keys[*one], &keys[*other]).unwrap_or(Ordering::Equal));
    Ok(Value::list(order.into_iter().map(|index| values[index].clone()).collect()))
}

fn range<'a>(args: &[Value<'a>]) -> Outcome<'a> {
    let Value::Int(size) = &args[0] else { return mismatch() };
    if *size < 0 {
        return Err(Fault::new(format!("lists.range: size must be non-negative, got {size}")));
    }
    if *size > RANGE_MAX {
        return Err(Fault::new(format!("lists.range: size {size} exceeds maximum allowed ({RANGE_MAX})")));
    }
    Ok(Value::list((0..*size).map(Value::Int).collect()))
}

fn reverse<'a>(args: &[Value<'a>]) -> Outcome<'a> {
    let mut values = list(&args[0])?.values()?;
    values.reverse();
    Ok(Value::list(values))
}

fn distinct<'a>(args: &[Value<'a>]) -> Outcome<'a> {
    let values = list(&args[0])?.values()?;
    let mut seen = crate::value::Keys::new(&[]);
    Ok(Value::list(values.into_iter().filter(|value| seen.insert(value)).collect()))
}

fn both<'a>(args: &[Value<'a>], test: fn(&List<'a>, &List<'a>) -> Result<bool, Fault>) -> Outcome<'a> {
    test(list(&args[0])?, list(&args[1])?).map(Value::Bool)
}

fn all_within<'a>(items: &List<'a>, list: &List<'a>) -> Result<bool, Fault> {
    for item in items.iter() {
        if !contains(list, &item?)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn intersects<'a>(one: &List<'a>, other: &List<'a>) -> Result<bool, Fault> {
    for item in one.iter() {
        if contains(other, &item?) == Ok(true) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn map_insert<'a>(args: &[Value<'a>]) -> Outcome<'a> {
    let Value::Map(Map::Made(entries)) = &args[0] else { return mismatch() };
    let mut entries = entries.clone();
    insert(&mut entries, &args[1..])?;
    Ok(Value::Map(Map::Made(entries)))
}

/// Adds a key and its value, or the entries of a map, to a map that is being made. A key that is there is an error.
pub(crate) fn insert<'a>(entries: &mut Arc<BTreeMap<Key<'a>, Value<'a>>>, added: &[Value<'a>]) -> Result<(), Fault> {
    let added = match added {
        [Value::Map(map)] => map.entries()?,
        [key, value] => vec![(key.clone(), value.clone())],
        _ => return Err(Fault::no_such_overload()),
    };
    let entries = Arc::make_mut(entries);
    for (key, value) in added {
        let place = Key::of(&key).ok_or_else(|| Fault::new(format!("unsupported key type: {}", key.type_name())))?;
        if entries.insert(place, value).is_some() {
            return Err(Fault::new(format!("insert failed: key {} already exists", key.shown())));
        }
    }
    Ok(())
}
