//! Whether a schema may describe a custom kind: it uses nothing that is not supported, it is structural, and its
//! defaults are good. Each step is asked only where the one before found nothing, as upstream does.

use super::{Structural, compile, map};
use crate::field::{FieldErrors, Path};
use crate::{DocExt, Map, Value};

/// All errors of an `openAPIV3Schema`.
pub fn check(schema: &Value, path: &Path, errors: &mut FieldErrors) {
    let mut found = FieldErrors::default();
    supported(schema, path, true, &mut found);
    if found.is_empty() {
        structural(schema, Level::Root, path, &mut found);
    }
    if found.is_empty() {
        defaults(schema, true, path, &mut found);
    }
    errors.0.extend(found.0);
}

/// Where in a schema one stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Root,
    Field,
    Item,
}

const TYPES: [&str; 6] = ["array", "boolean", "integer", "number", "object", "string"];
/// Keywords of JSON schema that custom kinds do not have.
const UNSUPPORTED: [&str; 6] = ["definitions", "dependencies", "id", "patternProperties", "additionalItems", "$ref"];

/// `spec.versions[0]…properties[a]`
fn named<'a>(schema: &'a Value, list: &'static str, path: &Path) -> Vec<(Path, &'a Value)> {
    map(schema, list).map(|(name, one)| (path.child(list).key(name), one)).collect()
}

fn listed<'a>(schema: &'a Value, list: &'static str, path: &Path) -> Vec<(Path, &'a Value)> {
    let items = schema.get(list).and_then(Value::as_array).into_iter().flatten();
    items.enumerate().map(|(at, one)| (path.child(list).index(at), one)).collect()
}

fn object<'a>(schema: &'a Value, name: &'static str) -> Option<&'a Value> {
    schema.get(name).filter(|one| one.is_object())
}

fn flag(schema: &Value, name: &str) -> bool {
    schema.get(name) == Some(&Value::Bool(true))
}

fn supported(schema: &Value, path: &Path, is_root: bool, errors: &mut FieldErrors) {
    for name in UNSUPPORTED.into_iter().filter(|name| schema.get(name).is_some_and(is_set)) {
        errors.forbidden(&path.child(name), &format!("{name} is not supported"));
    }
    if flag(schema, "uniqueItems") {
        let why = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
        errors.forbidden(&path.child("uniqueItems"), why);
    }
    supported_types(schema, path, errors);
    if let Some(pattern) = schema.get("pattern").and_then(Value::as_str)
        && let Err(error) = compile(pattern)
    {
        errors.invalid(&path.child("pattern"), pattern, &format!("must be a valid regular expression, but isn't: {error}"));
    }
    supported_members(schema, path, errors);
    extensions(schema, path, errors);
    if is_root && schema.get("default").is_some_and(|value| !value.is_null()) {
        errors.forbidden(&path.child("default"), "must not be set at the root");
    }
    for (path, one) in below(schema, path) {
        supported(one, &path, false, errors);
    }
}

fn supported_types(schema: &Value, path: &Path, errors: &mut FieldErrors) {
    match schema.str_at("type") {
        "" => {}
        "null" => errors.forbidden(&path.child("type"), "type cannot be set to null, use nullable as an alternative"),
        ty if !TYPES.contains(&ty) => errors.not_supported(&path.child("type"), ty, &TYPES),
        _ => {}
    }
}

fn supported_members(schema: &Value, path: &Path, errors: &mut FieldErrors) {
    let additional = schema.get("additionalProperties").filter(|rest| !rest.is_null());
    if additional == Some(&Value::Bool(false)) {
        errors.forbidden(&path.child("additionalProperties"), "additionalProperties cannot be set to false");
    } else if additional.is_some() && schema.map_at("properties").is_some_and(|properties| !properties.is_empty()) {
        errors.forbidden(&path.child("additionalProperties"), "additionalProperties and properties are mutual exclusive");
    }
    if schema.get("items").is_some_and(Value::is_array) {
        errors.forbidden(&path.child("items"), "items must be a schema object and not an array");
    }
}

/// Every schema within this one, with its path.
fn below<'a>(schema: &'a Value, path: &Path) -> Vec<(Path, &'a Value)> {
    let mut all = named(schema, "properties", path);
    for name in ["additionalProperties", "items", "not"] {
        all.extend(object(schema, name).map(|one| (path.child(name), one)));
    }
    for list in ["allOf", "anyOf", "oneOf"] {
        all.extend(listed(schema, list, path));
    }
    all
}

