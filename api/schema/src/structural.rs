//! The schema of a custom kind, compiled: what decides which members a document keeps, which it is given, and what its
//! values may be. It is to a custom kind what the facts table is to a built-in one.
//!
//! ```text
//! body ─► decode (types of metadata, pruning, field report) ─► fill_defaults ─► … ─► validate (values, list types)
//! ```
//!
//! | module | what |
//! |---|---|
//! | `document` | bodies and stored documents under a schema: metadata, embedded resources, unknown members |
//! | `defaults` | what a document is given, and nulls that mean "absent" |
//! | `validate` | values against their limits, in upstream's words and order |
//! | `embedded` | what embedded resources must say of themselves |
//! | `formats` | what a string's `format` means |
//! | `lists` | items of sets and of lists with keys are there once |
//! | `check` | whether a schema may be used at all: supported, structural, with good defaults |

mod check;
mod defaults;
mod document;
mod embedded;
mod formats;
mod lists;
mod validate;

use std::sync::OnceLock;

use regex::Regex;

pub use self::check::check;
pub use self::document::{head_type, settle_numbers};
pub use self::validate::{blocks_rules, rules_not_asked};
use crate::facts::ListType;
use crate::{Map, Value};

/// A schema or a part of one.
#[derive(Clone, Debug, Default)]
pub struct Structural {
    pub ty: Type,
    pub nullable: bool,
    pub int_or_string: bool,
    /// `x-kubernetes-preserve-unknown-fields`
    pub preserves: bool,
    /// `x-kubernetes-embedded-resource`
    pub embedded: bool,
    pub default: Option<Value>,
    /// Sorted by name.
    pub properties: Vec<(Box<str>, Structural)>,
    pub rest: Rest,
    pub items: Option<Box<Structural>>,
    pub list_type: ListType,
    pub list_keys: Vec<Box<str>>,
    /// It or something below it has `x-kubernetes-validations`.
    pub has_rules: bool,
    /// It or something below it has a default.
    has_defaults: bool,
    limits: Option<Box<Limits>>,
}

/// `type`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Type {
    /// None given: anything.
    #[default]
    Any,
    Object,
    Array,
    String,
    Integer,
    Number,
    Boolean,
}

/// `additionalProperties`.
#[derive(Clone, Debug, Default)]
pub enum Rest {
    #[default]
    Unsaid,
    Free,
    Of(Box<Structural>),
}

/// What values may be. Most places say nothing of it.
#[derive(Clone, Debug, Default)]
struct Limits {
    format: Box<str>,
    maximum: Option<f64>,
    exclusive_maximum: bool,
    minimum: Option<f64>,
    exclusive_minimum: bool,
    multiple_of: Option<f64>,
    max_length: Option<u64>,
    min_length: Option<u64>,
    pattern: Option<Pattern>,
    max_items: Option<u64>,
    min_items: Option<u64>,
    unique_items: bool,
    max_properties: Option<u64>,
    min_properties: Option<u64>,
    required: Vec<Box<str>>,
    enumeration: Vec<Value>,
    all_of: Vec<Structural>,
    any_of: Vec<Structural>,
    one_of: Vec<Structural>,
    not: Option<Structural>,
}

/// A regular expression, compiled when it is first asked for: of a thousand kinds most are never written.
#[derive(Clone, Debug)]
struct Pattern {
    source: Box<str>,
    compiled: OnceLock<Option<Regex>>,
}

/// Bytes that one compiled expression may take.
const PATTERN_BYTES_MAX: usize = 1 << 20;

impl Structural {
    /// Compiles an `openAPIV3Schema`. What it does not know it leaves out: [`check`] has said so when the schema was written.
    pub fn new(schema: &Value) -> Self {
        let flag = |name: &str| schema.get(name) == Some(&Value::Bool(true));
        let properties = map(schema, "properties").map(|(name, one)| (Box::from(name.as_str()), Self::new(one)));
        let mut properties: Vec<(Box<str>, Self)> = properties.collect();
        properties.sort_by(|a, b| a.0.cmp(&b.0));
        let rest = match schema.get("additionalProperties") {
            Some(Value::Bool(true)) => Rest::Free,
            Some(one @ Value::Object(_)) => Rest::Of(Box::new(Self::new(one))),
            _ => Rest::Unsaid,
        };
        let mut compiled = Self {
            ty: Type::of(schema),
            nullable: flag("nullable"),
            int_or_string: flag("x-kubernetes-int-or-string"),
            preserves: flag("x-kubernetes-preserve-unknown-fields"),
            embedded: flag("x-kubernetes-embedded-resource"),
            default: schema.get("default").filter(|value| !value.is_null()).cloned(),
            properties,
            rest,
            items: schema.get("items").filter(|items| items.is_object()).map(|items| Box::new(Self::new(items))),
            list_type: list_type(schema),
            list_keys: texts(schema, "x-kubernetes-list-map-keys"),
            has_rules: schema.get("x-kubernetes-validations").and_then(Value::as_array).is_some_and(|rules| !rules.is_empty()),
            has_defaults: false,
            limits: Limits::of(schema).map(Box::new),
        };
        let below = (compiled.below().any(|one| one.has_defaults), compiled.below().any(|one| one.has_rules));
        compiled.has_defaults = compiled.default.is_some() || below.0;
        compiled.has_rules |= below.1;
        compiled
    }

