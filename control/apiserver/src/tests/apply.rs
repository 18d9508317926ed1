//! Server-side apply over the whole way of a write.

use schema::DocExt;
use schema::decode::FieldValidation;

use super::*;

fn one() -> Target {
    config_maps().named("a")
}

fn config(data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": data})
}

async fn raw(cluster: &Cluster, options: Options, text: &str) -> Result<Answer, Status> {
    let body = Body::Patch { kind: Patch::Apply, bytes: Bytes::from(text.to_owned()) };
    cluster.call(Verb::Patch, one(), Options { field_manager: "one".into(), ..options }, body).await
}

#[tokio::test]
async fn an_apply_makes_what_is_not_there_and_the_same_again_writes_nothing() {
    let cluster = Cluster::bare().await;
    let answer = raw(&cluster, Options::default(), &config(json!({"k": "1"})).to_string()).await.unwrap();
    assert!(matches!(answer.response, Response::Object { created: true, .. }));
    let before = cluster.store.revision();
    let answer = raw(&cluster, Options::default(), &config(json!({"k": "1"})).to_string()).await.unwrap();
    assert!(matches!(answer.response, Response::Object { created: false, .. }));
    assert_eq!(cluster.store.revision(), before);
    assert_eq!(owners(&object(answer).unwrap()), [r#"one Apply: {"f:data":{"f:k":{}}}"#]);
    let dry = raw(&cluster, Options { dry_run: true, ..Options::default() }, &config(json!({"k": "2"})).to_string()).await.unwrap();
    assert_eq!((object(dry).unwrap()["data"]["k"].as_str(), cluster.store.revision()), (Some("2"), before));
}

#[tokio::test]
async fn a_field_of_another_is_a_conflict_unless_forced_or_the_same() {
    let cluster = Cluster::bare().await;
    cluster.apply(one(), "one", false, config(json!({"k": "1", "l": "1"}))).await.unwrap();
    cluster.apply(one(), "two", false, config(json!({"k": "1"}))).await.unwrap();
    let status = cluster.apply(one(), "two", false, config(json!({"k": "2", "l": "2"}))).await.unwrap_err();
    assert_eq!((status.code, status.reason.as_str()), (409, "Conflict"));
    assert_eq!(status.message, "Apply failed with 2 conflicts: conflicts with \"one\":\n- .data.k\n- .data.l");
    let causes = status.details.unwrap().causes;
    assert_eq!((causes[0].reason.as_str(), causes[0].field.as_str()), ("FieldManagerConflict", ".data.k"));
    let doc = cluster.apply(one(), "two", true, config(json!({"k": "2"}))).await.unwrap();
    assert_eq!(owners(&doc), [r#"one Apply: {"f:data":{"f:l":{}}}"#, r#"two Apply: {"f:data":{"f:k":{}}}"#]);
    let doc = cluster.apply(one(), "one", false, config(json!({}))).await.unwrap();
    assert_eq!(doc["data"], json!({"k": "2"}), "what is not named any more is gone, what is another's stays");
}

#[tokio::test]
async fn kubectl_takes_over_what_it_applied_from_its_own_side() {
    let cluster = Cluster::bare().await;
    let last = config(json!({"k": "1"})).to_string();
    let mut doc = config(json!({"k": "1"}));
    doc["metadata"]["annotations"] = json!({"kubectl.kubernetes.io/last-applied-configuration": last});
    let body = Body::Value(doc);
    cluster.call(Verb::Create, config_maps(), by("kubectl-client-side-apply"), body).await.unwrap();
    let doc = cluster.apply(one(), "kubectl", false, config(json!({"k": "2"}))).await.unwrap();
    assert_eq!(doc["data"]["k"], "2");
    let kept = doc["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"].as_str().unwrap();
    assert!(kept.contains(r#""k":"2""#), "{kept}");
    let status = cluster.apply(one(), "other", false, config(json!({"k": "3"}))).await.unwrap_err();
    assert_eq!(status.code, 409, "nobody but kubectl takes over: {status}");
}

#[tokio::test]
async fn what_was_there_before_the_first_apply_has_an_owner_of_its_own() {
    let cluster = Cluster::bare().await;
    cluster.config_map("a", "x").await;
    cluster.patch(one(), Patch::Merge, json!({"metadata": {"managedFields": []}})).await.unwrap();
    let doc = cluster.apply(one(), "one", true, config(json!({"k": "1"}))).await.unwrap();
    let want = [
        r#"one Apply: {"f:data":{"f:k":{}}}"#,
        r#"before-first-apply Update: {"f:data":{".":{}},"f:metadata":{"f:labels":{".":{},"f:app":{}}}}"#,
    ];
    assert_eq!(owners(&doc).iter().map(|entry| entry.replace(r#""f:data":{}"#, r#""f:data":{".":{}}"#)).collect::<Vec<_>>(), want);
}

#[tokio::test]
async fn bad_configurations_are_refused_in_upstreams_words() {
    let cluster = Cluster::bare().await;
    let made = cluster.apply(one(), "one", false, config(json!({"k": "1"}))).await.unwrap();
    let head = r#""apiVersion":"v1","kind":"ConfigMap""#;
    let deep = format!("{{{head},\"data\":{}1{}}}", "[".repeat(5_000), "]".repeat(5_000));
    let yaml_deep = format!("apiVersion: v1\nkind: ConfigMap\ndata: {}1{}\n", "[".repeat(5_000), "]".repeat(5_000));
    let with = |meta: &str| format!("{{{head},\"metadata\":{meta}}}");
    for (text, code, message) in [
        (with(r#"{"managedFields":[]}"#), 400, "metadata.managedFields must be nil"),
        (r#"{"kind":"ConfigMap"}"#.into(), 400, "invalid object type: /, Kind=ConfigMap"),
        (r#"{"apiVersion":"v1","kind":"Secret"}"#.into(), 400, "invalid object type: /v1, Kind=Secret"),
        (String::new(), 400, "invalid object type: /, Kind="),
        (with(r#"{"name":"b"}"#), 400, "the name of the object (b) does not match the name on the URL (a)"),
        (with(r#"{"namespace":"b"}"#), 400, "the namespace of the provided object does not match the namespace sent on the request"),
        (with(r#"{"resourceVersion":"1"}"#), 409, "Operation cannot be fulfilled on configmaps \"a\": the object has been modified"),
        (with(r#"{"uid":"u"}"#), 422, "ConfigMap \"a\" is invalid: metadata.uid: Invalid value: \"u\": field is immutable"),
        (
            format!("{{{head},\"nope\":1}}"),
            500,
            "failed to create typed patch object (/; /v1, Kind=ConfigMap): .nope: field not declared in schema",
        ),
        (
            format!("{{{head},\"data\":{{\"k\":1}}}}"),
            500,
            "failed to create typed patch object (/; /v1, Kind=ConfigMap): .data.k: expected string, got &{1}",
        ),
        ("[]".into(), 400, "error decoding patch: error unmarshaling JSON: while decoding JSON: json: cannot unmarshal array"),
        ("a: b: c".into(), 400, "error encoding patch: yaml: mapping values are not allowed in this context"),
        (deep, 400, "error encoding patch: "),
        (yaml_deep, 400, "error encoding patch: "),
    ] {
        let status = raw(&cluster, Options::default(), &text).await.err().unwrap_or_else(|| panic!("{text:.100} is no good"));
        assert_eq!(status.code, code, "{text:.100}: {status}");
        assert!(status.message.starts_with(message), "{text:.100}: {status}");
    }
    assert_eq!(cluster.get(one()).await.unwrap(), made);
    let missing = || config_maps().named("b");
    let uid = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "b", "uid": "u"}});
    let status = cluster.apply(missing(), "one", false, uid).await.unwrap_err();
    assert!(status.code == 409 && status.message.contains("uid mismatch: the provided object specified uid u"), "{status}");
    let status = Target::of("apps/v1", "deployments", "default").named("b").sub("status");
    let config = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "b"}, "status": {"replicas": 1}});
    let status = cluster.apply(status, "one", false, config).await.unwrap_err();
    assert_eq!(status.message, "deployments.apps \"b\" not found", "a status makes nothing");
}

#[tokio::test]
async fn members_given_twice_are_refused_told_or_dropped() {
    let cluster = Cluster::bare().await;
    let text = "apiVersion: v1\nkind: ConfigMap\ndata:\n  k: '1'\n  k: '2'\n";
    let with = |field_validation| Options { field_validation, ..Options::default() };
    let status = raw(&cluster, with(FieldValidation::Strict), text).await.err().unwrap();
    assert_eq!(
        (status.code, status.message.as_str()),
        (400, "error strict decoding patch: yaml: unmarshal errors:\n  line 5: key \"k\" already set in map")
    );
    assert_eq!(cluster.get(one()).await.unwrap_err().code, 404, "nothing was made");
    let answer = raw(&cluster, with(FieldValidation::Warn), text).await.unwrap();
    assert_eq!(answer.warnings, ["yaml: unmarshal errors:\n  line 5: key \"k\" already set in map"]);
    assert!(raw(&cluster, with(FieldValidation::Ignore), text).await.unwrap().warnings.is_empty());
}

#[tokio::test]
async fn a_status_is_applied_through_its_endpoint_alone() {
    let cluster = Cluster::bare().await;
    let nodes = || Target::of("v1", "nodes", "").named("n");
    let config = |phase: &str| {
        json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n", "labels": {"a": phase}}, "spec": {"unschedulable": true},
            "status": {"conditions": [{"type": phase, "status": "True"}]}})
    };
    let made = cluster.apply(nodes(), "one", false, config("Ready")).await.unwrap();
    assert_eq!(owners(&made), [r#"one Apply: {"f:metadata":{"f:labels":{"f:a":{}}},"f:spec":{"f:unschedulable":{}}}"#]);
    let bare = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"}, "spec": {"podCIDR": "10.1.0.0/24"},
        "status": {"conditions": [{"type": "Ready", "status": "True"}]}});
    let told = cluster.apply(nodes().sub("status"), "two", false, bare).await.unwrap();
    assert_eq!(told.at("spec.podCIDR"), None);
    assert_eq!(
        owners(&told)[1],
        r#"two Apply status: {"f:status":{"f:conditions":{"k:{\"type\":\"Ready\"}":{".":{},"f:status":{},"f:type":{}}}}}"#
    );
}

#[tokio::test]
async fn lists_merge_by_their_keys_and_defaults_of_keys_count() {
    let cluster = Cluster::bare().await;
    let services = || Target::of("v1", "services", "default").named("s");
    let config = |ports: Value| json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": {"selector": {"a": "b"}, "ports": ports}});
    cluster.apply(services(), "one", false, config(json!([{"name": "a", "port": 80}]))).await.unwrap();
    let doc = cluster.apply(services(), "two", false, config(json!([{"name": "b", "port": 81, "protocol": "TCP"}]))).await.unwrap();
    let ports: Vec<(i64, &str)> =
        doc.items_at("spec.ports").iter().map(|port| (port.i64_at("port").unwrap(), port.str_at("protocol"))).collect();
    assert_eq!(ports, [(80, "TCP"), (81, "TCP")]);
    let doc = cluster.apply(services(), "two", false, config(json!([]))).await.unwrap();
    assert_eq!(doc.items_at("spec.ports").len(), 1);
    assert!(!doc.str_at("spec.clusterIP").is_empty(), "what the server gave stays");
}

#[tokio::test]
async fn racing_appliers_all_get_what_they_asked_for() {
    let cluster = Cluster::bare().await;
    let names: Vec<String> = (0..8).map(|n| n.to_string()).collect();
    let applies = names.iter().map(|n| cluster.apply(one(), n, false, config(json!({n: "x"}))));
    for applied in futures::future::join_all(applies).await {
        applied.unwrap();
    }
    let doc = cluster.get(one()).await.unwrap();
    assert_eq!((doc.map_at("data").unwrap().len(), doc.items_at("metadata.managedFields").len()), (8, 8));
}

#[tokio::test]
async fn who_has_no_rights_applies_nothing() {
    let cluster = Cluster::bare().await;
    let nobody = UserInfo::new("nobody", &[]);
    let body = Body::Patch { kind: Patch::Apply, bytes: Bytes::from(config(json!({})).to_string()) };
    let request = Request { verb: Verb::Patch, target: one(), options: by("one"), body };
    assert_eq!(cluster.core.call(&nobody, request).await.err().unwrap().code, 403);
}
