//! What objects use of resource quotas. Pure: admission takes with it, the quota controller counts again with it, and both
//! must agree to the last digit.
//!
//! ```text
//! quota.status.hard ─ names ─► is_for(kind)? ─► in_scope(object)? ─► charge: used + usage(new) - usage(old) <= hard
//! ```
//! | objects | counted as |
//! |---|---|
//! | pods that are not over | `pods`, `cpu`, `memory`, `ephemeral-storage`, `requests.…`, `limits.…`, `hugepages-…`, `requests.example.com/foo` |
//! | services | `services`, `services.nodeports`, `services.loadbalancers` |
//! | claims | `persistentvolumeclaims`, `requests.storage`, both per class: `gold.storageclass.storage.k8s.io/requests.storage` |
//! | some old kinds | their plural: `configmaps`, `secrets`, `replicationcontrollers`, `resourcequotas` |
//! | everything in a namespace | `count/<resource>.<group>` |

mod claims;
mod pods;
mod scopes;
mod services;

use jiff::Timestamp;
use schema::{DocExt, Map, Quantity, Value, json};

pub use self::pods::counts_until;
pub use self::scopes::in_scope;
use crate::core::pod::resources::amounts;
use crate::lens::Resources;

/// Kinds that are counted under their plural as well.
const BY_PLURAL: &[&str] = &["configmaps", "replicationcontrollers", "resourcequotas", "secrets"];
/// Kinds that nothing counts: they come by themselves and go by themselves.
const UNCOUNTED: &[(&str, &str)] = &[("", "bindings"), ("", "events"), ("events.k8s.io", "events")];

/// Objects of one kind, as quotas know them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted<'a> {
    /// `""` is the core group.
    pub group: &'a str,
    pub resource: &'a str,
}

/// One write, before it is made.
pub struct Write<'a> {
    pub kind: Counted<'a>,
    pub subresource: &'a str,
    /// None for a create.
    pub old: Option<&'a Value>,
    pub new: &'a Value,
    pub now: Timestamp,
}

impl<'a> Counted<'a> {
    pub fn new(group: &'a str, resource: &'a str) -> Self {
        Self { group, resource }
    }

    fn is_core(&self, resource: &str) -> bool {
        self.group.is_empty() && self.resource == resource
    }

    /// `count/deployments.apps`, `count/pods`.
    fn count_name(&self) -> String {
        format!("count/{}", schema::status::qualified(self.group, self.resource))
    }

    /// Whether objects of this kind can use the resource `name` of a quota.
    pub fn uses(&self, name: &str) -> bool {
        if let Some(counted) = name.strip_prefix("count/") {
            return counted == schema::status::qualified(self.group, self.resource);
        }
        match (self.group, self.resource) {
            ("", "pods") => pods::is_for(name),
            ("", "services") => services::is_for(name),
            ("", "persistentvolumeclaims") => claims::is_for(name),
            ("", resource) => BY_PLURAL.contains(&resource) && name == resource,
            _ => false,
        }
    }

    /// Whether a write through this subresource can use more than before.
    pub fn grows_by(&self, is_create: bool, subresource: &str) -> bool {
        if UNCOUNTED.contains(&(self.group, self.resource)) {
            return false;
        }
        match (self.group, self.resource, subresource) {
            _ if is_create => subresource.is_empty(),
            ("", "services", "") | ("", "persistentvolumeclaims", "" | "status") | ("", "pods", "resize") => true,
            _ => false,
        }
    }

    /// What one object uses at `now`.
    pub fn usage(&self, doc: &Value, now: Timestamp) -> Resources {
        let mut used = match (self.group, self.resource) {
            ("", "pods") => pods::usage(doc, now),
            ("", "services") => services::usage(doc),
            ("", "persistentvolumeclaims") => claims::usage(doc),
            ("", resource) if BY_PLURAL.contains(&resource) => Resources::from([(resource.to_owned(), one())]),
            _ => Resources::new(),
        };
        used.insert(self.count_name(), one());
        used
    }

    /// Whether a change of an object, which admission has not charged, may have changed what it uses or whom it concerns.
    pub fn is_recounted(&self, old: &Value, new: &Value, now: Timestamp) -> bool {
        let scopes = |doc: &Value| (self.is_core("pods") || self.is_core("persistentvolumeclaims")).then(|| scopes::marks(doc));
        self.usage(old, now) != self.usage(new, now) || scopes(old) != scopes(new)
    }
}

/// Whether `quota`, as its status has it, limits anything that `doc` uses.
pub fn concerns(quota: &Value, kind: Counted<'_>, doc: &Value) -> bool {
    names(quota, "status.hard").any(|name| kind.uses(name)) && in_scope(quota, kind, doc)
}