fn is_set(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(members) => !members.is_empty(),
        _ => true,
    }
}

/// The `x-kubernetes-*` members.
fn extensions(schema: &Value, path: &Path, errors: &mut FieldErrors) {
    if schema.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(false)) {
        errors.invalid(&path.child("x-kubernetes-preserve-unknown-fields"), false, "must be true or undefined");
    }
    let ty = schema.str_at("type");
    let typed = |want: &str, extension: &str, errors: &mut FieldErrors| {
        let why = format!("must be {want} if {extension} is specified");
        match ty {
            "" => errors.required(&path.child("type"), &why),
            other if other != want => errors.invalid(&path.child("type"), other, &why),
            _ => {}
        }
    };
    if let Some(sort) = schema.get("x-kubernetes-map-type").and_then(Value::as_str) {
        typed("object", "x-kubernetes-map-type", errors);
        if !matches!(sort, "atomic" | "granular") {
            errors.not_supported(&path.child("x-kubernetes-map-type"), sort, &["atomic", "granular"]);
        }
    }
    let list_type = schema.get("x-kubernetes-list-type").and_then(Value::as_str);
    if let Some(sort) = list_type {
        typed("array", "x-kubernetes-list-type", errors);
        if !matches!(sort, "atomic" | "set" | "map") {
            errors.not_supported(&path.child("x-kubernetes-list-type"), sort, &["atomic", "set", "map"]);
        }
    }
    list_keys(schema, list_type, path, errors);
    if list_type == Some("set") {
        set_items(schema, path, errors);
    }
}

fn list_keys(schema: &Value, list_type: Option<&str>, path: &Path, errors: &mut FieldErrors) {
    let keys: Vec<&str> = schema.items_at("x-kubernetes-list-map-keys").iter().filter_map(Value::as_str).collect();
    match list_type {
        _ if keys.is_empty() && list_type != Some("map") => return,
        Some("map") if keys.is_empty() => {
            return errors.required(&path.child("x-kubernetes-list-map-keys"), "must not be empty if x-kubernetes-list-type is map");
        }
        Some("map") => {}
        None => {
            let why = "must be map if x-kubernetes-list-map-keys is non-empty";
            return errors.required(&path.child("x-kubernetes-list-type"), why);
        }
        Some(other) => {
            let why = "must be map if x-kubernetes-list-map-keys is non-empty";
            return errors.invalid(&path.child("x-kubernetes-list-type"), other, why);
        }
    }
    let Some(items) = object(schema, "items") else {
        return errors.required(&path.child("items"), "must have a schema if x-kubernetes-list-type is map");
    };
    if items.str_at("type") != "object" {
        let why = "must be object if parent array's x-kubernetes-list-type is map";
        errors.invalid(&path.child("items.type"), items.str_at("type"), why);
    }
    for (at, key) in keys.iter().enumerate() {
        list_key(items, key, keys[..at].contains(key), path, errors);
    }
}

fn list_key(items: &Value, key: &str, is_again: bool, path: &Path, errors: &mut FieldErrors) {
    let keys = path.child("x-kubernetes-list-map-keys");
    if is_again {
        return errors.invalid(&keys, key, "must not contain duplicate entries");
    }
    let Some(property) = items.get("properties").and_then(|properties| properties.get(key)) else {
        return errors.invalid(&keys, key, "entries must all be names of item properties");
    };
    let place = path.child("items.properties").key(key);
    if matches!(property.str_at("type"), "object" | "array") {
        let why = "must be a scalar type if parent array's x-kubernetes-list-type is map";
        errors.invalid(&place.child("type"), property.str_at("type"), why);
    }
    let required = items.items_at("required").iter().any(|one| one == key);
    if !required && property.get("default").is_none_or(Value::is_null) {
        let why = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property";
        errors.required(&place.child("default"), why);
    }
    if flag(property, "nullable") {
        errors.forbidden(&place.child("nullable"), "this property is in x-kubernetes-list-map-keys, so it cannot be nullable");
    }
}

