//! Event: the newer face of core events, stored as those.

use schema::DocExt;

use crate::kind::{Kind, Meta, Selectable};

/// The newer face of core events, stored as those.
pub struct Event;

impl Kind for Event {
    const META: Meta = Meta { stored: Some(("", "v1")), short: &["ev"], ..Meta::namespaced("events.k8s.io", "Event", "events") };
    const FIELDS: &[Selectable] = &[
        Selectable::new("regarding.kind", |doc| doc.str_at("regarding.kind").to_owned()),
        Selectable::new("regarding.namespace", |doc| doc.str_at("regarding.namespace").to_owned()),
        Selectable::new("regarding.name", |doc| doc.str_at("regarding.name").to_owned()),
        Selectable::new("regarding.uid", |doc| doc.str_at("regarding.uid").to_owned()),
        Selectable::new("regarding.apiVersion", |doc| doc.str_at("regarding.apiVersion").to_owned()),
        Selectable::new("regarding.resourceVersion", |doc| doc.str_at("regarding.resourceVersion").to_owned()),
        Selectable::new("regarding.fieldPath", |doc| doc.str_at("regarding.fieldPath").to_owned()),
        Selectable::new("reason", |doc| doc.str_at("reason").to_owned()),
        Selectable::new("type", |doc| doc.str_at("type").to_owned()),
        Selectable::new("reportingController", |doc| doc.str_at("reportingController").to_owned()),
    ];
}
