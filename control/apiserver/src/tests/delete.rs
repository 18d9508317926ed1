use client::Delete;
use schema::DocExt;

use super::*;

fn delete(delete: Delete) -> Options {
    Options { delete, ..Options::default() }
}

fn grace(seconds: i64) -> Options {
    delete(Delete { grace_period_seconds: Some(seconds), ..Delete::default() })
}

fn policy(policy: &str) -> Options {
    delete(Delete { propagation_policy: Some(policy.into()), ..Delete::default() })
}

#[tokio::test]
async fn a_delete_answers_with_what_it_deleted() {
    let cluster = Cluster::bare().await;
    let doc = cluster.config_map("a", "x").await;
    let status = cluster.delete(config_maps().named("a"), Options::default()).await.unwrap();
    assert_eq!(
        status,
        json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
               "details": {"name": "a", "kind": "configmaps", "uid": doc["metadata"]["uid"]}})
    );
    assert_eq!(cluster.delete(config_maps().named("a"), Options::default()).await.unwrap_err().code, 404);
}

#[tokio::test]
async fn preconditions_must_hold() {
    let cluster = Cluster::bare().await;
    let doc = cluster.config_map("a", "x").await;
    let uid = Delete { uid: Some("nope".into()), ..Delete::default() };
    let status = cluster.delete(config_maps().named("a"), delete(uid)).await.unwrap_err();
    assert!(
        status.is_conflict() && status.message.contains("the UID in the precondition (nope) does not match the UID in record"),
        "{status}"
    );
    let version = Delete { resource_version: Some("1".into()), ..Delete::default() };
    let status = cluster.delete(config_maps().named("a"), delete(version)).await.unwrap_err();
    assert!(status.message.contains("the ResourceVersion in the precondition (1) does not match"), "{status}");
    let fit = Delete {
        uid: Some(doc.str_at("metadata.uid").into()),
        resource_version: Some(doc.str_at("metadata.resourceVersion").into()),
        ..Delete::default()
    };
    cluster.delete(config_maps().named("a"), delete(fit)).await.unwrap();
}

#[tokio::test]
async fn finalizers_hold_an_object_until_the_last_is_gone() {
    let cluster = Cluster::bare().await;
    let doc = json!({"metadata": {"name": "a", "finalizers": ["example.com/one", "example.com/two"]}});
    cluster.create(config_maps(), doc).await.unwrap();
    let one = || config_maps().named("a");
    let held = cluster.delete(one(), Options::default()).await.unwrap();
    assert_eq!(held.str_at("metadata.deletionTimestamp"), "2026-01-01T00:00:00Z");
    assert_eq!(held.i64_at("metadata.deletionGracePeriodSeconds"), Some(0));
    let again = cluster.delete(one(), Options::default()).await.unwrap();
    assert_eq!(again.at("metadata.deletionTimestamp"), held.at("metadata.deletionTimestamp"));
    let status = cluster
        .patch(one(), Patch::Merge, json!({"metadata": {"finalizers": ["example.com/one", "example.com/three"]}}))
        .await
        .unwrap_err();
    assert!(status.message.contains("metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers []string{\"example.com/three\"}"), "{status}");
    let kept = cluster.patch(one(), Patch::Merge, json!({"metadata": {"deletionTimestamp": null}})).await.unwrap();
    assert!(kept.at("metadata.deletionTimestamp").is_some());
    cluster.patch(one(), Patch::Merge, json!({"metadata": {"finalizers": ["example.com/two"]}})).await.unwrap();
    cluster.get(one()).await.unwrap();
    cluster.patch(one(), Patch::Merge, json!({"metadata": {"finalizers": null}})).await.unwrap();
    assert_eq!(cluster.get(one()).await.unwrap_err().code, 404);
}

