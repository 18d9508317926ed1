//! Service: a stable address in front of pods.

use std::collections::BTreeMap;

use crate::kind::{Kind, Meta, Selectable, Sub};
use schema::{DocExt, ObjectMeta, names};
use serde::{Deserialize, Serialize};

use crate::lens::{IntOrString, is_default, null_default};

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
        name: names::is_dns1035_label,
        empty_status: r#"{"loadBalancer": {}}"#,
        short: &["svc"],
        categories: &["all"],
        subresources: &[Sub::proxy("ServiceProxyOptions"), Sub::STATUS],
        ..Meta::namespaced("", "Service", "services")
    };
    const FIELDS: &[Selectable] = &[
        Selectable::new("spec.clusterIP", |doc| doc.str_at("spec.clusterIP").to_owned()),
        Selectable::new("spec.type", |doc| doc.str_at("spec.type").to_owned()),
    ];
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
