//! What a place in a document is to server-side apply: a scalar, a list that merges or not, a map that merges or not.
//!
//! Built-in kinds are read from the facts table, custom ones from their structural schema ([`Custom`]); where neither says
//! anything, a value is what it looks like: maps merge, lists do not.

use std::collections::BTreeMap;

use super::path::Step;
use crate::facts::{Arity, Facts, Field, ListType, Shape};
use crate::{Map, TypeId, Value};

/// A place in the type of a document.
#[derive(Clone, Copy, Debug)]
pub enum Place<'s> {
    /// An object of a built-in type.
    Object(TypeId),
    /// The value of a built-in field, or (with a smaller arity) its elements.
    Field(&'s Field, Arity),
    Custom(&'s Custom),
    /// Whatever is there: maps merge key by key, lists are replaced.
    Free,
    /// Whatever is there, replaced as a whole.
    Whole,
}

/// The schema of a custom kind, or of a part of it.
#[derive(Clone, Debug, PartialEq)]
pub enum Custom {
    Scalar(Scalar),
    List {
        element: Box<Custom>,
        list_type: ListType,
        /// Keys of the elements of a map-list, with their defaults.
        keys: Vec<(String, Option<Value>)>,
    },
    Object {
        fields: BTreeMap<String, Custom>,
        /// What members without a field of their own are; None: there may be none.
        rest: Option<Box<Custom>>,
        atomic: bool,
    },
    /// A type of the facts table (`metadata`).
    BuiltIn(TypeId),
    /// Nothing is said.
    Free,
}

/// What a scalar may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scalar {
    Text,
    Number,
    Bool,
    /// Any of them.
    Any,
}

/// What a value at a place is, by the schema and, where that leaves it open, by the value.
#[derive(Clone, Copy, Debug)]
pub enum Atom<'s> {
    Scalar(Scalar),
    List { element: Place<'s>, list_type: ListType, keys: Keys<'s> },
    Map { of: Place<'s>, atomic: bool },
}

/// The keys of a list's elements.
#[derive(Clone, Copy, Debug)]
pub enum Keys<'s> {
    BuiltIn(&'s Field),
    Custom(&'s [(String, Option<Value>)]),
    None,
}

impl<'s> Place<'s> {
    /// What `value` is here.
    pub(super) fn atom(self, value: Option<&Value>) -> Atom<'s> {
        match self {
            Self::Object(ty) => Atom::Map { of: self, atomic: Facts::builtin().get(ty).map_atomic },
            Self::Field(field, arity) => of_field(field, arity, value),
            Self::Custom(custom) => of_custom(custom, value),
            Self::Free => by_look(value, Self::Free, false),
            Self::Whole => by_look(value, Self::Whole, true),
        }
    }

    /// Whether a map here has this field by name, not merely as a key.
    pub(super) fn has_field(self, name: &str) -> bool {
        match self.settle() {
            Self::Object(ty) => Facts::builtin().get(ty).field(name).is_some(),
            Self::Custom(Custom::Object { fields, .. }) => fields.contains_key(name),
            _ => false,
        }
    }

    /// The place of a member of a map here; None: there may be no such member.
    pub(super) fn member(self, name: &str) -> Option<Place<'s>> {
        match self.settle() {
            Self::Object(ty) => Facts::builtin().get(ty).field(name).map(|field| Self::Field(field, field.arity)),
            Self::Field(field, Arity::Map) => Some(Self::Field(field, Arity::One)),
            Self::Field(field, Arity::MapOfList) => Some(Self::Field(field, Arity::List)),
            Self::Custom(Custom::Object { fields, rest, .. }) => fields.get(name).or(rest.as_deref()).map(Self::Custom),
            Self::Whole => Some(Self::Whole),
            _ => Some(Self::Free),
        }
    }

    /// The place that a step leads to; what the schema does not know is free.
    pub(super) fn step(self, step: &Step) -> Place<'s> {
        match step {
            Step::Field(name) => self.member(name).unwrap_or(Self::Free),
            _ => match self.atom(Some(&Value::Array(Vec::new()))) {
                Atom::List { element, .. } => element,
                _ => Self::Free,
            },
        }
    }

    /// Through references to the type that they mean.
    fn settle(self) -> Self {
        match self {
            Self::Field(field, Arity::One) => match field.shape {
                Shape::Object(ty) => Self::Object(ty),
                _ => self,
            },
            Self::Custom(Custom::BuiltIn(ty)) => Self::Object(*ty),
            other => other,
        }
    }
}

