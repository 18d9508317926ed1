//! What an etcd that is ill does to an API server: requests fail in time and in upstream's form, nothing acknowledged is lost, watches
//! go on, and it heals by itself.

use std::sync::atomic::{AtomicBool, Ordering};

use client::WatchEvent;
use futures::StreamExt;
use tokio::time::Instant;

use super::*;
use crate::http::Health;
use crate::http::query::Query;

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// Of each call to an etcd that will be silent; it is asked twice at most, after three seconds for a connection.
const DEADLINE: Duration = Duration::from_millis(500);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_etcd_costs_requests_and_nothing_else() {
    let Some(mut server) = EtcdServer::plain() else { return };
    let cluster = Cluster::on(open(&server).await, Config::default()).await;
    cluster.create(Target::of("v1", "namespaces", ""), json!({"metadata": {"name": "default"}})).await.unwrap();
    let from_start = Options { resource_version: Some("0".into()), ..Options::default() };
    let mut watch = cluster.client().watch(config_maps(), from_start.clone()).await.unwrap();
    let mut acknowledged = Vec::new();
    for round in 0..2 {
        for n in 0..30 {
            let name = format!("c-{round}-{n}");
            acknowledged.extend(create_if_it_can(&cluster, &name).await);
        }
        tokio::task::block_in_place(|| server.kill());
        assert!(create_if_it_can(&cluster, "while-it-is-away").await.is_none());
        assert!(cluster.list(config_maps(), Options::default()).await.unwrap_err().code >= 500, "nobody knows what is newest");
        let cached = cluster.list(config_maps(), from_start.clone()).await.unwrap();
        assert!(cached.items.len() >= acknowledged.len(), "what is known is still told");
        tokio::task::block_in_place(|| server.run());
    }
    let listed = cluster.list(config_maps(), Options::default()).await.unwrap();
    let listed = names(&listed.items);
    assert_eq!(acknowledged.len(), 60, "a server that is there takes every write");
    for name in &acknowledged {
        assert!(listed.contains(&name.as_str()), "{name} was acknowledged and is lost");
        let event = tokio::time::timeout(Duration::from_secs(30), watch.next()).await.unwrap().unwrap().unwrap();
        assert_eq!(&event.object.meta.name, name, "the watch goes on, in order");
    }
}

/// None: it was refused as by a server that has lost its store.
async fn create_if_it_can(cluster: &Cluster, name: &str) -> Option<String> {
    match cluster.create(config_maps(), json!({"metadata": {"name": name}})).await {
        Ok(_) => Some(name.to_owned()),
        Err(status) => {
            assert!(matches!(status.code, 503 | 504), "{status}");
            None
        }
    }
}

/// A server whose etcd answers within `deadline` or not at all, and a watch of its config maps from the start.
async fn watched(server: &EtcdServer, deadline: Duration) -> (Cluster, client::Watch) {
    let cluster = Cluster::on(open_within(server, deadline).await, Config::default()).await;
    cluster.create(Target::of("v1", "namespaces", ""), json!({"metadata": {"name": "default"}})).await.unwrap();
    let from_start = Options { resource_version: Some("0".into()), ..Options::default() };
    let watch = cluster.client().watch(config_maps(), from_start).await.unwrap();
    (cluster, watch)
}

/// Creates config maps as fast as they are taken until told to stop; the names of those that were acknowledged, and how many were not.
async fn load(cluster: &Cluster, writer: usize, is_over: &AtomicBool) -> (Vec<String>, usize) {
    let (mut acknowledged, mut refused) = (Vec::new(), 0);
    for number in 0.. {
        if is_over.load(Ordering::SeqCst) {
            break;
        }
        let begun = Instant::now();
        match create_if_it_can(cluster, &format!("w{writer}-{number}")).await {
            Some(name) => acknowledged.push(name),
            None => refused += 1,
        }
        assert!(begun.elapsed() < PATIENCE, "a request is answered whatever etcd does");
    }
    (acknowledged, refused)
}

/// Four writers while `illness` runs and for a while after it.
async fn under_load(cluster: &Cluster, illness: impl Future<Output = ()>) -> (Vec<String>, usize) {
    let is_over = AtomicBool::new(false);
    let writers = futures::future::join_all((0..4).map(|writer| load(cluster, writer, &is_over)));
    let course = async {
        illness.await;
        cluster.config_map("it-is-well-again", "x").await;
        is_over.store(true, Ordering::SeqCst);
    };
    let (written, ()) = tokio::join!(writers, course);
    let refused = written.iter().map(|(_, refused)| refused).sum();
    (written.into_iter().flat_map(|(names, _)| names).collect(), refused)
}

