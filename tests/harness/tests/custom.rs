//! Custom kinds beside the controllers that follow everything: owners and namespaces take their objects along, also of a
//! kind that went and came again.

use client::{Object, Options, Target};
use harness::Cluster;
use schema::{DocExt, Value, json};

fn definitions() -> Target {
    Target::of("apiextensions.k8s.io/v1", "customresourcedefinitions", "")
}

fn widgets(namespace: &str) -> Target {
    Target::of("example.com/v1", "widgets", namespace)
}

fn config_maps() -> Target {
    Target::of("v1", "configmaps", "default")
}

/// `widgets.example.com`, established.
async fn define(cluster: &Cluster) {
    let definition = json!({
        "metadata": {"name": "widgets.example.com"},
        "spec": {"group": "example.com", "scope": "Namespaced", "names": {"plural": "widgets", "kind": "Widget"},
                 "versions": [{"name": "v1", "served": true, "storage": true,
                               "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}]},
    });
    cluster.admin.create(definitions(), definition).await.unwrap();
    let established = |object: &Object| kinds::custom::is_established(&object.value());
    cluster.eventually("the definition is established", definitions(), |all| all.iter().any(|one| established(one))).await;
}

async fn widget(cluster: &Cluster, namespace: &str, name: &str, owners: Value) -> Value {
    let doc = json!({"metadata": {"name": name, "ownerReferences": owners}});
    cluster.admin.create(widgets(namespace), doc).await.unwrap().value()
}

fn owned_by(owner: &Value) -> Value {
    let at = |path: &str| owner.str_at(path).to_owned();
    json!([{"apiVersion": at("apiVersion"), "kind": at("kind"), "name": at("metadata.name"), "uid": at("metadata.uid")}])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn custom_owners_and_dependents_are_collected() {
    let cluster = Cluster::start().await;
    define(&cluster).await;
    let owner = widget(&cluster, "default", "owner", Value::Null).await;
    widget(&cluster, "default", "dependent", owned_by(&owner)).await;
    let map = json!({"metadata": {"name": "also", "ownerReferences": owned_by(&owner)}});
    cluster.admin.create(config_maps(), map).await.unwrap();
    cluster.admin.delete(widgets("default").named("owner"), Options::default()).await.unwrap();
    cluster.eventually("no widgets", widgets("default"), <[_]>::is_empty).await;
    cluster.eventually("no map", config_maps(), |all| !all.iter().any(|one| one.meta.name == "also")).await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_namespace_takes_its_custom_objects_along_whenever_their_kind_came() {
    let cluster = Cluster::start().await;
    let namespaces = Target::of("v1", "namespaces", "");
    cluster.admin.create(namespaces.clone(), json!({"metadata": {"name": "team"}})).await.unwrap();
    define(&cluster).await;
    widget(&cluster, "team", "a", Value::Null).await;
    cluster.admin.delete(namespaces.clone().named("team"), Options::default()).await.unwrap();
    cluster.eventually("gone", namespaces, |all| !all.iter().any(|one| one.meta.name == "team")).await;
    cluster.eventually("no widgets", widgets(""), <[_]>::is_empty).await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kind_that_was_deleted_can_come_again() {
    let cluster = Cluster::start().await;
    define(&cluster).await;
    widget(&cluster, "default", "owner", Value::Null).await;
    cluster.admin.delete(definitions().named("widgets.example.com"), Options::default()).await.unwrap();
    cluster.eventually("no definition", definitions(), <[_]>::is_empty).await;
    define(&cluster).await;
    let owner = widget(&cluster, "default", "again", Value::Null).await;
    widget(&cluster, "default", "dependent", owned_by(&owner)).await;
    cluster.admin.delete(widgets("default").named("again"), Options::default()).await.unwrap();
    cluster.eventually("no widgets", widgets("default"), <[_]>::is_empty).await;
    cluster.stop().await;
}

/// The resourceVersion of each object: what a rewrite changes.
async fn versions_of(cluster: &Cluster) -> Vec<String> {
    let list = cluster.admin.list(widgets("default"), Options::default()).await.unwrap();
    list.items.iter().map(|item| item.meta.resource_version.clone()).collect()
}

/// Runs a migration of widgets to its end; its conditions that hold.
async fn migrate(cluster: &Cluster, name: &str, resource: &str) -> Vec<String> {
    let migrations = Target::of("storagemigration.k8s.io/v1", "storageversionmigrations", "");
    let doc = json!({"metadata": {"name": name}, "spec": {"resource": {"group": "example.com", "resource": resource}}});
    cluster.admin.create(migrations.clone(), doc).await.unwrap();
    let holds = |doc: &Value| -> Vec<String> {
        let conditions = doc.items_at("status.conditions").iter().filter(|one| one.str_at("status") == "True");
        conditions.map(|one| format!("{} {}", one.str_at("type"), one.str_at("reason"))).collect()
    };
    let over = |doc: &Value| holds(doc).iter().any(|one| one.starts_with("Succeeded") || one.starts_with("Failed"));
    cluster
        .eventually("the migration is over", migrations.clone(), |all| all.iter().any(|one| one.meta.name == name && over(&one.value())))
        .await;
    holds(&cluster.admin.get(migrations.named(name)).await.unwrap().value())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_migration_writes_every_object_in_the_version_that_is_stored_now() {
    let cluster = Cluster::start().await;
    define(&cluster).await;
    for n in 0..700 {
        widget(&cluster, "default", &format!("w{n}"), Value::Null).await;
    }
    let name = definitions().named("widgets.example.com");
    let mut definition = cluster.admin.get(name.clone()).await.unwrap().value();
    let mut second = definition["spec"]["versions"][0].clone();
    second["name"] = json!("v2");
    definition["spec"]["versions"][0]["storage"] = json!(false);
    definition["spec"]["versions"].as_array_mut().unwrap().push(second);
    let definition = cluster.admin.update(name, definition).await.unwrap().value();
    assert_eq!(definition["status"]["storedVersions"], json!(["v1", "v2"]));
    let before = versions_of(&cluster).await;
    assert_eq!(migrate(&cluster, "first", "widgets").await, ["Succeeded StorageVersionMigrationSucceeded"]);
    let after = versions_of(&cluster).await;
    assert_eq!((before.len(), after.len()), (700, 700));
    assert!(before.iter().all(|version| !after.contains(version)), "all were written");
    assert_eq!(migrate(&cluster, "second", "widgets").await, ["Succeeded StorageVersionMigrationSucceeded"]);
    assert_eq!(versions_of(&cluster).await, after, "a second time there is nothing to write");
    assert_eq!(migrate(&cluster, "other", "gadgets").await, ["Failed StorageVersionMigrationFailed"]);
    cluster.stop().await;
}