fn of_field<'s>(field: &'s Field, arity: Arity, value: Option<&Value>) -> Atom<'s> {
    let here = Place::Field(field, arity);
    match arity {
        Arity::One => of_shape(field, here, value),
        Arity::Map | Arity::MapOfList => Atom::Map { of: here, atomic: field.map_atomic },
        Arity::List if field.arity == Arity::MapOfList => {
            Atom::List { element: Place::Field(field, Arity::One), list_type: ListType::Atomic, keys: Keys::None }
        }
        Arity::List => Atom::List { element: Place::Field(field, Arity::One), list_type: field.list_type, keys: Keys::BuiltIn(field) },
    }
}

fn of_shape<'s>(field: &'s Field, here: Place<'s>, value: Option<&Value>) -> Atom<'s> {
    match field.shape {
        Shape::Object(ty) => {
            let own = field.arity == Arity::One && field.map_atomic;
            Atom::Map { of: here, atomic: own || Facts::builtin().get(ty).map_atomic }
        }
        Shape::String | Shape::Bytes | Shape::Duration => Atom::Scalar(Scalar::Text),
        Shape::Int32 | Shape::Int64 | Shape::Number => Atom::Scalar(Scalar::Number),
        Shape::Bool => Atom::Scalar(Scalar::Bool),
        Shape::Time | Shape::MicroTime | Shape::Quantity | Shape::IntOrString => Atom::Scalar(Scalar::Any),
        Shape::Any | Shape::FieldsV1 | Shape::SchemaOrArray(_) | Shape::SchemaOrBool(_) | Shape::SchemaOrStrings(_) => {
            by_look(value, Place::Free, false)
        }
    }
}

fn of_custom<'s>(custom: &'s Custom, value: Option<&Value>) -> Atom<'s> {
    match custom {
        Custom::Scalar(scalar) => Atom::Scalar(*scalar),
        Custom::List { element, list_type, keys } => {
            Atom::List { element: Place::Custom(element), list_type: *list_type, keys: Keys::Custom(keys) }
        }
        Custom::Object { atomic, .. } => Atom::Map { of: Place::Custom(custom), atomic: *atomic },
        Custom::BuiltIn(ty) => Place::Object(*ty).atom(value),
        Custom::Free => by_look(value, Place::Free, false),
    }
}

fn by_look<'s>(value: Option<&Value>, of: Place<'s>, atomic: bool) -> Atom<'s> {
    match value {
        Some(Value::Array(_)) => Atom::List { element: Place::Whole, list_type: ListType::Atomic, keys: Keys::None },
        Some(Value::Object(_) | Value::Null) | None => Atom::Map { of, atomic },
        Some(_) => Atom::Scalar(Scalar::Any),
    }
}

impl<'s> Keys<'s> {
    /// The step to an element of a list that merges.
    pub(super) fn step(self, list_type: ListType, element: &Value) -> Result<Step, String> {
        match list_type {
            ListType::Set => of_set(element),
            _ => self.of_map(element),
        }
    }

    fn of_map(self, element: &Value) -> Result<Step, String> {
        let members = match element {
            Value::Object(members) => members,
            Value::Null => return Err("associative list with keys may not have a null element".to_owned()),
            _ => return Err("associative list with keys may not have non-map elements".to_owned()),
        };
        let keys: Vec<(String, Value)> = self
            .all()
            .into_iter()
            .filter_map(|(name, default)| {
                let value = members.get(name).cloned().or(default)?;
                Some((name.to_owned(), value))
            })
            .collect();
        if keys.is_empty() {
            let names: Vec<&str> = self.all().into_iter().map(|(name, _)| name).collect();
            return Err(format!(
                "associative list with keys has an element that omits all key fields {names:?} (and doesn't have default values for any key fields)"
            ));
        }
        Ok(Step::keys(keys))
    }

