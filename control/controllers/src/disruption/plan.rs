//! What a budget's status has to be. Pure.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kinds::core::Pod;
use kinds::disruption;
use schema::meta::OwnerReference;
use schema::quantity::int_or_percent;
use schema::{DocExt, Map, ObjectMeta, Value};
use serde::Deserialize;

/// A pod whose eviction was let through is expected to be on its way out within this time.
const DELETION_TIMEOUT: Duration = Duration::from_secs(120);

/// The lens of a PodDisruptionBudget.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Budget {
    pub metadata: ObjectMeta,
    pub spec: Spec,
    /// As it stands: conditions of others are kept.
    pub status: Value,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Spec {
    pub selector: Value,
    /// A number or a percentage.
    pub min_available: Value,
    pub max_unavailable: Value,
}

/// Who says how many pods there should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    pub uid: String,
    pub replicas: i64,
}

pub struct Plan {
    pub status: Value,
    /// When an expected deletion that did not come has to be given up.
    pub recheck: Option<Duration>,
}

/// `pods` are those that the budget selects. `Err` says why it cannot be worked out.
pub fn plan(budget: &Budget, pods: &[Arc<Pod>], scale: impl Fn(&OwnerReference) -> Option<Owner>, now: Timestamp) -> Result<Plan, String> {
    let (expected, desired) = wanted(&budget.spec, pods, scale)?;
    let disrupted = disrupted(budget, pods, now);
    let counts = |pod: &&Arc<Pod>| !pod.metadata.is_deleting() && !disrupted.contains_key(&pod.metadata.name) && crate::pods::is_ready(pod);
    let healthy = i64::try_from(pods.iter().filter(counts).count()).unwrap_or(i64::MAX);
    // A budget without pods allows nothing: its first pods may come before the next look.
    let allowed = if expected > 0 { (healthy - desired).max(0) } else { 0 };
    let recheck = disrupted.values().filter_map(|since| left(since, now)).min();
    let mut status = budget.status.clone();
    for (member, number) in
        [("currentHealthy", healthy), ("desiredHealthy", desired), ("expectedPods", expected), ("disruptionsAllowed", allowed)]
    {
        status.set_at(member, number);
    }
    status.set_at("observedGeneration", budget.metadata.generation);
    match disrupted.is_empty() {
        true => drop(status.remove_at("disruptedPods")),
        false => status.set_at("disruptedPods", Value::Object(disrupted)),
    }
    let observed = budget.status.i64_at("observedGeneration");
    if !disruption::is_condition_true_to(&status) || observed != Some(budget.metadata.generation) {
        disruption::set_condition(&mut status, now);
    }
    Ok(Plan { status, recheck })
}

/// How many pods there should be, and how many of them healthy.
fn wanted(spec: &Spec, pods: &[Arc<Pod>], scale: impl Fn(&OwnerReference) -> Option<Owner>) -> Result<(i64, i64), String> {
    match (&spec.max_unavailable, &spec.min_available) {
        (Value::Null, Value::Null) => Ok((0, 0)),
        (Value::Null, Value::Number(least)) => Ok((i64::try_from(pods.len()).unwrap_or(i64::MAX), least.as_i64().unwrap_or_default())),
        (Value::Null, least) => {
            let expected = expected(pods, scale)?;
            Ok((expected, int_or_percent(least, expected, true)?))
        }
        (most, _) => {
            let expected = expected(pods, scale)?;
            Ok((expected, (expected - int_or_percent(most, expected, true)?).max(0)))
        }
    }
}

/// The sum of what the owners of `pods` ask for. Pods without an owner are not counted.
fn expected(pods: &[Arc<Pod>], scale: impl Fn(&OwnerReference) -> Option<Owner>) -> Result<i64, String> {
    let mut asked: HashMap<&str, Owner> = HashMap::new();
    for pod in pods {
        let Some(owner) = pod.metadata.controller().filter(|owner| !asked.contains_key(owner.uid.as_str())) else { continue };
        let found = scale(owner).ok_or_else(|| format!("found no controllers for pod {:?}", pod.metadata.name))?;
        asked.insert(&owner.uid, found);
    }
    // Several sets of one deployment are one owner.
    let owners: HashMap<String, i64> = asked.into_values().map(|owner| (owner.uid, owner.replicas)).collect();
    Ok(owners.values().sum())
}

/// Evicted pods that are neither gone nor seen to go, and whose time is not over.
fn disrupted(budget: &Budget, pods: &[Arc<Pod>], now: Timestamp) -> Map<String, Value> {
    let waits = |name: &str| pods.iter().any(|pod| pod.metadata.name == name && !pod.metadata.is_deleting());
    let held = budget.status.map_at("disruptedPods").into_iter().flatten();
    held.filter(|(name, since)| waits(name) && left(since, now).is_some()).map(|(name, since)| (name.clone(), since.clone())).collect()
}

