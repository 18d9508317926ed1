//! Checks that many kinds share, with upstream's words.

pub(crate) mod amounts;
mod conditions;
pub(crate) mod cron;
pub(crate) mod webhook;
pub(crate) mod zones;

use std::net::IpAddr;

use schema::field::Reason;
use schema::{DocExt, FieldErrors, Map, Path, Value, names};

use crate::kind::same;

pub(crate) use conditions::conditions;

pub(crate) const NEGATIVE: &str = "must be greater than or equal to 0";
pub(crate) const NOT_POSITIVE: &str = "must be greater than zero";
const ANNOTATIONS_BYTES_MAX: usize = 256 * 1024;

/// One `Invalid value` for each text of a format check.
pub(crate) fn each(path: &Path, value: impl Into<Value>, texts: Vec<String>, errors: &mut FieldErrors) {
    let value = value.into();
    for text in texts {
        errors.invalid(path, value.clone(), &text);
    }
}

/// `Unsupported value`, with the supported ones in the order given (upstream sorts some lists and not others).
pub(crate) fn not_supported(path: &Path, value: &Value, supported: &[&str], errors: &mut FieldErrors) {
    let listed: Vec<String> = supported.iter().map(|one| format!("{one:?}")).collect();
    let message = format!("Unsupported value: {value}: supported values: {}", listed.join(", "));
    errors.add(path, Reason::NotSupported, message);
}

/// A text that must be one of a few; absent is `Required value`.
pub(crate) fn one_of(parent: &Value, member: &str, supported: &[&str], path: &Path, errors: &mut FieldErrors) {
    match parent.str_at(member) {
        "" => errors.required(&path.child(member), ""),
        text if supported.contains(&text) => {}
        text => not_supported(&path.child(member), &text.into(), supported, errors),
    }
}

/// As [`one_of`], where absent is fine.
pub(crate) fn one_of_if_set(parent: &Value, member: &str, supported: &[&str], path: &Path, errors: &mut FieldErrors) {
    if parent.at(member).is_some_and(|value| !value.is_null()) && !supported.contains(&parent.str_at(member)) {
        not_supported(&path.child(member), &parent.str_at(member).into(), supported, errors);
    }
}

/// `Required value` where a text is empty.
pub(crate) fn required(parent: &Value, member: &str, path: &Path, errors: &mut FieldErrors) {
    if parent.str_at(member).is_empty() {
        errors.required(&path.child(member), "");
    }
}

/// Whole numbers that may not be below zero; absent is fine.
pub(crate) fn non_negative(parent: &Value, members: &[&str], path: &Path, errors: &mut FieldErrors) {
    for member in members {
        if let Some(number) = parent.i64_at(member).filter(|number| *number < 0) {
            errors.invalid(&path.child(member), number, NEGATIVE);
        }
    }
}

pub(crate) fn dns_label(text: &str, path: &Path, errors: &mut FieldErrors) {
    each(path, text, names::is_dns1123_label(text), errors);
}

pub(crate) fn dns_subdomain(text: &str, path: &Path, errors: &mut FieldErrors) {
    each(path, text, names::is_dns1123_subdomain(text), errors);
}

pub(crate) fn qualified_name(text: &str, path: &Path, errors: &mut FieldErrors) {
    each(path, text, names::is_qualified_name(text), errors);
}

/// `must be between 1 and 65535, inclusive`
pub(crate) fn range_text(low: i64, high: i64) -> String {
    format!("must be between {low} and {high}, inclusive")
}

pub(crate) fn in_range(number: i64, low: i64, high: i64, path: &Path, errors: &mut FieldErrors) {
    if !(low..=high).contains(&number) {
        errors.invalid(path, number, &range_text(low, high));
    }
}

pub(crate) fn port_number(number: i64, path: &Path, errors: &mut FieldErrors) {
    in_range(number, 1, 65535, path, errors);
}

/// A port's number or name; absent is number 0.
pub(crate) fn port_number_or_name(port: Option<&Value>, path: &Path, errors: &mut FieldErrors) {
    match port.and_then(Value::as_str) {
        Some(name) => each(path, name, names::is_port_name(name), errors),
        None => port_number(port.and_then(Value::as_i64).unwrap_or_default(), path, errors),
    }
}

pub(crate) fn labels(map: Option<&Map<String, Value>>, path: &Path, errors: &mut FieldErrors) {
    for (key, value) in map.into_iter().flatten() {
        qualified_name(key, path, errors);
        let value = value.as_str().unwrap_or_default();
        each(path, value, names::is_label_value(value), errors);
    }
}

pub(crate) fn annotations(map: Option<&Map<String, Value>>, path: &Path, errors: &mut FieldErrors) {
    let mut bytes = 0;
    for (key, value) in map.into_iter().flatten() {
        each(path, key.as_str(), names::is_qualified_name(&key.to_lowercase()), errors);
        bytes += key.len() + value.as_str().map_or(0, str::len);
    }
    if bytes > ANNOTATIONS_BYTES_MAX {
        errors.too_long(path, ANNOTATIONS_BYTES_MAX);
    }
}

/// An address of either family, or the error.
pub(crate) fn ip(text: &str, path: &Path, errors: &mut FieldErrors) -> Option<IpAddr> {
    let parsed = text.parse().ok();
    if parsed.is_none() {
        errors.invalid(path, text, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)");
    }
    parsed
}

/// An address range of either family.
pub(crate) fn cidr(text: &str, path: &Path, errors: &mut FieldErrors) {
    if text.parse::<ipnet::IpNet>().is_err() {
        errors.invalid(path, text, "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)");
    }
}

