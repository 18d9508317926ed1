//! A deserializer that reads no data: it answers each field that a lens asks for with a sample of the fact's type, and
//! notes the fields that the facts do not know.

use std::cell::RefCell;

use schema::facts::{Arity, Shape};
use schema::{Facts, TypeId};
use serde::de::value::{BoolDeserializer, F64Deserializer, I64Deserializer, StrDeserializer, UnitDeserializer};
use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, SeqAccess, Visitor};
use serde::forward_to_deserialize_any;

type Error = serde::de::value::Error;

/// What is wrong with the lens `T` on the type `ty`.
pub(crate) fn run<T: DeserializeOwned>(ty: TypeId) -> Vec<String> {
    let wrong = RefCell::new(Vec::new());
    let probe = Probe { shape: Shape::Object(ty), arity: Arity::One, path: String::new(), wrong: &wrong };
    if let Err(error) = T::deserialize(probe) {
        wrong.borrow_mut().push(error.to_string());
    }
    wrong.into_inner()
}

struct Probe<'a> {
    shape: Shape,
    arity: Arity,
    path: String,
    wrong: &'a RefCell<Vec<String>>,
}

impl<'a> Probe<'a> {
    fn one(self) -> Self {
        Self { arity: if self.arity == Arity::MapOfList { Arity::List } else { Arity::One }, ..self }
    }

    /// The probes of the named members; unknown ones are noted.
    fn members(&self, names: impl Iterator<Item = String>) -> Vec<(String, Probe<'a>)> {
        let Shape::Object(ty) = self.shape else {
            self.wrong.borrow_mut().push(format!("{} is no object", self.path));
            return Vec::new();
        };
        let known = Facts::builtin().get(ty);
        let probe = |name: String| {
            let path = format!("{}.{name}", self.path);
            let Some(field) = known.field(&name) else {
                self.wrong.borrow_mut().push(format!("{path} is no field of {}", known.name));
                return None;
            };
            Some((name, Probe { shape: field.shape, arity: field.arity, path, wrong: self.wrong }))
        };
        names.filter_map(probe).collect()
    }
}

impl<'de> Deserializer<'de> for Probe<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.arity != Arity::One {
            return UnitDeserializer::<Error>::new().deserialize_any(visitor);
        }
        let result = match self.shape {
            Shape::String | Shape::Bytes | Shape::Duration => StrDeserializer::new("text").deserialize_any(visitor),
            Shape::Time | Shape::MicroTime => StrDeserializer::new("2026-01-01T00:00:00Z").deserialize_any(visitor),
            Shape::Quantity => StrDeserializer::new("1").deserialize_any(visitor),
            Shape::Int32 | Shape::Int64 | Shape::IntOrString => I64Deserializer::new(1).deserialize_any(visitor),
            Shape::Number => F64Deserializer::new(1.5).deserialize_any(visitor),
            Shape::Bool => BoolDeserializer::new(true).deserialize_any(visitor),
            _ => UnitDeserializer::new().deserialize_any(visitor),
        };
        result.map_err(|error: Error| serde::de::Error::custom(format!("{}: {error}", self.path)))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _name: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_struct<V: Visitor<'de>>(self, _: &'static str, fields: &'static [&'static str], visitor: V) -> Result<V::Value, Error> {
        if self.arity != Arity::One {
            self.wrong.borrow_mut().push(format!("{} is a list or map", self.path));
        }
        let members = self.members(fields.iter().map(|name| (*name).to_owned()));
        visitor.visit_map(Members { rest: members.into_iter(), next: None })
    }

    /// A map's one entry, or all members of an object that a flattened lens reads.
    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let members = match (self.arity, self.shape) {
            (Arity::Map | Arity::MapOfList, _) => vec![("key".to_owned(), self.one())],
            (Arity::One, Shape::Object(ty)) => {
                let names: Vec<String> = Facts::builtin().get(ty).fields.iter().map(|field| field.name.to_string()).collect();
                self.members(names.into_iter())
            }
            _ => return self.deserialize_any(visitor),
        };
        visitor.visit_map(Members { rest: members.into_iter(), next: None })
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.arity {
            Arity::List => visitor.visit_seq(Element(Some(self.one()))),
            _ => self.deserialize_any(visitor),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct tuple tuple_struct
        enum identifier ignored_any
    }
}

struct Members<'a> {
    rest: std::vec::IntoIter<(String, Probe<'a>)>,
    next: Option<Probe<'a>>,
}

impl<'de> MapAccess<'de> for Members<'_> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        let Some((name, probe)) = self.rest.next() else { return Ok(None) };
        self.next = Some(probe);
        seed.deserialize(name.into_deserializer()).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        seed.deserialize(self.next.take().expect("a value follows its key"))
    }
}

struct Element<'a>(Option<Probe<'a>>);

impl<'de> SeqAccess<'de> for Element<'_> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        self.0.take().map(|probe| seed.deserialize(probe)).transpose()
    }
}
