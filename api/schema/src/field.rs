//! Field paths and the errors of validation, in upstream's words (`apimachinery/pkg/util/validation/field`).

use std::fmt;

use crate::Value;

/// A place in a document, as upstream prints it: `spec.containers[0].ports[1].name`, `metadata.labels[app]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Path(String);

impl Path {
    /// The path of one member below the root.
    pub fn new(name: &str) -> Self {
        Self(name.to_owned())
    }

    /// The document itself; prints as nothing.
    pub fn root() -> Self {
        Self::default()
    }

    /// A member below this one; a dotted `name` names several steps.
    #[must_use]
    pub fn child(&self, name: &str) -> Self {
        if self.0.is_empty() { Self::new(name) } else { Self(format!("{}.{name}", self.0)) }
    }

    /// An element of this list.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        Self(format!("{}[{index}]", self.0))
    }

    /// An entry of this map.
    #[must_use]
    pub fn key(&self, key: &str) -> Self {
        Self(format!("{}[{key}]", self.0))
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The sort of a field error; `reason()` is what a `StatusCause` carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    Required,
    Invalid,
    NotSupported,
    Duplicate,
    Forbidden,
    NotFound,
    TooLong,
    TooMany,
    TypeInvalid,
    Internal,
}

impl Reason {
    /// The word in `causes[].reason`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Required => "FieldValueRequired",
            Self::Invalid => "FieldValueInvalid",
            Self::NotSupported => "FieldValueNotSupported",
            Self::Duplicate => "FieldValueDuplicate",
            Self::Forbidden => "FieldValueForbidden",
            Self::NotFound => "FieldValueNotFound",
            Self::TooLong => "FieldValueTooLong",
            Self::TooMany => "FieldValueTooMany",
            Self::TypeInvalid => "FieldValueTypeInvalid",
            Self::Internal => "InternalError",
        }
    }
}

/// One thing wrong with a document.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldError {
    pub path: Path,
    pub reason: Reason,
    /// Everything after `path: `, e.g. `Required value: must specify a name`.
    pub message: String,
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.message)
    }
}

/// What validation found, in the order found. Validation never stops at the first error.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FieldErrors(pub Vec<FieldError>);

impl FieldErrors {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// `Required value[: detail]`
    pub fn required(&mut self, path: &Path, detail: &str) {
        self.add(path, Reason::Required, with_detail("Required value", detail));
    }

    /// `Invalid value: <value>: detail`; the value prints as JSON.
    pub fn invalid(&mut self, path: &Path, value: impl Into<Value>, detail: &str) {
        self.add(path, Reason::Invalid, with_detail(&format!("Invalid value: {}", value.into()), detail));
    }

    /// `Unsupported value: "x": supported values: "a", "b"`; upstream sorts the supported values.
    pub fn not_supported(&mut self, path: &Path, value: impl Into<Value>, supported: &[&str]) {
        let mut supported: Vec<String> = supported.iter().map(|one| format!("{one:?}")).collect();
        supported.sort();
        let detail = format!("supported values: {}", supported.join(", "));
        self.add(path, Reason::NotSupported, with_detail(&format!("Unsupported value: {}", value.into()), &detail));
    }

    /// `Duplicate value: <value>`
    pub fn duplicate(&mut self, path: &Path, value: impl Into<Value>) {
        self.add(path, Reason::Duplicate, format!("Duplicate value: {}", value.into()));
    }

    /// `Forbidden: detail`
    pub fn forbidden(&mut self, path: &Path, detail: &str) {
        self.add(path, Reason::Forbidden, with_detail("Forbidden", detail));
    }

    /// `Not found: <value>`
    pub fn not_found(&mut self, path: &Path, value: impl Into<Value>) {
        self.add(path, Reason::NotFound, format!("Not found: {}", value.into()));
    }

    /// `Too long: may not be more than N bytes`
    pub fn too_long(&mut self, path: &Path, max_bytes: usize) {
        self.add(path, Reason::TooLong, format!("Too long: may not be more than {max_bytes} bytes"));
    }

    /// `Too many: actual: must have at most N items`
    pub fn too_many(&mut self, path: &Path, actual: usize, max: usize) {
        let items = if max == 1 { "item" } else { "items" };
        self.add(path, Reason::TooMany, format!("Too many: {actual}: must have at most {max} {items}"));
    }

    /// `Invalid value: detail`, for a value that is too large to be told.
    pub fn invalid_omitted(&mut self, path: &Path, detail: &str) {
        self.add(path, Reason::Invalid, with_detail("Invalid value", detail));
    }

    /// An error whose message is already complete.
    pub fn add(&mut self, path: &Path, reason: Reason, message: String) {
        self.0.push(FieldError { path: path.clone(), reason, message });
    }
}

fn with_detail(head: &str, detail: &str) -> String {
    if detail.is_empty() { head.to_owned() } else { format!("{head}: {detail}") }
}
