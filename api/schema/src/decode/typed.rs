//! The walk over a document under the facts of its type.
//!
//! The first value of a wrong type decides the answer, as upstream, but the walk goes on to the end: a syntax error
//! further on is the truer answer. Field reports are kept once each and bounded in number.

use std::collections::BTreeSet;
use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::source::{Numeral, Source, Token};
use super::{DecodeError, Decoded};
use crate::facts::{Arity, Facts, Field, Shape, Type};
use crate::{Map, TypeId, Value, duration, quantity, time};

/// Upstream stops collecting there too.
const REPORTS_MAX: usize = 100;

/// A document of type `ty`. A null document is an empty one.
pub(super) fn document(ty: TypeId, source: &mut impl Source) -> Result<Walk, DecodeError> {
    let mut walk = Walk::new();
    let value = walk.object(ty, source)?;
    walk.value = value.unwrap_or_else(|| Value::Object(Map::new()));
    Ok(walk)
}

/// A document without a type.
pub(super) fn free_form(source: &mut impl Source) -> Result<Walk, DecodeError> {
    let mut walk = Walk::new();
    walk.value = walk.free(source, true)?;
    Ok(walk)
}

/// A document as a client's strict decoder reads it: names in any case, scalars for strings, and the first field that
/// nobody knows is an error.
pub(super) fn lenient_document(ty: TypeId, source: &mut impl Source) -> Result<Walk, DecodeError> {
    let mut walk = Walk { reader: Reader::Client, ..Walk::new() };
    walk.value = walk.object(ty, source)?.unwrap_or_else(|| Value::Object(Map::new()));
    Ok(walk)
}

/// Whose rules a document is read by.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reader {
    Server,
    Client,
}

/// One step of the way to the value at hand.
pub(super) enum Step {
    Field { owner: &'static str, name: &'static str },
    Key(String),
    Index(usize),
}

pub(super) struct Walk {
    pub(super) facts: &'static Facts,
    pub(super) path: Vec<Step>,
    reports: Vec<String>,
    reported: BTreeSet<String>,
    mismatch: Option<String>,
    /// Set inside of forms whose own decoders upstream does not look into.
    silent: bool,
    reader: Reader,
    pub(super) value: Value,
}

type Walked<T> = Result<T, DecodeError>;

impl Walk {
    pub(super) fn new() -> Self {
        let (path, reports, reported) = (Vec::new(), Vec::new(), BTreeSet::new());
        Self { facts: Facts::builtin(), path, reports, reported, mismatch: None, silent: false, reader: Reader::Server, value: Value::Null }
    }

    /// The outcome, once the source is known to hold nothing more.
    pub(super) fn finish(self) -> Result<Decoded, DecodeError> {
        match self.mismatch {
            Some(text) => Err(DecodeError::Type(text)),
            None => Ok(Decoded { value: self.value, strict_errors: self.reports }),
        }
    }

    /// An object of type `ty`; `None` for null.
    fn object<S: Source>(&mut self, ty: TypeId, source: &mut S) -> Walked<Option<Value>> {
        let one = self.facts.get(ty);
        match source.next()? {
            Token::Null => Ok(None),
            Token::Object => self.members(one, source).map(Some),
            token => self.refuse(source, &token, &go_name(one.name)),
        }
    }

    fn members<S: Source>(&mut self, one: &'static Type, source: &mut S) -> Walked<Value> {
        let mut members = Map::new();
        let mut seen = 0u128;
        source.members(&mut |source, name| {
            let Some(index) = self.index_of(one, &name) else {
                self.report("unknown", &name);
                return source.skip();
            };
            let again = seen >> index & 1 == 1;
            seen |= 1 << index;
            if again {
                self.report("duplicate", &name);
            }
            let field = &one.fields[index];
            self.path.push(Step::Field { owner: one.name, name: field.name });
            let value = self.field(field, source)?;
            self.path.pop();
            insert(&mut members, field.name.to_owned(), value, again);
            Ok(())
        })?;
        Ok(Value::Object(members))
    }

    fn index_of(&self, one: &Type, name: &str) -> Option<usize> {
        one.index_of(name).or_else(|| match self.reader {
            Reader::Server => None,
            Reader::Client => one.fields.iter().position(|field| field.name.eq_ignore_ascii_case(name)),
        })
    }

    pub(super) fn field<S: Source>(&mut self, field: &Field, source: &mut S) -> Walked<Option<Value>> {
        match field.arity {
            Arity::One => self.one(field.shape, source),
            Arity::List => self.list(field.shape, source),
            Arity::Map => self.map(field.shape, false, source),
            Arity::MapOfList => self.map(field.shape, true, source),
        }
    }