/// Why `quota` refuses a write before anything is counted; None where it does not concern the write or has nothing against it.
pub fn objection(quota: &Value, write: &Write<'_>) -> Option<String> {
    if !concerns(quota, write.kind, write.new) {
        return None;
    }
    let restricted: Vec<&str> = names(quota, "status.hard").filter(|name| write.kind.uses(name)).collect();
    let name = quota.str_at("metadata.name");
    if write.kind.is_core("pods")
        && let Some(missing) = pods::missing(&restricted, write.new)
    {
        return Some(format!("failed quota: {name}: must specify {missing}"));
    }
    let known = quota.map_at("status.used");
    if restricted.iter().any(|name| known.is_none_or(|known| !known.contains_key(*name))) {
        return Some(format!("status unknown for quota: {name}, resources: {}", restricted.join(",")));
    }
    None
}

/// What is used of `quota` after the write; None where it takes nothing. `Err`: the quota would be exceeded.
pub fn charge(quota: &Value, write: &Write<'_>) -> Result<Option<Resources>, String> {
    if !concerns(quota, write.kind, write.new) {
        return Ok(None);
    }
    let asked = write.kind.usage(write.new, write.now);
    let negative: Vec<&str> = asked.iter().filter(|(_, amount)| amount.nano < 0).map(|(name, _)| name.as_str()).collect();
    if !negative.is_empty() {
        return Err(format!("quota usage is negative for resource(s): {}", negative.join(",")));
    }
    let before = write.old.filter(|old| in_scope(quota, write.kind, old)).map(|old| write.kind.usage(old, write.now)).unwrap_or_default();
    let hard = amounts(quota, "status.hard");
    let more = more(asked, &before, &hard);
    if more.is_empty() {
        return Ok(None);
    }
    let held = amounts(quota, "status.used");
    let after = plus(&held, &more);
    // What the system says of a claim is a fact; it is counted, never refused.
    let exceeded: Vec<&String> = more.keys().filter(|name| after[*name] > hard[*name] && write.subresource != "status").collect();
    if exceeded.is_empty() {
        return Ok(Some(after));
    }
    let name = quota.str_at("metadata.name");
    let [requested, used, limited] = [&more, &held, &hard].map(|all| printed(all, &exceeded));
    Err(format!("exceeded quota: {name}, requested: {requested}, used: {used}, limited: {limited}"))
}

/// The status of `quota` for what is really used: `used` are the sums over every object that it concerns.
pub fn status(quota: &Value, used: &Resources) -> Value {
    let hard = amounts(quota, "spec.hard");
    let mut held = amounts(quota, "status.used");
    held.retain(|name, _| hard.contains_key(name));
    held.extend(hard.keys().filter_map(|name| Some((name.clone(), *used.get(name)?))));
    json!({"hard": document(&hard), "used": document(&held)})
}

/// Sums of what `docs` use of the resources that `quota` asks for. Of kinds that it does not name, nothing.
pub fn total<'a>(quota: &Value, kind: Counted<'_>, docs: impl Iterator<Item = &'a Value>, now: Timestamp) -> Resources {
    let wanted: Vec<&str> = names(quota, "spec.hard").filter(|name| kind.uses(name)).collect();
    let mut total: Resources = wanted.iter().map(|name| ((*name).to_owned(), Quantity::default())).collect();
    for doc in docs.filter(|doc| in_scope(quota, kind, doc)) {
        let used = kind.usage(doc, now);
        for (name, sum) in &mut total {
            *sum = used.get(name).map_or(*sum, |amount| sum.plus(*amount));
        }
    }
    total
}

/// Whether `quota` asks for anything that objects of `kind` use.
pub fn asks_for(quota: &Value, kind: Counted<'_>) -> bool {
    names(quota, "spec.hard").any(|name| kind.uses(name))
}

/// Amounts as a document holds them.
pub fn document(amounts: &Resources) -> Value {
    amounts.iter().map(|(name, amount)| (name.clone(), json!(amount.to_string()))).collect::<Map<String, Value>>().into()
}

fn names<'a>(quota: &'a Value, path: &str) -> impl Iterator<Item = &'a str> + use<'a> {
    quota.map_at(path).into_iter().flatten().map(|(name, _)| name.as_str())
}

fn one() -> Quantity {
    Quantity::from_value(1, schema::quantity::Format::DecimalSi)
}

/// What is asked for beyond what is held already, of what the quota limits; nothing that is less than before.
fn more(asked: Resources, before: &Resources, hard: &Resources) -> Resources {
    let limited = asked.into_iter().filter(|(name, _)| hard.contains_key(name));
    let grown = limited.map(|(name, amount)| {
        let held = before.get(&name).copied().unwrap_or_default();
        (name, amount.minus(held))
    });
    grown.filter(|(_, amount)| amount.nano > 0).collect()
}

fn plus(held: &Resources, more: &Resources) -> Resources {
    let mut after = held.clone();
    for (name, amount) in more {
        after.entry(name.clone()).and_modify(|sum| *sum = sum.plus(*amount)).or_insert(*amount);
    }
    after
}

/// `limits.memory=200Mi,pods=1`
fn printed(amounts: &Resources, names: &[&String]) -> String {
    let parts = names.iter().filter_map(|name| Some(format!("{name}={}", amounts.get(*name)?)));
    parts.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests;
