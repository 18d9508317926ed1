use schema::DocExt;

use super::*;

fn services() -> Target {
    Target::of("v1", "services", "default")
}

fn service(name: &str, spec: Value) -> Value {
    let mut doc = json!({"metadata": {"name": name}, "spec": {"ports": [{"port": 80}]}});
    for (key, value) in spec.as_object().unwrap() {
        doc["spec"][key] = value.clone();
    }
    doc
}

fn small() -> Config {
    Config { service_range: (std::net::Ipv4Addr::new(10, 96, 0, 0), 29), node_ports: (30_000, 30_001), ..Config::default() }
}

#[tokio::test]
async fn a_service_gets_an_address_of_its_own() {
    let cluster = Cluster::bare().await;
    let doc = cluster.create(services(), service("a", json!({}))).await.unwrap();
    let ip = doc.str_at("spec.clusterIP").to_owned();
    assert!(ip.starts_with("10.96."), "{ip}");
    assert_eq!(doc.at("spec.clusterIPs"), Some(&json!([ip])));
    assert_eq!(doc.at("spec.ipFamilies"), Some(&json!(["IPv4"])));
    assert_eq!(doc.str_at("spec.ipFamilyPolicy"), "SingleStack");
    assert!(cluster.store.get(&format!("/allocations/ips/{ip}")).await.unwrap().is_some());
    cluster.delete(services().named("a"), Options::default()).await.unwrap();
    assert!(cluster.store.get(&format!("/allocations/ips/{ip}")).await.unwrap().is_none());
}

#[tokio::test]
async fn asked_addresses_and_ports_are_honoured_or_refused_in_upstreams_words() {
    let cluster = Cluster::bare().await;
    cluster.create(services(), service("a", json!({"clusterIP": "10.96.0.10"}))).await.unwrap();
    let node_port = |port: i64| json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": port}]});
    cluster.create(services(), service("np", node_port(30_080))).await.unwrap();
    let cases = [
        (
            json!({"clusterIP": "10.96.0.10"}),
            "Service \"b\" is invalid: spec.clusterIPs: Invalid value: [\"10.96.0.10\"]: failed to allocate IP 10.96.0.10: provided IP is already allocated",
        ),
        (
            json!({"clusterIP": "1.2.3.4"}),
            "Service \"b\" is invalid: spec.clusterIPs: Invalid value: [\"1.2.3.4\"]: failed to allocate IP 1.2.3.4: the provided IP (1.2.3.4) is not in the valid range. The range of valid IPs is 10.96.0.0/16",
        ),
        (node_port(30_080), "Service \"b\" is invalid: spec.ports[0].nodePort: Invalid value: 30080: provided port is already allocated"),
        (
            node_port(80),
            "Service \"b\" is invalid: spec.ports[0].nodePort: Invalid value: 80: provided port is not in the valid range. The range of valid ports is 30000-32767",
        ),
        (
            json!({"ipFamilyPolicy": "RequireDualStack"}),
            "Service \"b\" is invalid: spec.ipFamilyPolicy: Invalid value: \"RequireDualStack\": this cluster is not configured for dual-stack services",
        ),
    ];
    for (spec, message) in cases {
        let status = cluster.create(services(), service("b", spec)).await.unwrap_err();
        assert_eq!((status.code, status.message.as_str()), (422, message));
    }
}

#[tokio::test]
async fn an_exhausted_range_is_said_and_given_back_addresses_are_used_again() {
    let cluster = Cluster::with(small()).await;
    for n in 0..6 {
        cluster.create(services(), service(&format!("s{n}"), json!({}))).await.unwrap();
    }
    let status = cluster.create(services(), service("late", json!({}))).await.unwrap_err();
    assert_eq!(status.message, "Internal error occurred: failed to allocate a serviceIP: range is full");
    cluster.delete(services().named("s3"), Options::default()).await.unwrap();
    cluster.create(services(), service("late", json!({}))).await.unwrap();
}

#[tokio::test]
async fn racing_creates_never_share_an_address() {
    let cluster = Cluster::with(small()).await;
    let creates = (0..6).map(|n| cluster.create(services(), service(&format!("s{n}"), json!({}))));
    let mut ips: Vec<String> =
        futures::future::join_all(creates).await.into_iter().map(|doc| doc.unwrap().str_at("spec.clusterIP").to_owned()).collect();
    ips.sort();
    ips.dedup();
    assert_eq!(ips.len(), 6);
}

