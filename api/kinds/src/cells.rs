//! What the cells of `kubectl get` have in common: ages, selectors, containers, lists cut short.

use env::Env;
use schema::{DocExt, Value, json};

use crate::kind::Col;

/// `Name`, which opens almost every table.
pub(crate) const NAME: Col = Col::path("Name", "metadata.name").named();
/// `Age`, for people.
pub(crate) const AGE: Col = Col::timed("Age", |doc, env| since(doc.str_at("metadata.creationTimestamp"), env));
/// `Created At`, for kinds whose printer nobody wrote.
pub(crate) const CREATED_AT: Col = Col::path("Created At", "metadata.creationTimestamp").ty("date");

/// Kinds with nothing to show but their age.
pub(crate) const NAME_AND_AGE: &[Col] = &[NAME, AGE];
/// Kinds without a printer of their own upstream.
pub(crate) const NAME_AND_CREATED_AT: &[Col] = &[NAME, CREATED_AT];

/// How long ago a timestamp was: `5m`; `<unknown>` where there is none.
pub(crate) fn since(timestamp: &str, env: &Env) -> Value {
    json!(age_text(timestamp, env))
}

pub(crate) fn age_text(timestamp: &str, env: &Env) -> String {
    let Some(then) = schema::time::parse(timestamp) else { return "<unknown>".to_owned() };
    schema::duration::human_seconds(env.now().as_second() - then.as_second())
}

/// What discovery says of a column.
pub(crate) fn description(kind: &str, col: &Col) -> String {
    match col.name {
        "Name" => "Name must be unique within a namespace. Is required when creating resources, although some resources may allow a client to request the generation of an appropriate name automatically. Name is primarily intended for creation idempotence and configuration definition. Cannot be updated. More info: https://kubernetes.io/docs/concepts/overview/working-with-objects/names#names".to_owned(),
        "Age" | "Created At" => "CreationTimestamp is a timestamp representing the server time when this object was created.".to_owned(),
        name => format!("{name} of the {kind}"),
    }
}
