//! Declared types from OpenAPI structural schemas: how documents are read, typed and sized.
//!
//! A property is named by its escaped name ([`escape`]). `nullable` values may be null, `x-kubernetes-int-or-string` is dyn,
//! what `x-kubernetes-preserve-unknown-fields` keeps without a type cannot be named, and set and map lists compare unordered.

pub mod escape;

use std::collections::BTreeMap;

use serde_json::Value as Json;

use crate::env::{Environment, ObjectType, Sizes};
use crate::types::Type;
use crate::value::list::{ListKind, ListSchema};

/// The largest request: what bounds the size of anything in it.
const REQUEST_BYTES_MAX: u64 = 3 * 1024 * 1024;

/// One node of a structural schema.
#[derive(Debug, Clone)]
pub struct Schema {
    pub(crate) shape: Shape,
    pub(crate) nullable: bool,
    /// The most characters, bytes, items or entries of a value.
    max_elements: u64,
    /// The least bytes of a value in JSON.
    min_bytes: u64,
}

#[derive(Debug, Clone)]
pub(crate) enum Shape {
    IntOrString,
    Object(ObjectSchema),
    /// Any keys, values of one schema; whether the values can be typed.
    Map(Box<Schema>, bool),
    List(Box<ListSchema>, bool),
    String(StringFormat),
    Number,
    Integer,
    Boolean,
    /// Without a type.
    Unknown,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StringFormat {
    Plain,
    Byte,
    Duration,
    Date,
    DateTime,
}

/// The declared fields of an object, by escaped name.
#[derive(Debug, Clone, Default)]
pub struct ObjectSchema {
    fields: BTreeMap<String, FieldSchema>,
    /// Names in JSON, also of those that no identifier can spell.
    names: std::collections::BTreeSet<String>,
}

#[derive(Debug, Clone)]
pub(crate) struct FieldSchema {
    /// In JSON.
    pub name: String,
    pub schema: Schema,
}

impl ObjectSchema {
    pub(crate) fn field(&self, escaped: &str) -> Option<&FieldSchema> {
        self.fields.get(escaped)
    }

    pub(crate) fn declares(&self, name: &str) -> bool {
        self.names.contains(name)
    }
}

impl Schema {
    /// Reads an `openAPIV3Schema`. At the root of a resource, `apiVersion`, `kind` and `metadata.name` and
    /// `metadata.generateName` are declared whether the schema says so or not.
    pub fn parse(schema: &Json, resource_root: bool) -> Self {
        let nullable = flag(schema, "nullable");
        if flag(schema, "x-kubernetes-int-or-string") {
            let max_elements = number(schema, "maxLength").map_or(REQUEST_BYTES_MAX - 2, |length| length.saturating_mul(4));
            return Self { shape: Shape::IntOrString, nullable, max_elements, min_bytes: 1 };
        }
        let resource = resource_root || flag(schema, "x-kubernetes-embedded-resource");
        let (shape, max_elements, min_bytes) = match schema["type"].as_str() {
            Some("object") => object(schema, resource),
            Some("array") => list(schema),
            Some("string") => string(schema),
            Some("number") => (Shape::Number, 0, 1),
            Some("integer") => (Shape::Integer, 0, 1),
            Some("boolean") => (Shape::Boolean, 0, 4),
            _ => (Shape::Unknown, 0, 1),
        };
        Self { shape, nullable, max_elements, min_bytes }
    }

    /// Declares the schema's types in `environment` and returns the root's. They are named after `variable`, but not as it:
    /// `self.spec` stays a selection. `None` where the schema has no type that an expression can name.
    pub fn declare(&self, environment: &mut Environment, variable: &str) -> Option<Type> {
        let name = format!("{variable}Type");
        self.declare_types(environment, &name);
        self.type_named(&name)
    }

    /// Declares the types of the objects in this schema: its own as `name`, those of properties as `name.property` (escaped),
    /// those of items as `name.@idx`, those of a map's values as `name.@elem`.
    pub fn declare_types(&self, environment: &mut Environment, name: &str) {
        match &self.shape {
            Shape::List(list, _) => list.items.declare_types(environment, &format!("{name}.@idx")),
            Shape::Map(values, _) => values.declare_types(environment, &format!("{name}.@elem")),
            Shape::Object(object) => {
                let mut fields = BTreeMap::new();
                for (escaped, field) in &object.fields {
                    let name = format!("{name}.{escaped}");
                    field.schema.declare_types(environment, &name);
                    fields.extend(field.schema.type_named(&name).map(|ty| (escaped.clone(), ty)));
                }
                environment.insert_object(name.into(), ObjectType { fields, open: false });
            }
            _ => {}
        }
    }

