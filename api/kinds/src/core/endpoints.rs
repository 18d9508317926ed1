//! Endpoints: where a service's traffic goes, in the older form.

use crate::kind::{Kind, Meta};
use schema::ObjectMeta;
use serde::{Deserialize, Serialize};

use super::ObjectReference;
use crate::lens::{is_default, null_default};

/// Where a service's traffic goes, in the older form.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Endpoints {
    pub metadata: ObjectMeta,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub subsets: Vec<EndpointSubset>,
}

impl Kind for Endpoints {
    const META: Meta = Meta { short: &["ep"], ..Meta::namespaced("", "Endpoints", "endpoints") };
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EndpointSubset {
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub addresses: Vec<EndpointAddress>,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub not_ready_addresses: Vec<EndpointAddress>,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub ports: Vec<EndpointPort>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EndpointAddress {
    #[serde(deserialize_with = "null_default")]
    pub ip: String,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub hostname: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_ref: Option<ObjectReference>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EndpointPort {
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub name: String,
    #[serde(deserialize_with = "null_default")]
    pub port: i32,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub protocol: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app_protocol: Option<String>,
}
