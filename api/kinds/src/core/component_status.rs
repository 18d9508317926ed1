//! ComponentStatus: health of the control plane's parts, computed on each read.

use schema::{DocExt, Value, json};

use crate::cells::NAME;
use crate::descriptor::Verbs;
use crate::kind::{Col, Kind, Meta, Question};

/// Health of the control plane's parts, computed on each read.
pub struct ComponentStatus;

impl Kind for ComponentStatus {
    const META: Meta =
        Meta { short: &["cs"], verbs: Verbs::These(&["get", "list"]), ..Meta::cluster("", "ComponentStatus", "componentstatuses") };
    const NOTHING: &[Question] =
        &[Question::Fields, Question::Defaults, Question::Rules, Question::Updates, Question::Subresources, Question::Warnings];
    const COLUMNS: &[Col] = &[
        NAME,
        Col::of("Status", |doc| {
            json!(if health(doc).is_some_and(|found| found.str_at("status") == "True") { "Healthy" } else { "Unhealthy" })
        }),
        Col::of("Message", |doc| json!(health(doc).map_or("", |found| found.str_at("message")))),
        Col::of("Error", |doc| json!(health(doc).map_or("", |found| found.str_at("error")))),
    ];
}

fn health(doc: &Value) -> Option<&Value> {
    doc.items_at("conditions").iter().find(|condition| condition.str_at("type") == "Healthy")
}
