//! One step of a path to a field, as `fieldsV1` writes it and as conflicts print it.
//!
//! | step | in fieldsV1 | in a message |
//! |---|---|---|
//! | a field of an object, a key of a map | `f:name` | `.name` |
//! | an item of a list, by its keys | `k:{"port":80,"protocol":"TCP"}` | `[port=80,protocol="TCP"]` |
//! | an item of a set, by its value | `v:"x"` | `[="x"]` |
//! | an item of a list, by its place | `i:0` | `[0]` |

use std::cmp::Ordering;
use std::fmt;

use crate::{Map, Value};

/// A step. Its order is the order in which conflicts are told.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    Field(String),
    /// Sorted by name.
    Key(Vec<(String, Item)>),
    Value(Item),
    Index(i64),
}

/// A JSON value with an order: numbers, texts, booleans, lists, maps, null.
#[derive(Clone, Debug)]
pub struct Item(pub Value);

/// From the document's root; prints as `.spec.ports[port=80].name`.
pub type Path = Vec<Step>;

impl Step {
    pub fn field(name: &str) -> Self {
        Self::Field(name.to_owned())
    }

    /// Reads a step; none of a sort that only a newer version knows.
    pub(super) fn known(text: &str) -> Result<Option<Self>, String> {
        let (sort, _) = split(text)?;
        if "fvki".contains(sort) { Self::parse(text).map(Some) } else { Ok(None) }
    }

    /// Reads `f:name` and the like.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (sort, rest) = split(text)?;
        match sort {
            'f' => Ok(Self::Field(rest.to_owned())),
            'v' => Ok(Self::Value(Item(json(rest)?))),
            'k' => match json(rest)? {
                Value::Object(keys) => Ok(Self::keys(keys.into_iter().collect())),
                _ => Err(format!("invalid path element {text:?}: keys are an object")),
            },
            'i' => rest.parse().map(Self::Index).map_err(|error| format!("invalid path element {text:?}: {error}")),
            _ => Err("unknown path element type".to_owned()),
        }
    }

    pub fn value(value: Value) -> Self {
        Self::Value(Item(value))
    }

    pub fn keys(keys: Vec<(String, Value)>) -> Self {
        let mut keys: Vec<_> = keys.into_iter().map(|(name, value)| (name, Item(value))).collect();
        keys.sort_by(|one, other| one.0.cmp(&other.0));
        Self::Key(keys)
    }

    /// The form of `fieldsV1`.
    pub fn encode(&self) -> String {
        match self {
            Self::Field(name) => format!("f:{name}"),
            Self::Key(keys) => {
                let keys: Map<String, Value> = keys.iter().map(|(name, item)| (name.clone(), item.0.clone())).collect();
                format!("k:{}", Value::Object(keys))
            }
            Self::Value(item) => format!("v:{}", item.0),
            Self::Index(index) => format!("i:{index}"),
        }
    }
}

pub(super) fn split(text: &str) -> Result<(char, &str), String> {
    let mut chars = text.chars();
    match (chars.next(), chars.next()) {
        (Some(sort), Some(':')) => Ok((sort, chars.as_str())),
        (Some(_), Some(_)) => Err(format!("missing colon: {text}")),
        _ => Err("key must be 2 characters long:".to_owned()),
    }
}

fn json(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|error| format!("invalid path element {text:?}: {error}"))
}

/// `.spec.ports[port=80].name`
pub fn print(path: &[Step]) -> String {
    path.iter().map(ToString::to_string).collect()
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Field(name) => write!(f, ".{name}"),
            Self::Key(keys) => {
                let keys: Vec<String> = keys.iter().map(|(name, item)| format!("{name}={}", item.0)).collect();
                write!(f, "[{}]", keys.join(","))
            }
            Self::Value(item) => write!(f, "[={}]", item.0),
            Self::Index(index) => write!(f, "[{index}]"),
        }
    }
}

impl Item {
    fn rank(&self) -> u8 {
        match self.0 {
            Value::Number(_) => 0,
            Value::String(_) => 1,
            Value::Bool(_) => 2,
            Value::Array(_) => 3,
            Value::Object(_) => 4,
            Value::Null => 5,
        }
    }
}

impl Ord for Item {
    fn cmp(&self, other: &Self) -> Ordering {
        match (&self.0, &other.0) {
            (Value::Number(one), Value::Number(two)) => match (one.as_i64(), two.as_i64()) {
                (Some(one), Some(two)) => one.cmp(&two),
                _ => one.as_f64().unwrap_or_default().total_cmp(&two.as_f64().unwrap_or_default()),
            },
            (Value::String(one), Value::String(two)) => one.cmp(two),
            (Value::Bool(one), Value::Bool(two)) => one.cmp(two),
            (Value::Array(_), Value::Array(_)) | (Value::Object(_), Value::Object(_)) => self.0.to_string().cmp(&other.0.to_string()),
            _ => self.rank().cmp(&other.rank()),
        }
    }
}

impl PartialOrd for Item {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Item {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Item {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_read_written_and_printed() {
        for (encoded, printed) in [
            ("f:a.b/c", ".a.b/c"),
            (r#"k:{"port":80,"protocol":"TCP"}"#, r#"[port=80,protocol="TCP"]"#),
            (r#"v:"x""#, r#"[="x"]"#),
            ("v:7", "[=7]"),
            ("i:3", "[3]"),
        ] {
            let step = Step::parse(encoded).expect(encoded);
            assert_eq!((step.encode().as_str(), step.to_string().as_str()), (encoded, printed));
        }
        for wrong in ["", "f", "fx", "z:1", "k:[]", "k:{", "v:", "i:x"] {
            assert!(Step::parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
