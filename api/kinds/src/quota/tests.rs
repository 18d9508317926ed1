use super::*;

const PODS: Counted<'static> = Counted { group: "", resource: "pods" };
const CLAIMS: Counted<'static> = Counted { group: "", resource: "persistentvolumeclaims" };

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn now() -> Timestamp {
    at("2026-01-01T00:01:00Z")
}

fn text(used: &Resources) -> String {
    used.iter().map(|(name, amount)| format!("{name}={amount}")).collect::<Vec<_>>().join(" ")
}

fn quota(hard: Value, used: Value) -> Value {
    json!({"metadata": {"name": "q"}, "spec": {"hard": hard}, "status": {"hard": hard, "used": used}})
}

fn container(name: &str, requests: Value, limits: Value) -> Value {
    json!({"name": name, "resources": {"requests": requests, "limits": limits}})
}

fn write<'a>(kind: Counted<'a>, old: Option<&'a Value>, new: &'a Value) -> Write<'a> {
    Write { kind, subresource: "", old, new, now: now() }
}

#[test]
fn every_kind_of_resource_is_counted_under_its_names() {
    let spec = json!({"overhead": {"cpu": "100m", "memory": "1Mi"}, "containers": [
        container("a", json!({"cpu": "500m", "memory": "1Gi", "example.com/gpu": "2", "hugepages-2Mi": "4Mi"}), json!({"cpu": "1"})),
        container("b", json!({"ephemeral-storage": "1Gi"}), json!({"ephemeral-storage": "2Gi"}))]});
    let port = json!({"port": 80});
    let rows = [
        (
            PODS,
            json!({"spec": spec}),
            "count/pods=1 cpu=600m ephemeral-storage=1Gi hugepages-2Mi=4Mi limits.cpu=1100m limits.ephemeral-storage=2Gi memory=1025Mi \
             pods=1 requests.cpu=600m requests.ephemeral-storage=1Gi requests.example.com/gpu=2 requests.hugepages-2Mi=4Mi requests.memory=1025Mi",
        ),
        (PODS, json!({"spec": spec, "status": {"phase": "Succeeded"}}), "count/pods=1"),
        (
            Counted::new("", "services"),
            json!({"spec": {"type": "LoadBalancer", "ports": [port, port]}}),
            "count/services=1 services=1 services.loadbalancers=1 services.nodeports=2",
        ),
        (
            Counted::new("", "services"),
            json!({"spec": {"type": "LoadBalancer", "allocateLoadBalancerNodePorts": false, "ports": [port, {"nodePort": 30001}]}}),
            "count/services=1 services=1 services.loadbalancers=1 services.nodeports=1",
        ),
        (
            CLAIMS,
            json!({"spec": {"storageClassName": "gold", "resources": {"requests": {"storage": "1Gi"}}}, "status": {"allocatedResources": {"storage": "2Gi"}}}),
            "count/persistentvolumeclaims=1 gold.storageclass.storage.k8s.io/persistentvolumeclaims=1 \
             gold.storageclass.storage.k8s.io/requests.storage=2Gi persistentvolumeclaims=1 requests.storage=2Gi",
        ),
        (Counted::new("", "configmaps"), json!({}), "configmaps=1 count/configmaps=1"),
        (Counted::new("apps", "deployments"), json!({}), "count/deployments.apps=1"),
    ];
    for (kind, doc, want) in rows {
        let used = kind.usage(&doc, now());
        assert_eq!(text(&used), want, "{kind:?}");
        assert!(used.keys().all(|name| kind.uses(name)), "{kind:?} uses what it does not know");
    }
    for (kind, foreign) in
        [(PODS, "services"), (PODS, "requests.storage"), (CLAIMS, "requests.cpu"), (Counted::new("apps", "pods"), "pods")]
    {
        assert!(!kind.uses(foreign), "{kind:?} {foreign}");
    }
}

#[test]
fn a_pod_that_never_ends_counts_until_its_grace_is_over_twice() {
    let pod =
        json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:30Z", "deletionGracePeriodSeconds": 30}, "spec": {"containers": []}});
    let until = at("2026-01-01T00:01:00Z");
    assert_eq!(counts_until(&pod, at("2026-01-01T00:00:00Z")), Some(until));
    assert!(PODS.usage(&pod, until).contains_key("pods"));
    assert!(!PODS.usage(&pod, at("2026-01-01T00:01:01Z")).contains_key("pods"));
    assert_eq!(counts_until(&pod, at("2026-01-01T00:01:01Z")), None);
}

#[test]
fn what_exceeds_a_quota_is_told_in_upstreams_words() {
    let pod = json!({"spec": {"containers": [container("c", json!({"cpu": "500m"}), json!({"memory": "200Mi"}))]}});
    let rows = [
        (json!({"pods": "1"}), json!({"pods": "0"}), Ok("pods=1")),
        (json!({"pods": "1"}), json!({"pods": "1"}), Err("exceeded quota: q, requested: pods=1, used: pods=1, limited: pods=1")),
        (
            json!({"requests.cpu": "1", "limits.memory": "300Mi"}),
            json!({"requests.cpu": "500m", "limits.memory": "200Mi"}),
            Err("exceeded quota: q, requested: limits.memory=200Mi, used: limits.memory=200Mi, limited: limits.memory=300Mi"),
        ),
        (json!({"requests.cpu": "1", "secrets": "0"}), json!({"requests.cpu": "0", "secrets": "0"}), Ok("requests.cpu=500m secrets=0")),
    ];
    for (hard, used, want) in rows {
        let got = charge(&quota(hard, used), &write(PODS, None, &pod)).map(|used| text(&used.unwrap()));
        assert_eq!(got, want.map(str::to_owned).map_err(str::to_owned));
    }
}

