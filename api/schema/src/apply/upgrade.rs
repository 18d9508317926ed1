//! From client-side to server-side apply: what a client owned by updates becomes what it applied, so that its next apply can
//! take fields away again.

use super::set::FieldSet;
use super::wire;
use crate::{DocExt, Value, json};

/// Hands the fields that `from` wrote by updates over to `to` as its applied ones, within one subresource (`""` is the
/// object itself). An object without such fields stays as it is.
pub fn upgrade(doc: &mut Value, from: &[&str], to: &str, subresource: &str) -> Result<(), String> {
    let mut entries = doc.items_at("metadata.managedFields").to_vec();
    let is = |entry: &Value, operation: &str| entry.str_at("operation") == operation && entry.str_at("subresource") == subresource;
    let is_updater = |entry: &Value| is(entry, "Update") && from.contains(&entry.str_at("manager"));
    let applier = entries.iter().position(|entry| is(entry, "Apply") && entry.str_at("manager") == to);
    // Without an applier, the first of the updaters becomes it.
    let Some(heir) = applier.or_else(|| entries.iter().position(is_updater)) else { return Ok(()) };
    entries[heir]["operation"] = json!("Apply");
    entries[heir]["manager"] = json!(to);
    inherit(&mut entries, heir, is_updater)?;
    entries.retain(|entry| !is_updater(entry));
    if entries.is_empty() {
        doc.remove_at("metadata.managedFields");
    } else {
        doc.set_at("metadata.managedFields", Value::Array(entries));
    }
    Ok(())
}

/// The same as a JSON patch that fails if the object changed meanwhile; none where there is nothing to hand over.
pub fn patch(doc: &Value, from: &[&str], to: &str, subresource: &str) -> Result<Option<Value>, String> {
    let mut upgraded = doc.clone();
    upgrade(&mut upgraded, from, to, subresource)?;
    let entries = |doc: &Value| doc.at("metadata.managedFields").cloned().unwrap_or_default();
    if entries(doc) == entries(&upgraded) {
        return Ok(None);
    }
    let replace = |path: &str, value: Value| json!({"op": "replace", "path": path, "value": value});
    Ok(Some(json!([
        replace("/metadata/managedFields", entries(&upgraded)),
        replace("/metadata/resourceVersion", json!(doc.str_at("metadata.resourceVersion"))),
    ])))
}

/// Adds the fields of the first updater of each name, at the heir's version, to the heir's.
fn inherit(entries: &mut [Value], heir: usize, is_updater: impl Fn(&Value) -> bool) -> Result<(), String> {
    let version = entries[heir].str_at("apiVersion").to_owned();
    let mut set = fields(&entries[heir])?;
    if let Some(updater) = entries.iter().find(|entry| is_updater(entry) && entry.str_at("apiVersion") == version) {
        set.extend(fields(updater)?);
    }
    entries[heir]["fieldsV1"] = set.encode();
    Ok(())
}

fn fields(entry: &Value) -> Result<FieldSet, String> {
    let text = entry.get("fieldsV1").unwrap_or(&Value::Null).to_string();
    wire::read(&text).map_err(|why| format!("failed to convert fields to set: {why}"))
}