    pub fn property(&self, name: &str) -> Option<&Self> {
        let at = self.properties.binary_search_by(|(held, _)| (**held).cmp(name)).ok()?;
        Some(&self.properties[at].1)
    }

    fn below(&self) -> impl Iterator<Item = &Self> {
        let rest = match &self.rest {
            Rest::Of(one) => Some(&**one),
            _ => None,
        };
        self.properties.iter().map(|(_, one)| one).chain(self.items.as_deref()).chain(rest)
    }

    /// The place of a member: its own property, or what additional members are.
    fn member(&self, name: &str) -> Option<&Self> {
        self.property(name).or(match &self.rest {
            Rest::Of(one) => Some(one),
            _ => None,
        })
    }
}

impl Type {
    fn of(schema: &Value) -> Self {
        match schema.get("type").and_then(Value::as_str).unwrap_or_default() {
            "object" => Self::Object,
            "array" => Self::Array,
            "string" => Self::String,
            "integer" => Self::Integer,
            "number" => Self::Number,
            "boolean" => Self::Boolean,
            _ => Self::Any,
        }
    }

    /// `""` for any.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Any => "",
            Self::Object => "object",
            Self::Array => "array",
            Self::String => "string",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Boolean => "boolean",
        }
    }
}

impl Limits {
    /// None where the schema limits nothing.
    fn of(schema: &Value) -> Option<Self> {
        let number = |name: &str| schema.get(name).and_then(Value::as_f64);
        let count = |name: &str| schema.get(name).and_then(Value::as_u64);
        let flag = |name: &str| schema.get(name) == Some(&Value::Bool(true));
        let many = |name: &str| schema.get(name).and_then(Value::as_array).into_iter().flatten().map(Structural::new).collect();
        let text = |name: &str| schema.get(name).and_then(Value::as_str).unwrap_or_default();
        let limits = Self {
            format: text("format").into(),
            maximum: number("maximum"),
            exclusive_maximum: flag("exclusiveMaximum"),
            minimum: number("minimum"),
            exclusive_minimum: flag("exclusiveMinimum"),
            multiple_of: number("multipleOf"),
            max_length: count("maxLength"),
            min_length: count("minLength"),
            pattern: Some(text("pattern")).filter(|pattern| !pattern.is_empty()).map(Pattern::new),
            max_items: count("maxItems"),
            min_items: count("minItems"),
            unique_items: flag("uniqueItems"),
            max_properties: count("maxProperties"),
            min_properties: count("minProperties"),
            required: texts(schema, "required"),
            enumeration: schema.get("enum").and_then(Value::as_array).cloned().unwrap_or_default(),
            all_of: many("allOf"),
            any_of: many("anyOf"),
            one_of: many("oneOf"),
            not: schema.get("not").filter(|not| not.is_object()).map(Structural::new),
        };
        LIMITING.iter().any(|name| schema.get(name).is_some()).then_some(limits)
    }
}

/// The members of a schema that limit values.
const LIMITING: &[&str] = &[
    "format",
    "maximum",
    "minimum",
    "multipleOf",
    "maxLength",
    "minLength",
    "pattern",
    "maxItems",
    "minItems",
    "uniqueItems",
    "maxProperties",
    "minProperties",
    "required",
    "enum",
    "allOf",
    "anyOf",
    "oneOf",
    "not",
];

impl Pattern {
    fn new(source: &str) -> Self {
        Self { source: source.into(), compiled: OnceLock::new() }
    }

    /// Whether the text matches somewhere; an expression that cannot be compiled matches nothing.
    fn is_match(&self, text: &str) -> bool {
        self.compiled.get_or_init(|| compile(&self.source).ok()).as_ref().is_some_and(|regex| regex.is_match(text))
    }
}

fn compile(source: &str) -> Result<Regex, regex::Error> {
    regex::RegexBuilder::new(source).size_limit(PATTERN_BYTES_MAX).build()
}

fn list_type(schema: &Value) -> ListType {
    match schema.get("x-kubernetes-list-type").and_then(Value::as_str) {
        Some("set") => ListType::Set,
        Some("map") => ListType::Map,
        _ => ListType::Atomic,
    }
}

fn texts(schema: &Value, name: &str) -> Vec<Box<str>> {
    schema.get(name).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).map(Box::from).collect()
}

fn map<'a>(schema: &'a Value, name: &str) -> impl Iterator<Item = (&'a String, &'a Value)> {
    schema.get(name).and_then(Value::as_object).into_iter().flat_map(Map::iter)
}