/// Every one of `acknowledged` is listed, and told by the watch once.
async fn assert_kept(cluster: &Cluster, watch: &mut client::Watch, acknowledged: &[String]) {
    let listed = cluster.list(config_maps(), Options::default()).await.unwrap();
    let listed = names(&listed.items);
    assert!(!acknowledged.is_empty());
    let mut told: Vec<String> = Vec::new();
    while told.len() < listed.len() {
        let event: WatchEvent = tokio::time::timeout(PATIENCE, watch.next()).await.unwrap().unwrap().unwrap();
        assert!(!told.contains(&event.object.meta.name), "{} is told twice", event.object.meta.name);
        told.push(event.object.meta.name.clone());
    }
    for name in acknowledged {
        assert!(listed.contains(&name.as_str()), "{name} was acknowledged and is lost");
        assert!(told.contains(name), "{name} was acknowledged and is not told");
    }
}

async fn is_ready(cluster: &Cluster) -> bool {
    let health = Health::default();
    health.store(&cluster.core.store);
    health.answer("/readyz", &Query::parse("")).await.unwrap().status() == 200
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_etcd_under_load_loses_nothing_and_is_told_by_readiness() {
    let Some(server) = EtcdServer::plain() else { return };
    let (cluster, mut watch) = watched(&server, DEADLINE).await;
    assert!(is_ready(&cluster).await);
    let illness = async {
        for _ in 0..2 {
            tokio::time::sleep(Duration::from_millis(300)).await;
            server.pause();
            assert!(!is_ready(&cluster).await, "who balances load is told");
            tokio::time::sleep(Duration::from_millis(1500)).await;
            server.resume();
            tokio::time::timeout(PATIENCE, async { while !is_ready(&cluster).await {} }).await.expect("it heals by itself");
        }
    };
    let (acknowledged, refused) = under_load(&cluster, illness).await;
    assert!(refused > 0, "a silent etcd takes no writes");
    assert_kept(&cluster, &mut watch, &acknowledged).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_etcd_killed_under_load_loses_nothing() {
    let Some(mut server) = EtcdServer::plain() else { return };
    let (cluster, mut watch) = watched(&server, DEADLINE).await;
    let illness = async {
        for _ in 0..2 {
            tokio::time::sleep(Duration::from_millis(500)).await;
            tokio::task::block_in_place(|| {
                server.kill();
                server.run();
            });
            tokio::time::timeout(PATIENCE, async { while !is_ready(&cluster).await {} }).await.expect("it heals by itself");
        }
    };
    let (acknowledged, _) = under_load(&cluster, illness).await;
    assert_kept(&cluster, &mut watch, &acknowledged).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_etcd_compacted_under_load_by_somebody_else_is_not_noticed() {
    let Some(server) = EtcdServer::plain() else { return };
    let (cluster, mut watch) = watched(&server, PATIENCE).await;
    let illness = async {
        for _ in 0..5 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            tokio::task::block_in_place(|| server.make_room());
        }
    };
    let (acknowledged, refused) = under_load(&cluster, illness).await;
    assert_eq!(refused, 0);
    assert_kept(&cluster, &mut watch, &acknowledged).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_etcd_is_waited_for() {
    let Some(server) = EtcdServer::plain() else { return };
    let (cluster, mut watch) = watched(&server, PATIENCE).await;
    let illness = async {
        for _ in 0..20 {
            server.pause();
            tokio::time::sleep(Duration::from_millis(80)).await;
            server.resume();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let (acknowledged, refused) = under_load(&cluster, illness).await;
    assert_eq!(refused, 0, "a fifth of a processor is enough");
    assert_kept(&cluster, &mut watch, &acknowledged).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_etcd_takes_deletes_and_after_an_operator_made_room_everything() {
    let Some(server) = EtcdServer::start(&["--quota-backend-bytes=4000000"], None) else { return };
    let cluster = Cluster::on(open(&server).await, Config::default()).await;
    cluster.create(Target::of("v1", "namespaces", ""), json!({"metadata": {"name": "default"}})).await.unwrap();
    let large = |name: &str| json!({"metadata": {"name": name}, "data": {"k": "x".repeat(200_000)}});
    let mut made = Vec::new();
    let full = loop {
        let name = format!("c{}", made.len());
        match cluster.create(config_maps(), large(&name)).await {
            Ok(_) => made.push(name),
            Err(status) => break status,
        }
        assert!(made.len() < 100, "a quota of 4 MB ends before 20 MB");
    };
    assert_eq!((full.code, full.reason.as_str()), (503, "ServiceUnavailable"), "{full}");
    assert!(full.message.contains("database space exceeded") && full.message.contains("etcdctl alarm disarm"), "{full}");
    assert!(cluster.get(config_maps().named("c0")).await.is_ok(), "reads go on");
    for name in &made {
        cluster.delete(config_maps().named(name), Options::default()).await.unwrap();
    }
    tokio::task::block_in_place(|| server.make_room());
    cluster.create(config_maps(), large("after")).await.expect("writes go on by themselves");
}