    /// The type of the schema whose objects were declared with `name`; `None` where no expression can name it.
    pub fn type_named(&self, name: &str) -> Option<Type> {
        Some(match &self.shape {
            Shape::IntOrString => Type::Dyn,
            Shape::Number => Type::Double,
            Shape::Integer => Type::Int,
            Shape::Boolean => Type::Bool,
            Shape::String(StringFormat::Plain) => Type::String,
            Shape::String(StringFormat::Byte) => Type::Bytes,
            Shape::String(StringFormat::Duration) => Type::Duration,
            Shape::String(StringFormat::Date | StringFormat::DateTime) => Type::Timestamp,
            Shape::List(list, _) => Type::list(list.items.type_named(&format!("{name}.@idx"))?),
            Shape::Map(values, _) => Type::map(Type::String, values.type_named(&format!("{name}.@elem"))?),
            Shape::Object(_) => Type::object(name),
            Shape::Unknown => return None,
        })
    }

    /// How often a value of this schema fits a request: what the cost of a rule in a list is multiplied by.
    pub fn max_cardinality(&self) -> u64 {
        REQUEST_BYTES_MAX / (self.min_bytes + 1)
    }

    /// The schema below a property, the items or the values, as a walk over a CRD's schema needs them.
    pub fn property(&self, name: &str) -> Option<&Self> {
        let Shape::Object(object) = &self.shape else { return None };
        object.fields.get(&escape::escaped(name)?).map(|field| &field.schema)
    }

    pub fn items(&self) -> Option<&Self> {
        if let Shape::List(list, _) = &self.shape { Some(&list.items) } else { None }
    }

    pub fn values(&self) -> Option<&Self> {
        if let Shape::Map(values, _) = &self.shape { Some(values) } else { None }
    }

    /// The most items or entries of a list or a map.
    pub fn max_elements(&self) -> u64 {
        self.max_elements
    }

    fn is_typed(&self) -> bool {
        match &self.shape {
            Shape::Unknown => false,
            Shape::List(_, typed) | Shape::Map(_, typed) => *typed,
            _ => true,
        }
    }
}

/// Sizes below any variable of the schema's type.
impl Sizes for Schema {
    fn max_size(&self, path: &[String]) -> Option<u64> {
        let mut here = self;
        for step in path.get(1..)? {
            here = match (step.as_str(), &here.shape) {
                ("@items", Shape::List(list, _)) => &list.items,
                ("@values", Shape::Map(values, _)) => values,
                // Keys count for nothing, as upstream has it.
                ("@keys", Shape::Map(..)) => return Some(0),
                (name, Shape::Object(object)) => &object.fields.get(name).filter(|field| field.schema.is_typed())?.schema,
                _ => return None,
            };
        }
        Some(here.max_elements)
    }
}

fn object(schema: &Json, resource: bool) -> (Shape, u64, u64) {
    if schema["additionalProperties"].is_object() {
        let values = Schema::parse(&schema["additionalProperties"], false);
        let most = number(schema, "maxProperties").unwrap_or((REQUEST_BYTES_MAX - 2) / (values.min_bytes + 6));
        let typed = values.is_typed();
        return (Shape::Map(Box::new(values), typed), most, 2);
    }
    let mut properties: BTreeMap<&str, Schema> = BTreeMap::new();
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        properties.insert(name, Schema::parse(property, false));
    }
    if resource {
        add_type_meta(schema, &mut properties);
    }
    let required = |name: &str| schema["required"].as_array().is_some_and(|all| all.iter().any(|one| one.as_str() == Some(name)));
    let mut min_bytes = 2;
    for (name, property) in properties.iter().filter(|(name, property)| required(name) && property.is_typed()) {
        if schema["properties"][name]["default"].is_null() {
            min_bytes += name.len() as u64 + property.min_bytes + 4;
        }
    }
    let names = properties.keys().map(|name| (*name).to_owned()).collect();
    let field = |(name, schema): (&str, Schema)| Some((escape::escaped(name)?, FieldSchema { name: name.to_owned(), schema }));
    let fields = properties.into_iter().filter_map(field).collect();
    (Shape::Object(ObjectSchema { fields, names }), 0, min_bytes)
}

