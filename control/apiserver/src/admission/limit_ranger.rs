//! LimitRanger: what the limit ranges of a namespace say of its pods and claims. Pods get the defaults for what they leave
//! out, and an annotation that says so; whatever is outside of the bounds is refused.
//!
//! Pods are looked at when they are created: what an update may change of them has no bounds here.

use async_trait::async_trait;
use schema::{DocExt, Map, Quantity, Status, Value, json};

use super::{Admission, Operation, Plugin};

pub struct LimitRanger;

const RANGES: &str = "/limitranges/";
const ANNOTATION: &str = "kubernetes.io/limit-ranger";
/// Up to this much a ratio is compared in thousandths, as upstream does.
const RATIO_MILLI_MAX: i64 = 1_000_000_000;

#[async_trait]
impl Plugin for LimitRanger {
    async fn mutate(&self, request: &mut Admission<'_>, new: &mut Value, _old: Option<&Value>) -> Result<(), Status> {
        if request.operation == Operation::Create && request.is_object("", "pods") {
            for range in ranges(request) {
                fill_defaults(new, &range);
            }
        }
        Ok(())
    }

    async fn validate(&self, request: &mut Admission<'_>, new: Option<&Value>, _old: Option<&Value>) -> Result<(), Status> {
        let Some(new) = new else { return Ok(()) };
        let wrong: fn(&Value, &Value) -> Vec<String> = match request.operation {
            Operation::Create if request.is_object("", "pods") => of_pod,
            Operation::Create | Operation::Update if request.is_object("", "persistentvolumeclaims") => of_claim,
            _ => return Ok(()),
        };
        for range in ranges(request) {
            match wrong(&range, new).as_slice() {
                [] => {}
                [one] => return Err(request.forbidden(one)),
                many => return Err(request.forbidden(&format!("[{}]", many.join(", ")))),
            }
        }
        Ok(())
    }
}

fn ranges(request: &Admission<'_>) -> Vec<Value> {
    let Some(cache) = request.core.cache.kind(RANGES) else { return Vec::new() };
    let ring = cache.read();
    let (start, end) = crate::list::bounds(RANGES, request.namespace);
    ring.range(&start, &end).map(|(_, item)| item.object.value()).collect()
}

/// The items of a range for one sort of thing: `Container`, `Pod`, `PersistentVolumeClaim`.
fn items<'a>(range: &'a Value, sort: &'a str) -> impl Iterator<Item = &'a Value> {
    range.items_at("spec.limits").iter().filter(move |item| item.str_at("type") == sort)
}

fn fill_defaults(pod: &mut Value, range: &Value) {
    let (mut limits, mut requests) = (Map::new(), Map::new());
    for item in items(range, "Container") {
        limits.extend(item.map_at("default").cloned().unwrap_or_default());
        requests.extend(item.map_at("defaultRequest").cloned().unwrap_or_default());
    }
    let mut told = Vec::new();
    for (list, what) in [("spec.containers", "container"), ("spec.initContainers", "init container")] {
        for container in pod.items_at_mut(list) {
            let name = container.str_at("name").to_owned();
            let set_limits = fill(container, "resources.limits", &limits);
            let set_requests = fill(container, "resources.requests", &requests);
            for (set, sort) in [(set_requests, "request"), (set_limits, "limit")] {
                if !set.is_empty() {
                    told.push(format!("{} {sort} for {what} {name}", set.join(", ")));
                }
            }
        }
    }
    if !told.is_empty() {
        pod.default_at("metadata.annotations", json!({}));
        pod["metadata"]["annotations"][ANNOTATION] = json!(format!("LimitRanger plugin set: {}", told.join("; ")));
    }
}

/// Sets what is not there; returns what that was.
fn fill(container: &mut Value, path: &str, defaults: &Map<String, Value>) -> Vec<String> {
    let mut amounts = container.map_at(path).cloned().unwrap_or_default();
    let missing: Vec<String> = defaults.keys().filter(|name| !amounts.contains_key(*name)).cloned().collect();
    amounts.extend(missing.iter().map(|name| (name.clone(), defaults[name].clone())));
    if !missing.is_empty() {
        container.set_at(path, amounts);
    }
    missing
}

fn of_pod(range: &Value, pod: &Value) -> Vec<String> {
    let mut wrong = Vec::new();
    for item in range.items_at("spec.limits") {
        match item.str_at("type") {
            "Container" => {
                for container in pod.items_at("spec.containers").iter().chain(pod.items_at("spec.initContainers")) {
                    let amounts = |path: &str| container.map_at(path).cloned().unwrap_or_default();
                    wrong.extend(of_item(item, &amounts("resources.requests"), &amounts("resources.limits")));
                }
            }
            "Pod" => wrong.extend(of_item(item, &total(pod, "requests"), &total(pod, "limits"))),
            _ => {}
        }
    }
    wrong
}

