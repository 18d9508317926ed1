//! Event: something worth telling happened to an object. Served by two groups, stored once as core/v1.

use env::Env;
use schema::{DocExt, FieldErrors, ObjectMeta, Path, Value, json};
use serde::{Deserialize, Serialize};

use super::ObjectReference;
use crate::cells::since;
use crate::kind::{Col, Kind, Meta, Question, Selectable};
use crate::lens::{is_default, null_default};
use crate::rules::qualified_name;

const MESSAGE_BYTES_MAX: usize = 1024;
const WORD_BYTES_MAX: usize = 128;

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
    const NOTHING: &[Question] = &[Question::Updates, Question::Subresources, Question::Warnings];
    const COLUMNS: &[Col] = &[
        Col::timed("Last Seen", last_seen),
        Col::path("Type", "type"),
        Col::path("Reason", "reason"),
        Col::of("Object", object),
        Col::path("Subobject", "involvedObject.fieldPath").wide(),
        Col::of("Source", source_text).wide(),
        Col::of("Message", |doc| json!(doc.str_at("message").trim())),
        Col::timed("First Seen", first_seen).wide(),
        Col::of("Count", occurrences).wide(),
        Col::path("Name", "metadata.name").named().wide(),
    ];
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
        Selectable::new("source", source),
    ];

    fn fill_defaults(doc: &mut Value) {
        fill(doc);
    }

    fn validate(new: &Value, _old: Option<&Value>, errors: &mut FieldErrors) {
        check(new, "reportingComponent", errors);
    }
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

/// What Go writes even where it is empty.
pub(crate) fn fill(doc: &mut Value) {
    doc.default_at("involvedObject", json!({}));
    doc.default_at("source", json!({}));
    for member in ["firstTimestamp", "lastTimestamp", "eventTime"] {
        doc.default_at(member, Value::Null);
    }
    for member in ["reportingComponent", "reportingInstance"] {
        doc.default_at(member, "");
    }
}

/// What an event of either group must hold. Events with an `eventTime` say more and are asked more; `reporter` is the name
/// under which the writer knows the reporting component.
pub(crate) fn check(doc: &Value, reporter: &str, errors: &mut FieldErrors) {
    let (namespace, object) = (doc.str_at("metadata.namespace"), doc.str_at("involvedObject.namespace"));
    let is_new_style = !doc.str_at("eventTime").is_empty();
    let agrees = match (object, is_new_style) {
        ("", true) => matches!(namespace, "default" | "kube-system"),
        ("", false) => matches!(namespace, "" | "default"),
        (_, true) => true,
        (object, false) => object == namespace,
    };
    if !agrees {
        errors.invalid(&Path::new("involvedObject.namespace"), object, "does not match event.namespace");
    }
    if is_new_style {
        check_new_style(doc, reporter, errors);
    }
}

fn check_new_style(doc: &Value, reporter: &str, errors: &mut FieldErrors) {
    let component = doc.str_at("reportingComponent");
    if component.is_empty() {
        errors.required(&Path::new(reporter), "");
    }
    qualified_name(component, &Path::new(reporter), errors);
    for member in ["reportingInstance", "action", "reason"] {
        let (text, path) = (doc.str_at(member), Path::new(member));
        if text.is_empty() {
            errors.required(&path, "");
        }
        if text.len() > WORD_BYTES_MAX {
            errors.invalid(&path, "", &format!("can have at most {WORD_BYTES_MAX} characters"));
        }
    }
    if doc.str_at("message").len() > MESSAGE_BYTES_MAX {
        errors.invalid(&Path::new("message"), "", &format!("can have at most {MESSAGE_BYTES_MAX} characters"));
    }
}

pub(crate) fn first_seen(doc: &Value, env: &Env) -> Value {
    let first = doc.str_at("firstTimestamp");
    since(if first.is_empty() { doc.str_at("eventTime") } else { first }, env)
}

pub(crate) fn last_seen(doc: &Value, env: &Env) -> Value {
    let (series, last) = (doc.str_at("series.lastObservedTime"), doc.str_at("lastTimestamp"));
    match (series, last) {
        ("", "") => first_seen(doc, env),
        ("", last) => since(last, env),
        (series, _) => since(series, env),
    }
}

/// `pod/web`
pub(crate) fn object(doc: &Value) -> Value {
    let kind = doc.str_at("involvedObject.kind").to_lowercase();
    match doc.str_at("involvedObject.name") {
        "" => json!(kind),
        name => json!(format!("{kind}/{name}")),
    }
}

/// `kubelet, node-1`
pub(crate) fn source_text(doc: &Value) -> Value {
    let first = |old: &str, new: &str| doc.str_at(if doc.str_at(old).is_empty() { new } else { old }).to_owned();
    let (component, instance) = (first("source.component", "reportingComponent"), first("source.host", "reportingInstance"));
    json!(if instance.is_empty() { component } else { format!("{component}, {instance}") })
}

pub(crate) fn occurrences(doc: &Value) -> Value {
    let series = doc.i64_at("series.count");
    json!(series.unwrap_or_else(|| doc.i64_at("count").unwrap_or_default().max(1)))
}