    fn list<S: Source>(&mut self, shape: Shape, source: &mut S) -> Walked<Option<Value>> {
        match source.next()? {
            Token::Null => return Ok(None),
            Token::Array => {}
            token => return self.refuse(source, &token, &format!("[]{}", self.go_type(shape))),
        }
        let mut elements = Vec::new();
        source.elements(&mut |source| {
            self.path.push(Step::Index(elements.len()));
            let element = self.one(shape, source)?;
            self.path.pop();
            elements.push(element.unwrap_or_else(|| zero(shape)));
            Ok(())
        })?;
        Ok(Some(Value::Array(elements)))
    }

    fn map<S: Source>(&mut self, shape: Shape, of_lists: bool, source: &mut S) -> Walked<Option<Value>> {
        match source.next()? {
            Token::Null => return Ok(None),
            Token::Object => {}
            token => {
                let kind = format!("map[string]{}{}", if of_lists { "[]" } else { "" }, self.go_type(shape));
                return self.refuse(source, &token, &kind);
            }
        }
        let mut members = Map::new();
        source.members(&mut |source, name| {
            if members.contains_key(&name) {
                self.report("duplicate", &name);
            }
            // Nothing below a scalar is reported, so its key need not be remembered.
            let remembers = matches!(shape, Shape::Object(_));
            if remembers {
                self.path.push(Step::Key(name.clone()));
            }
            let value = if of_lists { self.list(shape, source)? } else { self.one(shape, source)? };
            if remembers {
                self.path.pop();
            }
            let absent = || if of_lists { Value::Null } else { zero(shape) };
            members.insert(name, value.unwrap_or_else(absent));
            Ok(())
        })?;
        Ok(Some(Value::Object(members)))
    }

    pub(super) fn one<S: Source>(&mut self, shape: Shape, source: &mut S) -> Walked<Option<Value>> {
        match shape {
            Shape::Object(ty) => self.object(ty, source),
            Shape::Any | Shape::FieldsV1 => Ok(Some(self.free(source, false)?).filter(|value| !value.is_null())),
            Shape::SchemaOrArray(ty) | Shape::SchemaOrBool(ty) | Shape::SchemaOrStrings(ty) => self.schema_or(shape, ty, source),
            _ => self.scalar(shape, source),
        }
    }

    /// The forms of JSON schema that are a schema or something simpler; upstream's own decoders report nothing inside.
    fn schema_or<S: Source>(&mut self, shape: Shape, ty: TypeId, source: &mut S) -> Walked<Option<Value>> {
        let outer = std::mem::replace(&mut self.silent, true);
        let token = source.next()?;
        let value = match (&token, shape) {
            (Token::Null, _) => None,
            (Token::Object, _) => Some(self.members(self.facts.get(ty), source)?),
            (Token::Bool(flag), Shape::SchemaOrBool(_)) => Some((*flag).into()),
            (Token::Array, Shape::SchemaOrArray(_)) => {
                let mut schemas = Vec::new();
                source.elements(&mut |source| {
                    schemas.push(self.object(ty, source)?.unwrap_or_else(|| Value::Object(Map::new())));
                    Ok(())
                })?;
                Some(Value::Array(schemas))
            }
            (Token::Array, Shape::SchemaOrStrings(_)) => {
                let mut words = Vec::new();
                source.elements(&mut |source| {
                    words.push(self.scalar(Shape::String, source)?.unwrap_or_else(|| "".into()));
                    Ok(())
                })?;
                Some(Value::Array(words))
            }
            _ => self.refuse(source, &token, &go_name(self.facts.get(ty).name))?,
        };
        self.silent = outer;
        Ok(value)
    }

