//! Named formats: `format.dns1123Label().validate(text)`.

use super::url::Url;
use super::{Outcome, Table, mismatch, time};
use crate::value::Value;

/// A format and its check; the check tells what is wrong.
#[derive(Debug)]
pub struct Format {
    name: &'static str,
    check: fn(&str) -> Vec<String>,
    /// The length that its regular expression is taken to have, for cost.
    pub(crate) regex_size: u64,
}

const fn named(name: &'static str, check: fn(&str) -> Vec<String>, regex_size: u64) -> Format {
    Format { name, check, regex_size }
}

static FORMATS: [Format; 13] = [
    named("dns1123Label", ::schema::names::is_dns1123_label, 30),
    named("dns1123Subdomain", ::schema::names::is_dns1123_subdomain, 60),
    named("dns1035Label", ::schema::names::is_dns1035_label, 30),
    named("qualifiedName", ::schema::names::is_qualified_name, 60),
    named("dns1123LabelPrefix", |text| ::schema::names::is_dns1123_label(&::schema::names::generate_name_stem(text)), 30),
    named("dns1123SubdomainPrefix", |text| ::schema::names::is_dns1123_subdomain(&::schema::names::generate_name_stem(text)), 60),
    named("dns1035LabelPrefix", |text| ::schema::names::is_dns1035_label(&::schema::names::generate_name_stem(text)), 30),
    named("labelValue", ::schema::names::is_label_value, 40),
    named("uri", |text| Url::parse_request(text).err().into_iter().collect(), 1_104),
    named("uuid", |text| told(is_uuid(text), "does not match the UUID format"), 72),
    named("byte", |text| told(is_base64(text), "invalid base64"), 84),
    named("date", |text| told(time::parse_date(text).is_some(), "invalid date"), 72),
    named("datetime", |text| told(time::parse_timestamp(text).is_some(), "invalid datetime"), 72),
];

pub(super) const FUNCTIONS: Table = &[
    ("format.named", |args| {
        args[0].as_str().map_or_else(mismatch, |name| Ok(find(name).map_or(Value::none(), |format| Value::some(Value::Format(format)))))
    }),
    ("validate", validate),
    ("format.dns1123Label", |_| constant(0)),
    ("format.dns1123Subdomain", |_| constant(1)),
    ("format.dns1035Label", |_| constant(2)),
    ("format.qualifiedName", |_| constant(3)),
    ("format.dns1123LabelPrefix", |_| constant(4)),
    ("format.dns1123SubdomainPrefix", |_| constant(5)),
    ("format.dns1035LabelPrefix", |_| constant(6)),
    ("format.labelValue", |_| constant(7)),
    ("format.uri", |_| constant(8)),
    ("format.uuid", |_| constant(9)),
    ("format.byte", |_| constant(10)),
    ("format.date", |_| constant(11)),
    ("format.datetime", |_| constant(12)),
];

fn constant<'a>(index: usize) -> Outcome<'a> {
    Ok(Value::Format(&FORMATS[index]))
}

fn find(name: &str) -> Option<&'static Format> {
    FORMATS.iter().find(|format| format.name == name)
}

fn validate<'a>(args: &[Value<'a>]) -> Outcome<'a> {
    let (Value::Format(format), Value::String(text)) = (&args[0], &args[1]) else { return mismatch() };
    let wrong = (format.check)(text);
    Ok(if wrong.is_empty() { Value::none() } else { Value::some(Value::strings(wrong)) })
}

fn told(right: bool, wrong: &str) -> Vec<String> {
    if right { Vec::new() } else { vec![wrong.into()] }
}

/// 32 hexadecimal digits; the dashes may be left out.
fn is_uuid(text: &str) -> bool {
    let mut rest = text;
    for (at, length) in [8, 4, 4, 4, 12].into_iter().enumerate() {
        if at > 0 {
            rest = rest.strip_prefix('-').unwrap_or(rest);
        }
        if rest.len() < length || !rest.is_char_boundary(length) || !rest[..length].bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return false;
        }
        rest = &rest[length..];
    }
    rest.is_empty()
}

fn is_base64(text: &str) -> bool {
    use base64::Engine;
    !text.is_empty() && base64::engine::general_purpose::STANDARD.decode(text).is_ok()
}
