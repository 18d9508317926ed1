//! EndpointSlice: where a service's traffic goes, a hundred endpoints at a time.

use std::net::{Ipv4Addr, Ipv6Addr};

use schema::{DocExt, FieldErrors, ObjectMeta, Path, Value, json, names};
use serde::{Deserialize, Serialize};

use crate::cells::{AGE, NAME, first_few};
use crate::core::ObjectReference;
use crate::core::pod::defaults::default_text;
use crate::kind::{Col, Kind, Meta, Question, immutable};
use crate::lens::{is_default, null_default};
use crate::rules::{dns_label, dns_subdomain, each, is_given, non_special_ip, one_of, port_number, qualified_name};

const ENDPOINTS_MAX: usize = 1000;
const ADDRESSES_MAX: usize = 100;
const PORTS_MAX: usize = 20_000;
const HINTS_MAX: usize = 8;

/// Up to a thousand places where a service's traffic goes.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EndpointSlice {
    pub metadata: ObjectMeta,
    /// `IPv4`, `IPv6` or `FQDN`.
    #[serde(deserialize_with = "null_default")]
    pub address_type: String,
    #[serde(deserialize_with = "null_default")]
    pub endpoints: Vec<Endpoint>,
    #[serde(deserialize_with = "null_default")]
    pub ports: Vec<EndpointPort>,
}

impl Kind for EndpointSlice {
    const META: Meta = Meta { generation: true, ..Meta::namespaced("discovery.k8s.io", "EndpointSlice", "endpointslices") };
    const NOTHING: &[Question] = &[Question::Fields, Question::Subresources, Question::Warnings];
    const COLUMNS: &[Col] = &[NAME, Col::path("AddressType", "addressType"), Col::of("Ports", ports), Col::of("Endpoints", addresses), AGE];

    fn fill_defaults(doc: &mut Value) {
        for port in doc.items_at_mut("ports") {
            port.default_at("name", "");
            default_text(port, "protocol", "TCP");
        }
        if doc.items_at("endpoints").is_empty() {
            doc.set_at("endpoints", Value::Null);
        }
        doc.items_at_mut("endpoints").iter_mut().for_each(|endpoint| endpoint.default_at("conditions", json!({})));
        doc.default_at("ports", Value::Null);
    }

    fn validate(new: &Value, _old: Option<&Value>, errors: &mut FieldErrors) {
        one_of(new, "addressType", &["FQDN", "IPv4", "IPv6"], &Path::root(), errors);
        check_endpoints(new, &Path::new("endpoints"), errors);
        check_ports(new.items_at("ports"), &Path::new("ports"), errors);
    }

    fn validate_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
        immutable(new, old, "addressType", &Path::root(), errors);
    }
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Endpoint {
    #[serde(deserialize_with = "null_default")]
    pub addresses: Vec<String>,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub conditions: EndpointConditions,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_ref: Option<ObjectReference>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hints: Option<EndpointHints>,
}

