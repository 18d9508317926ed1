//! Values against their schema. The walk, the words and the order are those of the original's validator, which collects
//! everything and counts how much matched: of alternatives that all fail, the one that matched most is told.

use std::collections::HashMap;

use super::{Limits, Rest, Structural, formats};
use crate::facts::ListType;
use crate::field::{FieldErrors, Path, Reason};
use crate::{Map, Value};

impl Structural {
    /// All errors of `value`, which stands at `base` (the root: [`Path::root`]). Errors that upstream cannot place print `<nil>`.
    pub fn validate(&self, value: &Value, base: &Path, errors: &mut FieldErrors) {
        self.validate_change(value, None, base, errors);
    }

    /// As [`Self::validate`], for a value that was `old`: what is wrong with a part that did not change is let pass. Items are
    /// followed by the keys of their list; those of other lists not at all.
    pub fn validate_change(&self, value: &Value, old: Option<&Value>, base: &Path, errors: &mut FieldErrors) {
        let judged = |old: Option<&Value>| {
            let mut found = Outcome::default();
            self.judge(value, old, "", &mut found);
            found
        };
        let mut found = judged(None);
        if old.is_some() && !found.is_good() {
            found = judged(old); // most changes are good: nobody has to look for what was before
        }
        for fault in found.faults {
            let name = fault.name.trim_start_matches('.');
            let place = match (name.is_empty(), base == &Path::root()) {
                (false, _) => base.child(name),
                (true, false) => base.clone(),
                (true, true) => nowhere(),
            };
            errors.add(&place, fault.reason, fault.message);
        }
    }

    fn judge(&self, value: &Value, old: Option<&Value>, name: &str, out: &mut Outcome) {
        let before = out.faults.len();
        self.judge_here(value, old, name, out);
        if out.faults.len() > before && old == Some(value) {
            out.faults.truncate(before);
        }
    }

    fn judge_here(&self, value: &Value, old: Option<&Value>, name: &str, out: &mut Outcome) {
        out.matched += 1;
        self.judge_type(value, name, out);
        if let Some(limits) = self.limits.as_deref() {
            if !value.is_null() {
                limits.judge_alternatives(value, name, out);
            }
            limits.judge_scalar(self, value, name, out);
        } else if value.is_number() {
            judge_range(self, "", value, name, out);
        }
        match value {
            Value::Array(items) => self.judge_items(items, old, name, out),
            Value::Object(members) => self.judge_members(members, old, name, out),
            _ => {}
        }
    }

    fn format(&self) -> &str {
        self.limits.as_deref().map(|limits| &*limits.format).unwrap_or_default()
    }