#[test]
fn an_update_takes_what_is_more_and_gives_nothing_back() {
    let claim = |size: &str| json!({"spec": {"resources": {"requests": {"storage": size}}}});
    let held = quota(json!({"requests.storage": "3Gi"}), json!({"requests.storage": "5Gi"}));
    let (small, large) = (claim("1Gi"), claim("2Gi"));
    assert_eq!(charge(&held, &write(CLAIMS, Some(&large), &small)), Ok(None), "less is always fine; the controller counts again");
    let refused = charge(&held, &write(CLAIMS, Some(&small), &large)).unwrap_err();
    assert_eq!(refused, "exceeded quota: q, requested: requests.storage=1Gi, used: requests.storage=5Gi, limited: requests.storage=3Gi");
    let by_system = Write { subresource: "status", ..write(CLAIMS, Some(&small), &large) };
    assert_eq!(text(&charge(&held, &by_system).unwrap().unwrap()), "requests.storage=6Gi");
}

#[test]
fn containers_must_name_what_is_limited_and_usage_must_be_known() {
    let pod = json!({"spec": {"containers": [container("c", json!({}), json!({})), container("b", json!({"cpu": "1"}), json!({}))]}});
    let q = quota(json!({"requests.cpu": "1", "limits.memory": "1Gi"}), json!({}));
    assert_eq!(
        objection(&q, &write(PODS, None, &pod)).unwrap(),
        "failed quota: q: must specify limits.memory for: b,c; requests.cpu for: c"
    );
    let whole = json!({"spec": {"resources": {"requests": {"cpu": "1"}}, "containers": [container("c", json!({}), json!({}))]}});
    assert_eq!(objection(&q, &write(PODS, None, &whole)).unwrap(), "status unknown for quota: q, resources: limits.memory,requests.cpu");
    assert_eq!(objection(&json!({"spec": {"hard": {"pods": "0"}}}), &write(PODS, None, &pod)), None, "not in force before its status is");
}

#[test]
fn scopes_say_whom_a_quota_is_about() {
    let busy = json!({"containers": [container("c", json!({"cpu": "1"}), json!({}))]});
    let with = |member: &str, value: Value| {
        let mut spec = busy.clone();
        spec[member] = value;
        json!({"spec": spec})
    };
    let (busy, idle) = (json!({"spec": busy}), json!({"spec": {"containers": [{"name": "c"}]}}));
    let timed = with("activeDeadlineSeconds", json!(0));
    let critical = with("priorityClassName", json!("high"));
    let term = json!({"topologyKey": "k", "namespaceSelector": {}});
    let crossing = with(
        "affinity",
        json!({"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "podAffinityTerm": term}]}}),
    );
    let plain = |scope: &str| json!({"spec": {"scopes": [scope]}});
    let selecting = |scope: &str, operator: &str, values: &[&str]| json!({"spec": {"scopeSelector": {"matchExpressions": [{"scopeName": scope, "operator": operator, "values": values}]}}});
    let rows = [
        (plain("BestEffort"), &idle, &busy),
        (plain("NotBestEffort"), &busy, &idle),
        (plain("Terminating"), &timed, &busy),
        (plain("NotTerminating"), &busy, &timed),
        (plain("PriorityClass"), &critical, &busy),
        (plain("CrossNamespacePodAffinity"), &crossing, &busy),
        (selecting("PriorityClass", "In", &["high", "low"]), &critical, &busy),
        (selecting("PriorityClass", "NotIn", &["high"]), &busy, &critical),
        (selecting("PriorityClass", "DoesNotExist", &[]), &busy, &critical),
    ];
    for (quota, inside, outside) in rows {
        assert!(in_scope(&quota, PODS, inside), "{quota} {inside}");
        assert!(!in_scope(&quota, PODS, outside), "{quota} {outside}");
    }
    let silver = json!({"spec": {"volumeAttributesClassName": "silver"}, "status": {"currentVolumeAttributesClassName": "gold"}});
    for (operator, values, want) in
        [("In", &["gold"][..], true), ("In", &["iron"], false), ("Exists", &[], true), ("DoesNotExist", &[], false)]
    {
        assert_eq!(in_scope(&selecting("VolumeAttributesClass", operator, values), CLAIMS, &silver), want, "{operator}");
    }
    assert!(!in_scope(&plain("BestEffort"), Counted::new("", "secrets"), &json!({})), "kinds without scopes are in none");
    assert!(!in_scope(&plain("BestEffort"), CLAIMS, &json!({})));
}

#[test]
fn counting_again_replaces_what_was_believed() {
    let mut held = quota(json!({"pods": "5", "secrets": "2"}), json!({"pods": "4", "secrets": "1", "gone": "7"}));
    held["status"]["hard"] = json!({"pods": "1"});
    let pods = [json!({"spec": {}}), json!({"spec": {}}), json!({"spec": {}, "status": {"phase": "Failed"}})];
    let used = total(&held, PODS, pods.iter(), now());
    assert_eq!(text(&used), "pods=2");
    assert_eq!(status(&held, &used), json!({"hard": {"pods": "5", "secrets": "2"}, "used": {"pods": "2", "secrets": "1"}}));
    assert_eq!(text(&total(&held, PODS, std::iter::empty(), now())), "pods=0");
}
