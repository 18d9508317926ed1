//! JSON and YAML to a [`Value`] under a type's facts: type check, pruning and the field report in one pass.

use crate::{TypeId, Value};

/// `?fieldValidation=`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FieldValidation {
    Ignore,
    #[default]
    Warn,
    Strict,
}

/// A decoded, pruned document and what was said of its fields, in document order, in upstream's words
/// (`unknown field "spec.foo"`, `duplicate field "spec.bar"`).
#[derive(Clone, Debug, PartialEq)]
pub struct Decoded {
    pub value: Value,
    pub strict_errors: Vec<String>,
}

#[derive(Clone, Debug, thiserror::Error, PartialEq)]
pub enum DecodeError {
    /// Not JSON/YAML at all.
    #[error("{0}")]
    Syntax(String),
    /// A value of another type than the schema says.
    #[error("{0}")]
    Type(String),
    /// Deeper or larger than we read.
    #[error("{0}")]
    Limit(String),
}

/// Decodes JSON. `ty` is the type of the root; unknown members are dropped and reported.
pub fn json(_ty: TypeId, _bytes: &[u8]) -> Result<Decoded, DecodeError> {
    unimplemented!()
}

/// Decodes YAML 1.1 as sigs.k8s.io/yaml does, then as [`json`].
pub fn yaml(_ty: TypeId, _bytes: &[u8]) -> Result<Decoded, DecodeError> {
    unimplemented!()
}

/// YAML to plain JSON without a schema (manifests, patches). One document.
pub fn yaml_value(_bytes: &[u8]) -> Result<Value, DecodeError> {
    unimplemented!()
}

/// The documents of a multi-document YAML or JSON stream (`---`), empty ones left out.
pub fn yaml_documents(_text: &str) -> Result<Vec<Value>, DecodeError> {
    unimplemented!()
}

/// Checks and prunes an already decoded value (after a patch), as [`json`] does.
pub fn value(_ty: TypeId, _value: Value) -> Result<Decoded, DecodeError> {
    unimplemented!()
}
