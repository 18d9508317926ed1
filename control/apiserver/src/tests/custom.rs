//! Custom kinds: from their definition to the end of their objects.

mod rules;

use client::request::List as Listed;
use schema::DocExt;

use super::*;

fn definitions() -> Target {
    Target::of("apiextensions.k8s.io/v1", "customresourcedefinitions", "")
}

fn widgets() -> Target {
    Target::of("example.com/v1", "widgets", "default")
}

fn definition() -> Value {
    json!({
        "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced",
            "names": {"plural": "widgets", "kind": "Widget", "shortNames": ["wd"]},
            "versions": [
                {"name": "v1", "served": true, "storage": true, "subresources": {"status": {}, "scale": {
                    "specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas", "labelSelectorPath": ".status.selector"}},
                 "additionalPrinterColumns": [{"name": "Size", "type": "integer", "jsonPath": ".spec.size"}],
                 "selectableFields": [{"jsonPath": ".spec.color"}],
                 "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                    "spec": {"type": "object", "required": ["size"], "properties": {
                        "size": {"type": "integer", "minimum": 1}, "color": {"type": "string", "default": "red"}, "replicas": {"type": "integer"}}},
                    "status": {"type": "object", "properties": {"replicas": {"type": "integer"}, "selector": {"type": "string"}}}}}}},
                {"name": "v1beta1", "served": true, "storage": false, "deprecated": true,
                 "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}},
            ],
        },
    })
}

pub(super) async fn world() -> Cluster {
    let cluster = Cluster::bare().await;
    crate::custom::start(&cluster.core);
    cluster
}

pub(super) async fn defined(cluster: &Cluster, definition: Value) -> Value {
    let name = definition.str_at("metadata.name").to_owned();
    cluster.create(definitions(), definition).await.unwrap();
    until(cluster, &name, |doc| doc.is_some_and(kinds::custom::is_established)).await.unwrap()
}

/// Follows a definition until it is as wanted.
pub(super) async fn until(cluster: &Cluster, name: &str, wanted: impl Fn(Option<&Value>) -> bool) -> Option<Value> {
    loop {
        let held = cluster.get(definitions().named(name)).await.ok();
        if wanted(held.as_ref()) {
            return held;
        }
        tokio::task::yield_now().await;
    }
}

fn widget(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": name}, "spec": spec})
}

#[tokio::test]
async fn a_definition_serves_its_kind_from_the_moment_it_is_established() {
    let cluster = world().await;
    let made = defined(&cluster, definition()).await;
    assert_eq!(made["status"]["acceptedNames"]["listKind"], "WidgetList");
    assert_eq!(made["status"]["storedVersions"], json!(["v1"]));
    let doc = cluster.create(widgets(), widget("a", json!({"size": 1, "odd": 1}))).await.unwrap();
    assert_eq!(doc["spec"], json!({"size": 1, "color": "red"}), "pruned and filled");
    assert_eq!(doc["metadata"]["generation"], 1);
    let as_beta = cluster.get(Target::of("example.com/v1beta1", "widgets", "default").named("a")).await.unwrap();
    assert_eq!(as_beta["apiVersion"], "example.com/v1beta1");
    let bad = cluster.create(widgets(), widget("b", json!({"size": 0}))).await.unwrap_err();
    assert_eq!(
        bad.message,
        "Widget.example.com \"b\" is invalid: spec.size: Invalid value: 0: spec.size in body should be greater than or equal to 1"
    );
}

#[tokio::test]
async fn status_scale_and_fields_act_as_the_definition_says() {
    let cluster = world().await;
    defined(&cluster, definition()).await;
    cluster.create(widgets(), widget("a", json!({"size": 1, "replicas": 2}))).await.unwrap();
    let status = json!({"metadata": {"labels": {"x": "y"}}, "spec": {"size": 9}, "status": {"replicas": 2, "selector": "a=b"}});
    let doc = cluster.patch(widgets().named("a").sub("status"), Patch::Merge, status).await.unwrap();
    assert_eq!((&doc["spec"]["size"], &doc["metadata"]["labels"], &doc["metadata"]["generation"]), (&json!(1), &Value::Null, &json!(1)));
    let scale = cluster.patch(widgets().named("a").sub("scale"), Patch::Merge, json!({"spec": {"replicas": 5}})).await.unwrap();
    assert_eq!((&scale["spec"]["replicas"], &scale["status"]["selector"]), (&json!(5), &json!("a=b")));
    let doc = cluster.get(widgets().named("a")).await.unwrap();
    assert_eq!((&doc["spec"]["replicas"], &doc["metadata"]["generation"]), (&json!(5), &json!(2)));
    cluster.create(widgets(), widget("b", json!({"size": 1, "color": "blue"}))).await.unwrap();
    let options = Options { field_selector: "spec.color=blue".into(), ..Options::default() };
    let Listed { items, .. } = cluster.list(widgets(), options).await.unwrap();
    assert_eq!(names(&items), ["b"]);
    let strategic = cluster.patch(widgets().named("a"), Patch::Strategic, json!({})).await.unwrap_err();
    assert_eq!(strategic.code, 415);
}

