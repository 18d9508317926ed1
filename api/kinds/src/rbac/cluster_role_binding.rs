//! ClusterRoleBinding: gives a cluster role to subjects everywhere.

use crate::kind::{Kind, Meta};
use schema::{ObjectMeta, names};
use serde::{Deserialize, Serialize};

use super::rule::{RoleRef, Subject};
use crate::lens::{is_default, null_default};

/// Gives a cluster role to subjects everywhere.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClusterRoleBinding {
    pub metadata: ObjectMeta,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub subjects: Vec<Subject>,
    #[serde(deserialize_with = "null_default")]
    pub role_ref: RoleRef,
}

impl Kind for ClusterRoleBinding {
    const META: Meta = Meta {
        name: names::is_path_segment_name,
        ..Meta::cluster("rbac.authorization.k8s.io", "ClusterRoleBinding", "clusterrolebindings")
    };
}