    /// The types that are allowed here, as messages list them.
    fn types(&self) -> &'static str {
        if self.int_or_string { "integer,string" } else { self.ty.as_str() }
    }

    fn allows(&self, ty: &str) -> bool {
        if self.int_or_string { matches!(ty, "integer" | "string") } else { self.ty.as_str() == ty }
    }

    fn judge_type(&self, value: &Value, name: &str, out: &mut Outcome) {
        let (found, found_format) = sort_of(value);
        let format = known(self.format());
        if self.types().is_empty() && format.is_empty() {
            return;
        }
        if value.is_null() {
            if !self.types().is_empty() && !self.nullable {
                out.mistyped(name, self.types(), "null");
            }
            return;
        }
        let whole = found == "number" && value.as_f64().is_some_and(is_whole) && self.allows("integer");
        let widened = found == "integer" && self.allows("number");
        let is_text = matches!(value, Value::String(_) | Value::Array(_));
        let fits = self.allows(found) || found_format == format || whole || widened;
        if !is_text && !format.is_empty() && !fits {
            return out.mistyped(name, format, found_format);
        }
        let numeric = self.allows("number") || self.allows("integer");
        if is_text && !numeric && !format.is_empty() {
            return; // the format decides, and of a list nobody asks it
        }
        if !(self.types().is_empty() || self.allows(found) || whole || widened) {
            out.mistyped(name, self.types(), found);
        }
    }

    fn judge_items(&self, items: &[Value], old: Option<&Value>, name: &str, out: &mut Outcome) {
        if let Some(schema) = &self.items {
            let old = old.and_then(Value::as_array).filter(|_| self.list_type == ListType::Map);
            let known: HashMap<String, &Value> = old.into_iter().flatten().map(|item| (self.identity(item), item)).collect();
            let before = |item: &Value| if known.is_empty() { None } else { known.get(&self.identity(item)).copied() };
            items.iter().enumerate().for_each(|(at, item)| schema.judge(item, before(item), &format!("{name}[{at}]"), out));
        }
        let Some(limits) = self.limits.as_deref() else { return };
        let size = items.len() as u64;
        if let Some(min) = limits.min_items.filter(|min| size < *min) {
            out.add(name, Reason::Invalid, format!("Invalid value: {size}: {name} in body should have at least {min} items"));
        }
        if let Some(max) = limits.max_items.filter(|max| size > *max) {
            out.add(name, Reason::TooMany, too_many(size, max));
        }
        if limits.unique_items && items.iter().enumerate().any(|(at, item)| items[..at].contains(item)) {
            out.add(name, Reason::Invalid, format!("Invalid value: \"\": {name} in body shouldn't contain duplicates"));
        }
    }

    /// What tells an item of a list with keys from the others.
    fn identity(&self, item: &Value) -> String {
        let default = |key: &str| self.items.as_ref()?.property(key)?.default.as_ref();
        let key = |key: &str| item.get(key).or_else(|| default(key)).map(ToString::to_string).unwrap_or_default();
        self.list_keys.iter().map(|one| key(one)).collect::<Vec<_>>().join("\u{0}")
    }

    fn judge_members(&self, members: &Map<String, Value>, old: Option<&Value>, name: &str, out: &mut Outcome) {
        if let Some(limits) = self.limits.as_deref() {
            let size = members.len() as u64;
            if let Some(min) = limits.min_properties.filter(|min| size < *min) {
                let why = format!("Invalid value: {size}: {name} in body should have at least {min} properties");
                return out.add(name, Reason::Invalid, why);
            }
            if let Some(max) = limits.max_properties.filter(|max| size > *max) {
                return out.add(name, Reason::TooMany, too_many(size, max));
            }
        }
        for (key, value) in members {
            let below = || format!("{name}.{key}");
            // Both objects were converted to one version: whether its name changed is not known.
            let old = old.and_then(|old| old.get(key)).filter(|_| !(name.is_empty() && matches!(key.as_str(), "apiVersion" | "kind")));
            match (self.property(key), &self.rest) {
                (Some(schema), _) => schema.judge(value, old, &if name.is_empty() { key.clone() } else { below() }, out),
                (None, Rest::Of(schema)) => schema.judge(value, old, below().trim_start_matches('.'), out),
                _ => {}
            }
        }
        for required in self.limits.iter().flat_map(|limits| &limits.required).filter(|one| !members.contains_key(&***one)) {
            out.add(&format!("{name}.{required}"), Reason::Required, "Required value".into());
        }
    }
}

impl Limits {
    /// `anyOf`, `oneOf`, `allOf`, `not`.
    fn judge_alternatives(&self, value: &Value, name: &str, out: &mut Outcome) {
        let tried = |schemas: &[Structural]| -> Vec<Outcome> {
            let one = |schema: &Structural| {
                let mut outcome = Outcome::default();
                schema.judge(value, None, name, &mut outcome);
                outcome
            };
            schemas.iter().map(one).collect()
        };
        let best = |outcomes: Vec<Outcome>| {
            outcomes.into_iter().reduce(|best, next| if next.matched > best.matched { next } else { best }).unwrap_or_default()
        };
        if !self.any_of.is_empty() {
            let outcomes = tried(&self.any_of);
            if outcomes.iter().all(|outcome| !outcome.is_good()) {
                out.nowhere(format!("{name:?} must validate at least one schema (anyOf)"));
                out.merge(best(outcomes));
            }
        }
        if !self.one_of.is_empty() {
            let outcomes = tried(&self.one_of);
            match outcomes.iter().filter(|outcome| outcome.is_good()).count() {
                1 => {}
                0 => {
                    out.nowhere(format!("{name:?} must validate one and only one schema (oneOf). Found none valid"));
                    out.merge(best(outcomes));
                }
                many => out.nowhere(format!("{name:?} must validate one and only one schema (oneOf). Found {many} valid alternatives")),
            }
        }
        if !self.all_of.is_empty() {
            let outcomes = tried(&self.all_of);
            let good = outcomes.iter().filter(|outcome| outcome.is_good()).count();
            let count = outcomes.len();
            outcomes.into_iter().for_each(|outcome| out.merge(outcome));
            if good != count {
                let none = if good == 0 { ". None validated" } else { "" };
                out.nowhere(format!("{name:?} must validate all the schemas (allOf){none}"));
            }
        }
        if self.not.as_ref().is_some_and(|schema| tried(std::slice::from_ref(schema)).iter().all(Outcome::is_good)) {
            out.nowhere(format!("{name:?} must not validate the schema (not)"));
        }
    }

