//! What a pod asks for in all, and the quality of service that follows from it.

use std::collections::BTreeMap;

use schema::{DocExt, Quantity, Value};

use crate::lens::Resources;

/// Resources that can be set for a pod as a whole.
pub(crate) fn is_pod_level(name: &str) -> bool {
    matches!(name, "cpu" | "memory") || name.starts_with("hugepages-")
}

/// What the pod takes of a node: app containers and sidecars together, or the largest init step where that is more,
/// or what the pod as a whole asks for; without its overhead.
pub fn effective_requests(spec: &Value) -> Resources {
    effective(spec, "resources.requests")
}

/// As [`effective_requests`], of what the pod is limited to.
pub fn effective_limits(spec: &Value) -> Resources {
    effective(spec, "resources.limits")
}

fn effective(spec: &Value, path: &str) -> Resources {
    let mut running = Resources::new();
    for container in spec.items_at("containers") {
        add(&mut running, &amounts(container, path));
    }
    let mut sidecars = Resources::new();
    let mut peak = Resources::new();
    for container in spec.items_at("initContainers") {
        let asked = amounts(container, path);
        let mut step = sidecars.clone();
        add(&mut step, &asked);
        if container.str_at("restartPolicy") == "Always" {
            add(&mut running, &asked);
            sidecars = step.clone();
        }
        raise(&mut peak, &step);
    }
    raise(&mut running, &peak);
    running.extend(amounts(spec, path));
    running
}

/// `Guaranteed`, `Burstable` or `BestEffort`.
pub fn qos_class(spec: &Value) -> &'static str {
    if spec.at("resources").is_some_and(|resources| resources.get("requests").is_some() || resources.get("limits").is_some()) {
        return class_of(std::slice::from_ref(spec).iter());
    }
    class_of(spec.items_at("containers").iter().chain(spec.items_at("initContainers")))
}

fn class_of<'a>(holders: impl Iterator<Item = &'a Value>) -> &'static str {
    let (mut any, mut guaranteed) = (false, true);
    for holder in holders {
        let (requests, limits) = (compute(holder, "resources.requests"), compute(holder, "resources.limits"));
        any |= !requests.is_empty() || !limits.is_empty();
        let covers_all = ["cpu", "memory"].iter().all(|name| limits.contains_key(*name));
        guaranteed &= covers_all && requests.iter().all(|(name, amount)| limits.get(name) == Some(amount));
    }
    match (any, guaranteed) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}

/// The cpu and memory amounts above zero.
fn compute(holder: &Value, path: &str) -> Resources {
    let mut all = amounts(holder, path);
    all.retain(|name, amount| matches!(name.as_str(), "cpu" | "memory") && amount.nano > 0);
    all
}

/// The amounts at `path`; what cannot be read is left out, validation has refused it.
pub(crate) fn amounts(holder: &Value, path: &str) -> Resources {
    let listed = holder.map_at(path).into_iter().flatten();
    listed.filter_map(|(name, amount)| Some((name.clone(), Quantity::from_json(amount).ok()?))).collect()
}

fn add(total: &mut Resources, more: &Resources) {
    merge(total, more, Quantity::plus);
}

fn raise(total: &mut Resources, other: &Resources) {
    merge(total, other, Ord::max);
}

fn merge(total: &mut BTreeMap<String, Quantity>, other: &Resources, with: fn(Quantity, Quantity) -> Quantity) {
    for (name, amount) in other {
        let merged = total.get(name).map_or(*amount, |here| with(*here, *amount));
        total.insert(name.clone(), merged);
    }
}

#[cfg(test)]
mod tests {
    use schema::json;

    use super::*;

    #[test]
    fn sidecars_add_up_and_init_steps_count_at_their_peak() {
        let with = |cpu: &str, restart: &str| json!({"resources": {"requests": {"cpu": cpu}}, "restartPolicy": restart});
        let spec = json!({"containers": [with("1", ""), with("1", "")], "initContainers": [with("1", "Always"), with("4", "")]});
        assert_eq!(effective_requests(&spec)["cpu"], "5".parse().unwrap());
        let spec = json!({"containers": [with("3", "")], "initContainers": [with("1", "Always"), with("2", "")]});
        assert_eq!(effective_requests(&spec)["cpu"], "4".parse().unwrap());
    }

    #[test]
    fn quality_of_service_follows_requests_and_limits() {
        let of = |resources: Value| qos_class(&json!({"containers": [{"resources": resources}]}));
        assert_eq!(of(json!({})), "BestEffort");
        assert_eq!(of(json!({"requests": {"example.com/gpu": "1"}})), "BestEffort");
        assert_eq!(of(json!({"requests": {"cpu": "1"}})), "Burstable");
        let both = json!({"cpu": "1", "memory": "1Gi"});
        assert_eq!(of(json!({"requests": both, "limits": both})), "Guaranteed");
        assert_eq!(of(json!({"limits": {"cpu": "1"}, "requests": {"cpu": "1"}})), "Burstable");
    }
}
