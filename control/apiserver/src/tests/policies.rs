//! Admission policies: what expressions in the cluster's own objects refuse, tell and change.

mod faults;
mod mutating;
mod params;
mod validating;

use schema::DocExt;

use super::*;

const GROUP: &str = "admissionregistration.k8s.io/v1";

fn policies(sort: &str) -> Target {
    Target::of(GROUP, &format!("{}admissionpolicies", sort.to_lowercase()), "")
}

fn bindings(sort: &str) -> Target {
    Target::of(GROUP, &format!("{}admissionpolicybindings", sort.to_lowercase()), "")
}

/// Constraints for all writes of a resource.
fn constraints(group: &str, version: &str, resource: &str) -> Value {
    let rule = json!({"apiGroups": [group], "apiVersions": [version], "operations": ["*"], "resources": [resource]});
    json!({"resourceRules": [rule]})
}

/// `base` with the members of `more`.
fn merged(mut base: Value, more: &Value) -> Value {
    for (member, value) in more.as_object().unwrap() {
        base[member] = value.clone();
    }
    base
}

/// A policy for config maps, unless `spec` says otherwise, bound under its own name.
async fn bound(cluster: &Cluster, sort: &str, name: &str, spec: Value, binding: Value) {
    let mut base = json!({"matchConstraints": constraints("", "v1", "configmaps")});
    let mut bound = json!({"policyName": name});
    if sort == "Validating" {
        bound["validationActions"] = json!(["Deny"]);
    } else {
        base["reinvocationPolicy"] = json!("Never");
    }
    cluster.create(policies(sort), json!({"metadata": {"name": name}, "spec": merged(base, &spec)})).await.unwrap();
    let bound = json!({"metadata": {"name": format!("{name}-b")}, "spec": merged(bound, &binding)});
    cluster.create(bindings(sort), bound).await.unwrap();
}

async fn validating(cluster: &Cluster, name: &str, spec: Value) {
    bound(cluster, "Validating", name, spec, json!({})).await;
}

async fn mutating(cluster: &Cluster, name: &str, spec: Value) {
    bound(cluster, "Mutating", name, spec, json!({})).await;
}

fn rule(expression: &str) -> Value {
    json!({"validations": [{"expression": expression}]})
}

async fn try_map(cluster: &Cluster, name: &str) -> Result<Value, Status> {
    cluster.create(config_maps(), json!({"metadata": {"name": name}, "data": {"k": "v"}})).await
}

/// What a write warns of, and what it tells the audit log.
async fn told(
    cluster: &Cluster,
    user: &UserInfo,
    verb: Verb,
    target: Target,
    doc: Value,
) -> (Result<Vec<String>, Status>, Vec<(String, String)>) {
    let (options, annotations) = (Options::default(), crate::admission::Annotations::default());
    let body = if verb == Verb::Delete { Body::None } else { Body::Value(doc) };
    let answer = cluster.core.call_annotated(user, Request { verb, target, options, body }, &annotations).await;
    (answer.map(|answer| answer.warnings), annotations.take())
}