#[tokio::test]
async fn propagation_policies_become_finalizers() {
    let cluster = Cluster::bare().await;
    for (how, finalizer) in [("Orphan", "orphan"), ("Foreground", "foregroundDeletion")] {
        cluster.config_map("a", "x").await;
        let held = cluster.delete(config_maps().named("a"), policy(how)).await.unwrap();
        assert_eq!(held.at("metadata.finalizers"), Some(&json!([finalizer])));
        cluster.patch(config_maps().named("a"), Patch::Merge, json!({"metadata": {"finalizers": null}})).await.unwrap();
    }
    cluster.config_map("a", "x").await;
    let gone = cluster.delete(config_maps().named("a"), policy("Background")).await.unwrap();
    assert_eq!(gone.str_at("status"), "Success");
    cluster.config_map("a", "x").await;
    let status = cluster.delete(config_maps().named("a"), policy("Sideways")).await.unwrap_err();
    assert_eq!(status.code, 422);
}

#[tokio::test]
async fn an_unbound_pod_goes_at_once_and_a_bound_one_gets_its_time() {
    let cluster = Cluster::bare().await;
    with_account(&cluster).await;
    cluster.create(pods(), pod("free")).await.unwrap();
    cluster.delete(pods().named("free"), Options::default()).await.unwrap();
    assert_eq!(cluster.get(pods().named("free")).await.unwrap_err().code, 404);

    let mut bound = pod("bound");
    bound.set_at("spec.nodeName", "n");
    cluster.create(pods(), bound).await.unwrap();
    let one = || pods().named("bound");
    let dying = cluster.delete(one(), Options::default()).await.unwrap();
    assert_eq!(dying.i64_at("metadata.deletionGracePeriodSeconds"), Some(30));
    assert_eq!(dying.str_at("metadata.deletionTimestamp"), "2026-01-01T00:00:30Z");
    let longer = cluster.delete(one(), grace(60)).await.unwrap();
    assert_eq!(longer.i64_at("metadata.deletionGracePeriodSeconds"), Some(30));
    let shorter = cluster.delete(one(), grace(5)).await.unwrap();
    assert_eq!(shorter.i64_at("metadata.deletionGracePeriodSeconds"), Some(5));
    assert_eq!(shorter.str_at("metadata.deletionTimestamp"), "2026-01-01T00:00:05Z");
    cluster.delete(one(), grace(0)).await.unwrap();
    assert_eq!(cluster.get(one()).await.unwrap_err().code, 404);
}

#[tokio::test]
async fn a_finished_pod_needs_no_time() {
    let cluster = Cluster::bare().await;
    with_account(&cluster).await;
    let mut doc = pod("done");
    doc.set_at("spec.nodeName", "n");
    cluster.create(pods(), doc).await.unwrap();
    cluster.patch(pods().named("done").sub("status"), Patch::Merge, json!({"status": {"phase": "Succeeded"}})).await.unwrap();
    cluster.delete(pods().named("done"), Options::default()).await.unwrap();
    assert_eq!(cluster.get(pods().named("done")).await.unwrap_err().code, 404);
}

#[tokio::test]
async fn a_collection_is_deleted_by_selector() {
    let cluster = Cluster::bare().await;
    for (name, label) in [("a", "x"), ("b", "y"), ("c", "x")] {
        cluster.config_map(name, label).await;
    }
    let options = Options { label_selector: "app=x".into(), ..Options::default() };
    let answer = cluster.call(Verb::DeleteCollection, config_maps(), options, Body::None).await.unwrap();
    let list = object(answer).unwrap();
    assert_eq!(list.str_at("kind"), "ConfigMapList");
    let deleted: Vec<&str> = list.items_at("items").iter().map(|doc| doc.str_at("metadata.name")).collect();
    assert_eq!(deleted, ["a", "c"]);
    assert_eq!(names(&cluster.list(config_maps(), Options::default()).await.unwrap().items), ["b"]);
}

