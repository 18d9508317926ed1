//! ClusterRole: rules everywhere, or wherever a role binding names them.

use crate::cells;
use crate::kind::{Col, Kind, Meta};
use schema::{ObjectMeta, Value, names};
use serde::{Deserialize, Serialize};

use super::rule::PolicyRule;
use crate::lens::{is_default, null_default};

/// Rules everywhere, or wherever a role binding names them.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClusterRole {
    pub metadata: ObjectMeta,
    #[serde(deserialize_with = "null_default")]
    pub rules: Vec<PolicyRule>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aggregation_rule: Option<AggregationRule>,
}

impl Kind for ClusterRole {
    const META: Meta =
        Meta { name: names::is_path_segment_name, ..Meta::cluster("rbac.authorization.k8s.io", "ClusterRole", "clusterroles") };
    const COLUMNS: &[Col] = cells::NAME_AND_CREATED_AT;
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AggregationRule {
    /// Each a `metav1.LabelSelector`.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub cluster_role_selectors: Vec<Value>,
}
