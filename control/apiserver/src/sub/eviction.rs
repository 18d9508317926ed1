//! `pods/eviction`: a delete that asks the pod's disruption budget first, and takes from it in the same transaction.
//!
//! ```text
//! pod is over, pending or on its way out ─► deleted
//! no budget selects it ───────────────────► deleted
//! one does ─► not ready, and enough others are ─► deleted, as long as neither changes
//!          └► disruptionsAllowed > 0 ───────────► deleted, and one less is allowed;  else 429
//! ```

use std::sync::Arc;

use client::{Body, Response, Target};
use jiff::Timestamp;
use kinds::disruption;
use schema::status::{Cause, Details};
use schema::{DocExt, LabelSelector, Status, Value, json, time};
use store::{Guard, Key, Op, Revision, Txn};

use crate::body::{self, Expected};
use crate::cache::item::Item;
use crate::core::{Call, Core};
use crate::write::{self, Also};
use crate::{document, failure, list};

const BUDGETS: &str = "/policy/poddisruptionbudgets/";
/// Evictions of one budget that its controller has not seen yet.
const DISRUPTED_MAX: usize = 2_000;

pub(super) async fn evict(call: &mut Call<'_>, body: &Body) -> Result<Response, Status> {
    let mut eviction = body::document(&Expected::option("policy/v1", "Eviction")?, body, call.options, &mut call.warnings)?;
    let name = eviction.str_at("metadata.name");
    if !name.is_empty() && name != call.target.name {
        return Err(Status::bad_request("name in URL does not match name in Eviction object"));
    }
    call.pass(&mut eviction).await?;
    let options = write::overlaid(call.options, eviction.at("deleteOptions").unwrap_or(&Value::Null))?;
    let core = call.core;
    // Many pods of one budget are evicted at once; each must see what the one before it has taken.
    let _gate = match first_budget(core, call.target).filter(|_| !options.dry_run) {
        Some(key) => Some(core.gates.enter(&key).await),
        None => None,
    };
    core.cache.catch_up().await.map_err(|error| failure::of_store(&error))?;
    let now = core.env.now();
    let also = Also { decide: &|pod| decide(core, pod, now), mark: &|pod| mark(pod, now) };
    write::delete_also(call, &options, also).await?;
    let value = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
    Ok(Response::Value { value, code: 201 })
}

/// The key of the first budget that selects the pod.
fn first_budget(core: &Core, target: &Target) -> Option<Key> {
    let pod = core.cache.kind("/pods/")?.get(&format!("/pods/{}/{}", target.namespace, target.name))?;
    budgets(core, &pod.object.value()).into_iter().next().map(|(key, _)| key)
}

fn budgets(core: &Core, pod: &Value) -> Vec<(Key, Arc<Item>)> {
    let Some(cache) = core.cache.kind(BUDGETS) else { return Vec::new() };
    let (start, end) = list::bounds(BUDGETS, pod.str_at("metadata.namespace"));
    let all: Vec<(Key, Arc<Item>)> = cache.read().range(&start, &end).map(|(key, item)| (Arc::clone(key), Arc::clone(item))).collect();
    let selects = |item: &Item| {
        let selector = item.object.value().at("spec.selector").cloned().unwrap_or_default();
        LabelSelector::from_value(&selector).is_ok_and(|selector| selector.matches_document(pod))
    };
    all.into_iter().filter(|(_, item)| selects(item)).collect()
}

/// What the eviction of `pod` takes beside the pod, or why it may not be.
fn decide(core: &Core, pod: &Value, now: Timestamp) -> Result<Txn, Status> {
    if is_free(pod) {
        return Ok(Txn::default());
    }
    let budgets = budgets(core, pod);
    let [(key, item)] = budgets.as_slice() else {
        let why = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";
        return if budgets.is_empty() { Ok(Txn::default()) } else { Err(failure::plain(why)) };
    };
    let guards = vec![Guard::At(Arc::clone(key), Revision(item.object.revision()))];
    let mut budget = item.object.value();
    if is_spared(pod, &budget) {
        return Ok(Txn { guards, ops: Vec::new() });
    }
    take(&mut budget, pod.str_at("metadata.name"), now)?;
    let encoded = document::encode(&budget);
    let put = Op::Put { key: Arc::clone(key), value: encoded.bytes, rv_at: Some(encoded.rv_at), ttl_seconds: None };
    Ok(Txn { guards, ops: vec![put] })
}

/// Its end disturbs nobody.
fn is_free(pod: &Value) -> bool {
    matches!(pod.str_at("status.phase"), "Succeeded" | "Failed" | "Pending") || crate::meta::is_deleting(pod)
}