fn of_claim(range: &Value, claim: &Value) -> Vec<String> {
    let requests = claim.map_at("spec.resources.requests").cloned().unwrap_or_default();
    let mut wrong = Vec::new();
    for item in items(range, "PersistentVolumeClaim") {
        let bound = |resource, enforced| Bound { sort: "PersistentVolumeClaim", resource, enforced };
        wrong.extend(
            each(item, "min").filter_map(|(resource, enforced)| bound(resource, enforced).least(amount(&requests, resource), None)),
        );
        wrong.extend(
            each(item, "max").filter_map(|(resource, enforced)| bound(resource, enforced).most_requested(amount(&requests, resource))),
        );
    }
    wrong
}

fn of_item(item: &Value, requests: &Map<String, Value>, limits: &Map<String, Value>) -> Vec<String> {
    let mut wrong = Vec::new();
    let bound = |resource, enforced| Bound { sort: item.str_at("type"), resource, enforced };
    let amounts = |resource: &str| (amount(requests, resource), amount(limits, resource));
    for (resource, enforced) in each(item, "min") {
        let (request, limit) = amounts(resource);
        wrong.extend(bound(resource, enforced).least(request, limit));
    }
    for (resource, enforced) in each(item, "max") {
        let (request, limit) = amounts(resource);
        wrong.extend(bound(resource, enforced).most(request, limit));
    }
    for (resource, enforced) in each(item, "maxLimitRequestRatio") {
        let (request, limit) = amounts(resource);
        wrong.extend(bound(resource, enforced).ratio(request, limit));
    }
    wrong
}

fn each<'a>(item: &'a Value, member: &str) -> impl Iterator<Item = (&'a str, Quantity)> + use<'a> {
    let amounts = item.map_at(member).into_iter().flatten();
    amounts.filter_map(|(name, value)| Some((name.as_str(), Quantity::from_json(value).ok()?)))
}

fn amount(amounts: &Map<String, Value>, resource: &str) -> Option<Quantity> {
    amounts.get(resource).and_then(|value| Quantity::from_json(value).ok())
}

/// One bound of a range, with upstream's sentences for what is outside of it.
struct Bound<'a> {
    sort: &'a str,
    resource: &'a str,
    enforced: Quantity,
}

impl Bound<'_> {
    fn says(&self, which: &str, rest: &str) -> Option<String> {
        Some(format!("{which} {} usage per {} is {}{rest}", self.resource, self.sort, self.enforced))
    }

    fn least(&self, request: Option<Quantity>, limit: Option<Quantity>) -> Option<String> {
        match (request, limit) {
            (None, _) => self.says("minimum", ".  No request is specified"),
            (Some(request), _) if request < self.enforced => self.says("minimum", &format!(", but request is {request}")),
            (_, Some(limit)) if limit < self.enforced => self.says("minimum", &format!(", but limit is {limit}")),
            _ => None,
        }
    }

    fn most(&self, request: Option<Quantity>, limit: Option<Quantity>) -> Option<String> {
        match (request, limit) {
            (_, None) => self.says("maximum", ".  No limit is specified"),
            (_, Some(limit)) if limit > self.enforced => self.says("maximum", &format!(", but limit is {limit}")),
            (Some(request), _) if request > self.enforced => self.says("maximum", &format!(", but request is {request}")),
            _ => None,
        }
    }

    fn most_requested(&self, request: Option<Quantity>) -> Option<String> {
        match request {
            None => self.says("maximum", ".  No request is specified"),
            Some(request) if request > self.enforced => self.says("maximum", &format!(", but request is {request}")),
            Some(_) => None,
        }
    }

    fn ratio(&self, request: Option<Quantity>, limit: Option<Quantity>) -> Option<String> {
        let set = |amount: Option<Quantity>| amount.filter(|amount| amount.nano != 0);
        let head = format!("{} max limit to request ratio per {} is {}", self.resource, self.sort, self.enforced);
        let (request, limit) = match (set(request), set(limit)) {
            (None, _) => return Some(format!("{head}, but no request is specified or request is 0")),
            (_, None) => return Some(format!("{head}, but no limit is specified or limit is 0")),
            (Some(request), Some(limit)) => (request, limit),
        };
        let seen = limit.nano as f64 / request.nano as f64;
        let is_small = self.enforced.value() <= RATIO_MILLI_MAX;
        let most = if is_small { self.enforced.milli_value() as f64 / 1000.0 } else { self.enforced.value() as f64 };
        (seen > most).then(|| format!("{head}, but provided ratio is {seen:.6}"))
    }
}