#[tokio::test]
async fn a_namespace_goes_when_it_is_finalized() {
    let cluster = Cluster::bare().await;
    let namespaces = || Target::of("v1", "namespaces", "");
    let made = cluster.create(namespaces(), json!({"metadata": {"name": "ns"}})).await.unwrap();
    assert_eq!(made.at("spec.finalizers"), Some(&json!(["kubernetes"])));
    let dying = cluster.delete(namespaces().named("ns"), Options::default()).await.unwrap();
    assert_eq!(dying.str_at("status.phase"), "Terminating");
    let status = cluster.create(Target::of("v1", "configmaps", "ns"), json!({"metadata": {"name": "late"}})).await.unwrap_err();
    assert_eq!(status.code, 403);
    assert_eq!(
        status.message,
        "configmaps \"late\" is forbidden: unable to create new content in namespace ns because it is being terminated"
    );
    let mut doc = dying;
    doc.set_at("spec.finalizers", json!([]));
    cluster.update(namespaces().named("ns").sub("finalize"), doc).await.unwrap();
    assert_eq!(cluster.get(namespaces().named("ns")).await.unwrap_err().code, 404);
    let status = cluster.delete(namespaces().named("default"), Options::default()).await.unwrap_err();
    assert_eq!(status.message, "namespaces \"default\" is forbidden: this namespace may not be deleted");
}

#[tokio::test]
async fn delete_options_come_from_the_body() {
    let cluster = Cluster::bare().await;
    cluster.config_map("a", "x").await;
    for api_version in ["v1", "meta.k8s.io/v1"] {
        let text = json!({"kind": "DeleteOptions", "apiVersion": api_version, "preconditions": {"uid": "nope"}}).to_string();
        let body = Body::Encoded { content_type: "application/json".into(), bytes: Bytes::from(text) };
        let status = cluster.call(Verb::Delete, config_maps().named("a"), Options::default(), body).await.err().unwrap();
        assert!(status.is_conflict(), "{api_version}: {status}");
    }
}

#[tokio::test]
async fn a_dry_run_in_the_body_deletes_nothing() {
    let cluster = Cluster::bare().await;
    with_account(&cluster).await;
    cluster.create(pods(), pod("a")).await.unwrap();
    let body = |doc: Value| Body::Encoded { content_type: "application/json".into(), bytes: Bytes::from(doc.to_string()) };
    let options = json!({"kind": "DeleteOptions", "apiVersion": "v1", "dryRun": ["All"]});
    cluster.call(Verb::Delete, pods().named("a"), Options::default(), body(options.clone())).await.unwrap();
    cluster.call(Verb::DeleteCollection, pods(), Options::default(), body(options.clone())).await.unwrap();
    let eviction = json!({"metadata": {"name": "a"}, "deleteOptions": options});
    cluster.call(Verb::Create, pods().named("a").sub("eviction"), Options::default(), Body::Value(eviction)).await.unwrap();
    cluster.get(pods().named("a")).await.unwrap();
    let wrong = json!({"kind": "DeleteOptions", "apiVersion": "v1", "dryRun": ["Some"]});
    let status = cluster.call(Verb::Delete, pods().named("a"), Options::default(), body(wrong)).await.err().unwrap();
    assert_eq!(
        status.message,
        "DeleteOptions.meta.k8s.io \"\" is invalid: dryRun: Unsupported value: [\"Some\"]: supported values: \"All\""
    );
}

/// Whatever is created in a namespace is there before the namespace begins to go, or refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_slips_into_a_namespace_that_goes() {
    let cluster = Arc::new(Cluster::bare().await);
    for round in 0..10 {
        let name = format!("ns{round}");
        cluster.create(Target::of("v1", "namespaces", ""), json!({"metadata": {"name": name}})).await.unwrap();
        let creates = (0..8).map(|n| {
            let (cluster, name) = (Arc::clone(&cluster), name.clone());
            let env = cluster.core.env().clone();
            env.spawn("create", async move {
                cluster.create(Target::of("v1", "configmaps", &name), json!({"metadata": {"name": n.to_string()}})).await
            })
        });
        let creates: Vec<_> = creates.collect();
        let dying = cluster.delete(Target::of("v1", "namespaces", "").named(&name), Options::default()).await.unwrap();
        let went: u64 = dying.str_at("metadata.resourceVersion").parse().unwrap();
        for create in creates {
            match create.await.unwrap() {
                Ok(doc) => assert!(doc.str_at("metadata.resourceVersion").parse::<u64>().unwrap() < went),
                Err(status) => assert_eq!(status.code, 403, "{status}"),
            }
        }
    }
}
