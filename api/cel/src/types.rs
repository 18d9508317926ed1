//! Static types: what the checker works on, and how messages name them.

mod unify;

use std::fmt;
use std::sync::Arc;

pub(crate) use unify::{Unifier, most_general};

/// The type of an expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Type {
    /// Anything; found out at run time.
    Dyn,
    /// Of what has been refused already.
    Error,
    Null,
    Bool,
    Int,
    Uint,
    Double,
    String,
    Bytes,
    Duration,
    Timestamp,
    /// The type of a type.
    Type(Option<Arc<Type>>),
    List(Arc<Type>),
    Map(Arc<(Type, Type)>),
    /// A closed type with parameters: `optional_type(T)`, `net.IP`.
    Opaque(Arc<str>, Arc<[Type]>),
    /// A type with fields, known by its name.
    Object(Arc<str>),
    /// A variable of a signature (`A`) or of an expression (`_var7`).
    Param(Param),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Param {
    Declared(char),
    Free(u32),
}

pub(crate) const OPTIONAL: &str = "optional_type";

impl Type {
    pub fn list(element: Self) -> Self {
        Self::List(Arc::new(element))
    }

    pub fn map(key: Self, value: Self) -> Self {
        Self::Map(Arc::new((key, value)))
    }

    pub fn optional(value: Self) -> Self {
        Self::Opaque(OPTIONAL.into(), [value].into())
    }

    pub fn object(name: &str) -> Self {
        Self::Object(name.into())
    }

    pub fn type_of(of: Self) -> Self {
        Self::Type(Some(Arc::new(of)))
    }

    /// What an optional holds.
    pub fn as_optional(&self) -> Option<&Self> {
        match self {
            Self::Opaque(name, params) if &**name == OPTIONAL => params.first(),
            _ => None,
        }
    }

    pub(crate) fn params(&self) -> Vec<&Self> {
        match self {
            Self::List(element) => vec![element],
            Self::Map(entry) => vec![&entry.0, &entry.1],
            Self::Opaque(_, params) => params.iter().collect(),
            Self::Type(Some(of)) => vec![of],
            _ => Vec::new(),
        }
    }

    pub(crate) fn is_dyn(&self) -> bool {
        matches!(self, Self::Dyn)
    }

    pub(crate) fn is_dyn_or_error(&self) -> bool {
        matches!(self, Self::Dyn | Self::Error)
    }

    /// The name that `type()` gives at run time.
    pub(crate) fn runtime_name(&self) -> &str {
        match self {
            Self::Dyn => "dyn",
            Self::Error => "error",
            Self::Null => "null_type",
            Self::Bool => "bool",
            Self::Int => "int",
            Self::Uint => "uint",
            Self::Double => "double",
            Self::String => "string",
            Self::Bytes => "bytes",
            Self::Duration => "google.protobuf.Duration",
            Self::Timestamp => "google.protobuf.Timestamp",
            Self::Type(_) => "type",
            Self::List(_) => "list",
            Self::Map(_) => "map",
            Self::Opaque(name, _) | Self::Object(name) => name,
            Self::Param(_) => "param",
        }
    }

    /// As messages of the API show what an expression comes to: `google.protobuf.Timestamp` where errors of the expression
    /// itself say `timestamp`.
    pub fn declared(&self) -> String {
        let params: Vec<String> = self.params().into_iter().map(Self::declared).collect();
        if params.is_empty() { self.runtime_name().to_owned() } else { format!("{}({})", self.runtime_name(), params.join(", ")) }
    }

    /// Reads `list(A)`, `map(string, int)`, `net.IP`: the notation of the declared functions.
    pub(crate) fn parse(text: &str) -> Self {
        let (name, params) = match text.split_once('(') {
            Some((name, rest)) => (name, split_params(&rest[..rest.len() - 1])),
            None => (text, Vec::new()),
        };
        let mut params = params.into_iter().map(Self::parse);
        let mut param = || params.next().unwrap_or(Self::Dyn);
        match name {
            "dyn" => Self::Dyn,
            "null" => Self::Null,
            "bool" => Self::Bool,
            "int" => Self::Int,
            "uint" => Self::Uint,
            "double" => Self::Double,
            "string" => Self::String,
            "bytes" => Self::Bytes,
            "duration" => Self::Duration,
            "timestamp" => Self::Timestamp,
            "type" => Self::type_of(param()),
            "list" => Self::list(param()),
            "map" => {
                let key = param();
                Self::map(key, param())
            }
            "optional" => Self::optional(param()),
            "net.IP" | "net.CIDR" => Self::Opaque(name.into(), [].into()),
            letter if letter.len() == 1 => Self::Param(Param::Declared(letter.chars().next().expect("one letter"))),
            object => Self::object(object),
        }
    }
}

/// `int, map(string, int)` at its outer commas.
pub(crate) fn split_params(text: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0, 0);
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(text[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    if !text[start..].trim().is_empty() {
        parts.push(text[start..].trim());
    }
    parts
}

/// As messages show it.
impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::Error => "!error!",
            Self::Null => "null",
            Self::Param(Param::Declared(letter)) => return write!(f, "{letter}"),
            Self::Param(Param::Free(number)) => return write!(f, "_var{number}"),
            Self::Duration => "duration",
            Self::Timestamp => "timestamp",
            other => other.runtime_name(),
        };
        f.write_str(name)?;
        let params = self.params();
        for (at, param) in params.iter().enumerate() {
            write!(f, "{}{param}", if at == 0 { "(" } else { ", " })?;
        }
        if params.is_empty() { Ok(()) } else { f.write_str(")") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_read_as_they_are_written() {
        for text in ["int", "list(A)", "map(string, list(int))", "kubernetes.Quantity", "net.IP", "type(A)"] {
            assert_eq!(Type::parse(text).to_string(), text);
        }
        assert_eq!(Type::parse("optional(list(V))").to_string(), "optional_type(list(V))");
    }
}
