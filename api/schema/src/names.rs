//! Name formats (`apimachinery/pkg/util/validation`): each check returns the texts of what is wrong, empty when right
//! (golden/names.jsonl). Lengths are bytes, as upstream counts them.

mod network;

pub use network::{
    ip_warning, validate_cidr, validate_domain_prefixed_path, validate_fqdn, validate_fully_qualified_name, validate_ip, validate_legacy_ip,
};

const LABEL_MAX: usize = 63;
const SUBDOMAIN_MAX: usize = 253;

const LABEL_REGEX: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
const SUBDOMAIN_REGEX: &str = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*";
const QUALIFIED_TEXT: &str =
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character";
const QUALIFIED_REGEX: &str = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";
const QUALIFIED_EXAMPLES: [&str; 3] = ["MyName", "my.name", "123-abc"];

/// RFC 1123 label: 63 characters.
pub fn is_dns1123_label(name: &str) -> Vec<String> {
    let mut wrong = Vec::from_iter(too_long(name, LABEL_MAX, "characters"));
    if !label(name) {
        wrong.push(if subdomain(name) {
            "must not contain dots".into()
        } else {
            let text = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character";
            regex_error(text, LABEL_REGEX, &["my-name", "123-abc"])
        });
    }
    wrong
}

/// RFC 1123 subdomain: 253 characters.
pub fn is_dns1123_subdomain(name: &str) -> Vec<String> {
    let mut wrong = Vec::from_iter(too_long(name, SUBDOMAIN_MAX, "characters"));
    if !subdomain(name) {
        let text = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character";
        wrong.push(regex_error(text, SUBDOMAIN_REGEX, &["example.com"]));
    }
    wrong
}

/// As [`is_dns1123_subdomain`], with underscores (`setHostnameAsFQDN` pods, DNS search paths).
pub fn is_dns1123_subdomain_with_underscore(name: &str) -> Vec<String> {
    let mut wrong = Vec::from_iter(too_long(name, SUBDOMAIN_MAX, "characters"));
    let part = |part: &str| edges(part.strip_prefix('_').unwrap_or(part), lower, |byte| lower(byte) || byte == b'-' || byte == b'_', lower);
    if !name.split('.').all(part) {
        let text = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', and must start and end with an alphanumeric character";
        let regex = r"_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?(\._?[a-z0-9]([-_a-z0-9]*[a-z0-9])?)*";
        wrong.push(regex_error(text, regex, &["example.com"]));
    }
    wrong
}

/// `*.` and a subdomain (Ingress hosts).
pub fn is_wildcard_dns1123_subdomain(name: &str) -> Vec<String> {
    let mut wrong = Vec::from_iter(too_long(name, SUBDOMAIN_MAX, "characters"));
    if !name.strip_prefix("*.").is_some_and(subdomain) {
        let text = "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character";
        wrong.push(regex_error(text, &format!(r"\*\.{SUBDOMAIN_REGEX}"), &["*.example.com"]));
    }
    wrong
}

/// RFC 1035 label.
pub fn is_dns1035_label(name: &str) -> Vec<String> {
    let mut wrong = Vec::from_iter(too_long(name, LABEL_MAX, "characters"));
    if !edges(name, |byte| byte.is_ascii_lowercase(), lower_or_dash, lower) {
        let text = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character";
        wrong.push(regex_error(text, "[a-z]([-a-z0-9]*[a-z0-9])?", &["my-name", "abc-123"]));
    }
    wrong
}

