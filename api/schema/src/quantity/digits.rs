//! A quantity as digits and a power of ten: what parsing and printing work on.

use std::fmt;

use super::{BAD_SUFFIX, Format, NOT_A_QUANTITY, QuantityError};

/// `unscaled * 10^exponent`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Digits {
    unscaled: i128,
    exponent: i32,
    pub(super) format: Format,
    /// Upstream remembers the text of such a quantity and prints it again as it was written.
    pub(super) keeps_text: bool,
    /// Upstream has no room for it in a scaled int64.
    pub(super) decimal: bool,
}

/// Larger exponents mean nothing: a text may be short and its number still need minutes (`1e9999`).
const EXPONENT_MAX: i32 = 30;
/// The finest unit: 10^-9.
const NANO_EXPONENT: i32 = -9;
/// Digits that fit an i64 without a look.
const DIGITS_MAX: usize = 18;

impl Digits {
    pub(super) fn from_nano(nano: i128, format: Format) -> Self {
        Self { unscaled: nano, exponent: NANO_EXPONENT, format, keeps_text: false, decimal: false }
    }

    /// Nano-units, saturated.
    pub(super) fn nano(self) -> i128 {
        scaled_up(self.unscaled, self.exponent - NANO_EXPONENT)
    }

    pub(super) fn parse(text: &str) -> Result<Self, QuantityError> {
        let parts = Parts::split(text)?;
        let (base, exponent, format) = interpret(parts.suffix).ok_or_else(|| QuantityError(BAD_SUFFIX.into()))?;
        let (whole, fraction) = (parts.whole, parts.fraction);
        let shifted = format!("{whole}{fraction}");
        let scale = exponent - fraction.len() as i32;
        let unscaled = unsigned(&shifted)?;
        let keeps_text = match base {
            2 => fraction.is_empty() && whole.len() + binary_digits(exponent) < 15 && unscaled % 1024 != 0,
            _ => {
                let small = shifted.len() <= DIGITS_MAX && scale >= NANO_EXPONENT;
                small && scale % 3 == 0 && !shifted.ends_with("000") && !shifted.starts_with('0') && !shifted.is_empty()
            }
        };
        let mut parsed = match base {
            2 => binary(unscaled, fraction.len() as i32, exponent as u32),
            _ => Self { unscaled, exponent: scale, format, keeps_text, decimal: false },
        };
        parsed.keeps_text = keeps_text;
        parsed.decimal = match base {
            2 => parsed.decimal && (!fraction.is_empty() || whole.len() + binary_digits(exponent) >= 15),
            _ => shifted.len() > DIGITS_MAX || scale < NANO_EXPONENT,
        };
        parsed.round_up_to_nano();
        if parts.negative {
            parsed.unscaled = -parsed.unscaled;
        }
        Ok(parsed)
    }

    /// Amounts finer than a nano-unit become one: asking for something gets something.
    fn round_up_to_nano(&mut self) {
        let excess = NANO_EXPONENT - self.exponent;
        if excess <= 0 {
            return;
        }
        let divisor = power_of_ten(excess);
        let rest = divisor.map_or(self.unscaled, |divisor| self.unscaled % divisor);
        self.unscaled = divisor.map_or(0, |divisor| self.unscaled / divisor) + i128::from(rest != 0);
        self.exponent = NANO_EXPONENT;
    }
}

/// About how many decimal digits a factor of `2^bits` adds.
fn binary_digits(bits: i32) -> usize {
    (bits as f32 * 3.0 / 10.0) as usize
}

/// A binary amount, capped at the largest i64; below one it prints as a decimal.
fn binary(unscaled: i128, fraction_digits: i32, bits: u32) -> Digits {
    const MAX: i128 = i64::MAX as i128;
    let capped = Digits { unscaled: MAX, exponent: 0, format: Format::BinarySi, keeps_text: false, decimal: false };
    let Some(product) = unscaled.checked_mul(1 << bits) else { return capped };
    let mut amount = Digits { unscaled: product, exponent: -fraction_digits, format: Format::BinarySi, keeps_text: false, decimal: true };
    amount.round_up_to_nano();
    let one = power_of_ten(-amount.exponent).unwrap_or(i128::MAX);
    if amount.unscaled > MAX.saturating_mul(one) {
        return capped;
    }
    if amount.unscaled > 0 && amount.unscaled < one {
        amount.format = Format::DecimalSi;
    }
    amount
}

struct Parts<'a> {
    negative: bool,
    whole: &'a str,
    fraction: &'a str,
    suffix: &'a str,
}

