//! `resource.Quantity`: exact decimal amounts with their suffix format kept (golden/quantity.jsonl).

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

/// Which family of suffixes a quantity prints with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Format {
    #[default]
    DecimalSi,
    BinarySi,
    DecimalExponent,
}

/// An amount in nano-units and its format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Quantity {
    pub nano: i128,
    pub format: Format,
}

#[derive(Clone, Debug, thiserror::Error, PartialEq)]
#[error("{0}")]
pub struct QuantityError(pub String);

impl FromStr for Quantity {
    type Err = QuantityError;

    fn from_str(_text: &str) -> Result<Self, QuantityError> {
        unimplemented!()
    }
}

/// Canonical form.
impl fmt::Display for Quantity {
    fn fmt(&self, _f: &mut fmt::Formatter<'_>) -> fmt::Result {
        unimplemented!()
    }
}

impl Quantity {
    /// Rounded up to whole units.
    pub fn value(self) -> i64 {
        unimplemented!()
    }

    /// Rounded up to thousandths.
    pub fn milli_value(self) -> i64 {
        unimplemented!()
    }

    pub fn from_value(_units: i64, _format: Format) -> Self {
        unimplemented!()
    }

    pub fn from_milli(_milli: i64, _format: Format) -> Self {
        unimplemented!()
    }

    /// Keeps the left side's format.
    #[must_use]
    pub fn plus(self, _other: Self) -> Self {
        unimplemented!()
    }

    #[must_use]
    pub fn minus(self, _other: Self) -> Self {
        unimplemented!()
    }

    /// A quantity in a document: a string or a bare number.
    pub fn from_json(_value: &crate::Value) -> Result<Self, QuantityError> {
        unimplemented!()
    }
}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        self.nano.cmp(&other.nano)
    }
}