/// None reads as ready, serving and not terminating.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EndpointConditions {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serving: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub terminating: Option<bool>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EndpointHints {
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub for_zones: Vec<ForZone>,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub for_nodes: Vec<ForNode>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ForZone {
    #[serde(deserialize_with = "null_default")]
    pub name: String,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ForNode {
    #[serde(deserialize_with = "null_default")]
    pub name: String,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EndpointPort {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app_protocol: Option<String>,
}

fn check_endpoints(doc: &Value, path: &Path, errors: &mut FieldErrors) {
    let endpoints = doc.items_at("endpoints");
    if endpoints.len() > ENDPOINTS_MAX {
        return errors.too_many(path, endpoints.len(), ENDPOINTS_MAX);
    }
    for (at, endpoint) in endpoints.iter().enumerate() {
        let path = path.index(at);
        check_addresses(endpoint, doc.str_at("addressType"), &path.child("addresses"), errors);
        if let Some(node) = endpoint.at("nodeName").and_then(Value::as_str) {
            dns_subdomain(node, &path.child("nodeName"), errors);
        }
        if let Some(host) = endpoint.at("hostname").and_then(Value::as_str) {
            dns_label(host, &path.child("hostname"), errors);
        }
        if is_given(endpoint, "hints") {
            check_hints(endpoint.items_at("hints.forZones"), &path.child("hints.forZones"), errors);
            check_hints(endpoint.items_at("hints.forNodes"), &path.child("hints.forNodes"), errors);
        }
    }
}

fn check_addresses(endpoint: &Value, sort: &str, path: &Path, errors: &mut FieldErrors) {
    let addresses = endpoint.items_at("addresses");
    if addresses.is_empty() {
        errors.required(path, "must contain at least 1 address");
    } else if addresses.len() > ADDRESSES_MAX {
        errors.too_many(path, addresses.len(), ADDRESSES_MAX);
    }
    for (at, address) in addresses.iter().filter_map(Value::as_str).enumerate() {
        let path = path.index(at);
        match sort {
            "IPv4" if address.parse::<Ipv4Addr>().is_err() => errors.invalid(&path, address, "must be a valid IPv4 address"),
            "IPv6" if address.parse::<Ipv6Addr>().is_err() => errors.invalid(&path, address, "must be a valid IPv6 address"),
            "IPv4" | "IPv6" => non_special_ip(address, &path, errors),
            "FQDN" => check_fqdn(address, &path, errors),
            _ => {}
        }
    }
}

fn check_fqdn(name: &str, path: &Path, errors: &mut FieldErrors) {
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.is_empty() {
        return errors.required(path, "");
    }
    let wrong = names::is_dns1123_subdomain(name);
    if wrong.is_empty() && !name.contains('.') {
        return errors.invalid(path, name, "should be a domain with at least two segments separated by dots");
    }
    each(path, name, wrong, errors);
}

fn check_hints(hints: &[Value], path: &Path, errors: &mut FieldErrors) {
    if hints.len() > HINTS_MAX {
        return errors.too_many(path, hints.len(), HINTS_MAX);
    }
    for (at, hint) in hints.iter().enumerate() {
        let (name, path) = (hint.str_at("name"), path.index(at).child("name"));
        if hints[..at].contains(hint) {
            errors.duplicate(&path, name);
        }
        each(&path, name, names::is_label_value(name), errors);
    }
}

fn check_ports(ports: &[Value], path: &Path, errors: &mut FieldErrors) {
    if ports.len() > PORTS_MAX {
        return errors.too_many(path, ports.len(), PORTS_MAX);
    }
    let mut seen = Vec::new();
    for (at, port) in ports.iter().enumerate() {
        let (name, path) = (port.str_at("name"), path.index(at));
        if !name.is_empty() {
            dns_label(name, &path.child("name"), errors);
        }
        if seen.contains(&name) {
            errors.duplicate(&path.child("name"), name);
        }
        seen.push(name);
        one_of(port, "protocol", &["SCTP", "TCP", "UDP"], &path, errors);
        if let Some(number) = port.i64_at("port") {
            port_number(number, &path.child("port"), errors);
        }
        if let Some(protocol) = port.at("appProtocol").and_then(Value::as_str) {
            qualified_name(protocol, &path.child("appProtocol"), errors);
        }
    }
}

fn ports(doc: &Value) -> Value {
    let text = |port: &Value| match port.i64_at("port") {
        Some(number) => number.to_string(),
        None => port.at("name").and_then(Value::as_str).unwrap_or("*").to_owned(),
    };
    first_few(&doc.items_at("ports").iter().map(text).collect::<Vec<_>>(), 3, "<unset>")
}

fn addresses(doc: &Value) -> Value {
    let all = doc.items_at("endpoints").iter().flat_map(|endpoint| endpoint.items_at("addresses"));
    first_few(&all.filter_map(|address| Some(address.as_str()?.to_owned())).collect::<Vec<_>>(), 3, "<unset>")
}
