use super::*;

/// A policy that lets in what its parameters name, and its binding's reference.
async fn named_by(cluster: &Cluster, reference: Value) {
    let spec = json!({"paramKind": {"apiVersion": "v1", "kind": "ConfigMap"}, "matchConstraints": constraints("", "v1", "secrets"),
        "validations": [{"expression": "object.metadata.name == params.data.name", "messageExpression": "'want ' + params.data.name"}]});
    bound(cluster, "Validating", "p", spec, json!({"paramRef": reference})).await;
}

async fn secret(cluster: &Cluster, namespace: &str, name: &str) -> Result<(), String> {
    let made = cluster.create(Target::of("v1", "secrets", namespace), json!({"metadata": {"name": name}})).await;
    made.map(drop).map_err(|status| status.message.split(" denied request: ").nth(1).unwrap_or(&status.message).to_owned())
}

async fn names(cluster: &Cluster, namespace: &str, map: &str, name: &str) {
    let doc = json!({"metadata": {"name": map, "labels": {"of": "p"}}, "data": {"name": name}});
    cluster.create(Target::of("v1", "configmaps", namespace), doc).await.unwrap();
}

#[tokio::test]
async fn a_named_parameter_counts_as_it_is_now() {
    let cluster = Cluster::bare().await;
    named_by(&cluster, json!({"name": "c", "namespace": "default", "parameterNotFoundAction": "Deny"})).await;
    let missing = "failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction";
    assert_eq!(secret(&cluster, "other", "a").await, Err(missing.into()));
    names(&cluster, "default", "c", "a").await;
    assert_eq!(secret(&cluster, "other", "a").await, Ok(()));
    let map = Target::of("v1", "configmaps", "default").named("c");
    cluster.patch(map.clone(), Patch::Merge, json!({"data": {"name": "b"}})).await.unwrap();
    assert_eq!(secret(&cluster, "other", "x").await, Err("want b".into()));
    assert_eq!(secret(&cluster, "other", "b").await, Ok(()));
    cluster.delete(map, Options::default()).await.unwrap();
    assert_eq!(secret(&cluster, "other", "c").await, Err(missing.into()));
}

#[tokio::test]
async fn a_parameter_may_be_missing_and_each_namespace_has_its_own() {
    let cluster = Cluster::bare().await;
    named_by(&cluster, json!({"name": "c", "parameterNotFoundAction": "Allow"})).await;
    assert_eq!(secret(&cluster, "default", "anything").await, Ok(()));
    names(&cluster, "default", "c", "a").await;
    assert_eq!(secret(&cluster, "default", "x").await, Err("want a".into()));
    assert_eq!(secret(&cluster, "other", "x").await, Ok(()));
}

#[tokio::test]
async fn all_selected_parameters_must_agree() {
    let cluster = Cluster::bare().await;
    named_by(&cluster, json!({"selector": {"matchLabels": {"of": "p"}}, "namespace": "default", "parameterNotFoundAction": "Deny"})).await;
    assert!(secret(&cluster, "other", "a").await.unwrap_err().ends_with("`Deny` parameterNotFoundAction"));
    names(&cluster, "default", "one", "a").await;
    assert_eq!(secret(&cluster, "other", "a").await, Ok(()));
    names(&cluster, "default", "two", "b").await;
    assert_eq!(secret(&cluster, "other", "a2").await, Err("want a".into()));
    assert_eq!(secret(&cluster, "other", "a").await, Err("want b".into()));
}

#[tokio::test]
async fn references_that_fit_no_scope_are_told() {
    let cluster = Cluster::bare().await;
    let of = |kind: &str, matched: Value| json!({"paramKind": {"apiVersion": "v1", "kind": kind}, "matchConstraints": matched, "validations": [{"expression": "true"}]});
    let reference = |namespace: &str| json!({"paramRef": {"name": "x", "namespace": namespace, "parameterNotFoundAction": "Allow"}});
    let secrets = || constraints("", "v1", "secrets");
    bound(&cluster, "Validating", "a", of("Node", secrets()), reference("default")).await;
    let why = "failed to configure binding: paramRef.namespace must not be provided for a cluster-scoped `paramKind`";
    assert_eq!(secret(&cluster, "default", "x").await, Err(why.into()));
    cluster.delete(bindings("Validating").named("a-b"), Options::default()).await.unwrap();
    let nodes = constraints("", "v1", "nodes");
    bound(&cluster, "Validating", "b", of("ConfigMap", nodes), json!({"paramRef": {"name": "x", "parameterNotFoundAction": "Allow"}}))
        .await;
    let status = cluster.create(Target::of("v1", "nodes", ""), json!({"metadata": {"name": "n"}})).await.unwrap_err();
    assert!(status.message.ends_with("cannot use namespaced paramRef in policy binding that matches cluster-scoped resources"), "{status}");
}

#[tokio::test]
async fn without_a_reference_params_are_null() {
    let cluster = Cluster::bare().await;
    let spec = json!({"paramKind": {"apiVersion": "v1", "kind": "ConfigMap"}, "matchConstraints": constraints("", "v1", "secrets"),
        "validations": [{"expression": "params == null"}]});
    validating(&cluster, "p", spec).await;
    assert_eq!(secret(&cluster, "default", "x").await, Ok(()));
}

fn limits() -> Value {
    let schema = json!({"type": "object", "properties": {"max": {"type": "integer", "default": 2}}});
    json!({"metadata": {"name": "limits.example.com"}, "spec": {"group": "example.com", "scope": "Cluster",
        "names": {"plural": "limits", "singular": "limit", "kind": "Limit", "listKind": "LimitList"},
        "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}]}})
}

#[tokio::test]
async fn a_policy_and_the_definition_of_its_parameters_race_and_neither_is_overlooked() {
    let cluster = custom::world().await;
    let spec = json!({"paramKind": {"apiVersion": "example.com/v1", "kind": "Limit"}, "matchConstraints": constraints("", "v1", "configmaps"),
        "validations": [{"expression": "object.data.size() <= params.max"}]});
    let reference = json!({"paramRef": {"name": "l", "parameterNotFoundAction": "Deny"}});
    bound(&cluster, "Validating", "p", spec, reference).await;
    let unknown = "failed to configure policy: failed to find resource referenced by paramKind: 'example.com/v1, Kind=Limit'";
    assert!(
        try_map(&cluster, "a").await.unwrap_err().message.ends_with(&format!("ValidatingAdmissionPolicy 'p' denied request: {unknown}"))
    );
    custom::defined(&cluster, limits()).await;
    assert!(try_map(&cluster, "a").await.unwrap_err().message.ends_with("`Deny` parameterNotFoundAction"));
    cluster
        .create(
            Target::of("example.com/v1", "limits", ""),
            json!({"apiVersion": "example.com/v1", "kind": "Limit", "metadata": {"name": "l"}}),
        )
        .await
        .unwrap();
    try_map(&cluster, "a").await.unwrap();
    let many = json!({"metadata": {"name": "many"}, "data": {"a": "", "b": "", "c": ""}});
    assert!(cluster.create(config_maps(), many).await.is_err());
    cluster
        .delete(Target::of("apiextensions.k8s.io/v1", "customresourcedefinitions", "").named("limits.example.com"), Options::default())
        .await
        .unwrap();
    custom::until(&cluster, "limits.example.com", |doc| doc.is_none()).await;
    assert!(try_map(&cluster, "b").await.unwrap_err().message.ends_with(unknown));
}