/// Items of a set are scalars, or are replaced as a whole.
fn set_items(schema: &Value, path: &Path, errors: &mut FieldErrors) {
    let Some(items) = object(schema, "items") else {
        return errors.required(&path.child("items"), "must have a schema if x-kubernetes-list-type is set");
    };
    if flag(items, "nullable") {
        errors.forbidden(&path.child("items.nullable"), "cannot be nullable when x-kubernetes-list-type is \"set\"");
    }
    match items.str_at("type") {
        "object" if items.str_at("x-kubernetes-map-type") != "atomic" => {
            let why = "must be atomic as item of a list with x-kubernetes-list-type=set";
            errors.required(&path.child("items.x-kubernetes-map-type"), why);
        }
        "array" if !matches!(items.str_at("x-kubernetes-list-type"), "" | "atomic") => {
            let why = "must be atomic as item of a list with x-kubernetes-list-type=set";
            errors.invalid(&path.child("items.x-kubernetes-list-type"), items.str_at("x-kubernetes-list-type"), why);
        }
        _ => {}
    }
}

fn structural(schema: &Value, level: Level, path: &Path, errors: &mut FieldErrors) {
    if schema.str_at("type") == "array" && object(schema, "items").is_none() {
        errors.required(&path.child("items"), "must be specified");
    }
    if let Some(items) = object(schema, "items") {
        structural(items, Level::Item, &path.child("items"), errors);
    }
    for (path, one) in named(schema, "properties", path) {
        structural(one, Level::Field, &path, errors);
    }
    if schema.get("additionalProperties").is_some_and(|rest| !rest.is_null()) && level == Level::Root {
        errors.forbidden(&path.child("additionalProperties"), "must not be used at the root");
    }
    if let Some(rest) = object(schema, "additionalProperties") {
        structural(rest, Level::Field, &path.child("additionalProperties"), errors);
    }
    alternatives(schema, path, errors);
    types(schema, level, path, errors);
    well_known(schema, level, path, errors);
}

/// A schema says what its values are, exactly once.
fn types(schema: &Value, level: Level, path: &Path, errors: &mut FieldErrors) {
    let ty = schema.str_at("type");
    let at = path.child("type");
    let untyped = flag(schema, "x-kubernetes-int-or-string") || flag(schema, "x-kubernetes-preserve-unknown-fields");
    if flag(schema, "x-kubernetes-embedded-resource") && ty != "object" {
        let why = "must be object if x-kubernetes-embedded-resource is true";
        if ty.is_empty() { errors.required(&at, why) } else { errors.invalid(&at, ty, why) }
    } else if ty.is_empty() && !untyped {
        let why = match level {
            Level::Root => "must not be empty at the root",
            Level::Item => "must not be empty for specified array items",
            Level::Field => "must not be empty for specified object fields",
        };
        errors.required(&at, why);
    }
    if !ty.is_empty() && flag(schema, "x-kubernetes-int-or-string") {
        errors.invalid(&at, ty, "must be empty if x-kubernetes-int-or-string is true");
    }
    if level == Level::Root && !ty.is_empty() && ty != "object" {
        errors.invalid(&at, ty, "must be object at the root");
    }
}

/// What is said of `apiVersion`, `kind` and `metadata` must agree with what they are.
fn well_known(schema: &Value, level: Level, path: &Path, errors: &mut FieldErrors) {
    let embedded = flag(schema, "x-kubernetes-embedded-resource");
    let is_resource = level == Level::Root || embedded;
    let properties = schema.map_at("properties");
    for name in ["apiVersion", "kind"] {
        let Some(one) = properties.and_then(|all| all.get(name)).filter(|_| is_resource) else { continue };
        if one.str_at("type") != "string" {
            errors.invalid(&path.child("properties").key(name).child("type"), one.str_at("type"), "must be string");
        }
    }
    if let Some(metadata) = properties.and_then(|all| all.get("metadata")).filter(|_| is_resource) {
        well_known_metadata(metadata, level, &path.child("properties").key("metadata"), errors);
    }
    if embedded && schema.get("additionalProperties").is_some_and(|rest| !rest.is_null()) {
        errors.forbidden(&path.child("additionalProperties"), "must not be used if x-kubernetes-embedded-resource is set");
    }
    let open = flag(schema, "x-kubernetes-preserve-unknown-fields");
    if embedded && !open && properties.is_none_or(Map::is_empty) {
        let why = "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields";
        errors.required(&path.child("properties"), why);
    }
}

