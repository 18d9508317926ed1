//! What the kinds of devices share: names, selectors, configuration, taints and tolerations.

use schema::{DocExt, FieldErrors, Path, Value, names};

use crate::core::pod::defaults::default_text;
use crate::core::pod::rules::volumes;
use crate::expressions::Compiler;
use crate::kind::same;
use crate::rules::{dns_subdomain, each, is_given, not_supported, one_of, one_of_if_set, qualified_name, sub};

const POOL_BYTES_MAX: usize = 253;
const IDENTIFIER_BYTES_MAX: usize = 32;
const EXPRESSION_BYTES_MAX: usize = 10 * 1024;
const PARAMETERS_BYTES_MAX: usize = 10 * 1024;
const SELECTORS_MAX: usize = 32;
const EFFECTS: &[&str] = &["NoExecute", "NoSchedule", "None"];

/// Each element checked, and not too many of them.
pub(super) fn list(items: &[Value], max: usize, path: &Path, errors: &mut FieldErrors, check: impl Fn(&Value, &Path, &mut FieldErrors)) {
    for (at, item) in items.iter().enumerate() {
        check(item, &path.index(at), errors);
    }
    if items.len() > max {
        errors.too_many(path, items.len(), max);
    }
}

/// No two elements with the same value of a member; `""` compares the elements themselves.
pub(super) fn unique(items: &[Value], member: &str, path: &Path, errors: &mut FieldErrors) {
    let key = |item: &Value| if member.is_empty() { item.clone() } else { sub(item, member).clone() };
    for (at, item) in items.iter().enumerate().filter(|(at, item)| items[..*at].iter().any(|before| key(before) == key(item))) {
        let path = if member.is_empty() { path.index(at) } else { path.index(at).child(member) };
        errors.duplicate(&path, key(item));
    }
}

/// Subdomains with slashes between them.
pub(super) fn pool_name(name: &str, path: &Path, errors: &mut FieldErrors) {
    if name.is_empty() {
        return errors.required(path, "");
    }
    if name.len() > POOL_BYTES_MAX {
        errors.too_long(path, POOL_BYTES_MAX);
    }
    name.split('/').for_each(|part| dns_subdomain(part, path, errors));
}

/// The driver's name; a domain.
pub(super) fn driver_name(name: &str, path: &Path, errors: &mut FieldErrors) {
    volumes::driver_name(name, path, errors);
}

/// `name` or `domain/name` of an attribute or capacity.
pub(super) fn attribute_name(name: &str, path: &Path, errors: &mut FieldErrors) {
    let identifier = |text: &str, errors: &mut FieldErrors| {
        if text.len() > IDENTIFIER_BYTES_MAX {
            errors.too_long(path, IDENTIFIER_BYTES_MAX);
        }
        for wrong in names::is_c_identifier(text) {
            errors.add(path, schema::field::Reason::TypeInvalid, format!("Invalid value: {:?}: {wrong}", text));
        }
    };
    match name.split('/').collect::<Vec<_>>().as_slice() {
        [""] => errors.required(path, "name required"),
        [one] => identifier(one, errors),
        [domain, one] => {
            match *domain {
                "" => errors.required(path, "the domain must not be empty"),
                domain => driver_name(domain, path, errors),
            }
            match *one {
                "" => errors.required(path, "the name must not be empty"),
                one => identifier(one, errors),
            }
        }
        _ => {}
    }
}

/// As [`attribute_name`], with a domain.
pub(super) fn full_attribute_name(name: &str, path: &Path, errors: &mut FieldErrors) {
    attribute_name(name, path, errors);
    if !name.is_empty() && !name.contains('/') {
        errors.invalid(path, name, "must include a domain");
    }
}

/// Which devices fit; not compiled again where they are as they were.
pub(super) fn selectors(selectors: &[Value], is_stored: bool, path: &Path, errors: &mut FieldErrors) {
    list(selectors, SELECTORS_MAX, path, errors, |selector, path, errors| {
        if !is_given(selector, "cel") {
            return errors.required(&path.child("cel"), "");
        }
        let (text, path) = (selector.str_at("cel.expression"), path.child("cel.expression"));
        if text.len() > EXPRESSION_BYTES_MAX {
            errors.too_long(&path, EXPRESSION_BYTES_MAX);
        } else if !is_stored {
            Compiler::default().check_selector(text, &path, errors);
        }
    });
}

/// What a driver is told: its own object.
pub(super) fn configuration(config: &Value, is_stored: bool, path: &Path, errors: &mut FieldErrors) {
    let (opaque, path) = (sub(config, "opaque"), path.child("opaque"));
    if opaque.is_null() {
        return errors.required(&path, "");
    }
    driver_name(opaque.str_at("driver"), &path.child("driver"), errors);
    raw(opaque.at("parameters"), is_stored, &path.child("parameters"), errors);
}

/// A JSON object that is not too long.
pub(super) fn raw(given: Option<&Value>, is_stored: bool, path: &Path, errors: &mut FieldErrors) {
    match given {
        None | Some(Value::Null) => errors.required(path, ""),
        Some(value) if !is_stored && value.to_string().len() > PARAMETERS_BYTES_MAX => errors.too_long(path, PARAMETERS_BYTES_MAX),
        Some(Value::Object(_)) => {}
        Some(_) => errors.invalid(path, "<value omitted>", "parameters must be a valid JSON object"),
    }
}

pub(super) fn taint(taint: &Value, path: &Path, errors: &mut FieldErrors) {
    qualified_name(taint.str_at("key"), &path.child("key"), errors);
    if !taint.str_at("value").is_empty() {
        each(&path.child("value"), taint.str_at("value"), names::is_label_value(taint.str_at("value")), errors);
    }
    one_of(taint, "effect", EFFECTS, path, errors);
}

pub(super) fn toleration(toleration: &Value, path: &Path, errors: &mut FieldErrors) {
    let (key, value) = (toleration.str_at("key"), toleration.str_at("value"));
    if !key.is_empty() {
        qualified_name(key, &path.child("key"), errors);
    }
    match toleration.str_at("operator") {
        "Exists" if !value.is_empty() => errors.invalid(&path.child("value"), value, "must be empty for operator `Exists`"),
        "Exists" => {}
        "Equal" => each(&path.child("value"), value, names::is_label_value(value), errors),
        "" => errors.required(&path.child("operator"), ""),
        other => not_supported(&path.child("operator"), &other.into(), &["Equal", "Exists"], errors),
    }
    if !toleration.str_at("effect").is_empty() {
        one_of_if_set(toleration, "effect", EFFECTS, path, errors);
    }
}

/// A taint is of now where nobody says since when.
pub(super) fn stamp(taint: &mut Value, now: &str) {
    if taint.is_object() {
        default_text(taint, "timeAdded", now);
    }
}

/// `field is immutable` at the spec.
pub(super) fn spec_stays(new: &Value, old: &Value, errors: &mut FieldErrors) {
    if !same(sub(new, "spec"), sub(old, "spec")) {
        errors.invalid(&Path::new("spec"), sub(new, "spec").clone(), "field is immutable");
    }
}
