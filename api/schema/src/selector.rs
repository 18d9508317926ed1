//! Label and field selectors: parsing with upstream's errors, printing, matching (golden/selectors.jsonl).

mod fields;
mod labels;
mod structured;

use std::collections::BTreeMap;
use std::fmt;

use crate::{FieldErrors, Path, Value};

pub use fields::{FieldSelector, FieldTerm};
pub(crate) use structured::validate_label;

#[derive(Clone, Debug, thiserror::Error, PartialEq)]
#[error("{0}")]
pub struct SelectorError(pub String);

/// A conjunction of requirements; the default one selects everything.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LabelSelector {
    /// Sorted by key.
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
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        labels::parse(text).map(Self::of).map_err(SelectorError)
    }

    /// From a `metav1.LabelSelector` document; null or absent selects nothing, `{}` everything.
    pub fn from_value(value: &Value) -> Result<Self, SelectorError> {
        match value {
            Value::Null => Ok(Self::nothing()),
            value => structured::requirements(value).map(Self::of).map_err(SelectorError),
        }
    }

    /// From a plain map (`spec.selector` of a Service or ReplicationController); empty selects nothing there.
    pub fn from_map(labels: &BTreeMap<String, String>) -> Self {
        if labels.is_empty() {
            return Self::nothing();
        }
        let equals = |(key, value): (&String, &String)| Requirement { key: key.clone(), op: Op::Equals, values: vec![value.clone()] };
        Self::of(labels.iter().map(equals).collect())
    }

    fn of(mut requirements: Vec<Requirement>) -> Self {
        requirements.sort_by(|one, other| one.key.cmp(&other.key));
        Self { requirements, nothing: false }
    }

    pub fn is_everything(&self) -> bool {
        self.requirements.is_empty() && !self.nothing
    }

    pub fn is_nothing(&self) -> bool {
        self.nothing
    }

    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }

    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.matches_by(|key| labels.get(key).map(String::as_str))
    }

    /// As [`LabelSelector::matches`] over a document's `metadata.labels`, read in place.
    pub fn matches_document(&self, document: &Value) -> bool {
        let labels = &document["metadata"]["labels"];
        self.matches_by(|key| labels.get(key).and_then(Value::as_str))
    }

    /// As [`LabelSelector::matches`] over any look-up.
    pub fn matches_by<'l>(&self, label: impl Fn(&str) -> Option<&'l str>) -> bool {
        !self.nothing && self.requirements.iter().all(|one| one.matches(label(&one.key)))
    }

    /// Validates a `metav1.LabelSelector` document (unversioned validation), with upstream's field errors.
    pub fn validate(value: &Value, path: &Path, errors: &mut FieldErrors) {
        structured::validate(value, path, errors);
    }
}

impl Requirement {
    /// Whether a label's value (`None`: the label is absent) satisfies it.
    pub fn matches(&self, value: Option<&str>) -> bool {
        let among = |value: &str| self.values.iter().any(|one| one == value);
        match self.op {
            Op::In | Op::Equals | Op::DoubleEquals => value.is_some_and(among),
            Op::NotIn | Op::NotEquals => !value.is_some_and(among),
            Op::Exists => value.is_some(),
            Op::DoesNotExist => value.is_none(),
            Op::GreaterThan => self.compared(value).is_some_and(|(value, bound)| value > bound),
            Op::LessThan => self.compared(value).is_some_and(|(value, bound)| value < bound),
        }
    }

    fn compared(&self, value: Option<&str>) -> Option<(i64, i64)> {
        let [bound] = self.values.as_slice() else { return None };
        Some((value?.parse().ok()?, bound.parse().ok()?))
    }
}

impl Op {
    /// The operator's word in upstream's requirement type.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::In => "in",
            Self::NotIn => "notin",
            Self::Exists => "exists",
            Self::DoesNotExist => "!",
            Self::Equals => "=",
            Self::DoubleEquals => "==",
            Self::NotEquals => "!=",
            Self::GreaterThan => "gt",
            Self::LessThan => "lt",
        }
    }
}

impl fmt::Display for LabelSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, requirement) in self.requirements.iter().enumerate() {
            if at > 0 {
                f.write_str(",")?;
            }
            requirement.fmt(f)?;
        }
        Ok(())
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut values: Vec<&str> = self.values.iter().map(String::as_str).collect();
        values.sort_unstable();
        let (key, values) = (&self.key, values.join(","));
        match self.op {
            Op::Exists => f.write_str(key),
            Op::DoesNotExist => write!(f, "!{key}"),
            Op::In | Op::NotIn => write!(f, "{key} {} ({values})", self.op.as_str()),
            Op::GreaterThan => write!(f, "{key}>{values}"),
            Op::LessThan => write!(f, "{key}<{values}"),
            Op::Equals | Op::DoubleEquals | Op::NotEquals => write!(f, "{key}{}{values}", self.op.as_str()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json;

    #[test]
    fn null_selects_nothing_and_the_empty_selector_everything() {
        let labels = BTreeMap::new();
        assert!(!LabelSelector::from_value(&Value::Null).expect("a selector").matches(&labels));
        assert!(LabelSelector::from_value(&json!({})).expect("a selector").matches(&labels));
        assert!(!LabelSelector::from_map(&labels).matches(&labels));
    }

    #[test]
    fn a_document_is_matched_in_place() {
        let selector = LabelSelector::parse("app in (web,db),!old").expect("a selector");
        assert!(selector.matches_document(&json!({"metadata": {"labels": {"app": "db"}}})));
        assert!(!selector.matches_document(&json!({"metadata": {}})));
    }
}
