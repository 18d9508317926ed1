//! Deployment: rolls replica sets from one pod template to the next.

use crate::kind::{Kind, Meta, Sub};
use schema::{ObjectMeta, Value};
use serde::{Deserialize, Serialize};

use crate::lens::{IntOrString, is_default, null_default};

/// Rolls replica sets from one pod template to the next.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Deployment {
    pub metadata: ObjectMeta,
    #[serde(deserialize_with = "null_default")]
    pub spec: DeploymentSpec,
    #[serde(deserialize_with = "null_default")]
    pub status: DeploymentStatus,
}

impl Kind for Deployment {
    const META: Meta = Meta {
        short: &["deploy"],
        categories: &["all"],
        subresources: &[Sub::SCALE, Sub::STATUS],
        generation: true,
        ..Meta::namespaced("apps", "Deployment", "deployments")
    };
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DeploymentSpec {
    pub replicas: Option<i32>,
    /// A `metav1.LabelSelector`.
    #[serde(deserialize_with = "null_default")]
    pub selector: Value,
    /// The pod template as a document: what is copied into replica sets and hashed is never a lens.
    #[serde(deserialize_with = "null_default")]
    pub template: Value,
    #[serde(deserialize_with = "null_default")]
    pub strategy: DeploymentStrategy,
    #[serde(deserialize_with = "null_default")]
    pub min_ready_seconds: i32,
    pub revision_history_limit: Option<i32>,
    #[serde(deserialize_with = "null_default")]
    pub paused: bool,
    pub progress_deadline_seconds: Option<i32>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DeploymentStrategy {
    /// `RollingUpdate` or `Recreate`.
    #[serde(deserialize_with = "null_default")]
    pub r#type: String,
    pub rolling_update: Option<RollingUpdateDeployment>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RollingUpdateDeployment {
    pub max_unavailable: Option<IntOrString>,
    pub max_surge: Option<IntOrString>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DeploymentStatus {
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub observed_generation: i64,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub replicas: i32,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub updated_replicas: i32,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub ready_replicas: i32,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub available_replicas: i32,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub unavailable_replicas: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub terminating_replicas: Option<i32>,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub conditions: Vec<DeploymentCondition>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub collision_count: Option<i32>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DeploymentCondition {
    #[serde(deserialize_with = "null_default")]
    pub r#type: String,
    #[serde(deserialize_with = "null_default")]
    pub status: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_update_time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_transition_time: Option<String>,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub reason: String,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub message: String,
}