#[tokio::test]
async fn a_new_schema_holds_at_once_and_for_what_is_stored() {
    let cluster = world().await;
    let mut made = defined(&cluster, definition()).await;
    cluster.create(widgets(), widget("a", json!({"size": 1}))).await.unwrap();
    made["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"] =
        json!({"size": {"type": "integer"}, "shape": {"type": "string", "default": "round"}});
    made["spec"]["versions"][0].as_object_mut().unwrap().remove("selectableFields");
    made = cluster.update(definitions().named("widgets.example.com"), made).await.unwrap();
    assert_eq!(made["metadata"]["generation"], 2);
    let read = cluster.get(widgets().named("a")).await.unwrap();
    assert_eq!(read["spec"], json!({"size": 1, "shape": "round"}), "an old document is fitted when it is read");
    let Listed { items, .. } = cluster.list(widgets(), Options::default()).await.unwrap();
    assert_eq!(items[0].value()["spec"], read["spec"]);
}

#[tokio::test]
async fn a_deleted_definition_takes_its_objects_with_it() {
    let cluster = world().await;
    defined(&cluster, definition()).await;
    let mut held = widget("held", json!({"size": 1}));
    held["metadata"]["finalizers"] = json!(["example.com/hold"]);
    cluster.create(widgets(), held).await.unwrap();
    cluster.create(widgets(), widget("free", json!({"size": 1}))).await.unwrap();
    cluster.delete(definitions().named("widgets.example.com"), Options::default()).await.unwrap();
    let going = until(&cluster, "widgets.example.com", |doc| {
        doc.is_some_and(|doc| doc.items_at("status.conditions").iter().any(|one| one["reason"] == "InstanceDeletionInProgress"))
    });
    assert!(going.await.is_some());
    let refused = cluster.create(widgets(), widget("late", json!({"size": 1}))).await.unwrap_err();
    let want = "widgets.example.com \"late\" is forbidden: create not allowed while custom resource definition is terminating";
    assert_eq!((refused.code, refused.message.as_str()), (403, want));
    while cluster.get(widgets().named("free")).await.is_ok() {
        tokio::task::yield_now().await;
    }
    cluster.patch(widgets().named("held"), Patch::Merge, json!({"metadata": {"finalizers": null}})).await.unwrap();
    until(&cluster, "widgets.example.com", |doc| doc.is_none()).await;
    assert_eq!(cluster.list(widgets(), Options::default()).await.unwrap_err().code, 404);
}

#[tokio::test]
async fn names_in_use_are_refused_until_they_are_free() {
    let cluster = world().await;
    defined(&cluster, definition()).await;
    let mut second = definition();
    second["metadata"]["name"] = json!("gizmos.example.com");
    second["spec"]["names"] = json!({"plural": "gizmos", "kind": "Widget"});
    cluster.create(definitions(), second).await.unwrap();
    let refused = |doc: Option<&Value>| doc.is_some_and(|doc| doc.at("status.conditions").is_some_and(Value::is_array));
    let doc = until(&cluster, "gizmos.example.com", refused).await.unwrap();
    assert!(!kinds::custom::is_established(&doc));
    cluster.delete(definitions().named("widgets.example.com"), Options::default()).await.unwrap();
    until(&cluster, "gizmos.example.com", |doc| doc.is_some_and(kinds::custom::is_established)).await;
}

#[tokio::test]
async fn custom_kinds_are_served_again_after_a_restart() {
    let store = {
        let cluster = world().await;
        defined(&cluster, definition()).await;
        cluster.create(widgets(), widget("a", json!({"size": 1}))).await.unwrap();
        Arc::clone(&cluster.store)
    };
    let again = Cluster::on(store, Config::default()).await;
    assert_eq!(again.get(widgets().named("a")).await.unwrap()["spec"]["size"], 1, "before anything else is started");
}

#[tokio::test]
async fn a_thousand_definitions_are_served_soon() {
    let cluster = world().await;
    for n in 0..1000 {
        let mut one = definition();
        one["metadata"]["name"] = json!(format!("widget{n}s.g{}.example.com", n % 50));
        one["spec"]["group"] = json!(format!("g{}.example.com", n % 50));
        one["spec"]["names"] = json!({"plural": format!("widget{n}s"), "kind": format!("Widget{n}")});
        cluster.create(definitions(), one).await.unwrap();
    }
    until(&cluster, "widget999s.g49.example.com", |doc| doc.is_some_and(kinds::custom::is_established)).await;
    assert!(cluster.core.registry().resource("g49.example.com", "v1", "widget999s").is_some());
}
