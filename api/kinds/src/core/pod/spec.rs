//! Lens on `PodSpec`: everything that the scheduler, the controllers and the node agent read.

use std::collections::BTreeMap;

use schema::Value;
use serde::{Deserialize, Serialize};

use super::affinity::{Affinity, Toleration, TopologySpreadConstraint};
use super::container::{Container, EphemeralContainer, ResourceRequirements};
use super::volume::Volume;
use crate::lens::{Resources, is_default, null_default, quantities};

/// What a pod asks for. Parts that no code of ours reads yet are kept as plain values, so that a refusal can name them.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodSpec {
    #[serde(deserialize_with = "null_default")]
    pub volumes: Vec<Volume>,
    #[serde(deserialize_with = "null_default")]
    pub init_containers: Vec<Container>,
    #[serde(deserialize_with = "null_default")]
    pub containers: Vec<Container>,
    #[serde(deserialize_with = "null_default")]
    pub ephemeral_containers: Vec<EphemeralContainer>,
    /// `Always`, `OnFailure` or `Never`.
    #[serde(deserialize_with = "null_default")]
    pub restart_policy: String,
    pub termination_grace_period_seconds: Option<i64>,
    pub active_deadline_seconds: Option<i64>,
    /// `ClusterFirst`, `ClusterFirstWithHostNet`, `Default` or `None`.
    #[serde(deserialize_with = "null_default")]
    pub dns_policy: String,
    pub dns_config: Option<PodDnsConfig>,
    #[serde(deserialize_with = "null_default")]
    pub node_selector: BTreeMap<String, String>,
    #[serde(deserialize_with = "null_default")]
    pub service_account_name: String,
    pub automount_service_account_token: Option<bool>,
    /// Empty until bound.
    #[serde(deserialize_with = "null_default")]
    pub node_name: String,
    #[serde(deserialize_with = "null_default")]
    pub host_network: bool,
    #[serde(rename = "hostPID", deserialize_with = "null_default")]
    pub host_pid: bool,
    #[serde(rename = "hostIPC", deserialize_with = "null_default")]
    pub host_ipc: bool,
    /// false asks for a user namespace.
    pub host_users: Option<bool>,
    pub share_process_namespace: Option<bool>,
    pub security_context: Option<PodSecurityContext>,
    #[serde(deserialize_with = "null_default")]
    pub image_pull_secrets: Vec<LocalObjectReference>,
    #[serde(deserialize_with = "null_default")]
    pub hostname: String,
    #[serde(deserialize_with = "null_default")]
    pub subdomain: String,
    pub hostname_override: Option<String>,
    #[serde(rename = "setHostnameAsFQDN")]
    pub set_hostname_as_fqdn: Option<bool>,
    pub affinity: Option<Affinity>,
    #[serde(deserialize_with = "null_default")]
    pub scheduler_name: String,
    #[serde(deserialize_with = "null_default")]
    pub tolerations: Vec<Toleration>,
    #[serde(deserialize_with = "null_default")]
    pub host_aliases: Vec<HostAlias>,
    #[serde(deserialize_with = "null_default")]
    pub priority_class_name: String,
    pub priority: Option<i32>,
    pub preemption_policy: Option<String>,
    #[serde(deserialize_with = "null_default")]
    pub readiness_gates: Vec<PodReadinessGate>,
    pub runtime_class_name: Option<String>,
    pub enable_service_links: Option<bool>,
    #[serde(with = "quantities")]
    pub overhead: Resources,
    #[serde(deserialize_with = "null_default")]
    pub topology_spread_constraints: Vec<TopologySpreadConstraint>,
    pub os: Option<PodOs>,
    #[serde(deserialize_with = "null_default")]
    pub scheduling_gates: Vec<PodSchedulingGate>,
    #[serde(deserialize_with = "null_default")]
    pub resource_claims: Vec<PodResourceClaim>,
    pub resources: Option<ResourceRequirements>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodOs {
    #[serde(deserialize_with = "null_default")]
    pub name: String,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodSchedulingGate {
    #[serde(deserialize_with = "null_default")]
    pub name: String,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodReadinessGate {
    #[serde(deserialize_with = "null_default")]
    pub condition_type: String,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodResourceClaim {
    #[serde(deserialize_with = "null_default")]
    pub name: String,
    pub resource_claim_name: Option<String>,
    pub resource_claim_template_name: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodDnsConfig {
    #[serde(deserialize_with = "null_default")]
    pub nameservers: Vec<String>,
    #[serde(deserialize_with = "null_default")]
    pub searches: Vec<String>,
    #[serde(deserialize_with = "null_default")]
    pub options: Vec<PodDnsConfigOption>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodDnsConfigOption {
    #[serde(deserialize_with = "null_default")]
    pub name: String,
    pub value: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HostAlias {
    #[serde(deserialize_with = "null_default")]
    pub ip: String,
    #[serde(deserialize_with = "null_default")]
    pub hostnames: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LocalObjectReference {
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub name: String,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodSecurityContext {
    pub se_linux_options: Option<SeLinuxOptions>,
    pub windows_options: Option<Value>,
    pub run_as_user: Option<i64>,
    pub run_as_group: Option<i64>,
    pub run_as_non_root: Option<bool>,
    #[serde(deserialize_with = "null_default")]
    pub supplemental_groups: Vec<i64>,
    pub supplemental_groups_policy: Option<String>,
    pub fs_group: Option<i64>,
    pub fs_group_change_policy: Option<String>,
    pub se_linux_change_policy: Option<String>,
    #[serde(deserialize_with = "null_default")]
    pub sysctls: Vec<Sysctl>,
    pub seccomp_profile: Option<SeccompProfile>,
    pub app_armor_profile: Option<AppArmorProfile>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Sysctl {
    #[serde(deserialize_with = "null_default")]
    pub name: String,
    #[serde(deserialize_with = "null_default")]
    pub value: String,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SeLinuxOptions {
    #[serde(deserialize_with = "null_default")]
    pub user: String,
    #[serde(deserialize_with = "null_default")]
    pub role: String,
    #[serde(deserialize_with = "null_default")]
    pub r#type: String,
    #[serde(deserialize_with = "null_default")]
    pub level: String,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SeccompProfile {
    /// `RuntimeDefault`, `Unconfined` or `Localhost`.
    #[serde(deserialize_with = "null_default")]
    pub r#type: String,
    pub localhost_profile: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AppArmorProfile {
    #[serde(deserialize_with = "null_default")]
    pub r#type: String,
    pub localhost_profile: Option<String>,
}