    fn scalar<S: Source>(&mut self, shape: Shape, source: &mut S) -> Walked<Option<Value>> {
        let token = match source.next()? {
            Token::String(text) if !matches!(shape, Shape::Bool | Shape::Int32 | Shape::Int64 | Shape::Number) => {
                return Ok(self.text(shape, text));
            }
            token => token,
        };
        let value = match (shape, &token) {
            (Shape::String, Token::Bool(flag)) if self.reader == Reader::Client => Some(flag.to_string().into()),
            (Shape::String, Token::Number(number)) if self.reader == Reader::Client => Some(number.text.as_str().into()),
            (Shape::Quantity, Token::Null) => return Ok(Some("0".into())),
            (_, Token::Null) => return Ok(None),
            (Shape::Bool, Token::Bool(flag)) => Some((*flag).into()),
            (Shape::Int32, Token::Number(number)) => number.as_i64().and_then(|wide| i32::try_from(wide).ok()).map(Value::from),
            (Shape::IntOrString, Token::Number(number)) => number.as_i64().and_then(|wide| i32::try_from(wide).ok()).map(Value::from),
            (Shape::Int64, Token::Number(number)) => number.as_i64().map(Value::from),
            (Shape::Number, Token::Number(number)) => number.as_f64().map(go_float),
            (Shape::Quantity, Token::Number(Numeral { text })) => {
                return Ok(self.parsed(quantity::canonical_text(text).map_err(|error| error.0)));
            }
            (Shape::Quantity, _) => {
                source.skip_rest(&token)?;
                return Ok(self.parsed(Err(quantity::NOT_A_QUANTITY.to_owned())));
            }
            _ => None,
        };
        match (value, &token) {
            (Some(value), _) => Ok(Some(value)),
            (None, Token::Number(Numeral { text })) if integer_like(shape) || shape == Shape::Number => {
                self.mismatched(&format!("number {text}"), &self.go_type(shape));
                Ok(None)
            }
            (None, _) => self.refuse(source, &token, &self.go_type(shape)),
        }
    }

    /// A scalar that is written as a string.
    fn text(&mut self, shape: Shape, text: String) -> Option<Value> {
        match shape {
            Shape::String | Shape::IntOrString => Some(text.into()),
            Shape::Quantity => self.parsed(quantity::canonical_text(text.trim()).map_err(|error| error.0)),
            Shape::Time => self.parsed(time::canonical(&text))?.as_str().filter(|text| !text.is_empty()).map(Value::from),
            Shape::MicroTime => self.parsed(time::canonical_micro(&text))?.as_str().filter(|text| !text.is_empty()).map(Value::from),
            Shape::Duration => self.parsed(duration::parse_nanos(&text).map(duration::format_nanos)),
            Shape::Bytes => self.parsed(canonical_base64(&text)),
            _ => Some(text.into()),
        }
    }

    /// Any JSON. Only documents that no schema describes report their duplicates.
    fn free<S: Source>(&mut self, source: &mut S, reporting: bool) -> Walked<Value> {
        Ok(match source.next()? {
            Token::Null => Value::Null,
            Token::Bool(flag) => flag.into(),
            Token::Number(number) => number.to_value(),
            Token::String(text) => text.into(),
            Token::Array => {
                let mut elements = Vec::new();
                source.elements(&mut |source| {
                    self.path.push(Step::Index(elements.len()));
                    elements.push(self.free(source, reporting)?);
                    self.path.pop();
                    Ok(())
                })?;
                Value::Array(elements)
            }
            Token::Object => {
                let mut members = Map::new();
                source.members(&mut |source, name| {
                    if !reporting {
                        members.insert(name, self.free(source, false)?);
                        return Ok(());
                    }
                    if members.contains_key(&name) {
                        self.report("duplicate", &name);
                    }
                    self.path.push(Step::Key(name.clone()));
                    let value = self.free(source, true)?;
                    self.path.pop();
                    members.insert(name, value);
                    Ok(())
                })?;
                Value::Object(members)
            }
        })
    }

    pub(super) fn report(&mut self, what: &str, name: &str) {
        if self.silent || self.reports.len() >= REPORTS_MAX {
            return;
        }
        if self.reader == Reader::Client {
            return self.refuse_field(what, name);
        }
        let mut path = String::new();
        for step in &self.path {
            match step {
                Step::Field { name, .. } => push_name(&mut path, name),
                Step::Key(name) => push_name(&mut path, name),
                Step::Index(index) => write!(path, "[{index}]").expect("writing to memory cannot fail"),
            }
        }
        push_name(&mut path, name);
        let text = format!("{what} field \"{path}\"");
        if self.reported.insert(text.clone()) {
            self.reports.push(text);
        }
    }

    /// A client's decoder ends at a field that nobody knows; a name that comes again, in another case, counts.
    fn refuse_field(&mut self, what: &str, name: &str) {
        if what == "unknown" {
            self.mismatch.get_or_insert_with(|| format!("json: unknown field {name:?}"));
        }
    }

    /// Records that a value is of a wrong type and passes over the rest of it.
    fn refuse<S: Source>(&mut self, source: &mut S, token: &Token, want: &str) -> Walked<Option<Value>> {
        self.mismatched(token.word(), want);
        source.skip_rest(token)?;
        Ok(None)
    }

    pub(super) fn mismatched(&mut self, what: &str, want: &str) {
        if self.mismatch.is_some() {
            return;
        }
        let place = match self.place() {
            Some(place) => format!("struct field {place}"),
            None => "value".to_owned(),
        };
        self.mismatch = Some(format!("json: cannot unmarshal {what} into Go {place} of type {want}"));
    }