/// It does not count as healthy, so that its end takes nothing.
fn is_spared(pod: &Value, budget: &Value) -> bool {
    let is_ready = pod.items_at("status.conditions").iter().any(|one| one.str_at("type") == "Ready" && one.str_at("status") == "True");
    let number = |path: &str| budget.i64_at(path).unwrap_or_default();
    let enough = number("status.desiredHealthy") > 0 && number("status.currentHealthy") >= number("status.desiredHealthy");
    !is_ready && (enough || budget.str_at("spec.unhealthyPodEvictionPolicy") == "AlwaysAllow")
}

/// Takes one disruption from `budget`, or says why there is none.
fn take(budget: &mut Value, pod: &str, now: Timestamp) -> Result<(), Status> {
    let name = budget.str_at("metadata.name").to_owned();
    let number = |path: &str| budget.i64_at(path).unwrap_or_default();
    let forbidden = |why: &str| Status::forbidden("policy", "poddisruptionbudget", &name, why);
    if number("status.observedGeneration") < number("metadata.generation") {
        return Err(refused(format!("The disruption budget {name} is still being processed by the server."), 10));
    }
    let allowed = number("status.disruptionsAllowed");
    let (desired, current) = (number("status.desiredHealthy"), number("status.currentHealthy"));
    if allowed < 0 {
        return Err(forbidden("pdb disruptions allowed is negative"));
    }
    if budget.map_at("status.disruptedPods").is_some_and(|pods| pods.len() > DISRUPTED_MAX) {
        return Err(forbidden("DisruptedPods map too big - too many evictions not confirmed by PDB controller"));
    }
    if allowed == 0 {
        return Err(refused(format!("The disruption budget {name} needs {desired} healthy pods and has {current} currently"), 0));
    }
    budget.set_at("status.disruptionsAllowed", allowed - 1);
    budget.default_at("status.disruptedPods", json!({}));
    budget["status"]["disruptedPods"][pod] = json!(time::format(now));
    disruption::set_condition(&mut budget["status"], now);
    Ok(())
}

fn refused(cause: String, retry_after_seconds: i32) -> Status {
    let mut status = Status::too_many_requests("Cannot evict pod as it would violate the pod's disruption budget.", retry_after_seconds);
    let cause = Cause { reason: "DisruptionBudget".into(), message: cause, field: String::new() };
    status.details.get_or_insert_with(Details::default).causes.push(cause);
    status
}

/// A pod that goes on for its grace says why it goes.
fn mark(pod: &mut Value, now: Timestamp) {
    let condition = json!({"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI",
        "message": "Eviction API: evicting", "lastTransitionTime": time::format(now)});
    let mut conditions = pod.items_at("status.conditions").to_vec();
    conditions.retain(|one| one.str_at("type") != "DisruptionTarget");
    conditions.push(condition);
    pod.set_at("status.conditions", conditions);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(allowed: i64, observed: i64) -> Value {
        json!({"metadata": {"name": "b", "generation": 2}, "status": {"disruptionsAllowed": allowed, "observedGeneration": observed,
            "desiredHealthy": 1, "currentHealthy": 2}})
    }

    #[test]
    fn a_budget_gives_what_it_allows_and_no_more() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let mut one = budget(1, 2);
        take(&mut one, "p", now).unwrap();
        assert_eq!(one["status"]["disruptedPods"], json!({"p": "2026-01-01T00:00:00Z"}));
        assert_eq!(one["status"]["conditions"][0]["reason"], "InsufficientPods");
        let rows = [
            (one, 429, "The disruption budget b needs 1 healthy pods and has 2 currently"),
            (budget(1, 1), 429, "The disruption budget b is still being processed by the server."),
        ];
        for (mut budget, code, cause) in rows {
            let status = take(&mut budget, "q", now).unwrap_err();
            assert_eq!((status.code, status.details.unwrap().causes[0].message.as_str()), (code, cause));
        }
        assert_eq!(take(&mut budget(-1, 2), "q", now).unwrap_err().code, 403);
    }

    #[test]
    fn an_unready_pod_takes_nothing_where_enough_others_are_ready() {
        let pod = |ready: &str| json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": ready}]}});
        let policy = |text: &str, current: i64| json!({"spec": {"unhealthyPodEvictionPolicy": text}, "status": {"desiredHealthy": 2, "currentHealthy": current}});
        for (ready, budget, want) in [
            ("False", policy("IfHealthyBudget", 2), true),
            ("False", policy("", 1), false),
            ("False", policy("AlwaysAllow", 1), true),
            ("True", policy("AlwaysAllow", 2), false),
        ] {
            assert_eq!(is_spared(&pod(ready), &budget), want, "{ready} {budget}");
        }
    }
}
