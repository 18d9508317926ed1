//! Environment variables and the selectors that they share with downward API volumes.

use schema::{DocExt, FieldErrors, Path, Quantity, Value, names};

use crate::rules::{dns_subdomain, each, is_given, not_supported};

const ENV_FIELDS: &[&str] = &[
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];
/// What a field selector may name at all, in an environment or a volume.
const KNOWN_FIELDS: &[&str] = &[
    "metadata.annotations",
    "metadata.labels",
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.restartPolicy",
    "spec.schedulerName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.phase",
    "status.podIP",
    "status.podIPs",
];
const RESOURCES: &[&str] =
    &["limits.cpu", "limits.ephemeral-storage", "limits.memory", "requests.cpu", "requests.ephemeral-storage", "requests.memory"];
const BYTE_DIVISORS: &[&str] = &["1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"];
const SOURCES: &[&str] = &["fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef"];

pub(super) fn variables(variables: &[Value], path: &Path, errors: &mut FieldErrors) {
    for (at, variable) in variables.iter().enumerate() {
        let path = path.index(at);
        match variable.str_at("name") {
            "" => errors.required(&path.child("name"), ""),
            name => each(&path.child("name"), name, names::is_env_var_name(name), errors),
        }
        if is_given(variable, "valueFrom") {
            value_from(variable, &path.child("valueFrom"), errors);
        }
    }
}

fn value_from(variable: &Value, path: &Path, errors: &mut FieldErrors) {
    let from = &variable["valueFrom"];
    let given: Vec<&str> = SOURCES.iter().copied().filter(|source| is_given(from, source)).collect();
    for source in &given {
        let (selector, path) = (&from[*source], path.child(source));
        match *source {
            "fieldRef" => field(selector, ENV_FIELDS, &path, errors),
            "resourceFieldRef" => resource(selector, false, &path, errors),
            "fileKeyRef" => file_key(selector, &path, errors),
            _ => key(selector, &path, errors),
        }
    }
    if given.is_empty() {
        let text = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`";
        errors.invalid(path, "", text);
    } else if !variable.str_at("value").is_empty() {
        errors.invalid(path, "", "may not be specified when `value` is not empty");
    } else if given.len() > 1 {
        errors.invalid(path, "", "may not have more than one field specified at a time");
    }
}

pub(super) fn sources(sources: &[Value], path: &Path, errors: &mut FieldErrors) {
    for (at, source) in sources.iter().enumerate() {
        let prefix = source.str_at("prefix");
        if !prefix.is_empty() {
            each(&path.index(at).child("prefix"), prefix, names::is_env_var_name(prefix), errors);
        }
        let given: Vec<&str> = ["configMapRef", "secretRef"].into_iter().filter(|member| is_given(source, member)).collect();
        for member in &given {
            let path = path.index(at).child(member).child("name");
            match source[*member].str_at("name") {
                "" => errors.required(&path, ""),
                name => dns_subdomain(name, &path, errors),
            }
        }
        match given.len() {
            0 => errors.invalid(path, "", "must specify one of: `configMapRef` or `secretRef`"),
            1 => {}
            _ => errors.invalid(path, "", "may not have more than one field specified at a time"),
        }
    }
}

/// A field of the pod; `supported` is sorted.
pub(super) fn field(selector: &Value, supported: &[&str], path: &Path, errors: &mut FieldErrors) {
    if selector.str_at("apiVersion").is_empty() {
        return errors.required(&path.child("apiVersion"), "");
    }
    let name = selector.str_at("fieldPath");
    if name.is_empty() {
        return errors.required(&path.child("fieldPath"), "");
    }
    let subscript = name.strip_suffix("']").and_then(|name| name.split_once("['"));
    let known = subscript.map_or(name, |(map, _)| map);
    if !KNOWN_FIELDS.contains(&known) {
        let text = format!("error converting fieldPath: field label not supported: {name}");
        return errors.invalid(&path.child("fieldPath"), name, &text);
    }
    match subscript {
        Some(("metadata.annotations", key)) => each(path, key.to_lowercase(), names::is_qualified_name(&key.to_lowercase()), errors),
        Some(("metadata.labels", key)) => each(path, key, names::is_qualified_name(key), errors),
        Some((map, _)) => errors.invalid(path, map, "does not support subscript"),
        None if !supported.contains(&name) => not_supported(&path.child("fieldPath"), &name.into(), supported, errors),
        None => {}
    }
}

/// A resource of a container; in a volume the container must be named.
pub(super) fn resource(selector: &Value, in_volume: bool, path: &Path, errors: &mut FieldErrors) {
    let name = selector.str_at("resource");
    if in_volume && selector.str_at("containerName").is_empty() {
        errors.required(&path.child("containerName"), "");
    } else if name.is_empty() {
        errors.required(&path.child("resource"), "");
    } else if !RESOURCES.contains(&name) && !is_huge_pages(name) {
        not_supported(&path.child("resource"), &name.into(), RESOURCES, errors);
    }
    divisor(selector, &path.child("divisor"), errors);
}

fn is_huge_pages(resource: &str) -> bool {
    resource.starts_with("limits.hugepages-") || resource.starts_with("requests.hugepages-")
}

fn divisor(selector: &Value, path: &Path, errors: &mut FieldErrors) {
    let name = selector.str_at("resource");
    let Some(divisor) = selector.at("divisor").and_then(|divisor| Quantity::from_json(divisor).ok()).filter(|divisor| divisor.nano != 0)
    else {
        return;
    };
    let (supported, noun): (&[&str], _) = match name {
        "limits.cpu" | "requests.cpu" => (&["1m", "1"], "cpu"),
        "limits.memory" | "requests.memory" => (BYTE_DIVISORS, "memory"),
        "limits.ephemeral-storage" | "requests.ephemeral-storage" => (BYTE_DIVISORS, "local ephemeral storage"),
        name if is_huge_pages(name) => (BYTE_DIVISORS, "hugepages"),
        _ => return,
    };
    if !supported.contains(&divisor.to_string().as_str()) {
        let listed = if noun == "cpu" { "1m and 1".to_owned() } else { supported.join(", ") };
        errors.invalid(path, name, &format!("only divisor's values {listed} are supported with the {noun} resource"));
    }
}

fn key(selector: &Value, path: &Path, errors: &mut FieldErrors) {
    dns_subdomain(selector.str_at("name"), &path.child("name"), errors);
    match selector.str_at("key") {
        "" => errors.required(&path.child("key"), ""),
        key => each(&path.child("key"), key, names::is_config_map_key(key), errors),
    }
}

fn file_key(selector: &Value, path: &Path, errors: &mut FieldErrors) {
    match selector.str_at("key") {
        "" => errors.required(&path.child("key"), ""),
        key => each(&path.child("key"), key, names::is_env_var_name(key), errors),
    }
    match selector.str_at("volumeName") {
        "" => errors.required(&path.child("volumeName"), ""),
        name => crate::rules::dns_label(name, &path.child("volumeName"), errors),
    }
    match selector.str_at("path") {
        "" => errors.required(&path.child("path"), ""),
        text => crate::rules::local_unreserved_path(text, &path.child("path"), errors),
    }
}
