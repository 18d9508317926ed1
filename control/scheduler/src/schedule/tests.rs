use std::sync::Arc;

use kinds::core::Node;
use schema::{DocExt, Value, json};

use super::*;

/// `name cpu/memoryGi/pods [word…]`; words: `cordoned`, `taint=key:effect`, `label=k:v`
fn node(text: &str) -> Arc<Node> {
    let mut words = text.split(' ');
    let name = words.next().unwrap();
    let size: Vec<&str> = words.next().unwrap().split('/').collect();
    let mut doc = json!({
        "metadata": {"name": name, "labels": {}}, "spec": {"taints": []},
        "status": {"allocatable": {"cpu": size[0], "memory": format!("{}Gi", size[1]), "pods": size[2]}},
    });
    for word in words {
        match word.split_once('=') {
            None => doc.set_at("spec.unschedulable", true),
            Some(("taint", taint)) => {
                let (key, effect) = taint.split_once(':').unwrap();
                doc["spec"]["taints"].as_array_mut().unwrap().push(json!({"key": key, "effect": effect}));
            }
            Some((_, label)) => {
                let (key, value) = label.split_once(':').unwrap();
                doc["metadata"]["labels"][key] = json!(value);
            }
        }
    }
    Arc::new(serde_json::from_value(doc).unwrap())
}

fn pod(name: &str, cpu: &str, spec: Value) -> Pod {
    let mut doc = json!({"metadata": {"name": name, "uid": name}, "spec": spec});
    doc.default_at("spec.containers", json!([{"resources": {"requests": {"cpu": cpu}}}]));
    serde_json::from_value(doc).unwrap()
}

fn check(nodes: &[&str], placed: &[(&str, &str, &str)], pod: &Pod, want: &str) {
    let mut snapshot = Snapshot::default();
    nodes.iter().for_each(|text| snapshot.set_node(node(text)));
    for (name, cpu, node) in placed {
        snapshot.place(&self::pod(name, cpu, json!({})), node);
    }
    let decision = schedule(&snapshot, pod, 0, 0);
    let got = decision.node.clone().unwrap_or_else(|| decision.message(nodes.len()));
    assert_eq!(got, want, "{nodes:?} {placed:?}");
}

#[test]
fn what_does_not_fit_says_why() {
    let want = "0/3 nodes are available: 1 Insufficient cpu, 1 Too many pods, 1 node(s) were unschedulable.";
    check(&["a 1/4/10", "b 4/4/1", "c 4/4/10 cordoned"], &[("x", "1", "a"), ("y", "1", "b")], &pod("p", "500m", json!({})), want);
    check(&[], &[], &pod("p", "1", json!({})), "no nodes available to schedule pods");
}

#[test]
fn the_emptier_node_wins() {
    check(&["a 4/4/10", "b 4/4/10"], &[("x", "2", "a")], &pod("p", "1", json!({})), "b");
}

#[test]
fn taints_need_tolerations() {
    let nodes = ["a 4/4/10 taint=gpu:NoSchedule", "b 1/4/10"];
    check(&nodes, &[], &pod("p", "2", json!({})), "0/2 nodes are available: 1 Insufficient cpu, 1 node(s) had untolerated taint(s).");
    check(&nodes, &[], &pod("p", "2", json!({"tolerations": [{"key": "gpu", "operator": "Exists"}]})), "a");
    check(
        &nodes,
        &[],
        &pod("p", "2", json!({"tolerations": [{"operator": "Exists", "effect": "NoExecute"}]})),
        "0/2 nodes are available: 1 Insufficient cpu, 1 node(s) had untolerated taint(s).",
    );
    check(&["a 4/4/10 taint=x:PreferNoSchedule", "b 4/4/10"], &[], &pod("p", "1", json!({})), "b");
}