/// What every resource has, unless its schema spells all of it out.
fn add_type_meta(schema: &Json, properties: &mut BTreeMap<&str, Schema>) {
    let is = |pointer: &str, ty: &str| schema["properties"].pointer(pointer).is_some_and(|found| found["type"].as_str() == Some(ty));
    let strings = ["/kind", "/apiVersion", "/metadata/properties/name", "/metadata/properties/generateName"];
    if is("/metadata", "object") && strings.iter().all(|pointer| is(pointer, "string")) {
        return;
    }
    let text = serde_json::json!({"type": "string"});
    let metadata = serde_json::json!({"type": "object", "properties": {"name": text, "generateName": text}});
    for (name, schema) in [("apiVersion", &text), ("kind", &text), ("metadata", &metadata)] {
        properties.insert(name, Schema::parse(schema, false));
    }
}

fn list(schema: &Json) -> (Shape, u64, u64) {
    let items = Schema::parse(&schema["items"], false);
    let most = number(schema, "maxItems").unwrap_or((REQUEST_BYTES_MAX - 2) / (items.min_bytes + 1));
    let kind = match schema["x-kubernetes-list-type"].as_str() {
        Some("set") => ListKind::Set,
        Some("map") => {
            let keys = schema["x-kubernetes-list-map-keys"].as_array().into_iter().flatten();
            ListKind::Map(keys.filter_map(|key| Some(key.as_str()?.to_owned())).collect())
        }
        _ => ListKind::Atomic,
    };
    let typed = items.is_typed();
    (Shape::List(Box::new(ListSchema { items, kind }), typed), most, 2)
}

fn string(schema: &Json) -> (Shape, u64, u64) {
    let length = number(schema, "maxLength");
    let (format, most, min_bytes) = match schema["format"].as_str() {
        Some("byte") => (StringFormat::Byte, length.unwrap_or(REQUEST_BYTES_MAX - 2), 2),
        Some("duration") => (StringFormat::Duration, 32, 3),
        Some("date") => (StringFormat::Date, 12, 12),
        Some("date-time") => (StringFormat::DateTime, 32, 21),
        _ => (StringFormat::Plain, length.map_or_else(|| longest(schema), |length| length.saturating_mul(4)), 2),
    };
    (Shape::String(format), most, min_bytes)
}

/// The longest word of an enumeration, or what fits a request.
fn longest(schema: &Json) -> u64 {
    let Some(words) = schema["enum"].as_array().filter(|words| !words.is_empty()) else { return REQUEST_BYTES_MAX - 2 };
    words.iter().filter_map(|word| Some(word.as_str()?.len() as u64)).max().unwrap_or(0)
}

fn flag(schema: &Json, name: &str) -> bool {
    schema[name].as_bool() == Some(true)
}

/// A bound; a negative one is zero.
fn number(schema: &Json, name: &str) -> Option<u64> {
    schema[name].as_i64().map(|number| number.max(0) as u64)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_schema_declares_types_and_sizes() {
        let schema = json!({"type": "object", "required": ["a-b"], "properties": {
            "a-b": {"type": "string", "maxLength": 5},
            "when": {"type": "string", "format": "date-time"},
            "either": {"x-kubernetes-int-or-string": true},
            "free": {"x-kubernetes-preserve-unknown-fields": true},
            "list": {"type": "array", "maxItems": 3, "items": {"type": "object", "properties": {"n": {"type": "integer"}}}},
        }});
        let schema = Schema::parse(&schema, true);
        let mut environment = Environment::kubernetes();
        assert_eq!(schema.declare(&mut environment, "self"), Some(Type::object("selfType")));
        let fields = &environment.object("selfType").unwrap().fields;
        assert_eq!(fields["a__dash__b"], Type::String);
        assert_eq!(fields["when"], Type::Timestamp);
        assert_eq!(fields["either"], Type::Dyn);
        assert_eq!(fields["list"].to_string(), "list(selfType.list.@idx)");
        assert!(!fields.contains_key("free") && fields.contains_key("apiVersion"));
        let path = |text: &str| text.split('.').map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(schema.max_size(&path("self.a__dash__b")), Some(20));
        assert_eq!(schema.max_size(&path("self.list")), Some(3));
        assert_eq!(schema.max_size(&path("self.nope")), None);
    }
}
