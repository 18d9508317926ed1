//! Probes and lifecycle hooks.

use schema::{DocExt, FieldErrors, Path, Value};

use crate::rules::{is_given, non_negative, not_supported, port_number, port_number_or_name};

const HANDLERS: &[&str] = &["exec", "httpGet", "tcpSocket", "grpc", "sleep"];
const HEADER_TEXT: &str = "a valid HTTP header must consist of alphanumeric characters or '-' (e.g. 'X-Header-Name', regex used for validation is '[-A-Za-z0-9]+')";

/// The hooks and probes of an app container or sidecar.
pub(super) fn of_container(container: &Value, spec: &Value, path: &Path, errors: &mut FieldErrors) {
    let grace = spec.i64_at("terminationGracePeriodSeconds");
    for hook in ["lifecycle.postStart", "lifecycle.preStop"].into_iter().filter(|hook| is_given(container, hook)) {
        handler(container.at(hook).unwrap_or(&Value::Null), grace, &path.child(hook), errors);
    }
    for name in ["livenessProbe", "readinessProbe", "startupProbe"].into_iter().filter(|name| is_given(container, name)) {
        let (probe, path) = (&container[name], path.child(name));
        self::probe(probe, &path, errors);
        match name {
            "readinessProbe" => without_grace(probe, &path.child("terminationGracePeriodSeconds"), errors),
            _ => one_success(probe, &path.child("successThreshold"), errors),
        }
    }
}

fn probe(probe: &Value, path: &Path, errors: &mut FieldErrors) {
    handler(probe, None, path, errors);
    let numbers = ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"];
    non_negative(probe, &numbers, path, errors);
    if let Some(seconds) = probe.i64_at("terminationGracePeriodSeconds").filter(|seconds| *seconds <= 0) {
        errors.invalid(&path.child("terminationGracePeriodSeconds"), seconds, "must be greater than 0");
    }
}

fn without_grace(probe: &Value, path: &Path, errors: &mut FieldErrors) {
    if let Some(seconds) = probe.i64_at("terminationGracePeriodSeconds") {
        errors.invalid(path, seconds, "must not be set for readinessProbes");
    }
}

fn one_success(probe: &Value, path: &Path, errors: &mut FieldErrors) {
    let threshold = probe.i64_at("successThreshold").unwrap_or_default();
    if threshold != 1 {
        errors.invalid(path, threshold, "must be 1");
    }
}

fn handler(handler: &Value, grace: Option<i64>, path: &Path, errors: &mut FieldErrors) {
    let mut given = HANDLERS.iter().copied().filter(|name| is_given(handler, name));
    let Some(first) = given.next() else {
        return errors.required(path, "must specify a handler type");
    };
    action(first, &handler[first], grace, &path.child(first), errors);
    for other in given {
        errors.forbidden(&path.child(other), "may not specify more than 1 handler type");
    }
}

fn action(name: &str, action: &Value, grace: Option<i64>, path: &Path, errors: &mut FieldErrors) {
    match name {
        "exec" if action.items_at("command").is_empty() => errors.required(&path.child("command"), ""),
        "httpGet" => http_get(action, path, errors),
        "tcpSocket" => port_number_or_name(action.at("port"), &path.child("port"), errors),
        "grpc" => port_number(action.i64_at("port").unwrap_or_default(), &path.child("port"), errors),
        "sleep" => sleep(action.i64_at("seconds").unwrap_or_default(), grace, path, errors),
        _ => {}
    }
}

fn sleep(seconds: i64, grace: Option<i64>, path: &Path, errors: &mut FieldErrors) {
    if let Some(grace) = grace.filter(|grace| !(0..=*grace).contains(&seconds)) {
        let text = format!("must be non-negative and less than terminationGracePeriodSeconds ({grace})");
        errors.invalid(path, seconds, &text);
    }
}

fn http_get(action: &Value, path: &Path, errors: &mut FieldErrors) {
    if action.str_at("path").is_empty() {
        errors.required(&path.child("path"), "");
    }
    port_number_or_name(action.at("port"), &path.child("port"), errors);
    let scheme = action.str_at("scheme");
    if !["HTTP", "HTTPS"].contains(&scheme) {
        not_supported(&path.child("scheme"), &scheme.into(), &["HTTP", "HTTPS"], errors);
    }
    for header in action.items_at("httpHeaders") {
        let name = header.str_at("name");
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
            errors.invalid(&path.child("httpHeaders"), name, HEADER_TEXT);
        }
    }
}
