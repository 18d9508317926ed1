//! Run-time values. A document is read where it lies: lists, maps and texts borrow from its JSON, nothing is converted.

mod compare;
mod document;
pub(crate) mod list;
mod map;
mod output;

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

pub(crate) use compare::{Keys, compare, contains, equal};
pub(crate) use document::from_json;
pub use list::List;
pub use map::{Key, Map};

use crate::fault::Fault;
use crate::library::formats::Format;
use crate::library::network::{Cidr, Ip};
use crate::library::semver::Semver;
use crate::library::time::Time;
use crate::library::url::Url;
use crate::seam::{Authorizer, LazyFields};
use crate::work;

/// A value that lives as long as the documents and the program it came from.
#[derive(Clone, Debug)]
pub enum Value<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    String(Text<'a>),
    Bytes(Arc<[u8]>),
    /// Nanoseconds.
    Duration(i64),
    Timestamp(Time),
    List(List<'a>),
    Map(Map<'a>),
    Optional(Option<Arc<Value<'a>>>),
    /// A type, by its run-time name.
    Type(Arc<str>),
    /// A document's value that its schema does not describe: nothing but equality is defined on it.
    Unknown(&'a serde_json::Value),
    Object(Arc<Object<'a>>),
    Lazy(&'a (dyn LazyFields + 'a)),
    Url(Arc<Url>),
    Quantity(::schema::Quantity),
    Ip(Ip),
    Cidr(Cidr),
    Semver(Arc<Semver>),
    Format(&'static Format),
    Authorizer(Arc<dyn Authorizer>),
    Check(Arc<crate::library::authorizer::Check>),
    Decision(Arc<crate::seam::Decision>),
}

/// What `Type{field: value}` makes.
#[derive(Debug, Clone)]
pub struct Object<'a> {
    pub name: Arc<str>,
    pub fields: Vec<(String, Value<'a>)>,
}

/// A string, borrowed from a document or a program or made at run time.
#[derive(Clone)]
pub enum Text<'a> {
    Borrowed(&'a str),
    Shared(Arc<str>),
}

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Self::Borrowed(text) => text,
            Self::Shared(text) => text,
        }
    }
}

impl fmt::Debug for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

/// Counting characters is fast, but not nothing.
const CHARACTERS_PER_STEP: u64 = 256;

impl<'a> Value<'a> {
    pub fn string(text: impl Into<Arc<str>>) -> Self {
        let text = text.into();
        work::made(text.len());
        Self::String(Text::Shared(text))
    }

    pub fn borrowed(text: &'a str) -> Self {
        Self::String(Text::Borrowed(text))
    }

    pub fn list(values: Vec<Self>) -> Self {
        Self::List(List::from(values))
    }

    pub fn strings<T: Into<Arc<str>>>(texts: impl IntoIterator<Item = T>) -> Self {
        Self::list(texts.into_iter().map(Self::string).collect())
    }

    pub fn some(value: Self) -> Self {
        Self::Optional(Some(Arc::new(value)))
    }

    pub fn none() -> Self {
        Self::Optional(None)
    }

    /// A document's value as it is, without a schema.
    pub fn json(value: &'a serde_json::Value) -> Self {
        document::untyped(value)
    }

    /// A document's value under its schema; a fault where the schema does not allow it.
    pub fn typed(value: &'a serde_json::Value, schema: &'a crate::schema::Schema) -> Result<Self, Fault> {
        from_json(value, schema)
    }

    /// What `authorizer.group(…).resource(…)` makes: a question about a resource that waits for its verb.
    pub fn resource_check(authorizer: Arc<dyn Authorizer>, question: crate::seam::ResourceQuestion) -> Self {
        crate::library::authorizer::Check::of_resource(authorizer, question)
    }

    pub fn as_str(&self) -> Option<&str> {
        if let Self::String(text) = self { Some(text) } else { None }
    }

    pub fn as_bool(&self) -> Option<bool> {
        if let Self::Bool(bool) = self { Some(*bool) } else { None }
    }

    /// The run-time name of its type.
    pub fn type_name(&self) -> &str {
        match self {
            Self::Null => "null_type",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Uint(_) => "uint",
            Self::Double(_) => "double",
            Self::String(_) => "string",
            Self::Bytes(_) => "bytes",
            Self::Duration(_) => "google.protobuf.Duration",
            Self::Timestamp(_) => "google.protobuf.Timestamp",
            Self::List(_) => "list",
            Self::Map(_) => "map",
            Self::Optional(_) => "optional_type",
            Self::Type(_) => "type",
            Self::Unknown(_) => "unknown",
            Self::Object(object) => &object.name,
            Self::Lazy(fields) => fields.type_name(),
            Self::Url(_) => "kubernetes.URL",
            Self::Quantity(_) => "kubernetes.Quantity",
            Self::Ip(_) => "net.IP",
            Self::Cidr(_) => "net.CIDR",
            Self::Semver(_) => "kubernetes.Semver",
            Self::Format(_) => "kubernetes.NamedFormat",
            Self::Authorizer(_) => "kubernetes.authorization.Authorizer",
            Self::Check(check) => check.type_name(),
            Self::Decision(_) => "kubernetes.authorization.Decision",
        }
    }

    /// What `size()` says, and cost counts: characters, bytes, items, entries; 1 for what has no size.
    pub(crate) fn size(&self) -> u64 {
        match self {
            Self::String(text) => {
                work::took(text.len() as u64 / CHARACTERS_PER_STEP);
                text.chars().count() as u64
            }
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::List(list) => list.len() as u64,
            Self::Map(map) => map.len() as u64,
            Self::Ip(ip) => ip.bytes_len(),
            Self::Cidr(cidr) => cidr.bytes_len(),
            _ => 1,
        }
    }

    pub(crate) fn is_zero(&self) -> bool {
        match self {
            Self::Null => true,
            Self::Bool(bool) => !bool,
            Self::Int(int) => *int == 0,
            Self::Uint(uint) => *uint == 0,
            Self::Double(double) => *double == 0.0,
            Self::String(text) => text.is_empty(),
            Self::Bytes(bytes) => bytes.is_empty(),
            Self::Duration(nanos) => *nanos == 0,
            Self::List(list) => list.is_empty(),
            Self::Map(map) => map.is_empty(),
            Self::Optional(held) => held.is_none(),
            _ => false,
        }
    }

    /// A member by key, index or field name. `Ok(None)` where it is absent.
    pub(crate) fn member(&self, key: &Value<'_>, presence: bool) -> Result<Option<Self>, Fault> {
        match self {
            Self::Map(map) => map.get(key),
            Self::List(list) => list.at(list_index(key)?).transpose(),
            Self::Object(object) => {
                Ok(key.as_str().and_then(|name| object.fields.iter().find(|(field, _)| field == name)).map(|(_, value)| value.clone()))
            }
            Self::Lazy(fields) => match key.as_str() {
                Some(name) => fields.field(name).transpose(),
                None => Ok(None),
            },
            Self::Optional(Some(held)) => held.member(key, presence),
            _ if presence => Ok(None),
            _ => Err(Fault::new(format!("no such key: {}", key.shown()))),
        }
    }

    /// As Go's `%v` shows it in messages.
    pub fn shown(&self) -> String {
        match self {
            Self::Null => "null".into(),
            Self::Bool(bool) => bool.to_string(),
            Self::Int(int) => int.to_string(),
            Self::Uint(uint) => uint.to_string(),
            Self::Double(double) => crate::library::convert::double_text(*double),
            Self::String(text) => text.to_string(),
            Self::Type(name) => name.to_string(),
            other => other.type_name().to_owned(),
        }
    }
}

/// An index into a list: any whole number.
fn list_index(key: &Value<'_>) -> Result<i64, Fault> {
    match key {
        Value::Int(int) => Ok(*int),
        Value::Uint(uint) => i64::try_from(*uint).map_err(|_| Fault::new(format!("unsupported index value {uint} in list"))),
        Value::Double(double) if double.fract() == 0.0 && double.abs() < 9.2e18 => Ok(*double as i64),
        Value::Double(double) => Err(Fault::new(format!("unsupported index value {double} in list"))),
        other => Err(Fault::new(format!("unsupported index type '{}' in list", other.type_name()))),
    }
}
