//! Service: a stable address in front of pods.

mod rules;

use std::collections::BTreeMap;

use schema::{DocExt, FieldErrors, ObjectMeta, Value, json, names};
use serde::{Deserialize, Serialize};

use crate::cells::{AGE, NAME, labels, load_balancer, or_none};
use crate::core::pod::defaults::default_text;
use crate::descriptor::WriteContext;
use crate::kind::{Col, Kind, Meta, Selectable, Sub};
use crate::lens::{IntOrString, is_default, null_default};

/// Three hours.
const AFFINITY_SECONDS: i64 = 10_800;

/// A stable address in front of pods.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Service {
    pub metadata: ObjectMeta,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub spec: ServiceSpec,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub status: ServiceStatus,
}

impl Kind for Service {
    const META: Meta = Meta {
        name: names::is_dns1123_label,
        empty_status: r#"{"loadBalancer": {}}"#,
        short: &["svc"],
        categories: &["all"],
        subresources: &[Sub::proxy("ServiceProxyOptions"), Sub::STATUS],
        ..Meta::namespaced("", "Service", "services")
    };
    const COLUMNS: &[Col] = &[
        NAME,
        Col::path("Type", "spec.type"),
        Col::of("Cluster-IP", |doc| or_none(doc.items_at("spec.clusterIPs").first().and_then(Value::as_str).unwrap_or_default())),
        Col::of("External-IP", external_ip),
        Col::of("Port(s)", ports),
        AGE,
        Col::of("Selector", |doc| labels(doc.map_at("spec.selector"))).wide(),
    ];
    const FIELDS: &[Selectable] = &[
        Selectable::new("spec.clusterIP", |doc| doc.str_at("spec.clusterIP").to_owned()),
        Selectable::new("spec.type", |doc| doc.str_at("spec.type").to_owned()),
    ];

    fn fill_defaults(doc: &mut Value) {
        doc.default_at("spec", json!({}));
        let spec = &mut doc["spec"];
        default_text(spec, "type", "ClusterIP");
        session_affinity(spec);
        spec.items_at_mut("ports").iter_mut().for_each(port);
        if rules::is_externally_accessible(spec) {
            default_text(spec, "externalTrafficPolicy", "Cluster");
        }
        let is_balanced = spec.str_at("type") == "LoadBalancer";
        if is_balanced || matches!(spec.str_at("type"), "ClusterIP" | "NodePort") {
            spec.default_at("internalTrafficPolicy", "Cluster");
        }
        if is_balanced {
            spec.default_at("allocateLoadBalancerNodePorts", true);
            for ingress in doc.items_at_mut("status.loadBalancer.ingress").iter_mut().filter(|ingress| !ingress.str_at("ip").is_empty()) {
                ingress.default_at("ipMode", "VIP");
            }
        }
        doc.default_at("status.loadBalancer", json!({}));
    }

    fn prepare_create(doc: &mut Value, _cx: &WriteContext<'_>) {
        rules::normalise(doc, None);
    }

    fn prepare_update(new: &mut Value, old: &Value, cx: &WriteContext<'_>) {
        if cx.subresource.is_empty() {
            rules::normalise(new, Some(old));
            rules::drop_what_the_type_lost(new, old);
        }
    }

    fn validate(new: &Value, _old: Option<&Value>, errors: &mut FieldErrors) {
        rules::service(new, errors);
    }

