//! What an ingress must hold: hosts, paths, backends.

use std::net::IpAddr;

use schema::{DocExt, FieldErrors, Path, Value, names};

use crate::kind::same;
use crate::rules::{dns_subdomain, each, is_given, not_supported, port_number, sub};

const CLASS: &str = "kubernetes.io/ingress.class";
const PATH_TYPES: &[&str] = &["Exact", "ImplementationSpecific", "Prefix"];
const WRONG_IN_PATH: &[&str] = &["//", "/./", "/../", "%2f", "%2F"];
const WRONG_AT_END: &[&str] = &["/..", "/."];

pub(super) fn ingress(new: &Value, old: Option<&Value>, errors: &mut FieldErrors) {
    let (spec, path) = (sub(new, "spec"), Path::new("spec"));
    let rules = spec.items_at("rules");
    if rules.is_empty() && !is_given(spec, "defaultBackend") {
        errors.invalid(&path, rules.to_vec(), "either `defaultBackend` or `rules` must be specified");
    }
    if is_given(spec, "defaultBackend") {
        backend(&spec["defaultBackend"], &path.child("defaultBackend"), errors);
    }
    for (at, rule) in rules.iter().enumerate() {
        self::rule(rule, &path.child("rules").index(at), errors);
    }
    for (at, tls) in spec.items_at("tls").iter().enumerate() {
        self::tls(tls, is_old_secret(tls, old), &path.child("tls").index(at), errors);
    }
    if let Some(class) = spec.at("ingressClassName").and_then(Value::as_str) {
        dns_subdomain(class, &path.child("ingressClassName"), errors);
    }
    if old.is_none() {
        one_class(new, errors);
    }
}

/// The annotation of before there was a field excludes the field.
fn one_class(new: &Value, errors: &mut FieldErrors) {
    let annotation = new.map_at("metadata.annotations").and_then(|map| map.get(CLASS));
    if let Some(class) =
        annotation.filter(|class| is_given(new, "spec.ingressClassName") && new.at("spec.ingressClassName") != Some(*class))
    {
        let text = "must match `ingressClassName` when both are specified";
        errors.invalid(&Path::new("metadata.annotations").key(CLASS), class.clone(), text);
    }
}

fn rule(rule: &Value, path: &Path, errors: &mut FieldErrors) {
    let host = rule.str_at("host");
    if !host.is_empty() {
        if host.parse::<IpAddr>().is_ok() {
            errors.invalid(&path.child("host"), host, "must be a DNS name, not an IP address");
        }
        host_name(host, &path.child("host"), errors);
    }
    if !is_given(rule, "http") {
        return;
    }
    let (paths, path) = (rule.items_at("http.paths"), path.child("http.paths"));
    if paths.is_empty() {
        errors.required(&path, "");
    }
    for (at, one) in paths.iter().enumerate() {
        http_path(one, &path.index(at), errors);
    }
}

/// A name, or one with a wildcard as its first label.
fn host_name(host: &str, path: &Path, errors: &mut FieldErrors) {
    if host.contains('*') {
        each(path, host, names::is_wildcard_dns1123_subdomain(host), errors);
    } else {
        dns_subdomain(host, path, errors);
    }
}

fn http_path(given: &Value, path: &Path, errors: &mut FieldErrors) {
    if !is_given(given, "pathType") {
        return errors.required(&path.child("pathType"), "pathType must be specified");
    }
    let (text, path_of) = (given.str_at("path"), path.child("path"));
    match given.str_at("pathType") {
        "Exact" | "Prefix" => {
            if !text.starts_with('/') {
                errors.invalid(&path_of, text, "must be an absolute path");
            }
            for wrong in WRONG_IN_PATH.iter().filter(|wrong| text.contains(*wrong)) {
                errors.invalid(&path_of, text, &format!("must not contain '{wrong}'"));
            }
            for wrong in WRONG_AT_END.iter().filter(|wrong| text.ends_with(*wrong)) {
                errors.invalid(&path_of, text, &format!("cannot end with '{wrong}'"));
            }
        }
        "ImplementationSpecific" if !text.is_empty() && !text.starts_with('/') => {
            errors.invalid(&path_of, text, "must be an absolute path");
        }
        "ImplementationSpecific" => {}
        other => not_supported(&path.child("pathType"), &other.into(), PATH_TYPES, errors),
    }
    backend(sub(given, "backend"), &path.child("backend"), errors);
}