#[test]
fn selectors_and_affinity() {
    let nodes = ["a 4/4/10 label=disk:ssd label=n:5", "b 4/4/10 label=disk:hdd label=n:9"];
    check(&nodes, &[], &pod("p", "1", json!({"nodeSelector": {"disk": "hdd"}})), "b");
    let required = |expression: Value| json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}}}});
    check(&nodes, &[], &pod("p", "1", required(json!({"key": "n", "operator": "Gt", "values": ["6"]}))), "b");
    check(&nodes, &[], &pod("p", "1", required(json!({"key": "disk", "operator": "NotIn", "values": ["hdd"]}))), "a");
    check(
        &nodes,
        &[],
        &pod("p", "1", required(json!({"key": "zone", "operator": "Exists"}))),
        "0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector.",
    );
    let preferred = json!({"affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 50, "preference": {"matchExpressions": [{"key": "disk", "operator": "In", "values": ["hdd"]}]}}]}}});
    check(&nodes, &[], &pod("p", "1", preferred), "b");
}

#[test]
fn host_ports_clash_by_protocol_and_address() {
    let with_port = |name: &str, protocol: &str, ip: &str| {
        pod(name, "0", json!({"containers": [{"ports": [{"hostPort": 80, "protocol": protocol, "hostIP": ip}]}]}))
    };
    let mut snapshot = Snapshot::default();
    snapshot.set_node(node("a 4/4/10"));
    snapshot.place(&with_port("x", "TCP", "10.0.0.1"), "a");
    assert!(schedule(&snapshot, &with_port("p", "TCP", "0.0.0.0"), 0, 0).node.is_none());
    assert!(schedule(&snapshot, &with_port("p", "TCP", "10.0.0.2"), 0, 0).node.is_some());
    assert!(schedule(&snapshot, &with_port("p", "UDP", ""), 0, 0).node.is_some());
    snapshot.remove("x");
    assert!(schedule(&snapshot, &with_port("p", "TCP", ""), 0, 0).node.is_some());
}

#[test]
fn extended_resources_are_counted() {
    let gpu = pod("p", "0", json!({"containers": [{"resources": {"requests": {"example.com/gpu": "1"}}}]}));
    check(&["a 4/4/10"], &[], &gpu, "0/1 nodes are available: 1 Insufficient example.com/gpu.");
}

#[test]
fn an_init_container_counts_where_it_is_larger() {
    let spec = |init: &str, policy: Option<&str>| json!({"containers": [{"resources": {"requests": {"cpu": "1"}}}], "initContainers": [{"restartPolicy": policy, "resources": {"requests": {"cpu": init}}}]});
    assert_eq!(requests(&pod("p", "", spec("3", None))).cpu_milli, 3000);
    assert_eq!(requests(&pod("p", "", spec("500m", None))).cpu_milli, 1000);
    assert_eq!(requests(&pod("p", "", spec("500m", Some("Always")))).cpu_milli, 1500);
}

#[test]
fn a_removed_node_takes_its_pods_out_and_brings_them_back() {
    let mut snapshot = Snapshot::default();
    snapshot.set_node(node("a 4/4/10"));
    snapshot.set_node(node("b 4/4/10"));
    snapshot.place(&pod("x", "3", json!({})), "a");
    snapshot.remove_node("a");
    assert!(snapshot.node("a").is_none());
    assert_eq!(snapshot.node("b").unwrap().pods, 0);
    snapshot.set_node(node("a 4/4/10"));
    assert_eq!(snapshot.node("a").unwrap().requested.cpu_milli, 3000);
}

#[test]
fn a_large_cluster_is_searched_in_turns() {
    let mut snapshot = Snapshot::default();
    (0..1000).for_each(|n| snapshot.set_node(node(&format!("n{n} 4/4/10"))));
    let first = schedule(&snapshot, &pod("p", "1", json!({})), 0, 0);
    assert_eq!(first.next_start, 420);
    assert_eq!(schedule(&snapshot, &pod("p", "1", json!({})), first.next_start, 0).next_start, 840);
}
