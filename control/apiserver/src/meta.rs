//! The rules of `metadata`, the same for every kind: what the server sets, what a writer may change, what is valid.

mod validate;

use env::Env;
use kinds::Descriptor;
use schema::{DocExt, Map, Status, Value, json, time};

pub use self::validate::{before_update, conditions, on_create, on_update, standard_finalizers};

use crate::failure;

/// Generated names keep this much of their prefix: 63 less the random part.
const GENERATED_PREFIX_MAX: usize = 58;
const SUFFIX: usize = 5;
/// Who owns which fields of the object.
pub const MANAGED_FIELDS: &str = "managedFields";

/// The metadata object of `doc`, made if absent.
pub fn of(doc: &mut Value) -> &mut Map<String, Value> {
    if !doc.at("metadata").is_some_and(Value::is_object) {
        doc.set_at("metadata", Map::new());
    }
    doc.at_mut("metadata").and_then(Value::as_object_mut).expect("made an object just above")
}

/// Puts the document into the namespace of the request. 400 where it names another.
pub fn place(doc: &mut Value, namespace: &str) -> Result<(), Status> {
    let own = doc.str_at("metadata.namespace");
    let fits = own.is_empty() || own == namespace || (namespace.is_empty() && own == "default");
    if !fits {
        return Err(Status::bad_request("the namespace of the provided object does not match the namespace sent on the request"));
    }
    match namespace {
        "" => drop(of(doc).remove("namespace")),
        name => drop(of(doc).insert("namespace".into(), json!(name))),
    }
    Ok(())
}

/// Puts the name of the request into a document that has none. 400 where it has another.
pub fn name(doc: &mut Value, name: &str) -> Result<(), Status> {
    let own = doc.str_at("metadata.name");
    if own.is_empty() {
        of(doc).insert("name".into(), json!(name));
    } else if own != name {
        return Err(Status::bad_request(format!("the name of the object ({own}) does not match the name on the URL ({name})")));
    }
    Ok(())
}

/// What the server alone says of a new object: its birth, its identity, its first generation.
pub fn stamp_created(doc: &mut Value, kind: &Descriptor, env: &Env) -> Result<(), Status> {
    if !doc.str_at("metadata.resourceVersion").is_empty() {
        return Err(failure::plain("resourceVersion should not be set on objects to be created"));
    }
    let meta = of(doc);
    for set_by_server in ["resourceVersion", "deletionTimestamp", "deletionGracePeriodSeconds", "selfLink"] {
        meta.remove(set_by_server);
    }
    meta.insert("uid".into(), json!(env.uuid()));
    meta.insert("creationTimestamp".into(), json!(time::format(env.now())));
    if kind.has_generation {
        meta.insert("generation".into(), json!(1));
    } else {
        meta.remove("generation");
    }
    drop_empty(meta);
    Ok(())
}

/// A name for a document that only says how it begins. Returns whether it made one: then a clash is worth another try.
pub fn generate_name(doc: &mut Value, env: &Env) -> bool {
    let prefix = doc.str_at("metadata.generateName");
    if prefix.is_empty() || !doc.str_at("metadata.name").is_empty() {
        return false;
    }
    let kept = prefix.char_indices().nth(GENERATED_PREFIX_MAX).map_or(prefix, |(end, _)| &prefix[..end]);
    let name = format!("{kept}{}", env.suffix(SUFFIX));
    of(doc).insert("name".into(), json!(name));
    true
}

/// Carries over what an update leaves out and the server knows, before validation compares old and new.
pub fn carry_over(new: &mut Value, old: &Value) {
    keep_absent(new, old, &["uid", "deletionGracePeriodSeconds"]);
    let meta = of(new);
    // Nobody changes when an object came, or brings back one that is on its way out.
    for name in ["creationTimestamp", "deletionTimestamp"] {
        if let Some(time) = old.at("metadata").and_then(|old| old.get(name)) {
            meta.insert(name.to_owned(), time.clone());
        }
    }
    match old.at("metadata.generation") {
        Some(generation) => drop(meta.insert("generation".into(), generation.clone())),
        None => drop(meta.remove("generation")),
    }
    meta.remove("selfLink");
    drop_empty(meta);
}

fn keep_absent(new: &mut Value, old: &Value, names: &[&str]) {
    let meta = of(new);
    for name in names {
        let absent = meta.get(*name).is_none_or(|own| own.is_null() || own == "");
        if let Some(value) = old.at("metadata").and_then(|old| old.get(*name)).filter(|_| absent) {
            meta.insert((*name).to_owned(), value.clone());
        }
    }
}

/// The generation counts this change.
pub fn bump_generation(doc: &mut Value) {
    let generation = doc.i64_at("metadata.generation").unwrap_or_default() + 1;
    of(doc).insert("generation".into(), json!(generation));
}

/// Metadata members as Go would print them: none that is null or empty. An empty managedFields says something: forget them.
fn drop_empty(meta: &mut Map<String, Value>) {
    meta.retain(|name, value| match value {
        Value::Null => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty() || name == MANAGED_FIELDS,
        Value::Object(members) => !members.is_empty(),
        _ => true,
    });
}

/// Whether a change is none: nothing differs but times of managedFields, which alone are not worth a write.
pub fn is_same(new: &Value, old: &Value) -> bool {
    let all_same = |new: &Map<String, Value>, old: &Map<String, Value>, same: fn(&str, &Value, &Value) -> bool| {
        new.len() == old.len() && new.iter().all(|(name, value)| old.get(name).is_some_and(|old| same(name, value, old)))
    };
    let (Some(new), Some(old)) = (new.as_object(), old.as_object()) else { return new == old };
    let (Some(new_meta), Some(old_meta)) = (new.get("metadata"), old.get("metadata")) else { return new == old };
    let (Some(new_meta), Some(old_meta)) = (new_meta.as_object(), old_meta.as_object()) else { return new == old };
    all_same(new, old, |name, new, old| name == "metadata" || new == old)
        && all_same(new_meta, old_meta, |name, new, old| new == old || (name == MANAGED_FIELDS && same_owners(new, old)))
}

/// The same entries, whenever they were written.
fn same_owners(new: &Value, old: &Value) -> bool {
    let (Some(new), Some(old)) = (new.as_array(), old.as_array()) else { return new == old };
    let timeless = |entry: &Value| {
        let members = entry.as_object().into_iter().flatten().filter(|(name, _)| *name != "time");
        members.map(|(name, value)| (name.clone(), value.clone())).collect::<Map<_, _>>()
    };
    new.len() == old.len() && new.iter().zip(old).all(|(new, old)| timeless(new) == timeless(old))
}

/// Whether the object waits for its deletion.
pub fn is_deleting(doc: &Value) -> bool {
    doc.at("metadata.deletionTimestamp").is_some_and(|time| !time.is_null())
}

/// `metadata.finalizers`.
pub fn finalizers(doc: &Value) -> Vec<String> {
    doc.items_at("metadata.finalizers").iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

pub fn set_finalizers(doc: &mut Value, finalizers: &[String]) {
    if finalizers.is_empty() {
        of(doc).remove("finalizers");
    } else {
        of(doc).insert("finalizers".into(), json!(finalizers));
    }
}