    /// `PodSpec.spec.activeDeadlineSeconds`: the Go struct that holds the field, then the names on the way, those of embedded
    /// structs among them.
    fn place(&self) -> Option<String> {
        let mut holder = None;
        let mut path = String::new();
        for step in &self.path {
            if let Step::Field { owner, name } = step {
                holder = Some(*owner);
                let owner = self.facts.definition(owner).map(|id| self.facts.get(id));
                let embedding = owner.map(|owner| owner.embedding(name)).unwrap_or_default();
                embedding.iter().chain([name]).for_each(|name| push_name(&mut path, name));
            }
        }
        holder.map(|owner| format!("{}.{path}", owner.rsplit('.').next().unwrap_or(owner)))
    }

    /// The value of a parsed text, or its parser's own sentence as the answer.
    fn parsed(&mut self, result: Result<String, String>) -> Option<Value> {
        match result {
            Ok(text) => Some(text.into()),
            Err(error) => {
                self.mismatch.get_or_insert(error);
                None
            }
        }
    }

    fn go_type(&self, shape: Shape) -> String {
        match shape {
            Shape::Int32 | Shape::IntOrString => "int32".into(),
            Shape::Int64 => "int64".into(),
            Shape::Number => "float64".into(),
            Shape::Bool => "bool".into(),
            Shape::Bytes => "[]uint8".into(),
            Shape::Any | Shape::FieldsV1 => "runtime.RawExtension".into(),
            Shape::Object(ty) | Shape::SchemaOrArray(ty) | Shape::SchemaOrBool(ty) | Shape::SchemaOrStrings(ty) => {
                go_name(self.facts.get(ty).name)
            }
            Shape::Quantity => "resource.Quantity".into(),
            Shape::String | Shape::Time | Shape::MicroTime | Shape::Duration => "string".into(),
        }
    }
}

fn integer_like(shape: Shape) -> bool {
    matches!(shape, Shape::Int32 | Shape::Int64 | Shape::IntOrString)
}

/// A float64 as Go prints it again: a whole one has no fraction.
fn go_float(float: f64) -> Value {
    if float.fract() == 0.0 && float.abs() < 1e15 { (float as i64).into() } else { float.into() }
}

/// `v1.Pod` of `io.k8s.api.core.v1.Pod`.
pub(super) fn go_name(definition: &str) -> String {
    let mut parts = definition.rsplitn(3, '.');
    let (name, package) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    format!("{package}.{name}")
}

fn push_name(path: &mut String, name: &str) {
    if !path.is_empty() {
        path.push('.');
    }
    path.push_str(name);
}

/// Sets a member. One given twice is read into the same Go struct upstream, so objects run together.
fn insert(members: &mut Map<String, Value>, name: String, value: Option<Value>, again: bool) {
    let Some(value) = value else { return };
    match (members.get_mut(&name), value) {
        (Some(Value::Object(old)), Value::Object(new)) if again => {
            for (name, value) in new {
                insert(old, name, Some(value), true);
            }
        }
        (_, value) => {
            members.insert(name, value);
        }
    }
}

/// What a null stands for inside of a list or map.
pub(super) fn zero(shape: Shape) -> Value {
    match shape {
        Shape::String | Shape::Bytes => "".into(),
        Shape::Int32 | Shape::Int64 | Shape::Number | Shape::IntOrString => 0.into(),
        Shape::Bool => false.into(),
        Shape::Quantity => "0".into(),
        Shape::Duration => "0s".into(),
        Shape::Object(_) => Value::Object(Map::new()),
        Shape::Time | Shape::MicroTime | Shape::Any | Shape::FieldsV1 => Value::Null,
        Shape::SchemaOrArray(_) | Shape::SchemaOrBool(_) | Shape::SchemaOrStrings(_) => Value::Null,
    }
}

/// Checks base64 as Go reads it: line breaks inside are passed over.
fn canonical_base64(text: &str) -> Result<String, String> {
    let joined: String;
    let text = if text.contains(['\r', '\n']) {
        joined = text.replace(['\r', '\n'], "");
        &joined
    } else {
        text
    };
    match BASE64.decode(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(format!("illegal base64 data at input byte {}", base64_error_at(&error, text))),
    }
}

/// Where Go says that a text is no base64 any more.
pub fn base64_error_at(error: &base64::DecodeError, text: &str) -> usize {
    match error {
        base64::DecodeError::InvalidByte(at, _) | base64::DecodeError::InvalidLastSymbol(at, _) => *at,
        base64::DecodeError::InvalidLength(_) | base64::DecodeError::InvalidPadding => text.len() / 4 * 4,
    }
}
