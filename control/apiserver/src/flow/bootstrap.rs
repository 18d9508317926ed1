//! The flow schemas and priority levels that every cluster has, as upstream's.
//!
//! The mandatory ones are mended at each start. The suggested ones are, too, while their annotation says so; who writes `false` into
//! it keeps their own.

use schema::{Value, json};

use super::API_VERSION;

/// An object that says so follows this list.
pub(crate) const AUTO_UPDATE: &str = "apf.kubernetes.io/autoupdate-spec";

/// Of both kinds: those without which nothing can be sorted.
const MANDATORY: [&str; 2] = ["exempt", "catch-all"];

pub(crate) fn is_mandatory(name: &str) -> bool {
    MANDATORY.contains(&name)
}

/// All of them, levels first.
pub(crate) fn objects() -> Vec<Value> {
    levels().into_iter().chain(schemas()).collect()
}

fn levels() -> Vec<Value> {
    let exempt = json!({"type": "Exempt", "exempt": {"nominalConcurrencyShares": 0, "lendablePercent": 0}});
    let rejecting =
        json!({"type": "Limited", "limited": {"nominalConcurrencyShares": 5, "lendablePercent": 0, "limitResponse": {"type": "Reject"}}});
    let queuing = |shares: u32, lendable: u32, queues: u32, hand: u32| {
        json!({"type": "Limited", "limited": {"nominalConcurrencyShares": shares, "lendablePercent": lendable, "limitResponse": {
            "type": "Queue", "queuing": {"queues": queues, "handSize": hand, "queueLengthLimit": 50}}}})
    };
    let rows = [
        ("exempt", exempt),
        ("catch-all", rejecting),
        ("system", queuing(30, 33, 64, 6)),
        ("node-high", queuing(40, 25, 64, 6)),
        ("leader-election", queuing(10, 0, 16, 4)),
        ("workload-high", queuing(40, 50, 128, 6)),
        ("workload-low", queuing(100, 90, 128, 6)),
        ("global-default", queuing(20, 50, 128, 6)),
    ];
    rows.into_iter().map(|(name, spec)| object("PriorityLevelConfiguration", name, spec)).collect()
}

fn schemas() -> Vec<Value> {
    let everybody = || groups(&["system:unauthenticated", "system:authenticated"]);
    let system_accounts = || json!([{"kind": "ServiceAccount", "serviceAccount": {"namespace": "kube-system", "name": "*"}}]);
    let both = |a: Value, b: Value| [a, b].iter().flat_map(|list| list.as_array().cloned().unwrap_or_default()).collect::<Value>();
    let manager = || users(&["system:kube-controller-manager"]);
    let elect = || json!([resources(&["get", "create", "update"], "coordination.k8s.io", &["leases"], false)]);
    let probes = json!([{"verbs": ["get"], "nonResourceURLs": ["/healthz", "/readyz", "/livez"]}]);
    let own_nodes =
        json!([resources(&["*"], "", &["nodes", "nodes/status"], true), resources(&["*"], "coordination.k8s.io", &["leases"], false),]);
    let controllers = both(manager(), users(&["system:kube-scheduler"]));
    let endpoints = both(
        manager(),
        json!([{"kind": "ServiceAccount", "serviceAccount": {"namespace": "kube-system", "name": "endpoint-controller"}},
               {"kind": "ServiceAccount", "serviceAccount": {"namespace": "kube-system", "name": "endpointslicemirroring-controller"}}]),
    );
    vec![
        schema("exempt", "exempt", 1, "", everything(groups(&["system:masters"]))),
        schema("probes", "exempt", 2, "", json!({"subjects": everybody(), "nonResourceRules": probes})),
        schema(
            "system-leader-election",
            "leader-election",
            100,
            "ByUser",
            json!({"subjects": both(controllers, system_accounts()), "resourceRules": elect()}),
        ),
        schema(
            "endpoint-controller",
            "workload-high",
            150,
            "ByUser",
            json!({"subjects": endpoints, "resourceRules": [resources(&["get", "create", "update"], "", &["endpoints"], false)]}),
        ),
        schema(
            "workload-leader-election",
            "leader-election",
            200,
            "ByUser",
            json!({"subjects": system_accounts(), "resourceRules": elect()}),
        ),
        schema("system-node-high", "node-high", 400, "ByUser", json!({"subjects": groups(&["system:nodes"]), "resourceRules": own_nodes})),
        schema("system-nodes", "system", 500, "ByUser", everything(groups(&["system:nodes"]))),
        schema("kube-controller-manager", "workload-high", 800, "ByNamespace", everything(manager())),
        schema("kube-scheduler", "workload-high", 800, "ByNamespace", everything(users(&["system:kube-scheduler"]))),
        schema("kube-system-service-accounts", "workload-high", 900, "ByNamespace", everything(system_accounts())),
        schema("service-accounts", "workload-low", 9000, "ByUser", everything(groups(&["system:serviceaccounts"]))),
        schema("global-default", "global-default", 9900, "ByUser", everything(everybody())),
        schema("catch-all", "catch-all", 10000, "ByUser", everything(everybody())),
    ]
}

fn object(kind: &str, name: &str, spec: Value) -> Value {
    json!({"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": name, "annotations": {AUTO_UPDATE: "true"}}, "spec": spec})
}

fn schema(name: &str, level: &str, precedence: u32, distinguisher: &str, rule: Value) -> Value {
    let mut spec = json!({"priorityLevelConfiguration": {"name": level}, "matchingPrecedence": precedence, "rules": [rule]});
    if !distinguisher.is_empty() {
        spec["distinguisherMethod"] = json!({"type": distinguisher});
    }
    object("FlowSchema", name, spec)
}

fn everything(subjects: Value) -> Value {
    json!({"subjects": subjects, "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"], "clusterScope": true}],
           "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}]})
}

fn resources(verbs: &[&str], group: &str, resources: &[&str], cluster: bool) -> Value {
    let mut rule = json!({"verbs": verbs, "apiGroups": [group], "resources": resources, "namespaces": ["*"]});
    if cluster {
        rule["clusterScope"] = json!(true);
    }
    rule
}

fn groups(names: &[&str]) -> Value {
    names.iter().map(|name| json!({"kind": "Group", "group": {"name": name}})).collect()
}

fn users(names: &[&str]) -> Value {
    names.iter().map(|name| json!({"kind": "User", "user": {"name": name}})).collect()
}
