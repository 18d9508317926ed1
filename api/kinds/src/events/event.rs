//! Event: the newer face of core events, stored as those.

use schema::{DocExt, FieldErrors, Path, Value, json};

use crate::core::event;
use crate::kind::{Col, Kind, Meta, Question, Selectable, immutable, same};
use crate::rules::{is_given, required};

/// Names here and in core/v1.
const NAMES: &[(&str, &str)] = &[
    ("regarding", "involvedObject"),
    ("note", "message"),
    ("deprecatedSource", "source"),
    ("deprecatedFirstTimestamp", "firstTimestamp"),
    ("deprecatedLastTimestamp", "lastTimestamp"),
    ("deprecatedCount", "count"),
    ("reportingController", "reportingComponent"),
];
/// What an update may not touch, by its name in core/v1.
const FIXED: &[&str] = &[
    "involvedObject",
    "reason",
    "message",
    "source",
    "firstTimestamp",
    "lastTimestamp",
    "count",
    "type",
    "eventTime",
    "action",
    "related",
    "reportingComponent",
    "reportingInstance",
];
const TO_CORE: Direction = Direction::ToCore;
const FROM_CORE: Direction = Direction::FromCore;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    ToCore,
    FromCore,
}

/// The newer face of core events, stored as those.
pub struct Event;

impl Kind for Event {
    const META: Meta = Meta { stored: Some(("", "v1")), short: &["ev"], ..Meta::namespaced("events.k8s.io", "Event", "events") };
    const NOTHING: &[Question] = &[Question::Subresources, Question::Warnings];
    const COLUMNS: &[Col] = &[
        Col::timed("Last Seen", |doc, env| event::last_seen(&as_core(doc), env)),
        Col::path("Type", "type"),
        Col::path("Reason", "reason"),
        Col::of("Object", |doc| event::object(&as_core(doc))),
        Col::path("Subobject", "regarding.fieldPath").wide(),
        Col::of("Source", |doc| event::source_text(&as_core(doc))).wide(),
        Col::of("Message", |doc| json!(doc.str_at("note").trim())),
        Col::timed("First Seen", |doc, env| event::first_seen(&as_core(doc), env)).wide(),
        Col::of("Count", |doc| event::occurrences(&as_core(doc))).wide(),
        Col::path("Name", "metadata.name").named().wide(),
    ];
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

    fn fill_defaults(doc: &mut Value) {
        let mut stored = renamed(doc.take(), TO_CORE);
        event::fill(&mut stored);
        *doc = renamed(stored, FROM_CORE);
    }

    fn validate(new: &Value, old: Option<&Value>, errors: &mut FieldErrors) {
        let doc = renamed(new.clone(), TO_CORE);
        event::check(&doc, "reportingController", errors);
        if old.is_none() {
            check_create(&doc, errors);
        }
    }

    fn validate_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
        let (new, old) = (renamed(new.clone(), TO_CORE), renamed(old.clone(), TO_CORE));
        if !same(&new["series"], &old["series"]) {
            check_series(&new, errors);
        }
        for member in FIXED {
            immutable(&new, &old, member, &Path::root(), errors);
        }
    }

    fn to_stored(doc: Value) -> Value {
        renamed(doc, TO_CORE)
    }

    fn from_stored(doc: Value) -> Value {
        renamed(doc, FROM_CORE)
    }
}

/// The document with the members of the other group; everything else stays.
fn renamed(mut doc: Value, direction: Direction) -> Value {
    let Some(members) = doc.as_object_mut() else { return doc };
    for (here, core) in NAMES {
        let (from, to) = if direction == TO_CORE { (here, core) } else { (core, here) };
        if let Some(value) = members.remove(*from) {
            members.insert((*to).to_owned(), value);
        }
    }
    doc
}

fn check_create(doc: &Value, errors: &mut FieldErrors) {
    check_series(doc, errors);
    required(doc, "eventTime", &Path::root(), errors);
    let sort = doc.str_at("type");
    if !matches!(sort, "Normal" | "Warning") {
        errors.invalid(&Path::new("type"), "", &format!("has invalid value: {sort}"));
    }
    for member in ["firstTimestamp", "lastTimestamp", "source.component", "source.host"] {
        if !doc.str_at(member).is_empty() {
            errors.invalid(&Path::new(member), "", "needs to be unset");
        }
    }
    if doc.i64_at("count").unwrap_or_default() != 0 {
        errors.invalid(&Path::new("count"), "", "needs to be unset");
    }
}

fn check_series(doc: &Value, errors: &mut FieldErrors) {
    if !is_given(doc, "series") {
        return;
    }
    if doc.i64_at("series.count").unwrap_or_default() < 2 {
        errors.invalid(&Path::new("series.count"), "", "should be at least 2");
    }
    required(&doc["series"], "lastObservedTime", &Path::new("series"), errors);
}

fn as_core(doc: &Value) -> Value {
    renamed(doc.clone(), TO_CORE)
}