/// Label and annotation keys: `[prefix/]name`.
pub fn is_qualified_name(name: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let regex = regex_error(QUALIFIED_TEXT, QUALIFIED_REGEX, &QUALIFIED_EXAMPLES);
    let part = match name.split('/').collect::<Vec<_>>().as_slice() {
        [part] => *part,
        [prefix, part] => {
            if prefix.is_empty() {
                wrong.push("prefix part must be non-empty".into());
            } else {
                wrong.extend(prefix_errors(prefix));
            }
            *part
        }
        _ => return vec![format!("a valid label key {regex} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')")],
    };
    if part.is_empty() {
        wrong.push("name part must be non-empty".into());
    }
    wrong.extend(too_long(part, LABEL_MAX, "bytes").into_iter().map(|text| format!("name part {text}")));
    if !qualified_part(part) {
        wrong.push(format!("name part {regex}"));
    }
    wrong
}

/// The prefix is a subdomain whose length is told in bytes.
fn prefix_errors(prefix: &str) -> Vec<String> {
    let characters = format!("no more than {SUBDOMAIN_MAX} characters");
    let texts = is_dns1123_subdomain(prefix).into_iter();
    texts.map(|text| format!("prefix part {}", text.replace(&characters, &format!("no more than {SUBDOMAIN_MAX} bytes")))).collect()
}

pub fn is_label_value(value: &str) -> Vec<String> {
    let mut wrong = Vec::from_iter(too_long(value, LABEL_MAX, "bytes"));
    if !value.is_empty() && !qualified_part(value) {
        let text = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character";
        wrong.push(regex_error(text, &format!("({QUALIFIED_REGEX})?"), &["MyValue", "my_value", "12345"]));
    }
    wrong
}

/// Environment variable names (relaxed: printable ASCII without `=`).
pub fn is_env_var_name(name: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    if name.is_empty() {
        wrong.push("environment variable name must be non-empty".into());
    }
    if !name.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'=') {
        wrong.push("a valid environment variable name must consist only of printable ASCII characters other than '='".into());
    }
    wrong
}

/// Environment variable names as they were before the relaxed rule.
pub fn is_strict_env_var_name(name: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let first_is_digit = name.starts_with(|first: char| first.is_ascii_digit());
    if name.is_empty() || first_is_digit || !name.bytes().all(word) {
        let text = "a valid environment variable name must consist of alphabetic characters, digits, '_', '-', or '.', and must not start with a digit";
        wrong.push(regex_error(text, "[-._a-zA-Z][-._a-zA-Z0-9]*", &["my.env-name", "MY_ENV.NAME", "MyEnvName1"]));
    }
    wrong.extend(leads_upwards(name));
    wrong
}

/// ConfigMap and Secret keys.
pub fn is_config_map_key(key: &str) -> Vec<String> {
    let mut wrong = Vec::from_iter(too_long(key, SUBDOMAIN_MAX, "characters"));
    if key.is_empty() || !key.bytes().all(word) {
        let text = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'";
        wrong.push(regex_error(text, "[-._a-zA-Z0-9]+", &["key.name", "KEY_NAME", "key-name"]));
    }
    wrong.extend(leads_upwards(key));
    wrong
}

/// IANA service name, as port names.
pub fn is_port_name(name: &str) -> Vec<String> {
    let mut wrong = Vec::from_iter(too_long(name, 15, "characters"));
    let mut must = |right: bool, text: &str| {
        if !right {
            wrong.push(text.to_owned());
        }
    };
    must(!name.is_empty() && name.bytes().all(lower_or_dash), "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)");
    must(name.bytes().any(|byte| byte.is_ascii_lowercase()), "must contain at least one letter (a-z)");
    must(!name.contains("--"), "must not contain consecutive hyphens");
    must(!name.starts_with('-') && !name.ends_with('-'), "must not begin or end with a hyphen");
    wrong
}

pub fn is_c_identifier(name: &str) -> Vec<String> {
    let letter = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_';
    if name.bytes().next().is_some_and(letter) && name.bytes().all(|byte| letter(byte) || byte.is_ascii_digit()) {
        return Vec::new();
    }
    let text = "a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric characters or '_'";
    vec![regex_error(text, "[A-Za-z_][A-Za-z0-9_]*", &["my_name", "MY_NAME", "MyName"])]
}

