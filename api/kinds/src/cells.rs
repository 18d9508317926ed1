//! What the cells of `kubectl get` have in common: ages, selectors, containers, lists cut short.

use env::Env;
use schema::{DocExt, Map, Value, json};

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
        "Age" | "Created At" => "CreationTimestamp is a timestamp representing the server time when this object was created. It is not guaranteed to be set in happens-before order across separate operations. Clients may not set this value. It is represented in RFC3339 form and is in UTC.\n\nPopulated by the system. Read-only. Null for lists. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata".to_owned(),
        name => format!("{name} of the {kind}"),
    }
}

/// A text, or `<none>` where there is none.
pub(crate) fn or_none(text: &str) -> Value {
    json!(if text.is_empty() { "<none>" } else { text })
}

/// A text, or `<unset>` where there is none.
pub(crate) fn or_unset(text: &str) -> Value {
    json!(if text.is_empty() { "<unset>" } else { text })
}

/// A map as `k=v,k=v` in order of its keys; an empty one is `<none>`.
pub(crate) fn labels(map: Option<&Map<String, Value>>) -> Value {
    let mut pairs: Vec<String> =
        map.into_iter().flatten().map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default())).collect();
    pairs.sort();
    or_none(&pairs.join(","))
}

/// The first few of a list, `a,b,c + 2 more...`; an empty one is `empty`.
pub(crate) fn first_few(items: &[String], count_max: usize, empty: &str) -> Value {
    let shown = items[..items.len().min(count_max)].join(",");
    match items.len().saturating_sub(count_max) {
        0 if shown.is_empty() => json!(empty),
        0 => json!(shown),
        more => json!(format!("{shown} + {more} more...")),
    }
}

/// How many members a map or list has.
pub(crate) fn count(value: Option<&Value>) -> usize {
    match value {
        Some(Value::Object(members)) => members.len(),
        Some(Value::Array(items)) => items.len(),
        _ => 0,
    }
}

/// A condition's status by its type, `""` where there is none.
pub(crate) fn condition<'a>(doc: &'a Value, name: &str) -> &'a str {
    let found = doc.items_at("status.conditions").iter().find(|condition| condition.str_at("type") == name);
    found.map(|condition| condition.str_at("status")).unwrap_or_default()
}

/// What a load balancer answers under, sorted.
pub(crate) fn load_balancer(doc: &Value) -> String {
    let ingress = doc.items_at("status.loadBalancer.ingress").iter();
    let names = ingress.map(|entry| if entry.str_at("ip").is_empty() { entry.str_at("hostname") } else { entry.str_at("ip") });
    let names: std::collections::BTreeSet<&str> = names.filter(|name| !name.is_empty()).collect();
    names.into_iter().collect::<Vec<_>>().join(",")
}

/// `RWO,ROX`
pub(crate) fn access_modes(modes: &[Value]) -> String {
    const SHORT: &[(&str, &str)] =
        &[("ReadWriteOnce", "RWO"), ("ReadOnlyMany", "ROX"), ("ReadWriteMany", "RWX"), ("ReadWriteOncePod", "RWOP")];
    let present = SHORT.iter().filter(|(mode, _)| modes.iter().any(|given| given == mode));
    present.map(|(_, short)| *short).collect::<Vec<_>>().join(",")
}

/// Terminating, else the phase.
pub(crate) fn phase(doc: &Value) -> Value {
    json!(if doc.str_at("metadata.deletionTimestamp").is_empty() { doc.str_at("status.phase") } else { "Terminating" })
}

/// `True` and `False`, as Go prints a boolean that may be unset.
pub(crate) fn flag(value: Option<&Value>) -> Value {
    match value.and_then(Value::as_bool) {
        None => json!("<unset>"),
        Some(true) => json!("True"),
        Some(false) => json!("False"),
    }
}