    fn judge_scalar(&self, schema: &Structural, value: &Value, name: &str, out: &mut Outcome) {
        match value {
            Value::String(text) => self.judge_text(text, name, out),
            Value::Number(_) => {
                judge_range(schema, &self.format, value, name, out);
                self.judge_number(value, name, out);
            }
            _ => {}
        }
        if !self.enumeration.is_empty() && !self.enumeration.iter().any(|allowed| equal(allowed, value)) {
            let allowed: Vec<String> = self.enumeration.iter().map(quoted).collect();
            let why = format!("Unsupported value: {value}: supported values: {}", allowed.join(", "));
            out.add(name, Reason::NotSupported, why);
        }
    }

    fn judge_text(&self, text: &str, name: &str, out: &mut Outcome) {
        let length = text.chars().count() as u64;
        let value = || Value::from(text);
        if let Some(max) = self.max_length.filter(|max| length > *max) {
            out.add(name, Reason::TooLong, format!("Too long: may not be more than {max} bytes"));
        } else if let Some(min) = self.min_length.filter(|min| length < *min) {
            out.add(name, Reason::Invalid, format!("Invalid value: {}: {name} in body should be at least {min} chars long", value()));
        } else if let Some(pattern) = self.pattern.as_ref().filter(|pattern| !pattern.is_match(text)) {
            out.add(name, Reason::Invalid, format!("Invalid value: {}: {name} in body should match '{}'", value(), pattern.source));
        }
        if !formats::holds(&self.format, text) {
            out.mistyped(name, &self.format, text);
        }
    }

    fn judge_number(&self, value: &Value, name: &str, out: &mut Outcome) {
        let number = value.as_f64().unwrap_or_default();
        let mut bad = |why: String| out.add(name, Reason::Invalid, format!("Invalid value: {}: {why}", go_number(value)));
        if let Some(factor) = self.multiple_of {
            // An integer is divided by the integer part of the factor.
            let (must_be_positive, is_multiple) = match value.as_i64() {
                Some(whole) => (factor as i64 <= 0, factor as i64 > 0 && whole % (factor as i64) == 0),
                None => (factor < 0.0, is_whole(if factor < 1.0 { 1.0 / factor * number } else { number / factor })),
            };
            let shown = if value.is_i64() { (factor as i64).to_string() } else { factor.to_string() };
            if must_be_positive {
                bad(format!("factor MultipleOf declared for {name} must be positive: {shown}"));
            } else if !is_multiple {
                bad(format!("{name} in body should be a multiple of {shown}"));
            }
        }
        if let Some(max) = self.maximum.filter(|max| number > *max || self.exclusive_maximum && number == *max) {
            let or_equal = if self.exclusive_maximum { "" } else { " or equal to" };
            bad(format!("{name} in body should be less than{or_equal} {max}"));
        }
        if let Some(min) = self.minimum.filter(|min| number < *min || self.exclusive_minimum && number == *min) {
            let or_equal = if self.exclusive_minimum { "" } else { " or equal to" };
            bad(format!("{name} in body should be greater than{or_equal} {min}"));
        }
    }
}

/// Whether a number is within the range of its type and format; told without a place.
fn judge_range(schema: &Structural, format: &str, value: &Value, name: &str, out: &mut Outcome) {
    let first = if schema.int_or_string { "integer" } else { schema.ty.as_str() };
    if first != "integer" || fits(value, format) {
        return;
    }
    let which = if format.is_empty() { "(default format)".to_owned() } else { format!("with format {format}") };
    out.nowhere(format!("Checked value must be of type {first} {which} in {name}"));
}