fn left(since: &Value, now: Timestamp) -> Option<Duration> {
    let until = schema::time::parse(since.as_str()?)? + DELETION_TIMEOUT;
    Duration::try_from(until.duration_since(now)).ok().filter(|left| !left.is_zero())
}

#[cfg(test)]
mod tests {
    use schema::json;

    use super::*;

    fn now() -> Timestamp {
        "2026-01-01T00:10:00Z".parse().unwrap()
    }

    /// `a`: ready; `!a`: not ready; `-a`: going; the owner's uid follows after `/`.
    fn pods(texts: &[&str]) -> Vec<Arc<Pod>> {
        let pod = |text: &&str| {
            let (name, owner) = text.split_once('/').unwrap_or((text, ""));
            let ready = if name.starts_with('!') { "False" } else { "True" };
            let deleted = if name.starts_with('-') { json!("2026-01-01T00:00:00Z") } else { Value::Null };
            let owners = if owner.is_empty() { json!([]) } else { json!([{"kind": "ReplicaSet", "uid": owner, "controller": true}]) };
            let doc = json!({"metadata": {"name": name.trim_start_matches(['!', '-']), "deletionTimestamp": deleted, "ownerReferences": owners},
                "status": {"conditions": [{"type": "Ready", "status": ready}]}});
            Arc::new(serde_json::from_value(doc).unwrap())
        };
        texts.iter().map(pod).collect()
    }

    fn numbers(spec: Value, status: Value, texts: &[&str]) -> Result<String, String> {
        let budget: Budget = serde_json::from_value(json!({"metadata": {"generation": 1}, "spec": spec, "status": status})).unwrap();
        let scale = |owner: &OwnerReference| (owner.uid != "gone").then(|| Owner { uid: "deployment".into(), replicas: 4 });
        let planned = plan(&budget, &pods(texts), scale, now())?;
        let number = |path: &str| planned.status.i64_at(path).unwrap();
        Ok(format!(
            "{}/{} of {}, {} allowed",
            number("currentHealthy"),
            number("desiredHealthy"),
            number("expectedPods"),
            number("disruptionsAllowed")
        ))
    }

    #[test]
    fn what_is_allowed_follows_from_who_is_healthy_and_who_should_be() {
        let rows: [(Value, &[&str], &str); 8] = [
            (json!({"minAvailable": 1}), &["a", "b", "!c"], "2/1 of 3, 1 allowed"),
            (json!({"minAvailable": 3}), &["a", "b"], "2/3 of 2, 0 allowed"),
            (json!({"minAvailable": 0}), &[], "0/0 of 0, 0 allowed"),
            (json!({"minAvailable": "50%"}), &["a/x", "b/x", "c/y"], "3/2 of 4, 1 allowed"),
            (json!({"maxUnavailable": 1}), &["a/x", "b/x", "c/x", "-d/x"], "3/3 of 4, 0 allowed"),
            (json!({"maxUnavailable": "30%"}), &["a/x", "b/x", "c/x", "d/x"], "4/2 of 4, 2 allowed"),
            (json!({"maxUnavailable": 9}), &["a/x"], "1/0 of 4, 1 allowed"),
            (json!({"maxUnavailable": 1}), &["bare"], "1/0 of 0, 0 allowed"),
        ];
        for (spec, texts, want) in rows {
            assert_eq!(numbers(spec.clone(), json!({}), texts).as_deref(), Ok(want), "{spec} {texts:?}");
        }
        assert_eq!(numbers(json!({"maxUnavailable": 1}), json!({}), &["a/gone"]).unwrap_err(), "found no controllers for pod \"a\"");
    }

    #[test]
    fn an_evicted_pod_counts_as_gone_until_it_is_or_its_time_is_over() {
        let evicted = |at: &str| json!({"disruptedPods": {"a": at, "gone": at}});
        assert_eq!(numbers(json!({"minAvailable": 1}), evicted("2026-01-01T00:09:00Z"), &["a", "b"]).unwrap(), "1/1 of 2, 0 allowed");
        assert_eq!(numbers(json!({"minAvailable": 1}), evicted("2026-01-01T00:08:00Z"), &["a", "b"]).unwrap(), "2/1 of 2, 1 allowed");
        let budget = Budget { status: evicted("2026-01-01T00:09:00Z"), ..Budget::default() };
        let planned = plan(&budget, &pods(&["a", "b"]), |_| None, now()).unwrap();
        assert_eq!(planned.status["disruptedPods"], json!({"a": "2026-01-01T00:09:00Z"}));
        assert_eq!(planned.recheck, Some(Duration::from_secs(60)));
        let again = Budget { status: planned.status.clone(), ..Budget::default() };
        assert_eq!(plan(&again, &pods(&["a", "b"]), |_| None, now()).unwrap().status, planned.status, "it stays as it is");
    }
}