    fn validate_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
        rules::update(new, old, errors);
    }

    fn validate_subresource(new: &Value, _old: &Value, cx: &WriteContext<'_>, errors: &mut FieldErrors) {
        if cx.subresource == "status" {
            rules::status(new, errors);
        }
    }

    fn warnings(new: &Value, _old: Option<&Value>) -> Vec<String> {
        let mut texts = Vec::new();
        let headless = new.str_at("spec.clusterIP") == "None";
        if headless && !new.str_at("spec.loadBalancerIP").is_empty() {
            texts.push("spec.loadBalancerIP is ignored for headless services".to_owned());
        }
        if headless && !new.items_at("spec.externalIPs").is_empty() {
            texts.push("spec.externalIPs is ignored for headless services".to_owned());
        }
        if headless && new.str_at("spec.sessionAffinity") == "ClientIP" {
            texts.push("spec.SessionAffinity is ignored for headless services".to_owned());
        }
        if new.str_at("spec.type") == "ExternalName" && !new.items_at("spec.externalIPs").is_empty() {
            texts.push("spec.externalIPs is ignored when spec.type is \"ExternalName\"".to_owned());
        }
        texts
    }
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceSpec {
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub ports: Vec<ServicePort>,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub selector: BTreeMap<String, String>,
    /// Empty until allocated, `None` for a headless service.
    #[serde(rename = "clusterIP", deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub cluster_ip: String,
    #[serde(rename = "clusterIPs", deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub cluster_ips: Vec<String>,
    /// `ClusterIP`, `NodePort`, `LoadBalancer` or `ExternalName`.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub r#type: String,
    #[serde(rename = "externalIPs", deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub external_ips: Vec<String>,
    /// `None` or `ClientIP`.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub session_affinity: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_affinity_config: Option<SessionAffinityConfig>,
    #[serde(rename = "loadBalancerIP", deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub load_balancer_ip: String,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub load_balancer_source_ranges: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub load_balancer_class: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allocate_load_balancer_node_ports: Option<bool>,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub external_name: String,
    /// `Cluster` or `Local`; empty for services without outside access.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub external_traffic_policy: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub internal_traffic_policy: Option<String>,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub health_check_node_port: i32,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub publish_not_ready_addresses: bool,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub ip_families: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip_family_policy: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub traffic_distribution: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServicePort {
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub name: String,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub protocol: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app_protocol: Option<String>,
    #[serde(deserialize_with = "null_default")]
    pub port: i32,
    /// 0 or absent: same as `port`.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub target_port: IntOrString,
    /// 0: none.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub node_port: i32,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SessionAffinityConfig {
    #[serde(rename = "clientIP", skip_serializing_if = "Option::is_none")]
    pub client_ip: Option<ClientIpConfig>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClientIpConfig {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<i32>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceStatus {
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub load_balancer: LoadBalancerStatus,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LoadBalancerStatus {
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub ingress: Vec<LoadBalancerIngress>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LoadBalancerIngress {
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub ip: String,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub hostname: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip_mode: Option<String>,
}

fn session_affinity(spec: &mut Value) {
    default_text(spec, "sessionAffinity", "None");
    match spec.str_at("sessionAffinity") {
        "None" => drop(spec.remove_at("sessionAffinityConfig")),
        "ClientIP" => spec.default_at("sessionAffinityConfig.clientIP.timeoutSeconds", AFFINITY_SECONDS),
        _ => {}
    }
}

fn port(port: &mut Value) {
    default_text(port, "protocol", "TCP");
    if matches!(port.at("targetPort"), None | Some(Value::Null)) || port["targetPort"] == 0 || port["targetPort"] == "" {
        port.set_at("targetPort", port.i64_at("port").unwrap_or_default());
    }
}

fn external_ip(doc: &Value) -> Value {
    let mut ips: Vec<&str> = doc.items_at("spec.externalIPs").iter().filter_map(Value::as_str).collect();
    match doc.str_at("spec.type") {
        "ClusterIP" | "NodePort" => or_none(&ips.join(",")),
        "LoadBalancer" => {
            let balanced = load_balancer(doc);
            if !balanced.is_empty() {
                ips.insert(0, &balanced);
            }
            json!(if ips.is_empty() { "<pending>".to_owned() } else { ips.join(",") })
        }
        "ExternalName" => json!(doc.str_at("spec.externalName")),
        _ => json!("<unknown>"),
    }
}

/// `80/TCP,443:30443/TCP`
fn ports(doc: &Value) -> Value {
    let text = |port: &Value| {
        let (number, protocol) = (port.i64_at("port").unwrap_or_default(), port.str_at("protocol"));
        match port.i64_at("nodePort").unwrap_or_default() {
            0 => format!("{number}/{protocol}"),
            node_port => format!("{number}:{node_port}/{protocol}"),
        }
    };
    or_none(&doc.items_at("spec.ports").iter().map(text).collect::<Vec<_>>().join(","))
}