fn backend(backend: &Value, path: &Path, errors: &mut FieldErrors) {
    match (is_given(backend, "resource"), is_given(backend, "service")) {
        (true, true) => errors.invalid(path, "", "cannot set both resource and service backends"),
        (true, false) => super::super::ingress_class::reference(&backend["resource"], &path.child("resource"), errors),
        (false, _) => service(sub(backend, "service"), path, errors),
    }
}

fn service(service: &Value, path: &Path, errors: &mut FieldErrors) {
    let (name, name_path) = (service.str_at("name"), path.child("service.name"));
    if name.is_empty() {
        errors.required(&name_path, "");
    } else {
        each(&name_path, name, names::is_dns1035_label(name), errors);
    }
    let (port, number) = (service.str_at("port.name"), service.i64_at("port.number").unwrap_or_default());
    match (port.is_empty(), number == 0) {
        (false, false) => errors.invalid(path, "", "cannot set both port name & port number"),
        (false, true) => each(&path.child("service.port.name"), port, names::is_port_name(port), errors),
        (true, false) => port_number(number, &path.child("service.port.number"), errors),
        (true, true) => errors.required(path, "port name or number is required"),
    }
}

fn tls(tls: &Value, is_old_secret: bool, path: &Path, errors: &mut FieldErrors) {
    for (at, host) in tls.items_at("hosts").iter().enumerate() {
        host_name(host.as_str().unwrap_or_default(), &path.child("hosts").index(at), errors);
    }
    let secret = tls.str_at("secretName");
    if !secret.is_empty() && !is_old_secret {
        dns_subdomain(secret, &path.child("secretName"), errors);
    }
}

/// Names of secrets that were there before they were checked may stay.
fn is_old_secret(tls: &Value, old: Option<&Value>) -> bool {
    let wrong = |tls: &Value| !tls.str_at("secretName").is_empty() && !names::is_dns1123_subdomain(tls.str_at("secretName")).is_empty();
    old.is_some_and(|old| wrong(tls) && old.items_at("spec.tls").iter().any(wrong))
}

/// Addresses that answer, each with the state of its ports.
pub(super) fn status(new: &Value, old: &Value, errors: &mut FieldErrors) {
    let (balancer, path) = (sub(new, "status.loadBalancer"), Path::new("status.loadBalancer.ingress"));
    if same(balancer, sub(old, "status.loadBalancer")) {
        return;
    }
    for (at, entry) in balancer.items_at("ingress").iter().enumerate() {
        let (path, address, host) = (path.index(at), entry.str_at("ip"), entry.str_at("hostname"));
        if !address.is_empty() {
            crate::rules::ip(address, &path.child("ip"), errors);
        }
        if !host.is_empty() {
            dns_subdomain(host, &path.child("hostname"), errors);
            if host.parse::<IpAddr>().is_ok() {
                errors.invalid(&path.child("hostname"), host, "must be a DNS name, not an IP address");
            }
        }
    }
}

/// Texts for Warning headers.
pub(super) fn warnings(new: &Value) -> Vec<String> {
    let annotated = new.map_at("metadata.annotations").is_some_and(|map| map.contains_key(CLASS));
    let old_way = format!("annotation {CLASS:?} is deprecated, please use 'spec.ingressClassName' instead");
    annotated.then_some(old_way).into_iter().collect()
}
