//! Pods: what they compute with, as long as they are not over.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use schema::{DocExt, Quantity, Value, time};

use super::one;
use crate::core::pod::resources::{amounts, effective_limits, effective_requests};
use crate::lens::Resources;

const NAMES: &[&str] = &[
    "pods",
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
];
/// What every container must name where a quota limits it.
const NAMED: &[&str] = &["cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory"];
const HUGE_PAGES: &str = "hugepages-";
const REQUESTS: &str = "requests.";

pub(super) fn is_for(name: &str) -> bool {
    let page = name.strip_prefix(REQUESTS).unwrap_or(name).starts_with(HUGE_PAGES);
    NAMES.contains(&name) || page || name.starts_with(REQUESTS) && is_foreign(name)
}

/// Of somebody else's making: `example.com/gpu`.
fn is_foreign(name: &str) -> bool {
    name.contains('/') && !name.contains("kubernetes.io/")
}

/// What a pod uses at `now`; nothing when it is over.
pub(super) fn usage(pod: &Value, now: Timestamp) -> Resources {
    if is_over(pod, now) {
        return Resources::new();
    }
    let spec = pod.at("spec").unwrap_or(&Value::Null);
    let overhead = amounts(spec, "overhead");
    let mut requests = effective_requests(spec);
    let mut limits = effective_limits(spec);
    for (name, more) in overhead {
        requests.entry(name.clone()).and_modify(|sum| *sum = sum.plus(more)).or_insert(more);
        limits.entry(name).and_modify(|sum| *sum = sum.plus(more));
    }
    named(&requests, &limits)
}

/// Finished, or so long past its grace that its node seems lost: whoever owns it may have another.
fn is_over(pod: &Value, now: Timestamp) -> bool {
    let is_finished = matches!(pod.str_at("status.phase"), "Succeeded" | "Failed");
    is_finished || deadline(pod).is_some_and(|deadline| now > deadline)
}

fn deadline(pod: &Value) -> Option<Timestamp> {
    let grace = pod.i64_at("metadata.deletionGracePeriodSeconds")?;
    Some(time::parse(pod.str_at("metadata.deletionTimestamp"))? + Duration::from_secs(grace.unsigned_abs()))
}

/// The moment after which a pod that counts at `now` does not count any more, if it comes by itself.
pub fn counts_until(pod: &Value, now: Timestamp) -> Option<Timestamp> {
    if is_over(pod, now) { None } else { deadline(pod) }
}

/// Amounts of containers under the names that quotas have for them.
fn named(requests: &Resources, limits: &Resources) -> Resources {
    let mut used = Resources::from([("pods".to_owned(), one())]);
    for (name, amount) in requests {
        let own = matches!(name.as_str(), "cpu" | "memory" | "ephemeral-storage") || name.starts_with(HUGE_PAGES);
        if own {
            used.insert(name.clone(), *amount);
        }
        if own || is_foreign(name) && !name.starts_with(REQUESTS) {
            used.insert(format!("{REQUESTS}{name}"), *amount);
        }
    }
    let limited = limits.iter().filter(|(name, _)| matches!(name.as_str(), "cpu" | "memory" | "ephemeral-storage"));
    used.extend(limited.map(|(name, amount)| (format!("limits.{name}"), *amount)));
    used
}

/// `limits.memory for: a,b; requests.cpu for: a`: what containers must name because a quota limits it.
pub(super) fn missing(restricted: &[&str], pod: &Value) -> Option<String> {
    if has_own_amounts(pod) {
        return None;
    }
    let required: Vec<&str> = restricted.iter().copied().filter(|name| NAMED.contains(name)).collect();
    let mut lacking: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for container in pod.items_at("spec.containers").iter().chain(pod.items_at("spec.initContainers")) {
        let named = named(&amounts(container, "resources.requests"), &amounts(container, "resources.limits"));
        for name in required.iter().filter(|name| !named.contains_key(**name)) {
            lacking.entry(name).or_default().insert(container.str_at("name"));
        }
    }
    let texts = lacking.iter().map(|(name, containers)| {
        let containers: Vec<&str> = containers.iter().copied().collect();
        format!("{name} for: {}", containers.join(","))
    });
    let texts: Vec<String> = texts.collect();
    (!texts.is_empty()).then(|| texts.join("; "))
}

/// The pod as a whole says what it needs.
fn has_own_amounts(pod: &Value) -> bool {
    let own = |path: &str| amounts(pod, path).values().any(|amount: &Quantity| amount.nano > 0);
    own("spec.resources.requests") || own("spec.resources.limits")
}
