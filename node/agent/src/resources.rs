//! What requests and limits mean: quality of service, cgroup numbers, oom scores.

use contract::Resources as Limits;
use kinds::core::{Container, PodSpec, ResourceRequirements};
use kinds::lens::Resources;

use crate::slot::{Role, containers};

const PERIOD_US: u64 = 100_000;
const QUOTA_US_MIN: i64 = 1_000;
const SHARES_MIN: u64 = 2;
const SHARES_MAX: u64 = 262_144;
/// At and above it a pod belongs to the system.
const PRIORITY_CRITICAL: i32 = 2_000_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Qos {
    Guaranteed,
    Burstable,
    BestEffort,
}

impl Qos {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Guaranteed => "Guaranteed",
            Self::Burstable => "Burstable",
            Self::BestEffort => "BestEffort",
        }
    }
}

/// Guaranteed: every container limits cpu and memory and asks for exactly that; BestEffort: nobody asks for anything.
pub(crate) fn qos(spec: &PodSpec) -> Qos {
    let own: Vec<&ResourceRequirements> = match &spec.resources {
        Some(pod) if asks(&pod.requests) || asks(&pod.limits) => vec![pod],
        _ => containers(spec).filter(|(_, role)| *role != Role::Ephemeral).map(|(container, _)| &container.resources).collect(),
    };
    if own.iter().all(|one| !asks(&one.requests) && !asks(&one.limits)) {
        return Qos::BestEffort;
    }
    if own.iter().all(|one| is_guaranteed(one)) { Qos::Guaranteed } else { Qos::Burstable }
}

fn asks(resources: &Resources) -> bool {
    ["cpu", "memory"].iter().any(|name| resources.get(*name).is_some_and(|amount| amount.nano > 0))
}

fn is_guaranteed(one: &ResourceRequirements) -> bool {
    ["cpu", "memory"].iter().all(|name| {
        let limit = one.limits.get(*name).filter(|limit| limit.nano > 0);
        limit.is_some_and(|limit| one.requests.get(*name).is_none_or(|request| request.nano == limit.nano))
    })
}

/// Cgroup limits of one container.
pub(crate) fn of_container(spec: &PodSpec, container: &Container, memory_capacity: u64) -> Limits {
    let resources = &container.resources;
    let request = millis(&resources.requests, "cpu").or_else(|| millis(&resources.limits, "cpu"));
    Limits {
        cpu_shares: Some(shares(request.unwrap_or_default())),
        memory_limit_bytes: bytes(&resources.limits, "memory"),
        oom_score_adj: Some(oom_score_adj(spec, container, memory_capacity)),
        ..quota(millis(&resources.limits, "cpu"))
    }
}

/// Cgroup limits of the pod as a whole: a limit holds only where every container has one.
pub(crate) fn of_pod(spec: &PodSpec, pids_limit: Option<i64>) -> Limits {
    let request = total(spec, |resources| millis(&resources.requests, "cpu").or_else(|| millis(&resources.limits, "cpu")).or(Some(0)));
    let (mut cpu, mut memory) =
        (total(spec, |resources| millis(&resources.limits, "cpu")), total(spec, |resources| bytes(&resources.limits, "memory")));
    let mut request = request;
    if let Some(pod) = &spec.resources {
        request = millis(&pod.requests, "cpu").or(request);
        cpu = millis(&pod.limits, "cpu").or(cpu);
        memory = bytes(&pod.limits, "memory").or(memory);
    }
    Limits { cpu_shares: Some(shares(request.unwrap_or_default())), memory_limit_bytes: memory, pids_limit, ..quota(cpu) }
}

/// What the pod takes of one resource when admitted: the sum of its containers and sidecars, or its largest init container.
pub(crate) fn requested(spec: &PodSpec, resource: &str) -> u64 {
    let amount = |resources: &Resources| {
        resources
            .get(resource)
            .map(|amount| u64::try_from(if resource == "cpu" { amount.milli_value() } else { amount.value() }).unwrap_or_default())
    };
    let own = spec.resources.as_ref().and_then(|pod| amount(&pod.requests));
    let sum = own.or_else(|| total(spec, |resources| amount(&resources.requests).or(Some(0)))).unwrap_or_default();
    sum + amount(&spec.overhead).unwrap_or_default()
}

