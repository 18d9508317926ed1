//! `resource.Quantity`: exact decimal amounts with their suffix format kept (golden/quantity.jsonl).
//!
//! Upstream keeps amounts as int64 or as big decimals; here an amount is nano-units in 128 bits, and what lies beyond
//! saturates. Documents keep a quantity's text: [`canonical_text`] works on digits and loses nothing.

mod digits;

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use digits::Digits;

/// Which family of suffixes a quantity prints with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Format {
    #[default]
    DecimalSi,
    BinarySi,
    DecimalExponent,
}

/// An amount in nano-units and its format.
#[derive(Clone, Copy, Debug, Eq, Default)]
pub struct Quantity {
    pub nano: i128,
    pub format: Format,
    /// Upstream holds the amount as a big decimal: a binary one with a fraction, or one of many digits. Only how a negative
    /// amount is rounded to whole units goes by it.
    pub decimal: bool,
}

#[derive(Clone, Debug, thiserror::Error, PartialEq)]
#[error("{0}")]
pub struct QuantityError(pub String);

/// Upstream's sentence for a text that is no quantity.
pub const NOT_A_QUANTITY: &str = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";
const BAD_SUFFIX: &str = "unable to parse quantity's suffix";
const NANO: i128 = 1_000_000_000;

/// The text that a document holds for the quantity `text`: as given where upstream keeps it, else canonical.
pub fn canonical_text(text: &str) -> Result<String, QuantityError> {
    let parsed = Digits::parse(text)?;
    Ok(if parsed.keeps_text { text.to_owned() } else { parsed.to_string() })
}

impl FromStr for Quantity {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let parsed = Digits::parse(text)?;
        Ok(Self { nano: parsed.nano(), format: parsed.format, decimal: parsed.decimal })
    }
}

/// Canonical form.
impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Digits::from_nano(self.nano, self.format).fmt(f)
    }
}

impl Quantity {
    /// Rounded up to whole units (away from zero), at most what an i64 holds.
    pub fn value(self) -> i64 {
        self.in_units_of(NANO)
    }

    /// Rounded up to thousandths.
    pub fn milli_value(self) -> i64 {
        self.in_units_of(NANO / 1000)
    }

    fn in_units_of(self, unit: i128) -> i64 {
        match self.decimal && self.nano < 0 {
            true => negative_decimal(self.nano, unit),
            false => saturated(round_away(self.nano, unit)),
        }
    }

    pub fn from_value(units: i64, format: Format) -> Self {
        Self { nano: i128::from(units) * NANO, format, decimal: false }
    }

    pub fn from_milli(milli: i64, format: Format) -> Self {
        Self { nano: i128::from(milli) * (NANO / 1000), format, decimal: false }
    }

    /// Keeps the left side's format, or takes the right one's where the left is zero.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        self.joined(other, self.nano.saturating_add(other.nano))
    }

    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        self.joined(other, self.nano.saturating_sub(other.nano))
    }

    fn joined(self, other: Self, nano: i128) -> Self {
        let format = if self.nano == 0 { other.format } else { self.format };
        Self { nano, format, decimal: self.decimal || other.decimal }
    }

    /// A quantity in a document: a string or a bare number.
    pub fn from_json(value: &crate::Value) -> Result<Self, QuantityError> {
        match value {
            crate::Value::String(text) => text.trim().parse(),
            crate::Value::Number(number) => number.to_string().parse(),
            crate::Value::Null => Ok(Self::default()),
            _ => Err(QuantityError(NOT_A_QUANTITY.into())),
        }
    }
}

/// An IntOrString that may be a percentage (`maxUnavailable`), scaled to `total`.
pub fn int_or_percent(value: &crate::Value, total: i64, round_up: bool) -> Result<i64, String> {
    let text = match value {
        crate::Value::String(text) => text,
        number => return number.as_i64().ok_or_else(|| "invalid value for IntOrString: invalid type: neither int nor percentage".into()),
    };
    let digits = text.strip_suffix('%').ok_or("invalid value for IntOrString: invalid type: string is not a percentage")?;
    let syntax = |_| format!("invalid value for IntOrString: invalid value {text:?}: strconv.Atoi: parsing {digits:?}: invalid syntax");
    let product = digits.parse::<i64>().map_err(syntax)?.saturating_mul(total);
    // Floor and ceiling differ from the truncated quotient only on their own side of zero.
    let rest = product % 100;
    Ok(product / 100 + if round_up { i64::from(rest > 0) } else { -i64::from(rest < 0) })
}

/// Division that rounds away from zero: whoever asks for a little gets a little.
fn round_away(nano: i128, unit: i128) -> i128 {
    let rest = nano % unit;
    nano / unit + rest.signum()
}

/// What upstream makes of a negative big decimal: its nano-units are cut to 64 bits, and a rest counts upwards. No object
/// holds such an amount for long (validation refuses it), but who asks meanwhile is told the same.
fn negative_decimal(nano: i128, unit: i128) -> i64 {
    let (cut, unit) = (nano as i64, unit as i64);
    cut / unit + i64::from(cut % unit != 0)
}

fn saturated(wide: i128) -> i64 {
    i64::try_from(wide).unwrap_or(if wide < 0 { i64::MIN } else { i64::MAX })
}

/// How upstream holds an amount is no part of it.
impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        (self.nano, self.format) == (other.nano, other.format)
    }
}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// By amount alone: `1Gi` and `1024Mi` differ only where [`Quantity::format`] does.
impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        self.nano.cmp(&other.nano)
    }
}
