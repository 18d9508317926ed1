//! Label and field selectors: parsing with upstream's errors, printing, matching (golden/selectors.jsonl).

use std::collections::BTreeMap;

use crate::{FieldErrors, Path, Value};

#[derive(Clone, Debug, thiserror::Error, PartialEq)]
#[error("{0}")]
pub struct SelectorError(pub String);

/// A conjunction of requirements; the default one selects everything.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LabelSelector {
    requirements: Vec<Requirement>,
    /// `metav1.LabelSelector` nil selects nothing.
    nothing: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Requirement {
    pub key: String,
    pub op: Op,
    pub values: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    In,
    NotIn,
    Exists,
    DoesNotExist,
    Equals,
    DoubleEquals,
    NotEquals,
    GreaterThan,
    LessThan,
}

impl LabelSelector {
    pub fn everything() -> Self {
        Self::default()
    }

    pub fn nothing() -> Self {
        Self { requirements: Vec::new(), nothing: true }
    }

    /// Parses a query (`app=web,tier in (a,b),!old`).
    pub fn parse(_text: &str) -> Result<Self, SelectorError> {
        unimplemented!()
    }

    /// From a `metav1.LabelSelector` document; null or absent selects nothing, `{}` everything.
    pub fn from_value(_value: &Value) -> Result<Self, SelectorError> {
        unimplemented!()
    }

    /// From a plain map (`spec.selector` of a Service or ReplicationController); empty selects nothing there.
    pub fn from_map(_labels: &BTreeMap<String, String>) -> Self {
        unimplemented!()
    }

    pub fn is_everything(&self) -> bool {
        self.requirements.is_empty() && !self.nothing
    }

    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }

    pub fn matches(&self, _labels: &BTreeMap<String, String>) -> bool {
        unimplemented!()
    }

    /// Validates a `metav1.LabelSelector` document (unversioned validation), with upstream's field errors.
    pub fn validate(_value: &Value, _path: &Path, _errors: &mut FieldErrors) {
        unimplemented!()
    }
}

impl std::fmt::Display for LabelSelector {
    fn fmt(&self, _f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        unimplemented!()
    }
}

/// `field=value,other!=value`; which fields a kind supports is the kind's affair.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FieldSelector {
    pub terms: Vec<FieldTerm>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct FieldTerm {
    pub field: String,
    /// true: must be equal, false: must differ.
    pub equal: bool,
    pub value: String,
}

impl FieldSelector {
    pub fn parse(_text: &str) -> Result<Self, SelectorError> {
        unimplemented!()
    }

    pub fn is_everything(&self) -> bool {
        self.terms.is_empty()
    }

    /// `lookup` gives a field's value; absent is `""`, an absent boolean `"false"`.
    pub fn matches(&self, lookup: impl Fn(&str) -> String) -> bool {
        self.terms.iter().all(|term| (lookup(&term.field) == term.value) == term.equal)
    }

    /// The value that `field` must equal, if one term says so (`metadata.name=x` turns a list into a get).
    pub fn exact(&self, field: &str) -> Option<&str> {
        self.terms.iter().find(|term| term.equal && term.field == field).map(|term| term.value.as_str())
    }
}
