//! Event: something worth telling happened to an object. Served by two groups, stored once as core/v1.

use crate::kind::{Kind, Meta, Selectable};
use schema::{DocExt, ObjectMeta, Value};
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

impl Kind for Event {
    const META: Meta = Meta { short: &["ev"], ..Meta::namespaced("", "Event", "events") };
    const FIELDS: &[Selectable] = &[
        Selectable::new("involvedObject.kind", |doc| doc.str_at("involvedObject.kind").to_owned()),
        Selectable::new("involvedObject.namespace", |doc| doc.str_at("involvedObject.namespace").to_owned()),
        Selectable::new("involvedObject.name", |doc| doc.str_at("involvedObject.name").to_owned()),
        Selectable::new("involvedObject.uid", |doc| doc.str_at("involvedObject.uid").to_owned()),
        Selectable::new("involvedObject.apiVersion", |doc| doc.str_at("involvedObject.apiVersion").to_owned()),
        Selectable::new("involvedObject.resourceVersion", |doc| doc.str_at("involvedObject.resourceVersion").to_owned()),
        Selectable::new("involvedObject.fieldPath", |doc| doc.str_at("involvedObject.fieldPath").to_owned()),
        Selectable::new("reason", |doc| doc.str_at("reason").to_owned()),
        Selectable::new("type", |doc| doc.str_at("type").to_owned()),
        Selectable::new("reportingComponent", |doc| doc.str_at("reportingComponent").to_owned()),
        Selectable::new("source", |doc| source(doc)),
    ];
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

/// The label `source`: the old component, else the new one.
fn source(doc: &Value) -> String {
    let component = doc.str_at("source.component");
    if component.is_empty() { doc.str_at("reportingComponent") } else { component }.to_owned()
}
