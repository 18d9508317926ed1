//! Lens on a container: command, environment, probes, lifecycle, resources.

use schema::Value;
use serde::{Deserialize, Serialize};

use super::spec::{AppArmorProfile, SeLinuxOptions, SeccompProfile};
use crate::lens::{IntOrString, Resources, is_default, null_default, quantities};

/// One container, app or init.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Container {
    #[serde(deserialize_with = "null_default")]
    pub name: String,
    #[serde(deserialize_with = "null_default")]
    pub image: String,
    #[serde(deserialize_with = "null_default")]
    pub command: Vec<String>,
    #[serde(deserialize_with = "null_default")]
    pub args: Vec<String>,
    #[serde(deserialize_with = "null_default")]
    pub working_dir: String,
    #[serde(deserialize_with = "null_default")]
    pub ports: Vec<ContainerPort>,
    #[serde(deserialize_with = "null_default")]
    pub env_from: Vec<EnvFromSource>,
    #[serde(deserialize_with = "null_default")]
    pub env: Vec<EnvVar>,
    #[serde(deserialize_with = "null_default")]
    pub resources: ResourceRequirements,
    #[serde(deserialize_with = "null_default")]
    pub resize_policy: Vec<ContainerResizePolicy>,
    /// `Always` on an init container makes it a sidecar.
    pub restart_policy: Option<String>,
    #[serde(deserialize_with = "null_default")]
    pub restart_policy_rules: Vec<ContainerRestartRule>,
    #[serde(deserialize_with = "null_default")]
    pub volume_mounts: Vec<VolumeMount>,
    #[serde(deserialize_with = "null_default")]
    pub volume_devices: Vec<VolumeDevice>,
    pub liveness_probe: Option<Probe>,
    pub readiness_probe: Option<Probe>,
    pub startup_probe: Option<Probe>,
    pub lifecycle: Option<Lifecycle>,
    #[serde(deserialize_with = "null_default")]
    pub termination_message_path: String,
    /// `File` or `FallbackToLogsOnError`.
    #[serde(deserialize_with = "null_default")]
    pub termination_message_policy: String,
    /// `Always`, `IfNotPresent` or `Never`.
    #[serde(deserialize_with = "null_default")]
    pub image_pull_policy: String,
    pub security_context: Option<SecurityContext>,
    #[serde(deserialize_with = "null_default")]
    pub stdin: bool,
    #[serde(deserialize_with = "null_default")]
    pub stdin_once: bool,
    #[serde(deserialize_with = "null_default")]
    pub tty: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EphemeralContainer {
    #[serde(flatten)]
    pub container: Container,
    #[serde(deserialize_with = "null_default")]
    pub target_container_name: String,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerPort {
    #[serde(deserialize_with = "null_default")]
    pub name: String,
    /// 0: none.
    #[serde(deserialize_with = "null_default")]
    pub host_port: i32,
    #[serde(deserialize_with = "null_default")]
    pub container_port: i32,
    /// `TCP`, `UDP` or `SCTP`.
    #[serde(deserialize_with = "null_default")]
    pub protocol: String,
    #[serde(rename = "hostIP", deserialize_with = "null_default")]
    pub host_ip: String,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EnvVar {
    #[serde(deserialize_with = "null_default")]
    pub name: String,
    #[serde(deserialize_with = "null_default")]
    pub value: String,
    pub value_from: Option<EnvVarSource>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EnvVarSource {
    pub field_ref: Option<ObjectFieldSelector>,
    pub resource_field_ref: Option<ResourceFieldSelector>,
    pub config_map_key_ref: Option<KeySelector>,
    pub secret_key_ref: Option<KeySelector>,
    pub file_key_ref: Option<FileKeySelector>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ObjectFieldSelector {
    #[serde(deserialize_with = "null_default")]
    pub api_version: String,
    #[serde(deserialize_with = "null_default")]
    pub field_path: String,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ResourceFieldSelector {
    #[serde(deserialize_with = "null_default")]
    pub container_name: String,
    #[serde(deserialize_with = "null_default")]
    pub resource: String,
    /// A quantity, `0` or absent for 1.
    pub divisor: Option<Value>,
}

/// A key of a ConfigMap or Secret.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct KeySelector {
    #[serde(deserialize_with = "null_default")]
    pub name: String,
    #[serde(deserialize_with = "null_default")]
    pub key: String,
    pub optional: Option<bool>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct FileKeySelector {
    #[serde(deserialize_with = "null_default")]
    pub volume_name: String,
    #[serde(deserialize_with = "null_default")]
    pub path: String,
    #[serde(deserialize_with = "null_default")]
    pub key: String,
    pub optional: Option<bool>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EnvFromSource {
    #[serde(deserialize_with = "null_default")]
    pub prefix: String,
    pub config_map_ref: Option<EnvSource>,
    pub secret_ref: Option<EnvSource>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EnvSource {
    #[serde(deserialize_with = "null_default")]
    pub name: String,
    pub optional: Option<bool>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ResourceRequirements {
    #[serde(with = "quantities", skip_serializing_if = "is_default")]
    pub limits: Resources,
    #[serde(with = "quantities", skip_serializing_if = "is_default")]
    pub requests: Resources,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub claims: Vec<ResourceClaimRef>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ResourceClaimRef {
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub name: String,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub request: String,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerResizePolicy {
    #[serde(deserialize_with = "null_default")]
    pub resource_name: String,
    #[serde(deserialize_with = "null_default")]
    pub restart_policy: String,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerRestartRule {
    #[serde(deserialize_with = "null_default")]
    pub action: String,
    pub exit_codes: Option<ContainerRestartRuleOnExitCodes>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerRestartRuleOnExitCodes {
    #[serde(deserialize_with = "null_default")]
    pub operator: String,
    #[serde(deserialize_with = "null_default")]
    pub values: Vec<i32>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct VolumeMount {
    #[serde(deserialize_with = "null_default")]
    pub name: String,
    #[serde(deserialize_with = "null_default")]
    pub read_only: bool,
    pub recursive_read_only: Option<String>,
    #[serde(deserialize_with = "null_default")]
    pub mount_path: String,
    #[serde(deserialize_with = "null_default")]
    pub sub_path: String,
    pub mount_propagation: Option<String>,
    #[serde(deserialize_with = "null_default")]
    pub sub_path_expr: String,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct VolumeDevice {
    #[serde(deserialize_with = "null_default")]
    pub name: String,
    #[serde(deserialize_with = "null_default")]
    pub device_path: String,
}

/// Times are in seconds; 0 stands for the default that the API server has filled in.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Probe {
    pub exec: Option<ExecAction>,
    pub http_get: Option<HttpGetAction>,
    pub tcp_socket: Option<TcpSocketAction>,
    pub grpc: Option<GrpcAction>,
    #[serde(deserialize_with = "null_default")]
    pub initial_delay_seconds: i32,
    #[serde(deserialize_with = "null_default")]
    pub timeout_seconds: i32,
    #[serde(deserialize_with = "null_default")]
    pub period_seconds: i32,
    #[serde(deserialize_with = "null_default")]
    pub success_threshold: i32,
    #[serde(deserialize_with = "null_default")]
    pub failure_threshold: i32,
    pub termination_grace_period_seconds: Option<i64>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ExecAction {
    #[serde(deserialize_with = "null_default")]
    pub command: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpGetAction {
    #[serde(deserialize_with = "null_default")]
    pub path: String,
    #[serde(deserialize_with = "null_default")]
    pub port: IntOrString,
    #[serde(deserialize_with = "null_default")]
    pub host: String,
    /// `HTTP` or `HTTPS`.
    #[serde(deserialize_with = "null_default")]
    pub scheme: String,
    #[serde(deserialize_with = "null_default")]
    pub http_headers: Vec<HttpHeader>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpHeader {
    #[serde(deserialize_with = "null_default")]
    pub name: String,
    #[serde(deserialize_with = "null_default")]
    pub value: String,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TcpSocketAction {
    #[serde(deserialize_with = "null_default")]
    pub port: IntOrString,
    #[serde(deserialize_with = "null_default")]
    pub host: String,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GrpcAction {
    #[serde(deserialize_with = "null_default")]
    pub port: i32,
    pub service: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Lifecycle {
    pub post_start: Option<LifecycleHandler>,
    pub pre_stop: Option<LifecycleHandler>,
    pub stop_signal: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LifecycleHandler {
    pub exec: Option<ExecAction>,
    pub http_get: Option<HttpGetAction>,
    pub tcp_socket: Option<TcpSocketAction>,
    pub sleep: Option<SleepAction>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SleepAction {
    #[serde(deserialize_with = "null_default")]
    pub seconds: i64,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SecurityContext {
    pub capabilities: Option<Capabilities>,
    pub privileged: Option<bool>,
    pub se_linux_options: Option<SeLinuxOptions>,
    pub windows_options: Option<Value>,
    pub run_as_user: Option<i64>,
    pub run_as_group: Option<i64>,
    pub run_as_non_root: Option<bool>,
    pub read_only_root_filesystem: Option<bool>,
    pub allow_privilege_escalation: Option<bool>,
    pub proc_mount: Option<String>,
    pub seccomp_profile: Option<SeccompProfile>,
    pub app_armor_profile: Option<AppArmorProfile>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Capabilities {
    #[serde(deserialize_with = "null_default")]
    pub add: Vec<String>,
    #[serde(deserialize_with = "null_default")]
    pub drop: Vec<String>,
}