#[tokio::test]
async fn changes_of_type_take_and_give_back() {
    let cluster = Cluster::bare().await;
    let doc = cluster.create(services(), service("a", json!({}))).await.unwrap();
    let one = || services().named("a");
    let ip = doc.str_at("spec.clusterIP").to_owned();
    let exposed = cluster.patch(one(), Patch::Merge, json!({"spec": {"type": "NodePort"}})).await.unwrap();
    let port = exposed.items_at("spec.ports")[0].i64_at("nodePort").unwrap();
    assert!((30_000..=32_767).contains(&port));
    let replaced = cluster.update(one(), service("a", json!({"type": "NodePort"}))).await.unwrap();
    assert_eq!(replaced.str_at("spec.clusterIP"), ip, "an update that leaves the address out keeps it");
    assert_eq!(replaced.items_at("spec.ports")[0].i64_at("nodePort"), Some(port));
    let back = json!({"spec": {"type": "ClusterIP", "ports": [{"port": 80, "protocol": "TCP", "nodePort": null}]}});
    cluster.patch(one(), Patch::Merge, back).await.unwrap();
    assert!(cluster.store.get(&format!("/allocations/ports/{port}")).await.unwrap().is_none());
    let headless = cluster.create(services(), service("h", json!({"clusterIP": "None", "selector": {"a": "b"}}))).await.unwrap();
    assert_eq!(headless.at("spec.clusterIPs"), Some(&json!(["None"])));
    let moved =
        cluster.patch(one(), Patch::Merge, json!({"spec": {"clusterIP": "10.96.0.77", "clusterIPs": ["10.96.0.77"]}})).await.unwrap_err();
    assert_eq!(moved.code, 422);
}

#[tokio::test]
async fn protocols_of_one_port_share_a_node_port() {
    let cluster = Cluster::bare().await;
    let ports =
        json!([{"name": "t", "port": 53, "protocol": "TCP"}, {"name": "u", "port": 53, "protocol": "UDP"}, {"name": "w", "port": 80}]);
    let doc = cluster.create(services(), service("dns", json!({"type": "NodePort", "ports": ports}))).await.unwrap();
    let ports: Vec<i64> = doc.items_at("spec.ports").iter().map(|port| port.i64_at("nodePort").unwrap()).collect();
    assert_eq!(ports[0], ports[1]);
    assert_ne!(ports[0], ports[2]);
}

#[tokio::test]
async fn a_start_makes_what_every_cluster_has_and_mends_the_allocations() {
    let store = on_etcd::fresh_store().await;
    let stray =
        store::Op::Put { key: "/allocations/ips/10.96.7.7".into(), value: Bytes::from_static(b"{}"), rv_at: None, ttl_seconds: None };
    store.txn(store::Txn { guards: Vec::new(), ops: vec![stray] }).await.unwrap();
    let start = || async {
        let core = Core::new(Arc::clone(&store), Env::sim(1), Config::default(), auth::Chain::new(Vec::new()), kinds::all().to_vec());
        core.start().await.unwrap();
        Cluster { core, store: Arc::clone(&store), admin: UserInfo::new("admin", &[auth::MASTERS]) }
    };
    let cluster = start().await;
    assert!(store.get("/allocations/ips/10.96.7.7").await.unwrap().is_none());
    for namespace in ["default", "kube-system", "kube-public", "kube-node-lease"] {
        cluster.get(Target::of("v1", "namespaces", "").named(namespace)).await.unwrap();
    }
    let kubernetes = cluster.get(services().named("kubernetes")).await.unwrap();
    assert_eq!(kubernetes.str_at("spec.clusterIP"), "10.96.0.1");
    let endpoints = cluster.get(Target::of("v1", "endpoints", "default").named("kubernetes")).await.unwrap();
    assert_eq!(endpoints.at("subsets").unwrap()[0]["addresses"][0]["ip"], "10.244.0.1");
    cluster.get(Target::of("discovery.k8s.io/v1", "endpointslices", "default").named("kubernetes")).await.unwrap();
    cluster.get(Target::of("rbac.authorization.k8s.io/v1", "clusterroles", "").named("cluster-admin")).await.unwrap();
    cluster.get(Target::of("scheduling.k8s.io/v1", "priorityclasses", "").named("system-node-critical")).await.unwrap();
    let before = store.revision();
    start().await;
    assert_eq!(store.revision(), before, "a second start has nothing to do");
}
