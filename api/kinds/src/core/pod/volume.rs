//! Lens on volumes. Sources that no code of ours mounts are kept as plain values, so that a refusal can name them.

use schema::Value;
use serde::Deserialize;

use super::container::{ObjectFieldSelector, ResourceFieldSelector};
use crate::lens::null_default;

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Volume {
    #[serde(deserialize_with = "null_default")]
    pub name: String,
    pub empty_dir: Option<EmptyDirVolumeSource>,
    pub host_path: Option<HostPathVolumeSource>,
    pub config_map: Option<ConfigMapVolumeSource>,
    pub secret: Option<SecretVolumeSource>,
    #[serde(rename = "downwardAPI")]
    pub downward_api: Option<DownwardApiVolumeSource>,
    pub projected: Option<ProjectedVolumeSource>,
    pub persistent_volume_claim: Option<PersistentVolumeClaimVolumeSource>,
    pub ephemeral: Option<Value>,
    pub image: Option<ImageVolumeSource>,
    pub nfs: Option<Value>,
    pub csi: Option<Value>,
    pub iscsi: Option<Value>,
    pub fc: Option<Value>,
    pub rbd: Option<Value>,
    pub cephfs: Option<Value>,
    pub cinder: Option<Value>,
    pub flex_volume: Option<Value>,
    pub flocker: Option<Value>,
    pub git_repo: Option<Value>,
    pub glusterfs: Option<Value>,
    pub quobyte: Option<Value>,
    #[serde(rename = "scaleIO")]
    pub scale_io: Option<Value>,
    pub storageos: Option<Value>,
    pub portworx_volume: Option<Value>,
    pub photon_persistent_disk: Option<Value>,
    pub vsphere_volume: Option<Value>,
    pub gce_persistent_disk: Option<Value>,
    pub aws_elastic_block_store: Option<Value>,
    pub azure_disk: Option<Value>,
    pub azure_file: Option<Value>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EmptyDirVolumeSource {
    /// Empty (disk), `Memory` or `HugePages…`.
    #[serde(deserialize_with = "null_default")]
    pub medium: String,
    /// A quantity.
    pub size_limit: Option<Value>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HostPathVolumeSource {
    #[serde(deserialize_with = "null_default")]
    pub path: String,
    pub r#type: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct KeyToPath {
    #[serde(deserialize_with = "null_default")]
    pub key: String,
    #[serde(deserialize_with = "null_default")]
    pub path: String,
    pub mode: Option<i32>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConfigMapVolumeSource {
    #[serde(deserialize_with = "null_default")]
    pub name: String,
    #[serde(deserialize_with = "null_default")]
    pub items: Vec<KeyToPath>,
    pub default_mode: Option<i32>,
    pub optional: Option<bool>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SecretVolumeSource {
    #[serde(deserialize_with = "null_default")]
    pub secret_name: String,
    #[serde(deserialize_with = "null_default")]
    pub items: Vec<KeyToPath>,
    pub default_mode: Option<i32>,
    pub optional: Option<bool>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DownwardApiVolumeSource {
    #[serde(deserialize_with = "null_default")]
    pub items: Vec<DownwardApiVolumeFile>,
    pub default_mode: Option<i32>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DownwardApiVolumeFile {
    #[serde(deserialize_with = "null_default")]
    pub path: String,
    pub field_ref: Option<ObjectFieldSelector>,
    pub resource_field_ref: Option<ResourceFieldSelector>,
    pub mode: Option<i32>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProjectedVolumeSource {
    #[serde(deserialize_with = "null_default")]
    pub sources: Vec<VolumeProjection>,
    pub default_mode: Option<i32>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct VolumeProjection {
    pub secret: Option<SecretProjection>,
    #[serde(rename = "downwardAPI")]
    pub downward_api: Option<DownwardApiProjection>,
    pub config_map: Option<ConfigMapProjection>,
    pub service_account_token: Option<ServiceAccountTokenProjection>,
    pub cluster_trust_bundle: Option<Value>,
    pub pod_certificate: Option<Value>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SecretProjection {
    #[serde(deserialize_with = "null_default")]
    pub name: String,
    #[serde(deserialize_with = "null_default")]
    pub items: Vec<KeyToPath>,
    pub optional: Option<bool>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConfigMapProjection {
    #[serde(deserialize_with = "null_default")]
    pub name: String,
    #[serde(deserialize_with = "null_default")]
    pub items: Vec<KeyToPath>,
    pub optional: Option<bool>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DownwardApiProjection {
    #[serde(deserialize_with = "null_default")]
    pub items: Vec<DownwardApiVolumeFile>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceAccountTokenProjection {
    #[serde(deserialize_with = "null_default")]
    pub audience: String,
    pub expiration_seconds: Option<i64>,
    #[serde(deserialize_with = "null_default")]
    pub path: String,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PersistentVolumeClaimVolumeSource {
    #[serde(deserialize_with = "null_default")]
    pub claim_name: String,
    #[serde(deserialize_with = "null_default")]
    pub read_only: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ImageVolumeSource {
    #[serde(deserialize_with = "null_default")]
    pub reference: String,
    #[serde(deserialize_with = "null_default")]
    pub pull_policy: String,
}