fn well_known_metadata(metadata: &Value, level: Level, path: &Path, errors: &mut FieldErrors) {
    if metadata.str_at("type") != "object" {
        errors.invalid(&path.child("type"), metadata.str_at("type"), "must be object");
    }
    let known = |name: &String| name == "name" || name == "generateName";
    let plain_names = metadata.map_at("properties").is_none_or(|all| all.keys().all(known));
    let limits = |name: &String| !matches!(name.as_str(), "type" | "properties" | "default" | "description" | "title");
    let limited = metadata.as_object().is_some_and(|all| all.iter().any(|(name, value)| limits(name) && is_set(value)));
    if level == Level::Root && (!plain_names || limited) {
        let why = "must not specify anything other than name and generateName, but metadata is implicitly specified";
        errors.forbidden(path, why);
    }
}

/// What stands below `anyOf` and its like may limit values, not describe them.
fn alternatives(schema: &Value, path: &Path, errors: &mut FieldErrors) {
    let either = flag(schema, "x-kubernetes-int-or-string");
    for list in ["allOf", "anyOf", "oneOf"] {
        for (at, (place, one)) in listed(schema, list, path).into_iter().enumerate() {
            let is_pattern = either && list == "anyOf" && is_int_or_string(schema);
            let is_first = either && list == "allOf" && at == 0 && is_int_or_string(one);
            if !is_pattern && !is_first {
                nested(one, &place, errors);
            }
        }
    }
    if let Some(not) = object(schema, "not") {
        nested(not, &path.child("not"), errors);
    }
}

/// `anyOf: [{type: integer}, {type: string}]`
fn is_int_or_string(schema: &Value) -> bool {
    let types: Vec<&str> = schema.items_at("anyOf").iter().map(|one| one.str_at("type")).collect();
    types == ["integer", "string"]
}

fn nested(schema: &Value, path: &Path, errors: &mut FieldErrors) {
    alternatives(schema, path, errors);
    if let Some(items) = object(schema, "items") {
        nested(items, &path.child("items"), errors);
    }
    for (path, one) in named(schema, "properties", path) {
        nested(one, &path, errors);
    }
    for (name, what) in NESTED_FORBIDDEN {
        if schema.get(name).is_some_and(is_set) {
            errors.forbidden(&path.child(name), &format!("must be {what} to be structural"));
        }
    }
    if schema.map_at("properties").is_some_and(|all| all.contains_key("metadata")) {
        errors.forbidden(&path.child("properties").key("metadata"), "must not be specified in a nested context");
    }
}

const NESTED_FORBIDDEN: [(&str, &str); 13] = [
    ("type", "empty"),
    ("additionalProperties", "undefined"),
    ("default", "undefined"),
    ("title", "empty"),
    ("description", "empty"),
    ("nullable", "false"),
    ("x-kubernetes-preserve-unknown-fields", "false"),
    ("x-kubernetes-embedded-resource", "false"),
    ("x-kubernetes-int-or-string", "false"),
    ("x-kubernetes-list-map-keys", "empty"),
    ("x-kubernetes-list-type", "undefined"),
    ("x-kubernetes-map-type", "undefined"),
    ("x-kubernetes-validations", "empty"),
];

/// Defaults are valid, and nothing of them would be dropped.
fn defaults(schema: &Value, is_root: bool, path: &Path, errors: &mut FieldErrors) {
    if let Some(default) = schema.get("default").filter(|default| !default.is_null()) {
        let compiled = Structural::new(schema);
        let at = path.child("default");
        let mut pruned = default.clone();
        if !compiled.prune_as(&mut pruned, compiled.embedded).is_empty() {
            errors.invalid(&at, default.clone(), "must not have unknown fields");
        }
        compiled.validate(default, &at, errors);
        compiled.check_lists(default, &at, errors);
    }
    if let Some(items) = object(schema, "items") {
        defaults(items, false, &path.child("items"), errors);
    }
    if let Some(rest) = object(schema, "additionalProperties") {
        defaults(rest, false, &path.child("additionalProperties"), errors);
    }
    for (place, one) in named(schema, "properties", path) {
        if !(is_root && place == path.child("properties").key("metadata")) {
            defaults(one, false, &place, errors);
        }
    }
}
