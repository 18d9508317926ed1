//! Several API servers on one etcd.

use std::collections::BTreeSet;

use futures::StreamExt;
use futures::future::join_all;

use super::*;

/// Two servers with the namespace `default`.
async fn two(server: &EtcdServer) -> (Cluster, Cluster) {
    let a = Cluster::on(open(server).await, Config::default()).await;
    let b = Cluster::on(open(server).await, Config::default()).await;
    a.create(Target::of("v1", "namespaces", ""), json!({"metadata": {"name": "default"}})).await.unwrap();
    b.get(Target::of("v1", "namespaces", "").named("default")).await.unwrap();
    (a, b)
}

#[tokio::test]
async fn two_servers_on_one_etcd_show_each_others_writes() {
    let Some(server) = EtcdServer::plain() else { return };
    let (a, b) = two(&server).await;
    for n in 0..20 {
        let (writer, reader) = if n % 2 == 0 { (&a, &b) } else { (&b, &a) };
        let name = format!("c{n}");
        let made = writer.config_map(&name, "x").await;
        let read = reader.get(config_maps().named(&name)).await.unwrap();
        assert_eq!(read, made, "who asks for now sees what another was told");
        let mut changed = read.clone();
        changed["data"]["k"] = json!("changed");
        reader.update(config_maps().named(&name), changed.clone()).await.unwrap();
        let lost = writer.update(config_maps().named(&name), changed).await.unwrap_err();
        assert_eq!((lost.code, lost.reason.as_str()), (409, "Conflict"), "{lost}");
    }
}

#[tokio::test]
async fn two_servers_tell_the_writes_of_both_in_one_order() {
    let Some(server) = EtcdServer::plain() else { return };
    let (a, b) = two(&server).await;
    let from_start = || Options { resource_version: Some("0".into()), ..Options::default() };
    let mut watches =
        [a.client().watch(config_maps(), from_start()).await.unwrap(), b.client().watch(config_maps(), from_start()).await.unwrap()];
    let clusters = [&a, &b];
    join_all((0..40).map(|n| async move { clusters[n % 2].config_map(&format!("c{n}"), "x").await })).await;
    let mut seen = BTreeSet::new();
    for _ in 0..40 {
        let (one, other) = (watches[0].next().await.unwrap().unwrap(), watches[1].next().await.unwrap().unwrap());
        assert_eq!(one.object.raw, other.object.raw, "both tell the same at the same place, byte for byte");
        seen.insert(one.object.meta.name.clone());
    }
    assert_eq!(seen.len(), 40);
}

#[tokio::test]
async fn two_servers_never_give_an_address_or_a_port_twice() {
    let Some(server) = EtcdServer::plain() else { return };
    let few = || Config { service_range: (std::net::Ipv4Addr::new(10, 96, 0, 0), 26), node_ports: (30_000, 30_039), ..Config::default() };
    let a = Cluster::on(open(&server).await, few()).await;
    let b = Cluster::on(open(&server).await, few()).await;
    a.create(Target::of("v1", "namespaces", ""), json!({"metadata": {"name": "default"}})).await.unwrap();
    b.get(Target::of("v1", "namespaces", "").named("default")).await.unwrap();
    let clusters = [&a, &b];
    let service = |n: usize| json!({"metadata": {"name": format!("s{n}")}, "spec": {"type": "NodePort", "ports": [{"port": 80}]}});
    let made = join_all((0..40).map(|n| {
        let service = service(n);
        async move { clusters[n % 2].create(Target::of("v1", "services", "default"), service).await }
    }));
    let made: Vec<Value> = made.await.into_iter().map(|made| made.expect("there is one for each")).collect();
    let addresses: BTreeSet<String> = made.iter().map(|service| service["spec"]["clusterIP"].to_string()).collect();
    let ports: BTreeSet<String> = made.iter().map(|service| service["spec"]["ports"][0]["nodePort"].to_string()).collect();
    assert_eq!((addresses.len(), ports.len()), (40, 40));
    let refused = b.create(Target::of("v1", "services", "default"), service(40)).await.unwrap_err();
    assert!(refused.message.contains("range is full"), "{refused}");
}