/// Containers and sidecars together, or an init container with the sidecars before it where that is more. None where one of
/// them has no amount.
fn total(spec: &PodSpec, amount: impl Fn(&ResourceRequirements) -> Option<u64>) -> Option<u64> {
    let (mut sidecars, mut init_peak, mut apps) = (0, 0, 0);
    for (container, role) in containers(spec) {
        match role {
            Role::Init => init_peak = init_peak.max(sidecars + amount(&container.resources)?),
            Role::Sidecar => sidecars += amount(&container.resources)?,
            Role::App => apps += amount(&container.resources)?,
            Role::Ephemeral => {}
        }
    }
    Some(init_peak.max(apps + sidecars))
}

fn quota(cpu_millis: Option<u64>) -> Limits {
    let quota = cpu_millis
        .filter(|millis| *millis > 0)
        .map(|millis| (i64::try_from(millis * PERIOD_US / 1000).unwrap_or(i64::MAX)).max(QUOTA_US_MIN));
    Limits { cpu_quota_us: quota, cpu_period_us: quota.map(|_| PERIOD_US), ..Limits::default() }
}

fn shares(cpu_millis: u64) -> u64 {
    (cpu_millis * 1024 / 1000).clamp(SHARES_MIN, SHARES_MAX)
}

fn millis(resources: &Resources, name: &str) -> Option<u64> {
    resources.get(name).map(|amount| u64::try_from(amount.milli_value()).unwrap_or_default())
}

fn bytes(resources: &Resources, name: &str) -> Option<u64> {
    resources.get(name).map(|amount| u64::try_from(amount.value()).unwrap_or_default()).filter(|bytes| *bytes > 0)
}

/// The more of the machine's memory a burstable container asks for, the later it is chosen.
fn oom_score_adj(spec: &PodSpec, container: &Container, memory_capacity: u64) -> i32 {
    if spec.priority.is_some_and(|priority| priority >= PRIORITY_CRITICAL) {
        return -997;
    }
    match qos(spec) {
        Qos::Guaranteed => -997,
        Qos::BestEffort => 1000,
        Qos::Burstable => {
            let request = bytes(&container.resources.requests, "memory").unwrap_or_default();
            let share = 1000_u64.saturating_mul(request) / memory_capacity.max(1);
            i32::try_from(1000_u64.saturating_sub(share)).unwrap_or(1000).clamp(3, 999)
        }
    }
}

#[cfg(test)]
mod tests {
    use schema::json;

    use super::*;

    fn spec(containers: schema::Value) -> PodSpec {
        serde_json::from_value(json!({"containers": containers})).unwrap()
    }

    #[test]
    fn quality_of_service() {
        let full = json!({"cpu": "1", "memory": "1Gi"});
        for (resources, want) in [
            (json!({}), Qos::BestEffort),
            (json!({"requests": {"cpu": "0"}}), Qos::BestEffort),
            (json!({"requests": {"cpu": "100m"}}), Qos::Burstable),
            (json!({"limits": full}), Qos::Guaranteed),
            (json!({"limits": full, "requests": full}), Qos::Guaranteed),
            (json!({"limits": full, "requests": {"cpu": "500m", "memory": "1Gi"}}), Qos::Burstable),
            (json!({"limits": {"memory": "1Gi"}}), Qos::Burstable),
        ] {
            assert_eq!(qos(&spec(json!([{"name": "a", "resources": resources}]))), want, "{resources}");
        }
    }

    #[test]
    fn cgroup_numbers() {
        let spec = spec(
            json!([{"name": "a", "resources": {"requests": {"cpu": "500m", "memory": "1Gi"}, "limits": {"cpu": "1500m", "memory": "2Gi"}}}]),
        );
        let limits = of_container(&spec, &spec.containers[0], 8 << 30);
        assert_eq!((limits.cpu_shares, limits.cpu_quota_us, limits.cpu_period_us), (Some(512), Some(150_000), Some(100_000)));
        assert_eq!((limits.memory_limit_bytes, limits.oom_score_adj), (Some(2 << 30), Some(875)));
    }

    #[test]
    fn a_pod_takes_its_largest_moment() {
        let spec: PodSpec = serde_json::from_value(json!({
            "initContainers": [
                {"name": "side", "restartPolicy": "Always", "resources": {"requests": {"cpu": "100m"}}},
                {"name": "big", "resources": {"requests": {"cpu": "2"}}},
            ],
            "containers": [{"name": "a", "resources": {"requests": {"cpu": "1"}}}, {"name": "b"}],
        }))
        .unwrap();
        assert_eq!(requested(&spec, "cpu"), 2100);
        assert_eq!(of_pod(&spec, None).memory_limit_bytes, None, "one container has no limit");
    }
}
