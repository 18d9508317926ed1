//! Pod: containers that share a network and a life on one node.

pub mod affinity;
pub mod container;
pub mod spec;
pub mod status;
pub mod volume;

use schema::ObjectMeta;
use serde::Deserialize;

use self::spec::PodSpec;
use self::status::PodStatus;
use crate::lens::null_default;

/// Containers that share a network and a life on one node.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Pod {
    pub metadata: ObjectMeta,
    #[serde(deserialize_with = "null_default")]
    pub spec: PodSpec,
    #[serde(deserialize_with = "null_default")]
    pub status: PodStatus,
}
