//! Endpoints: where a service's traffic goes, in the older form.

use schema::{DocExt, FieldErrors, ObjectMeta, Path, Value};
use serde::{Deserialize, Serialize};

use super::ObjectReference;
use crate::cells::{AGE, NAME, first_few};
use crate::core::pod::defaults::default_text;
use crate::kind::{Col, Kind, Meta, Question};
use crate::lens::{is_default, null_default};
use crate::rules::{dns_label, dns_subdomain, ip, non_special_ip, one_of, port_number, qualified_name};

/// Where a service's traffic goes, in the older form.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Endpoints {
    pub metadata: ObjectMeta,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub subsets: Vec<EndpointSubset>,
}

impl Kind for Endpoints {
    const META: Meta = Meta { short: &["ep"], ..Meta::namespaced("", "Endpoints", "endpoints") };
    const NOTHING: &[Question] = &[Question::Fields, Question::Updates, Question::Subresources, Question::Warnings];
    const COLUMNS: &[Col] = &[NAME, Col::of("Endpoints", addresses), AGE];

    fn fill_defaults(doc: &mut Value) {
        for subset in doc.items_at_mut("subsets") {
            subset.items_at_mut("ports").iter_mut().for_each(|port| default_text(port, "protocol", "TCP"));
        }
    }

    fn validate(new: &Value, _old: Option<&Value>, errors: &mut FieldErrors) {
        for (at, subset) in new.items_at("subsets").iter().enumerate() {
            check_subset(subset, &Path::new("subsets").index(at), errors);
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EndpointSubset {
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub addresses: Vec<EndpointAddress>,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub not_ready_addresses: Vec<EndpointAddress>,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub ports: Vec<EndpointPort>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EndpointAddress {
    #[serde(deserialize_with = "null_default")]
    pub ip: String,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub hostname: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_ref: Option<ObjectReference>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EndpointPort {
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub name: String,
    #[serde(deserialize_with = "null_default")]
    pub port: i32,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub protocol: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app_protocol: Option<String>,
}

fn check_subset(subset: &Value, path: &Path, errors: &mut FieldErrors) {
    if subset.items_at("addresses").is_empty() && subset.items_at("notReadyAddresses").is_empty() {
        errors.required(path, "must specify `addresses` or `notReadyAddresses`");
    }
    for list in ["addresses", "notReadyAddresses"] {
        for (at, address) in subset.items_at(list).iter().enumerate() {
            check_address(address, &path.child(list).index(at), errors);
        }
    }
    let ports = subset.items_at("ports");
    for (at, port) in ports.iter().enumerate() {
        check_port(port, ports.len() > 1, &path.child("ports").index(at), errors);
    }
}

fn check_address(address: &Value, path: &Path, errors: &mut FieldErrors) {
    let (text, host) = (address.str_at("ip"), address.str_at("hostname"));
    if ip(text, &path.child("ip"), errors).is_some() {
        non_special_ip(text, &path.child("ip"), errors);
    }
    if !host.is_empty() {
        dns_label(host, &path.child("hostname"), errors);
    }
    if let Some(node) = address.at("nodeName").and_then(Value::as_str) {
        dns_subdomain(node, &path.child("nodeName"), errors);
    }
}

fn check_port(port: &Value, needs_name: bool, path: &Path, errors: &mut FieldErrors) {
    match port.str_at("name") {
        "" if needs_name => errors.required(&path.child("name"), ""),
        "" => {}
        name => dns_label(name, &path.child("name"), errors),
    }
    port_number(port.i64_at("port").unwrap_or_default(), &path.child("port"), errors);
    one_of(port, "protocol", &["SCTP", "TCP", "UDP"], path, errors);
    if let Some(protocol) = port.at("appProtocol").and_then(Value::as_str) {
        qualified_name(protocol, &path.child("appProtocol"), errors);
    }
}

/// `10.0.0.7:80,10.0.0.8:80 + 3 more...`
fn addresses(doc: &Value) -> Value {
    let mut all = Vec::new();
    for subset in doc.items_at("subsets") {
        let ips = || subset.items_at("addresses").iter().map(|address| address.str_at("ip"));
        for port in subset.items_at("ports") {
            all.extend(ips().map(|ip| joined(ip, port.i64_at("port").unwrap_or_default())));
        }
        if subset.items_at("ports").is_empty() {
            all.extend(ips().map(str::to_owned));
        }
    }
    first_few(&all, 3, "<none>")
}

fn joined(ip: &str, port: i64) -> String {
    if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") }
}