    fn all(self) -> Vec<(&'s str, Option<Value>)> {
        match self {
            Self::BuiltIn(field) => field.list_map_keys.iter().map(|key| (*key, key_default(field, key))).collect(),
            Self::Custom(keys) => keys.iter().map(|(name, default)| (name.as_str(), default.clone())).collect(),
            Self::None => Vec::new(),
        }
    }
}

/// A required key that is no pointer is there even where it is left out, as its zero value.
fn key_default(list: &Field, key: &str) -> Option<Value> {
    let field = Facts::builtin().get(list.shape.object()?).field(key)?;
    match field.default {
        Some(text) => serde_json::from_str(text).ok(),
        None => None,
    }
}

fn of_set(element: &Value) -> Result<Step, String> {
    match element {
        Value::Object(_) => Err("associative list without keys has an element that's a map type".to_owned()),
        Value::Array(_) => Err("not supported: associative list with lists".to_owned()),
        Value::Null => Err("associative list without keys has an element that's an explicit null".to_owned()),
        scalar => Ok(Step::Value(super::path::Item(scalar.clone()))),
    }
}

impl Custom {
    /// The schema of a custom kind, from its `openAPIV3Schema`.
    pub fn of_kind(schema: &Value) -> Self {
        let mut kind = Self::of(schema);
        if let Self::Object { fields, .. } = &mut kind {
            for name in ["apiVersion", "kind"] {
                fields.insert(name.to_owned(), Self::Scalar(Scalar::Text));
            }
            let meta = Facts::builtin().definition("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta");
            fields.insert("metadata".to_owned(), meta.map_or(Self::Free, Self::BuiltIn));
        }
        kind
    }

    fn of(schema: &Value) -> Self {
        let flag = |name: &str| schema.get(name) == Some(&Value::Bool(true));
        if flag("x-kubernetes-int-or-string") {
            return Self::Scalar(Scalar::Any);
        }
        match schema.get("type").and_then(Value::as_str).unwrap_or_default() {
            "object" => Self::of_object(schema, flag("x-kubernetes-preserve-unknown-fields")),
            "array" => Self::of_array(schema),
            "string" => Self::Scalar(Scalar::Text),
            "integer" | "number" => Self::Scalar(Scalar::Number),
            "boolean" => Self::Scalar(Scalar::Bool),
            _ => Self::Free,
        }
    }

    fn of_object(schema: &Value, open: bool) -> Self {
        let none = Map::new();
        let properties = schema.get("properties").and_then(Value::as_object).unwrap_or(&none);
        let fields: BTreeMap<String, Self> = properties.iter().map(|(name, schema)| (name.clone(), Self::of(schema))).collect();
        let rest = match schema.get("additionalProperties") {
            Some(rest @ Value::Object(_)) => Some(Box::new(Self::of(rest))),
            Some(Value::Bool(true)) => Some(Box::new(Self::Free)),
            _ if open || fields.is_empty() => Some(Box::new(Self::Free)),
            _ => None,
        };
        let atomic = schema.get("x-kubernetes-map-type").is_some_and(|sort| sort == "atomic");
        Self::Object { fields, rest, atomic }
    }

    fn of_array(schema: &Value) -> Self {
        let items = schema.get("items").unwrap_or(&Value::Null);
        let list_type = match schema.get("x-kubernetes-list-type").and_then(Value::as_str) {
            Some("set") => ListType::Set,
            Some("map") => ListType::Map,
            _ => ListType::Atomic,
        };
        let keys = schema.get("x-kubernetes-list-map-keys").and_then(Value::as_array).into_iter().flatten();
        let keys = keys.filter_map(Value::as_str).map(|key| {
            let default = items.get("properties").and_then(|fields| fields.get(key)).and_then(|field| field.get("default"));
            (key.to_owned(), default.cloned())
        });
        Self::List { element: Box::new(Self::of(items)), list_type, keys: keys.collect() }
    }
}
