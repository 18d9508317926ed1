//! What expressions of a template are about: parts of documents, and nothing.

use std::borrow::Cow;

use schema::{Value as Document, go};

/// A value, or that there is none.
#[derive(Clone, Debug, PartialEq)]
pub struct Value<'a> {
    held: Option<Cow<'a, Document>>,
    /// Go's static type is `interface {}`: what was taken out of a map or list.
    pub(crate) boxed: bool,
    /// Go's `int`, rather than a document's `int64`.
    int: bool,
}

impl<'a> Value<'a> {
    /// Nothing: what a missing member is.
    pub const MISSING: Self = Self { held: None, boxed: false, int: false };

    /// A null that is there.
    pub(crate) const NIL: Self = Self { held: Some(Cow::Owned(Document::Null)), boxed: true, int: false };

    pub fn of(document: Document) -> Self {
        Self { held: Some(Cow::Owned(document)), boxed: false, int: false }
    }

    pub fn text(text: impl Into<String>) -> Self {
        Self::of(Document::String(text.into()))
    }

    pub(crate) fn int(number: usize) -> Self {
        Self { int: true, ..Self::of(number.into()) }
    }

    pub(crate) fn constant(number: &'a Document) -> Self {
        Self { int: !number.is_f64(), ..Self::within(number) }
    }

    /// A document as a whole.
    pub(crate) fn within(document: &'a Document) -> Self {
        Self { held: Some(Cow::Borrowed(document)), boxed: false, int: false }
    }

    /// A part of a map or list.
    pub(crate) fn part(document: &'a Document) -> Self {
        Self { boxed: true, ..Self::within(document) }
    }

    /// As a pipeline gives it: what is nil is nothing.
    pub(crate) fn settled(self) -> Self {
        if self.document().is_null() { Self::MISSING } else { Self { boxed: false, ..self } }
    }

    /// Null where there is nothing.
    pub fn document(&self) -> &Document {
        self.held.as_deref().unwrap_or(&Document::Null)
    }

    pub fn is_missing(&self) -> bool {
        self.held.is_none()
    }

    /// Missing, or nil.
    pub(crate) fn is_nothing(&self) -> bool {
        self.document().is_null()
    }

    /// A member of a map.
    pub(crate) fn member(&self, name: &str) -> Option<Self> {
        match self.held.as_ref()? {
            Cow::Borrowed(document) => document.as_object()?.get(name).map(Self::part),
            Cow::Owned(document) => document.as_object()?.get(name).map(|member| Self { boxed: true, ..Self::of(member.clone()) }),
        }
    }

    /// An item of a list.
    pub(crate) fn item(&self, at: usize) -> Option<Self> {
        match self.held.as_ref()? {
            Cow::Borrowed(document) => document.as_array()?.get(at).map(Self::part),
            Cow::Owned(document) => document.as_array()?.get(at).map(|item| Self { boxed: true, ..Self::of(item.clone()) }),
        }
    }

    /// Whether it is more than the zero of its type.
    pub(crate) fn is_true(&self) -> bool {
        match self.document() {
            Document::Null => false,
            Document::Bool(flag) => *flag,
            Document::Number(number) => number.as_f64() != Some(0.0),
            Document::String(text) => !text.is_empty(),
            Document::Array(items) => !items.is_empty(),
            Document::Object(members) => !members.is_empty(),
        }
    }

    /// Go's name of its type.
    pub(crate) fn type_name(&self) -> &'static str {
        match self.document() {
            Document::Null => "<nil>",
            Document::Number(_) if self.int => "int",
            other => go::type_of(other),
        }
    }

    /// As an action prints it.
    pub(crate) fn printed(&self) -> String {
        if self.is_missing() { "<no value>".into() } else { go::plain(self.document()) }
    }
}
