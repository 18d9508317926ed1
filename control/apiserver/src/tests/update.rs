use schema::DocExt;

use super::*;

fn deployments() -> Target {
    Target::of("apps/v1", "deployments", "default")
}

fn deployment(replicas: i64) -> Value {
    json!({"metadata": {"name": "web"}, "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}},
        "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}})
}

#[tokio::test]
async fn a_stale_write_is_a_conflict_and_an_unconditional_one_is_not() {
    let cluster = Cluster::bare().await;
    let first = cluster.config_map("a", "x").await;
    let mut second = first.clone();
    second.set_at("data.k", "2");
    cluster.update(config_maps().named("a"), second).await.unwrap();
    let mut stale = first.clone();
    stale.set_at("data.k", "3");
    let status = cluster.update(config_maps().named("a"), stale.clone()).await.unwrap_err();
    assert_eq!(
        (status.code, status.message.as_str()),
        (
            409,
            "Operation cannot be fulfilled on configmaps \"a\": the object has been modified; please apply your changes to the latest version and try again"
        )
    );
    stale.remove_at("metadata.resourceVersion");
    cluster.update(config_maps().named("a"), stale).await.unwrap();
    let bad = json!({"metadata": {"name": "a", "resourceVersion": "abc"}});
    let status = cluster.update(config_maps().named("a"), bad).await.unwrap_err();
    assert_eq!((status.code, status.message.as_str()), (500, "strconv.ParseUint: parsing \"abc\": invalid syntax"));
}

#[tokio::test]
async fn what_is_not_there_is_not_made_by_an_update() {
    let cluster = Cluster::bare().await;
    let status = cluster.update(config_maps().named("a"), json!({"metadata": {"name": "a"}})).await.unwrap_err();
    assert_eq!((status.code, status.message.as_str()), (404, "configmaps \"a\" not found"));
}

#[tokio::test]
async fn a_write_that_changes_nothing_writes_nothing() {
    let cluster = Cluster::bare().await;
    let doc = cluster.config_map("a", "x").await;
    let before = cluster.store.revision();
    let same = cluster.update(config_maps().named("a"), doc.clone()).await.unwrap();
    assert_eq!(same, doc);
    cluster.patch(config_maps().named("a"), Patch::Merge, json!({"data": {"k": "v"}})).await.unwrap();
    assert_eq!(cluster.store.revision(), before);
}

#[tokio::test]
async fn identity_cannot_be_changed() {
    let cluster = Cluster::bare().await;
    let doc = cluster.config_map("a", "x").await;
    let mut other = doc.clone();
    other.set_at("metadata.uid", "11111111-1111-4111-8111-111111111111");
    let status = cluster.update(config_maps().named("a"), other).await.unwrap_err();
    assert_eq!(status.code, 409);
    assert!(status.message.contains("Precondition failed: UID in precondition: 11111111-1111-4111-8111-111111111111"), "{status}");
    let mut older = doc.clone();
    older.set_at("metadata.creationTimestamp", "2000-01-01T00:00:00Z");
    let kept = cluster.update(config_maps().named("a"), older).await.unwrap();
    assert_eq!(kept.str_at("metadata.creationTimestamp"), doc.str_at("metadata.creationTimestamp"));
    let status = cluster.update(config_maps().named("b"), doc.clone()).await.unwrap_err();
    assert_eq!(status.message, "the name of the object (a) does not match the name on the URL (b)");
    let mut bare = json!({"metadata": {"name": "a"}, "data": {"k": "2"}});
    let kept = cluster.update(config_maps().named("a"), bare.take()).await.unwrap();
    assert_eq!(kept.str_at("metadata.uid"), doc.str_at("metadata.uid"));
    assert_eq!(kept.at("metadata.labels"), None);
}

/// Gate: generation on every write path, and only for what it counts.
#[tokio::test]
async fn generation_counts_spec_changes_on_put_and_patch() {
    let cluster = Cluster::bare().await;
    let made = cluster.create(deployments(), deployment(1)).await.unwrap();
    assert_eq!(made.i64_at("metadata.generation"), Some(1));
    let one = || deployments().named("web");
    let generation = |doc: &Value| doc.i64_at("metadata.generation").unwrap();
    let labelled = cluster.patch(one(), Patch::Merge, json!({"metadata": {"labels": {"a": "b"}}})).await.unwrap();
    assert_eq!(generation(&labelled), 1);
    let scaled = cluster.patch(one(), Patch::Strategic, json!({"spec": {"replicas": 2}})).await.unwrap();
    assert_eq!(generation(&scaled), 2);
    let scaled = cluster.patch(one(), Patch::Json, json!([{"op": "replace", "path": "/spec/replicas", "value": 3}])).await.unwrap();
    assert_eq!(generation(&scaled), 3);
    let mut put = scaled.clone();
    put.set_at("spec.replicas", 4);
    put.set_at("metadata.generation", 99);
    let put = cluster.update(one(), put).await.unwrap();
    assert_eq!(generation(&put), 4);
    let status =
        cluster.patch(one().sub("status"), Patch::Merge, json!({"status": {"replicas": 4, "observedGeneration": 4}})).await.unwrap();
    assert_eq!(generation(&status), 4);
}

#[tokio::test]
async fn status_and_spec_are_written_apart() {
    let cluster = Cluster::bare().await;
    let mut doc = cluster.create(deployments(), deployment(1)).await.unwrap();
    doc.set_at("status.replicas", 7);
    doc.set_at("spec.replicas", 2);
    let written = cluster.update(deployments().named("web"), doc.clone()).await.unwrap();
    assert_eq!((written.i64_at("spec.replicas"), written.i64_at("status.replicas")), (Some(2), None));
    let mut doc = written;
    doc.set_at("status.replicas", 7);
    doc.set_at("spec.replicas", 9);
    let written = cluster.update(deployments().named("web").sub("status"), doc).await.unwrap();
    assert_eq!((written.i64_at("spec.replicas"), written.i64_at("status.replicas")), (Some(2), Some(7)));
}

#[tokio::test]
async fn verbs_and_subresources_that_do_not_exist_are_refused() {
    let cluster = Cluster::bare().await;
    cluster.create(deployments(), deployment(1)).await.unwrap();
    let one = || deployments().named("web");
    let refused = |verb, target| cluster.call(verb, target, Options::default(), Body::Value(json!({})));
    let status = refused(Verb::Create, one().sub("status")).await.err().unwrap();
    assert_eq!(status.message, "the server does not allow this method on the requested resource");
    assert_eq!(refused(Verb::Create, one().sub("status")).await.err().unwrap().code, 405);
    assert_eq!(refused(Verb::Delete, one().sub("status")).await.err().unwrap().code, 405);
    assert_eq!(refused(Verb::Get, one().sub("nope")).await.err().unwrap().code, 404);
    assert_eq!(refused(Verb::DeleteCollection, Target::of("v1", "namespaces", "")).await.err().unwrap().code, 405);
    assert_eq!(refused(Verb::Get, Target::of("v1", "nodes", "default").named("x")).await.err().unwrap().code, 404);
}

#[tokio::test]
async fn racing_patches_are_all_applied() {
    let cluster = Cluster::bare().await;
    cluster.config_map("a", "x").await;
    let patches = (0..8).map(|n| cluster.patch(config_maps().named("a"), Patch::Merge, json!({"data": {n.to_string(): "x"}})));
    for patched in futures::future::join_all(patches).await {
        patched.unwrap();
    }
    let doc = cluster.get(config_maps().named("a")).await.unwrap();
    assert_eq!(doc.map_at("data").unwrap().len(), 9);
}
