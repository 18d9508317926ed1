//! Node: a machine that runs pods.

use crate::kind::{Kind, Meta, Selectable, Sub};
use schema::{DocExt, ObjectMeta};
use serde::{Deserialize, Serialize};

use crate::lens::{Resources, is_default, null_default, quantities};

/// A machine that runs pods.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Node {
    pub metadata: ObjectMeta,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub spec: NodeSpec,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub status: NodeStatus,
}

impl Kind for Node {
    const META: Meta =
        Meta { short: &["no"], subresources: &[Sub::proxy("NodeProxyOptions"), Sub::STATUS], ..Meta::cluster("", "Node", "nodes") };
    const FIELDS: &[Selectable] = &[Selectable::new("spec.unschedulable", |doc| doc.bool_at("spec.unschedulable").to_string())];
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeSpec {
    #[serde(rename = "podCIDR", deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub pod_cidr: String,
    #[serde(rename = "podCIDRs", deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub pod_cidrs: Vec<String>,
    #[serde(rename = "providerID", deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub provider_id: String,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub unschedulable: bool,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub taints: Vec<Taint>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Taint {
    #[serde(deserialize_with = "null_default")]
    pub key: String,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub value: String,
    /// `NoSchedule`, `PreferNoSchedule` or `NoExecute`.
    #[serde(deserialize_with = "null_default")]
    pub effect: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_added: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeStatus {
    #[serde(with = "quantities", skip_serializing_if = "is_default")]
    pub capacity: Resources,
    #[serde(with = "quantities", skip_serializing_if = "is_default")]
    pub allocatable: Resources,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub phase: String,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub conditions: Vec<NodeCondition>,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub addresses: Vec<NodeAddress>,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub daemon_endpoints: NodeDaemonEndpoints,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub node_info: NodeSystemInfo,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub images: Vec<ContainerImage>,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub volumes_in_use: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeCondition {
    #[serde(deserialize_with = "null_default")]
    pub r#type: String,
    #[serde(deserialize_with = "null_default")]
    pub status: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_heartbeat_time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_transition_time: Option<String>,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub reason: String,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub message: String,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeAddress {
    /// `Hostname`, `InternalIP`, `ExternalIP` …
    #[serde(deserialize_with = "null_default")]
    pub r#type: String,
    #[serde(deserialize_with = "null_default")]
    pub address: String,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeDaemonEndpoints {
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub kubelet_endpoint: DaemonEndpoint,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DaemonEndpoint {
    #[serde(rename = "Port", deserialize_with = "null_default")]
    pub port: i32,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeSystemInfo {
    #[serde(rename = "machineID", deserialize_with = "null_default")]
    pub machine_id: String,
    #[serde(rename = "systemUUID", deserialize_with = "null_default")]
    pub system_uuid: String,
    #[serde(rename = "bootID", deserialize_with = "null_default")]
    pub boot_id: String,
    #[serde(deserialize_with = "null_default")]
    pub kernel_version: String,
    #[serde(deserialize_with = "null_default")]
    pub os_image: String,
    #[serde(deserialize_with = "null_default")]
    pub container_runtime_version: String,
    #[serde(deserialize_with = "null_default")]
    pub kubelet_version: String,
    #[serde(deserialize_with = "null_default")]
    pub kube_proxy_version: String,
    #[serde(deserialize_with = "null_default")]
    pub operating_system: String,
    #[serde(deserialize_with = "null_default")]
    pub architecture: String,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerImage {
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub names: Vec<String>,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub size_bytes: i64,
}