/// Path segments: no `/`, `%`, not `.` or `..` (RBAC names).
pub fn is_path_segment_name(name: &str) -> Vec<String> {
    if matches!(name, "." | "..") {
        return vec![format!("may not be '{name}'")];
    }
    let forbidden = ["/", "%"].into_iter().filter(|one| name.contains(one));
    forbidden.map(|one| format!("may not contain '{one}'")).collect()
}

pub fn is_http_header_name(name: &str) -> Vec<String> {
    if !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
        return Vec::new();
    }
    let text = "a valid HTTP header must consist of alphanumeric characters or '-'";
    vec![regex_error(text, "[-A-Za-z0-9]+", &["X-Header-Name"])]
}

pub fn is_percent(text: &str) -> Vec<String> {
    let digits = text.strip_suffix('%').unwrap_or_default();
    if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Vec::new();
    }
    vec![regex_error("a valid percent string must be a numeric string followed by an ending '%'", "[0-9]+%", &["1%", "93%"])]
}

/// `reason` of a condition.
pub fn is_condition_reason(reason: &str) -> Vec<String> {
    let end = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    if edges(reason, |byte| byte.is_ascii_alphabetic(), |byte| end(byte) || byte == b',' || byte == b':', end) {
        return Vec::new();
    }
    let text = "a condition reason must start with alphabetic character, optionally followed by a string of alphanumeric characters or '_,:', and must end with an alphanumeric character or '_'";
    let examples = ["my_name", "MY_NAME", "MyName", "ReasonA,ReasonB", "ReasonA:ReasonB"];
    vec![regex_error(text, "[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?", &examples)]
}

/// `generateName` as its rule sees it: the dash that the random suffix follows stands for a good character.
pub fn generate_name_stem(prefix: &str) -> String {
    match prefix.strip_suffix('-') {
        Some(stem) if !stem.is_empty() => {
            let cut = stem.char_indices().next_back().map_or(0, |(at, _)| at);
            format!("{}a", &stem[..cut])
        }
        _ => prefix.to_owned(),
    }
}

fn too_long(text: &str, max: usize, unit: &str) -> Option<String> {
    (text.len() > max).then(|| format!("must be no more than {max} {unit}"))
}

/// Parent folders must not be reachable by keys that become file names.
fn leads_upwards(name: &str) -> Option<String> {
    match name {
        "." | ".." => Some(format!("must not be '{name}'")),
        _ => name.starts_with("..").then(|| "must not start with '..'".into()),
    }
}

fn regex_error(text: &str, regex: &str, examples: &[&str]) -> String {
    let examples: Vec<String> = examples.iter().map(|one| format!("'{one}', ")).collect();
    format!("{text} (e.g. {}regex used for validation is '{regex}')", examples.join(" or "))
}

fn subdomain(name: &str) -> bool {
    name.split('.').all(label)
}

fn label(name: &str) -> bool {
    edges(name, lower, lower_or_dash, lower)
}

fn qualified_part(name: &str) -> bool {
    let end = |byte: u8| byte.is_ascii_alphanumeric();
    edges(name, end, word, end)
}

fn lower(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit()
}

fn lower_or_dash(byte: u8) -> bool {
    lower(byte) || byte == b'-'
}

fn word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.')
}

/// A non-empty name whose first, middle and last bytes are of these sorts.
fn edges(name: &str, first: impl Fn(u8) -> bool, middle: impl Fn(u8) -> bool, last: impl Fn(u8) -> bool) -> bool {
    match name.as_bytes() {
        [] => false,
        [one] => first(*one),
        [head, between @ .., tail] => first(*head) && last(*tail) && between.iter().all(|byte| middle(*byte)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generate_name_stems() {
        for (prefix, want) in [("web-", "wea"), ("a-", "a"), ("-", "-"), ("web", "web"), ("", "")] {
            assert_eq!(generate_name_stem(prefix), want, "{prefix}");
        }
    }
}
