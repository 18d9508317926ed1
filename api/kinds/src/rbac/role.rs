//! Role: rules within one namespace.

use schema::ObjectMeta;
use serde::{Deserialize, Serialize};

use super::rule::PolicyRule;
use crate::lens::null_default;

/// Rules within one namespace.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Role {
    pub metadata: ObjectMeta,
    #[serde(deserialize_with = "null_default")]
    pub rules: Vec<PolicyRule>,
}
