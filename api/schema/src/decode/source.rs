//! Where a document's tokens come from: JSON text or a decoded [`Value`]. One walker reads both.

use serde_json::Number;

use super::{DEPTH_MAX, DecodeError};
use crate::Value;

/// The next value of a document. A container is only opened: the caller goes on with [`Source::elements`] or
/// [`Source::members`].
pub(super) enum Token {
    Null,
    Bool(bool),
    Number(Numeral),
    String(String),
    Array,
    Object,
}

/// A number as it was written, as far as that is known.
pub(super) struct Numeral {
    pub(super) text: String,
}

impl Numeral {
    /// What `strconv.ParseInt` makes of it: no fraction, no exponent.
    pub(super) fn as_i64(&self) -> Option<i64> {
        self.text.parse().ok()
    }

    pub(super) fn as_f64(&self) -> Option<f64> {
        self.text.parse().ok().filter(|number: &f64| number.is_finite())
    }

    /// An integer where it is written as one and fits, else a float.
    pub(super) fn to_value(&self) -> Value {
        if let Some(integer) = self.as_i64() {
            return integer.into();
        }
        if let Ok(natural) = self.text.parse::<u64>() {
            return natural.into();
        }
        self.as_f64().and_then(Number::from_f64).map_or(Value::Null, Value::Number)
    }
}

impl Token {
    /// The word in Go's type errors.
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "bool",
            Self::Number(_) => "number",
            Self::String(_) => "string",
            Self::Array => "array",
            Self::Object => "object",
        }
    }
}

pub(super) type Each<'e, S> = &'e mut dyn FnMut(&mut S) -> Result<(), DecodeError>;
pub(super) type EachMember<'e, S> = &'e mut dyn FnMut(&mut S, String) -> Result<(), DecodeError>;

pub(super) trait Source: Sized {
    fn next(&mut self) -> Result<Token, DecodeError>;
    /// Calls `each` at every element of the array just opened; `each` must consume it.
    fn elements(&mut self, each: Each<'_, Self>) -> Result<(), DecodeError>;
    /// Calls `each` at every member of the object just opened; `each` must consume its value.
    fn members(&mut self, each: EachMember<'_, Self>) -> Result<(), DecodeError>;

    /// Consumes the rest of a value whose first token has been read.
    fn skip_rest(&mut self, token: &Token) -> Result<(), DecodeError> {
        match token {
            Token::Array => self.elements(&mut Self::skip),
            Token::Object => self.members(&mut |source, _| source.skip()),
            _ => Ok(()),
        }
    }

    fn skip(&mut self) -> Result<(), DecodeError> {
        let token = self.next()?;
        self.skip_rest(&token)
    }
}

pub(super) fn too_deep() -> DecodeError {
    DecodeError::Limit(format!("exceeded max depth: documents nest at most {DEPTH_MAX} levels"))
}

/// A decoded value as a source; it is taken apart while it is read.
pub(super) struct Tree {
    current: Value,
    depth: usize,
}

impl Tree {
    /// A value that lies `depth` levels deep in its document.
    pub(super) fn below(value: Value, depth: usize) -> Self {
        Self { current: value, depth }
    }

    fn enter(&mut self) -> Result<(), DecodeError> {
        self.depth += 1;
        if self.depth > DEPTH_MAX { Err(too_deep()) } else { Ok(()) }
    }
}

impl Source for Tree {
    fn next(&mut self) -> Result<Token, DecodeError> {
        Ok(match &mut self.current {
            Value::Null => Token::Null,
            Value::Bool(value) => Token::Bool(*value),
            Value::Number(number) => Token::Number(Numeral { text: go_number(number) }),
            Value::String(text) => Token::String(std::mem::take(text)),
            Value::Array(_) => Token::Array,
            Value::Object(_) => Token::Object,
        })
    }

    fn elements(&mut self, each: Each<'_, Self>) -> Result<(), DecodeError> {
        let Value::Array(elements) = self.current.take() else { return Ok(()) };
        self.enter()?;
        for element in elements {
            self.current = element;
            each(self)?;
        }
        self.depth -= 1;
        Ok(())
    }

    fn members(&mut self, each: EachMember<'_, Self>) -> Result<(), DecodeError> {
        let Value::Object(members) = self.current.take() else { return Ok(()) };
        self.enter()?;
        for (name, value) in members {
            self.current = value;
            each(self, name)?;
        }
        self.depth -= 1;
        Ok(())
    }
}

/// A number as Go's encoder would write it: a whole float has no fraction.
fn go_number(number: &Number) -> String {
    match number.as_f64() {
        Some(float) if number.is_f64() && float.fract() == 0.0 && float.abs() < 1e15 => (float as i64).to_string(),
        _ => number.to_string(),
    }
}
