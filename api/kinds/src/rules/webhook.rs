//! Addresses of webhooks: a URL, or a service with a path.

use schema::{DocExt, FieldErrors, Path, Value, names};

use super::{is_given, range_text};

const FORM: &str = "; desired format: https://host[/path]";

/// A client's configuration: exactly one of `url` and `service`.
pub(crate) fn client_config(config: &Value, path: &Path, errors: &mut FieldErrors) {
    match (config.at("url").and_then(Value::as_str), is_given(config, "service")) {
        (Some(text), false) => url(text, &path.child("url"), errors),
        (None, true) => service(&config["service"], &path.child("service"), errors),
        _ => errors.required(path, "exactly one of url or service is required"),
    }
}

fn url(text: &str, path: &Path, errors: &mut FieldErrors) {
    if let Some(wrong) = unreadable(text) {
        return errors.required(path, &format!("url must be a valid URL: parse {text:?}: {wrong}{FORM}"));
    }
    let (text, fragment) = text.split_once('#').unwrap_or((text, ""));
    let (text, query) = text.split_once('?').unwrap_or((text, ""));
    let (scheme, rest) = text.split_once("://").unwrap_or(("", ""));
    let authority = rest.split('/').next().unwrap_or_default();
    let (user, host) = authority.rsplit_once('@').map_or((None, authority), |(user, host)| (Some(user), host));
    if scheme != "https" {
        errors.invalid(path, scheme, &format!("'https' is the only allowed URL scheme{FORM}"));
    }
    if host.is_empty() {
        errors.invalid(path, host, &format!("host must be specified{FORM}"));
    }
    if let Some(user) = user {
        errors.invalid(path, user, "user information is not permitted in the URL");
    }
    if !fragment.is_empty() {
        errors.invalid(path, fragment, "fragments are not permitted in the URL");
    }
    if !query.is_empty() {
        errors.invalid(path, query, "query parameters are not permitted in the URL");
    }
}

/// What keeps Go from reading a URL at all.
fn unreadable(text: &str) -> Option<&'static str> {
    if text.bytes().any(|byte| byte < 0x20 || byte == 0x7f) {
        return Some("net/url: invalid control character in URL");
    }
    text.starts_with(':').then_some("missing protocol scheme")
}

/// A service: namespace, name, port and the path on it.
pub(crate) fn service(service: &Value, path: &Path, errors: &mut FieldErrors) {
    for member in ["name", "namespace"].into_iter().filter(|member| service.str_at(member).is_empty()) {
        errors.required(&path.child(member), "");
    }
    let port = service.i64_at("port").unwrap_or_default();
    if !(1..=65535).contains(&port) {
        errors.invalid(&path.child("port"), port, &format!("port is not valid: {}", range_text(1, 65535)));
    }
    url_path(service.str_at("path"), &path.child("path"), errors);
}

fn url_path(text: &str, path: &Path, errors: &mut FieldErrors) {
    match text {
        "" | "/" => return,
        "//" => return errors.invalid(path, text, "segment[0] may not be empty"),
        _ if !text.starts_with('/') => errors.invalid(path, text, "must start with a '/'"),
        _ => {}
    }
    // Upstream looks past the first letter even where it is no slash.
    let inner: String = text.chars().skip(1).collect();
    for (at, segment) in inner.strip_suffix('/').unwrap_or(&inner).split('/').enumerate() {
        if segment.is_empty() {
            errors.invalid(path, text, &format!("segment[{at}] may not be empty"));
            continue;
        }
        for wrong in names::is_dns1123_subdomain(segment) {
            errors.invalid(path, text, &format!("segment[{at}]: {wrong}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use schema::json;

    use super::*;

    #[test]
    fn a_client_is_reached_at_a_plain_https_url_or_a_service() {
        let first = |config: Value| {
            let mut errors = FieldErrors::default();
            client_config(&config, &Path::new("c"), &mut errors);
            errors.0.first().map(ToString::to_string).unwrap_or_default()
        };
        assert_eq!(first(json!({"url": "https://example.com:8443/a/b"})), "");
        assert_eq!(first(json!({"service": {"name": "a", "namespace": "b", "port": 443, "path": "/x"}})), "");
        assert_eq!(first(json!({})), "c: Required value: exactly one of url or service is required");
        assert_eq!(first(json!({"url": "https://u@h"})), "c.url: Invalid value: \"u\": user information is not permitted in the URL");
        assert_eq!(first(json!({"url": "https://h?a=b"})), "c.url: Invalid value: \"a=b\": query parameters are not permitted in the URL");
        assert_eq!(
            first(json!({"service": {"name": "a", "namespace": "b", "port": 443, "path": "/x//y"}})),
            "c.service.path: Invalid value: \"/x//y\": segment[1] may not be empty"
        );
    }
}