impl<'a> Parts<'a> {
    /// Takes the text apart as upstream's hand-written scanner does.
    fn split(text: &'a str) -> Result<Self, QuantityError> {
        let wrong = || QuantityError(NOT_A_QUANTITY.into());
        if text.is_empty() {
            return Err(wrong());
        }
        let negative = text.starts_with('-');
        let rest = text.strip_prefix(['-', '+']).unwrap_or(text);
        let whole_end = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (digits, rest) = rest.split_at(whole_end);
        let whole = digits.trim_start_matches('0');
        let whole = if whole.is_empty() && !digits.is_empty() { "0" } else { whole };
        let (fraction, suffix) = match rest.strip_prefix('.') {
            Some(rest) => rest.split_at(rest.bytes().take_while(u8::is_ascii_digit).count()),
            None => ("", rest),
        };
        let after_letters = suffix.trim_start_matches(|c| "eEinumkKMGTP".contains(c));
        let after_sign = after_letters.strip_prefix(['-', '+']).unwrap_or(after_letters);
        if !after_sign.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(wrong());
        }
        Ok(Self { negative, whole, fraction, suffix })
    }
}

/// Base, exponent and format of a suffix.
fn interpret(suffix: &str) -> Option<(u32, i32, Format)> {
    let decimal = |exponent| Some((10, exponent, Format::DecimalSi));
    let binary = |bits| Some((2, bits, Format::BinarySi));
    match suffix {
        "n" => decimal(-9),
        "u" => decimal(-6),
        "m" => decimal(-3),
        "" => decimal(0),
        "k" => decimal(3),
        "M" => decimal(6),
        "G" => decimal(9),
        "T" => decimal(12),
        "P" => decimal(15),
        "E" => decimal(18),
        "Ki" => binary(10),
        "Mi" => binary(20),
        "Gi" => binary(30),
        "Ti" => binary(40),
        "Pi" => binary(50),
        "Ei" => binary(60),
        _ => {
            let exponent: i64 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
            let bounded = exponent.clamp(-i64::from(EXPONENT_MAX) * 4, i64::from(EXPONENT_MAX));
            Some((10, bounded as i32, Format::DecimalExponent))
        }
    }
}

/// The digits as a number; more than 38 of them saturate.
fn unsigned(digits: &str) -> Result<i128, QuantityError> {
    if digits.is_empty() {
        return Ok(0);
    }
    Ok(digits.parse().unwrap_or(i128::MAX))
}

fn power_of_ten(exponent: i32) -> Option<i128> {
    10i128.checked_pow(u32::try_from(exponent).ok()?)
}

fn scaled_up(unscaled: i128, by: i32) -> i128 {
    let saturated = if unscaled < 0 { -i128::MAX } else { i128::MAX }; // as far as digits say it, on both sides
    match power_of_ten(by) {
        _ if unscaled == 0 => 0,
        Some(factor) => unscaled.checked_mul(factor).unwrap_or(saturated),
        None => saturated,
    }
}

/// Canonical form: no fraction, the largest suffix that keeps the number whole, a thousand-step exponent.
impl fmt::Display for Digits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.unscaled == 0 {
            return f.write_str("0");
        }
        if self.format == Format::BinarySi
            && let Some((number, suffix)) = self.binary_form()
        {
            return write!(f, "{number}{suffix}");
        }
        let (mantissa, exponent) = self.thousands();
        let format = if self.format == Format::BinarySi { Format::DecimalSi } else { self.format };
        match (format, exponent) {
            (Format::DecimalExponent, 0) => write!(f, "{mantissa}"),
            (Format::DecimalExponent, _) => write!(f, "{mantissa}e{exponent}"),
            _ => write!(f, "{mantissa}{}", decimal_suffix(exponent)),
        }
    }
}

impl Digits {
    /// A whole number of at least 1024 units in powers of 1024; `None` prints as a decimal.
    fn binary_form(&self) -> Option<(i128, &'static str)> {
        let unit = power_of_ten(-self.exponent.min(0))?;
        let whole = scaled_up(self.unscaled, self.exponent.max(0));
        if whole % unit != 0 || (whole / unit).abs() < 1024 {
            return None;
        }
        let mut number = whole / unit;
        let mut steps = 0;
        while number % 1024 == 0 && steps < 6 {
            number /= 1024;
            steps += 1;
        }
        Some((number, ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"][steps]))
    }

    /// The mantissa without trailing zeros and an exponent that is a multiple of three.
    fn thousands(&self) -> (i128, i32) {
        let (mut mantissa, mut exponent) = (self.unscaled, self.exponent);
        while mantissa % 10 == 0 {
            mantissa /= 10;
            exponent += 1;
        }
        let excess = exponent.rem_euclid(3);
        (scaled_up(mantissa, excess), exponent - excess)
    }
}

/// Beyond exa there is no suffix, and upstream prints none.
fn decimal_suffix(exponent: i32) -> &'static str {
    match exponent {
        -9 => "n",
        -6 => "u",
        -3 => "m",
        3 => "k",
        6 => "M",
        9 => "G",
        12 => "T",
        15 => "P",
        18 => "E",
        _ => "",
    }
}