/// An address written as shortly as it can be.
pub(crate) fn canonical_ip(text: &str, path: &Path, errors: &mut FieldErrors) {
    let Some(address) = ip(text, path, errors) else { return };
    if matches!(address, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some()) {
        errors.invalid(path, text, "must not be an IPv4-mapped IPv6 address");
    } else if address.to_string() != text {
        errors.invalid(path, text, &format!("must be in canonical form ({:?})", address.to_string()));
    }
}

/// A range written as shortly as it can be, with nothing set behind its mask.
pub(crate) fn canonical_cidr(text: &str, path: &Path, errors: &mut FieldErrors) {
    let Ok(range) = text.parse::<ipnet::IpNet>() else { return cidr(text, path, errors) };
    if matches!(range.addr(), IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some()) {
        errors.invalid(path, text, "must not have an IPv4-mapped IPv6 address");
    } else if range != range.trunc() {
        errors.invalid(path, text, "must not have bits set beyond the prefix length");
    } else if range.to_string() != text {
        errors.invalid(path, text, &format!("must be in canonical form ({:?})", range.to_string()));
    }
}

/// Endpoints and external addresses may not be special ones.
pub(crate) fn non_special_ip(text: &str, path: &Path, errors: &mut FieldErrors) {
    let Ok(address) = text.parse::<IpAddr>() else {
        return errors.invalid(path, text, "must be a valid IP address");
    };
    if address.is_unspecified() {
        errors.invalid(path, text, &format!("may not be unspecified ({text})"));
    }
    if address.is_loopback() {
        errors.invalid(path, text, "may not be in the loopback range (127.0.0.0/8, ::1/128)");
    }
    let (link_local, link_local_multicast) = match address {
        IpAddr::V4(v4) => (v4.is_link_local(), v4.octets()[..3] == [224, 0, 0]),
        IpAddr::V6(v6) => (v6.segments()[0] & 0xffc0 == 0xfe80, v6.segments()[0] & 0xff0f == 0xff02),
    };
    if link_local {
        errors.invalid(path, text, "may not be in the link-local range (169.254.0.0/16, fe80::/10)");
    }
    if link_local_multicast {
        errors.invalid(path, text, "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)");
    }
}

/// No `..` element.
pub(crate) fn no_backsteps(text: &str, path: &Path, errors: &mut FieldErrors) {
    if text.split('/').any(|part| part == "..") {
        errors.invalid(path, text, "must not contain '..'");
    }
}

/// Relative and without `..` elements.
pub(crate) fn local_path(text: &str, path: &Path, errors: &mut FieldErrors) {
    if text.starts_with('/') {
        errors.invalid(path, text, "must be a relative path");
    }
    no_backsteps(text, path, errors);
}

/// As [`local_path`], and no name that opens with `..`, which the volume writer keeps for itself.
pub(crate) fn local_unreserved_path(text: &str, path: &Path, errors: &mut FieldErrors) {
    local_path(text, path, errors);
    if text.starts_with("..") && text != ".." && !text.starts_with("../") {
        errors.invalid(path, text, "must not start with '..'");
    }
}

/// A file mode, where one is given.
pub(crate) fn file_mode(parent: &Value, member: &str, path: &Path, errors: &mut FieldErrors) {
    if let Some(mode) = parent.i64_at(member).filter(|mode| !(0..=0o777).contains(mode)) {
        errors.invalid(&path.child(member), mode, "must be a number between 0 and 0777 (octal), both inclusive");
    }
}

/// Whether a member is there and not null.
pub(crate) fn is_given(parent: &Value, path: &str) -> bool {
    parent.at(path).is_some_and(|value| !value.is_null())
}

/// A value as Go prints one behind a pointer: absent is the text `null`.
pub(crate) fn pointer(value: Option<&Value>) -> Value {
    value.filter(|value| !value.is_null()).cloned().unwrap_or_else(|| "null".into())
}

/// As [`crate::kind::immutable`], where the field is a pointer to something.
pub(crate) fn immutable_pointer(new: &Value, old: &Value, member: &str, path: &Path, errors: &mut FieldErrors) {
    let (new, old) = (new.at(member), old.at(member));
    if !same(new.unwrap_or(&Value::Null), old.unwrap_or(&Value::Null)) {
        errors.invalid(&path.child(member), pointer(new), "field is immutable");
    }
}

/// The value at a path, null where there is none.
pub(crate) fn sub<'a>(doc: &'a Value, path: &str) -> &'a Value {
    doc.at(path).unwrap_or(&Value::Null)
}

/// `example.com/some/path`: a domain and a path.
pub(crate) fn domain_prefixed_path(text: &str, path: &Path, errors: &mut FieldErrors) {
    if text.is_empty() {
        return errors.required(path, "");
    }
    let Some((domain, rest)) = text.split_once('/').filter(|(domain, rest)| !domain.is_empty() && !rest.is_empty()) else {
        return errors.invalid(path, text, "must be a domain-prefixed path (such as \"acme.io/foo\")");
    };
    for wrong in names::is_dns1123_subdomain(domain) {
        errors.invalid(path, domain, &wrong);
    }
    if let Some(wrong) = path_with_wrong_letters(rest) {
        errors.invalid(path, rest, &wrong);
    }
}

/// The letters that a URL's path may hold.
fn path_with_wrong_letters(text: &str) -> Option<String> {
    const LETTERS: &str = "[A-Za-z0-9/\\-._~%!$&'()*+,;=:]+";
    let fits = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/-._~%!$&'()*+,;=:".contains(&byte));
    (!fits).then(|| format!("Invalid path (regex used for validation is '{LETTERS}')"))
}
