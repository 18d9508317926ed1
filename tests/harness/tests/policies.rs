//! Admission policies beside the controller that tells their authors of types that do not fit.

use std::sync::Arc;

use client::{Object, Target};
use harness::Cluster;
use schema::{DocExt, Value, json};

fn policies() -> Target {
    Target::of("admissionregistration.k8s.io/v1", "validatingadmissionpolicies", "")
}

fn policy(name: &str, group: &str, resource: &str, expression: &str) -> Value {
    let rule = json!({"apiGroups": [group], "apiVersions": ["v1"], "operations": ["*"], "resources": [resource]});
    json!({"metadata": {"name": name}, "spec": {"matchConstraints": {"resourceRules": [rule]}, "validations": [{"expression": expression}]}})
}

/// The warnings of a policy that was seen in this generation.
fn warnings(all: &[Arc<Object>], name: &str, generation: i64) -> Option<Vec<String>> {
    let doc = all.iter().find(|one| one.meta.name == name)?.value();
    let seen = doc.i64_at("status.observedGeneration") == Some(generation);
    let texts = doc.items_at("status.typeChecking.expressionWarnings").iter();
    seen.then(|| texts.map(|warning| format!("{} {}", warning.str_at("fieldRef"), warning.str_at("warning"))).collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn authors_are_told_of_types_that_do_not_fit() {
    let cluster = Cluster::start().await;
    cluster.admin.create(policies(), policy("p", "apps", "deployments", "object.spec.replica > 1")).await.unwrap();
    let told = |all: &[Arc<Object>]| {
        warnings(all, "p", 1).is_some_and(|told| {
            told == ["spec.validations[0].expression apps/v1, Kind=Deployment: ERROR: <input>:1:12: undefined field 'replica'\n | \
                      object.spec.replica > 1\n | ...........^\n"]
        })
    };
    cluster.eventually("the mistake is told", policies(), told).await;
    let mut doc = cluster.admin.get(policies().named("p")).await.unwrap().value();
    doc.set_at("spec.validations", json!([{"expression": "object.spec.replicas > 1"}]));
    cluster.admin.update(policies().named("p"), doc).await.unwrap();
    cluster.eventually("it is mended", policies(), |all| warnings(all, "p", 2).is_some_and(|told| told.is_empty())).await;

    let schema = json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {"size": {"type": "integer"}}}}});
    let version = json!({"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}});
    let definition = json!({"metadata": {"name": "widgets.example.com"}, "spec": {"group": "example.com", "scope": "Namespaced",
        "names": {"plural": "widgets", "kind": "Widget"}, "versions": [version]}});
    let definitions = || Target::of("apiextensions.k8s.io/v1", "customresourcedefinitions", "");
    cluster.admin.create(definitions(), definition).await.unwrap();
    let established = |all: &[Arc<Object>]| all.iter().any(|one| kinds::custom::is_established(&one.value()));
    cluster.eventually("the definition is established", definitions(), established).await;
    let custom = policy("c", "example.com", "widgets", "object.spec.size == 'big' && object.metadata.labels['a'] == 'b'");
    cluster.admin.create(policies(), custom).await.unwrap();
    let told = |all: &[Arc<Object>]| {
        warnings(all, "c", 1).is_some_and(|told| {
            told.len() == 1 && told[0].contains("example.com/v1, Kind=Widget: ERROR: <input>:1:18: found no matching overload for '_==_'")
        })
    };
    cluster.eventually("custom kinds have types, too", policies(), told).await;
    cluster.stop().await;
}
