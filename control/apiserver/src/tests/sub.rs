use schema::DocExt;

use super::*;

async fn post(cluster: &Cluster, target: Target, doc: Value) -> Result<Value, Status> {
    object(cluster.call(Verb::Create, target, Options::default(), Body::Value(doc)).await?)
}

#[tokio::test]
async fn a_scale_shows_and_sets_the_replicas() {
    let cluster = Cluster::bare().await;
    let doc = json!({"metadata": {"name": "web"}, "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "web"}},
        "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}});
    let one = || Target::of("apps/v1", "deployments", "default").named("web");
    let made = cluster.create(Target::of("apps/v1", "deployments", "default"), doc).await.unwrap();
    let scale = cluster.get(one().sub("scale")).await.unwrap();
    assert_eq!(scale["kind"], "Scale");
    assert_eq!(scale["metadata"]["uid"], made["metadata"]["uid"]);
    assert_eq!((scale.i64_at("spec.replicas"), scale.str_at("status.selector")), (Some(2), "app=web"));
    let mut three = scale.clone();
    three.set_at("spec.replicas", 3);
    assert_eq!(cluster.update(one().sub("scale"), three.clone()).await.unwrap().i64_at("spec.replicas"), Some(3));
    assert!(cluster.update(one().sub("scale"), three).await.unwrap_err().is_conflict());
    let patched = cluster.patch(one().sub("scale"), Patch::Merge, json!({"spec": {"replicas": 4}})).await.unwrap();
    assert_eq!(patched.i64_at("spec.replicas"), Some(4));
    let status = cluster.patch(one().sub("scale"), Patch::Merge, json!({"spec": {"replicas": -1}})).await.unwrap_err();
    assert_eq!(
        (status.code, status.message.as_str()),
        (422, "Scale.autoscaling \"web\" is invalid: spec.replicas: Invalid value: -1: must be greater than or equal to 0")
    );
    let doc = cluster.get(one()).await.unwrap();
    assert_eq!((doc.i64_at("spec.replicas"), doc.i64_at("metadata.generation")), (Some(4), Some(3)));
}

#[tokio::test]
async fn a_pod_is_bound_once() {
    let cluster = Cluster::bare().await;
    with_account(&cluster).await;
    cluster.create(pods(), pod("a")).await.unwrap();
    let binding = |node: &str| json!({"metadata": {"name": "a", "annotations": {"why": "fits"}}, "target": {"kind": "Node", "name": node}});
    let place = || pods().named("a").sub("binding");
    let status = post(&cluster, place(), binding("")).await.unwrap_err();
    assert_eq!((status.code, status.message.as_str()), (500, "target.name: Required value"));
    let done = post(&cluster, place(), binding("n1")).await.unwrap();
    assert_eq!(done.str_at("status"), "Success");
    let doc = cluster.get(pods().named("a")).await.unwrap();
    assert_eq!(doc.str_at("spec.nodeName"), "n1");
    assert_eq!(doc["metadata"]["annotations"]["why"], "fits");
    assert_eq!(doc.items_at("status.conditions")[0]["type"], "PodScheduled");
    let status = post(&cluster, place(), binding("n2")).await.unwrap_err();
    assert_eq!(
        (status.code, status.message.as_str()),
        (409, "Operation cannot be fulfilled on pods/binding \"a\": pod a is already assigned to node \"n1\"")
    );
    cluster.create(pods(), pod("b")).await.unwrap();
    let by_body = json!({"metadata": {"name": "b"}, "target": {"name": "n1"}});
    post(&cluster, Target::of("v1", "bindings", "default"), by_body).await.unwrap();
    assert_eq!(cluster.get(pods().named("b")).await.unwrap().str_at("spec.nodeName"), "n1");
}

#[tokio::test]
async fn an_eviction_deletes() {
    let cluster = Cluster::bare().await;
    with_account(&cluster).await;
    cluster.create(pods(), pod("a")).await.unwrap();
    let eviction = json!({"metadata": {"name": "a"}, "deleteOptions": {"gracePeriodSeconds": 0}});
    post(&cluster, pods().named("a").sub("eviction"), eviction).await.unwrap();
    assert_eq!(cluster.get(pods().named("a")).await.unwrap_err().code, 404);
}

#[tokio::test]
async fn events_do_not_live_for_ever() {
    let env = Env::sim(3);
    tokio::time::pause();
    let store = store::Memory::start(&env, store::HistoryConfig::default());
    let cluster = Cluster::on(store, Config::default()).await;
    cluster.create(Target::of("v1", "namespaces", ""), json!({"metadata": {"name": "default"}})).await.unwrap();
    let event = json!({"metadata": {"name": "e"}, "involvedObject": {"kind": "Pod", "namespace": "default", "name": "p"}, "reason": "R", "type": "Normal"});
    let events = || Target::of("v1", "events", "default");
    cluster.create(events(), event).await.unwrap();
    tokio::time::sleep(std::time::Duration::from_secs(3_500)).await;
    cluster.get(events().named("e")).await.unwrap();
    tokio::time::sleep(std::time::Duration::from_secs(300)).await;
    assert_eq!(cluster.get(events().named("e")).await.unwrap_err().code, 404);
    env.stop(std::time::Duration::from_secs(1)).await;
}