/// What a pod needs at its most: its containers and sidecars together, or one of its init containers beside the sidecars
/// that have started before it. Its overhead is its runtime's affair.
fn total(pod: &Value, sort: &str) -> Map<String, Value> {
    let of = |container: &Value| container.map_at(&format!("resources.{sort}")).cloned().unwrap_or_default();
    let mut running = Map::new();
    let mut peak = Map::new();
    for container in pod.items_at("spec.initContainers") {
        if container.str_at("restartPolicy") == "Always" {
            running = joined(&running, &of(container), Quantity::plus);
            peak = joined(&peak, &running, Quantity::max);
        } else {
            peak = joined(&peak, &joined(&running, &of(container), Quantity::plus), Quantity::max);
        }
    }
    let together = pod.items_at("spec.containers").iter().fold(running, |sum, container| joined(&sum, &of(container), Quantity::plus));
    let mut all = joined(&together, &peak, Quantity::max);
    // What the pod says of itself as a whole counts in place of the sum.
    all.extend(pod.map_at(&format!("spec.resources.{sort}")).cloned().unwrap_or_default());
    all
}

fn joined(one: &Map<String, Value>, other: &Map<String, Value>, how: fn(Quantity, Quantity) -> Quantity) -> Map<String, Value> {
    let mut out = one.clone();
    for (resource, value) in other {
        let sum = match (amount(one, resource), amount(other, resource)) {
            (Some(one), Some(other)) => json!(how(one, other).to_string()),
            _ => value.clone(),
        };
        out.insert(resource.clone(), sum);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_pod_leaves_out_is_filled_in_and_told() {
        let range = json!({"spec": {"limits": [{"type": "Container", "default": {"cpu": "500m", "memory": "512Mi"}, "defaultRequest": {"cpu": "100m"}}]}});
        let mut pod = json!({"spec": {"containers": [{"name": "c", "resources": {"limits": {"cpu": "1"}}}]}});
        fill_defaults(&mut pod, &range);
        assert_eq!(
            pod["spec"]["containers"][0]["resources"],
            json!({"limits": {"cpu": "1", "memory": "512Mi"}, "requests": {"cpu": "100m"}})
        );
        assert_eq!(
            pod["metadata"]["annotations"][ANNOTATION],
            "LimitRanger plugin set: cpu request for container c; memory limit for container c"
        );
    }

    #[test]
    fn what_is_out_of_bounds_is_told_in_upstreams_words() {
        let rows = [
            (
                "Container",
                json!({"max": {"cpu": "1"}}),
                json!({"limits": {"cpu": "2"}}),
                "maximum cpu usage per Container is 1, but limit is 2",
            ),
            ("Container", json!({"max": {"cpu": "1"}}), json!({}), "maximum cpu usage per Container is 1.  No limit is specified"),
            (
                "Container",
                json!({"min": {"cpu": "100m"}}),
                json!({"requests": {"cpu": "50m"}}),
                "minimum cpu usage per Container is 100m, but request is 50m",
            ),
            (
                "Container",
                json!({"maxLimitRequestRatio": {"cpu": "2"}}),
                json!({"requests": {"cpu": "100m"}, "limits": {"cpu": "300m"}}),
                "cpu max limit to request ratio per Container is 2, but provided ratio is 3.000000",
            ),
            (
                "Pod",
                json!({"max": {"memory": "1Gi"}}),
                json!({"limits": {"memory": "2Gi"}}),
                "maximum memory usage per Pod is 1Gi, but limit is 2Gi",
            ),
        ];
        for (sort, mut item, resources, want) in rows {
            item["type"] = json!(sort);
            let pod = json!({"spec": {"containers": [{"name": "c", "resources": resources}]}});
            assert_eq!(of_pod(&json!({"spec": {"limits": [item]}}), &pod), [want]);
        }
    }

    #[test]
    fn sidecars_count_with_containers_and_init_containers_beside_them() {
        let container = |cpu: &str| json!({"resources": {"requests": {"cpu": cpu}}});
        let mut sidecar = container("100m");
        sidecar["restartPolicy"] = json!("Always");
        let mut pod = json!({"spec": {"initContainers": [sidecar, container("1")], "containers": [container("200m"), container("300m")]}});
        assert_eq!(total(&pod, "requests"), *json!({"cpu": "1100m"}).as_object().unwrap());
        pod["spec"]["initContainers"][1] = container("10m");
        assert_eq!(total(&pod, "requests"), *json!({"cpu": "600m"}).as_object().unwrap());
    }
}
