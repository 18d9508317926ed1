//! Resource quotas through the core: charged with the object or not at all.

use std::sync::atomic::{AtomicUsize, Ordering};

use futures::future::join_all;
use schema::DocExt;

use super::*;

fn quotas() -> Target {
    Target::of("v1", "resourcequotas", "default")
}

/// A quota that is in force: its status is what the controller would have made of it.
async fn in_force(cluster: &Cluster, name: &str, spec: Value, used: Value) {
    let hard = spec["hard"].clone();
    cluster.create(quotas(), json!({"metadata": {"name": name}, "spec": spec})).await.unwrap();
    cluster.patch(quotas().named(name).sub("status"), Patch::Merge, json!({"status": {"hard": hard, "used": used}})).await.unwrap();
}

async fn used(cluster: &Cluster, name: &str) -> Value {
    cluster.get(quotas().named(name)).await.unwrap().at("status.used").cloned().unwrap_or_default()
}

fn map(name: &str) -> Value {
    json!({"metadata": {"name": name}, "data": {"k": "v"}})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn racing_creates_take_what_is_there_and_not_one_more() {
    let cluster = Cluster::bare().await;
    in_force(&cluster, "q", json!({"hard": {"configmaps": "20"}}), json!({"configmaps": "0"})).await;
    in_force(&cluster, "wide", json!({"hard": {"count/configmaps": "100"}}), json!({"count/configmaps": "0"})).await;
    let refused = AtomicUsize::new(0);
    join_all((0..60).map(|n| {
        let (cluster, refused) = (&cluster, &refused);
        async move {
            if let Err(status) = cluster.create(config_maps(), map(&format!("m{n}"))).await {
                assert_eq!(status.code, 403, "{status}");
                assert!(
                    status.message.ends_with("exceeded quota: q, requested: configmaps=1, used: configmaps=20, limited: configmaps=20"),
                    "{status}"
                );
                refused.fetch_add(1, Ordering::Relaxed);
            }
        }
    }))
    .await;
    let made = cluster.list(config_maps(), Options::default()).await.unwrap().items.len();
    assert_eq!((made, refused.into_inner()), (20, 40));
    assert_eq!(used(&cluster, "q").await, json!({"configmaps": "20"}));
    assert_eq!(used(&cluster, "wide").await, json!({"count/configmaps": "20"}), "refused writes are charged nowhere");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_fails_after_all_is_not_charged() {
    let cluster = Cluster::bare().await;
    in_force(&cluster, "q", json!({"hard": {"configmaps": "10", "secrets": "10"}}), json!({"configmaps": "0", "secrets": "0"})).await;
    // Ten clients make one name: one of them does, nine are told that it is there.
    let outcomes = join_all((0..10).map(|_| cluster.create(config_maps(), map("same")))).await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
    let dry = Options { dry_run: true, ..Options::default() };
    cluster.call(Verb::Create, config_maps(), dry.clone(), Body::Value(map("dry"))).await.unwrap();
    assert_eq!(used(&cluster, "q").await, json!({"configmaps": "1", "secrets": "0"}));
    in_force(&cluster, "none", json!({"hard": {"configmaps": "0"}}), json!({"configmaps": "0"})).await;
    let status = cluster.call(Verb::Create, config_maps(), dry, Body::Value(map("dry"))).await.map(|_| ()).unwrap_err();
    assert_eq!(status.code, 403, "a dry run is refused what the real one would be");
    assert_eq!(used(&cluster, "q").await, json!({"configmaps": "1", "secrets": "0"}));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn limits_that_come_into_force_meet_the_writes_that_race_with_them() {
    for round in 0..20 {
        let cluster = Cluster::bare().await;
        cluster.create(quotas(), json!({"metadata": {"name": "q"}, "spec": {"hard": {"configmaps": "5"}}})).await.unwrap();
        let count = || async { cluster.list(config_maps(), Options::default()).await.unwrap().items.len() };
        // What the controller does: reads the quota, then counts, then writes at the revision that it read; once more when in force.
        let look = || async {
            loop {
                let mut quota = cluster.get(quotas().named("q")).await.unwrap();
                let held = count().await;
                quota.set_at("status", json!({"hard": {"configmaps": "5"}, "used": {"configmaps": held.to_string()}}));
                match cluster.update(quotas().named("q").sub("status"), quota).await {
                    Err(status) if status.is_conflict() => tokio::task::yield_now().await,
                    outcome => return drop(outcome.unwrap()),
                }
            }
        };
        let enforce = async {
            look().await;
            look().await;
        };
        let creates = join_all((0..12).map(|n| {
            let cluster = &cluster;
            async move { cluster.create(config_maps(), map(&format!("m{n}"))).await.is_ok() }
        }));
        let (made, ()) = tokio::join!(creates, enforce);
        let made = made.into_iter().filter(|made| *made).count();
        let counted = used(&cluster, "q").await.str_at("configmaps").parse::<usize>().unwrap();
        assert_eq!((count().await, counted), (made, made), "round {round}");
    }
}

#[tokio::test]
async fn growing_is_charged_and_shrinking_gives_nothing_back() {
    let cluster = Cluster::bare().await;
    let services = || Target::of("v1", "services", "default");
    in_force(
        &cluster,
        "q",
        json!({"hard": {"services.nodeports": "1", "services": "5"}}),
        json!({"services.nodeports": "0", "services": "0"}),
    )
    .await;
    let service = |name: &str| json!({"metadata": {"name": name}, "spec": {"ports": [{"port": 80}]}});
    for name in ["a", "b"] {
        cluster.create(services(), service(name)).await.unwrap();
    }
    let typed = |text: &str| json!({"spec": {"type": text}});
    cluster.patch(services().named("a"), Patch::Merge, typed("NodePort")).await.unwrap();
    let status = cluster.patch(services().named("b"), Patch::Merge, typed("NodePort")).await.unwrap_err();
    assert_eq!(
        status.message,
        "services \"b\" is forbidden: exceeded quota: q, requested: services.nodeports=1, used: services.nodeports=1, limited: services.nodeports=1"
    );
    cluster.patch(services().named("a"), Patch::Merge, typed("ClusterIP")).await.unwrap();
    assert_eq!(used(&cluster, "q").await, json!({"services": "2", "services.nodeports": "1"}), "the controller counts again");
}

#[tokio::test]
async fn a_quota_is_in_force_when_its_status_is_and_must_know_what_is_used() {
    let cluster = Cluster::bare().await;
    cluster.create(quotas(), json!({"metadata": {"name": "q"}, "spec": {"hard": {"configmaps": "0"}}})).await.unwrap();
    cluster.create(config_maps(), map("a")).await.unwrap();
    cluster.patch(quotas().named("q").sub("status"), Patch::Merge, json!({"status": {"hard": {"configmaps": "1"}}})).await.unwrap();
    let status = cluster.create(config_maps(), map("b")).await.unwrap_err();
    assert_eq!(status.message, "configmaps \"b\" is forbidden: status unknown for quota: q, resources: configmaps");
    let elsewhere = Target::of("v1", "configmaps", "other");
    cluster.create(elsewhere, map("b")).await.unwrap();
    let event = json!({"metadata": {"name": "e"}, "involvedObject": {"kind": "Pod", "namespace": "default", "name": "p"}, "reason": "R", "type": "Normal"});
    cluster
        .patch(
            quotas().named("q").sub("status"),
            Patch::Merge,
            json!({"status": {"hard": {"count/events": "0"}, "used": {"count/events": "0"}}}),
        )
        .await
        .unwrap();
    cluster.create(Target::of("v1", "events", "default"), event).await.unwrap();
}