fn fits(value: &Value, format: &str) -> bool {
    let whole = match value.as_i64() {
        Some(whole) => Some(whole),
        None => value.as_f64().filter(|number| number.fract() == 0.0 && number.abs() < 9.2e18).map(|number| number as i64),
    };
    whole.is_some_and(|whole| format != "int32" || i32::try_from(whole).is_ok())
}

/// Type and format of a decoded value, as Go's reflection names them.
fn sort_of(value: &Value) -> (&'static str, &'static str) {
    match value {
        Value::Null => ("null", ""),
        Value::Bool(_) => ("boolean", ""),
        Value::Number(number) if number.is_i64() => ("integer", "int64"),
        Value::Number(_) => ("number", "float64"),
        Value::String(_) => ("string", ""),
        Value::Array(_) => ("array", ""),
        Value::Object(_) => ("object", ""),
    }
}

/// Formats that are not supported count as none.
fn known(format: &str) -> &str {
    const KNOWN: &[&str] = &[
        "bsonobjectid",
        "uri",
        "email",
        "hostname",
        "ipv4",
        "ipv6",
        "cidr",
        "mac",
        "uuid",
        "uuid3",
        "uuid4",
        "uuid5",
        "isbn",
        "isbn10",
        "isbn13",
        "creditcard",
        "ssn",
        "hexcolor",
        "rgbcolor",
        "byte",
        "password",
        "date",
        "duration",
        "datetime",
        "date-time",
        "int32",
        "int64",
        "float",
        "double",
        "k8s-short-name",
        "k8s-long-name",
    ];
    if KNOWN.contains(&format) { format } else { "" }
}

/// Whether a float stands for an integer that JSON keeps exactly.
fn is_whole(number: f64) -> bool {
    const EXACT_MAX: f64 = 9_007_199_254_740_991.0;
    number.is_finite() && number.abs() <= EXACT_MAX && (number - number.round()).abs() <= number.abs().max(1.0) * 1e-9
}

fn equal(allowed: &Value, value: &Value) -> bool {
    allowed == value || matches!((allowed.as_f64(), value.as_f64()), (Some(a), Some(b)) if a == b)
}

fn quoted(allowed: &Value) -> String {
    match allowed {
        Value::String(_) => allowed.to_string(),
        other => Value::from(other.to_string()).to_string(),
    }
}

fn go_number(value: &Value) -> String {
    match value.as_f64() {
        Some(float) if value.is_f64() && float.fract() == 0.0 && float.abs() < 1e15 => (float as i64).to_string(),
        _ => value.to_string(),
    }
}

fn too_many(size: u64, max: u64) -> String {
    let items = if max == 1 { "item" } else { "items" };
    format!("Too many: {size}: must have at most {max} {items}")
}

/// Where upstream has no path to tell.
pub(super) fn nowhere() -> Path {
    Path::new("<nil>")
}

/// What a walk found.
#[derive(Default)]
struct Outcome {
    faults: Vec<Fault>,
    /// How many checks were made: it chooses among failed alternatives.
    matched: usize,
}

struct Fault {
    /// `spec.n`; `""` is told at the root.
    name: String,
    reason: Reason,
    message: String,
}

impl Outcome {
    fn is_good(&self) -> bool {
        self.faults.is_empty()
    }

    fn add(&mut self, name: &str, reason: Reason, message: String) {
        self.faults.push(Fault { name: name.to_owned(), reason, message });
    }

    fn mistyped(&mut self, name: &str, want: &str, found: &str) {
        let found = Value::from(found);
        self.add(name, Reason::TypeInvalid, format!("Invalid value: {found}: {name} in body must be of type {want}: {found}"));
    }

    fn nowhere(&mut self, why: String) {
        self.add("", Reason::Invalid, format!("Invalid value: \"\": {why}"));
    }

    fn merge(&mut self, other: Self) {
        self.faults.extend(other.faults);
        self.matched += other.matched;
    }
}

/// Whether the rules of a schema cannot be asked about a document that has this error.
pub fn blocks_rules(reason: Reason) -> bool {
    matches!(reason, Reason::NotSupported | Reason::Required | Reason::TooLong | Reason::TooMany | Reason::TypeInvalid)
}

/// What is told when the rules of a schema were not asked because of other errors.
pub fn rules_not_asked(errors: &mut FieldErrors) {
    let why = "some validation rules were not checked because the object was invalid; correct the existing errors to complete validation";
    errors.invalid(&nowhere(), Value::Null, why);
}
