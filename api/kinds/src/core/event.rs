//! Event: something worth telling happened to an object. Served by two groups, stored once as core/v1.

use schema::ObjectMeta;
use serde::{Deserialize, Serialize};

use super::ObjectReference;
use crate::lens::{is_default, null_default};

/// Something worth telling happened to an object.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Event {
    pub metadata: ObjectMeta,
    #[serde(deserialize_with = "null_default")]
    pub involved_object: ObjectReference,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub reason: String,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub message: String,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub source: EventSource,
    pub first_timestamp: Option<String>,
    pub last_timestamp: Option<String>,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub count: i32,
    /// `Normal` or `Warning`.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub r#type: String,
    /// RFC 3339 with six digits.
    pub event_time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub series: Option<EventSeries>,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub action: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub related: Option<ObjectReference>,
    #[serde(deserialize_with = "null_default")]
    pub reporting_component: String,
    #[serde(deserialize_with = "null_default")]
    pub reporting_instance: String,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EventSource {
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub component: String,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub host: String,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EventSeries {
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub count: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_observed_time: Option<String>,
}
