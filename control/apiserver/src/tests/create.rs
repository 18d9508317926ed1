use schema::DocExt;
use schema::decode::FieldValidation;

use super::*;

#[tokio::test]
async fn a_new_object_gets_what_only_the_server_knows() {
    let cluster = Cluster::bare().await;
    let doc = cluster.config_map("a", "x").await;
    assert_eq!(doc.str_at("apiVersion"), "v1");
    assert_eq!(doc.str_at("kind"), "ConfigMap");
    assert_eq!(doc.str_at("metadata.namespace"), "default");
    assert_eq!(doc.str_at("metadata.uid").len(), 36);
    assert_eq!(doc.str_at("metadata.creationTimestamp"), "2026-01-01T00:00:00Z");
    assert_eq!(doc.str_at("metadata.resourceVersion"), cluster.store.revision().0.to_string());
    assert_eq!(doc, cluster.get(config_maps().named("a")).await.unwrap());
}

#[tokio::test]
async fn what_a_create_may_not_say_is_dropped_or_refused() {
    let cluster = Cluster::bare().await;
    let doc = json!({"metadata": {"name": "a", "uid": "u", "creationTimestamp": "2000-01-01T00:00:00Z", "generation": 9, "selfLink": "/x",
        "deletionTimestamp": "2000-01-01T00:00:00Z", "deletionGracePeriodSeconds": 5}});
    let made = cluster.create(config_maps(), doc).await.unwrap();
    assert_ne!(made.str_at("metadata.uid"), "u");
    for gone in ["generation", "selfLink", "deletionTimestamp", "deletionGracePeriodSeconds"] {
        assert_eq!(made["metadata"].get(gone), None, "{gone}");
    }
    let status = cluster.create(config_maps(), json!({"metadata": {"name": "b", "resourceVersion": "7"}})).await.unwrap_err();
    assert_eq!((status.code, status.message.as_str()), (500, "resourceVersion should not be set on objects to be created"));
}

#[tokio::test]
async fn refusals_are_upstreams() {
    let cluster = Cluster::bare().await;
    cluster.config_map("a", "x").await;
    let cases = [
        (json!({"metadata": {"name": "a"}}), 409, "configmaps \"a\" already exists"),
        (
            json!({"metadata": {"name": "b", "namespace": "other"}}),
            400,
            "the namespace of the provided object does not match the namespace sent on the request",
        ),
        (json!({"metadata": {}}), 422, "ConfigMap \"\" is invalid: metadata.name: Required value: name or generateName is required"),
    ];
    for (doc, code, message) in cases {
        let status = cluster.create(config_maps(), doc).await.unwrap_err();
        assert_eq!((status.code, status.message.as_str()), (code, message));
    }
    let status = cluster.create(Target::of("v1", "configmaps", "nowhere"), json!({"metadata": {"name": "a"}})).await.unwrap_err();
    assert_eq!((status.code, status.message.as_str()), (404, "namespaces \"nowhere\" not found"));
    let status = cluster.create(config_maps(), json!({"kind": "Secret", "apiVersion": "v1", "metadata": {"name": "a"}})).await.unwrap_err();
    assert_eq!(status.code, 400);
}

#[tokio::test]
async fn generated_names_keep_their_prefix() {
    let cluster = Cluster::bare().await;
    let doc = cluster.create(config_maps(), json!({"metadata": {"generateName": "web-"}})).await.unwrap();
    let name = doc.str_at("metadata.name");
    assert!(name.starts_with("web-") && name.len() == 9, "{name}");
    let long = "g".repeat(80);
    let doc = cluster.create(config_maps(), json!({"metadata": {"generateName": long}})).await.unwrap();
    assert_eq!(doc.str_at("metadata.name").len(), 63);
}

#[tokio::test]
async fn a_dry_run_writes_nothing() {
    let cluster = Cluster::bare().await;
    let before = cluster.store.revision();
    let options = Options { dry_run: true, ..Options::default() };
    let answer = cluster.call(Verb::Create, config_maps(), options, Body::Value(json!({"metadata": {"name": "a"}}))).await.unwrap();
    let doc = object(answer).unwrap();
    assert_eq!(doc.str_at("metadata.resourceVersion"), "");
    assert_eq!(cluster.store.revision(), before);
    assert_eq!(cluster.get(config_maps().named("a")).await.unwrap_err().code, 404);
}

#[tokio::test]
async fn unknown_fields_are_refused_told_or_dropped() {
    let cluster = Cluster::bare().await;
    let text = r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a","nope":1},"data":{"k":"1","k":"2"},"top":true}"#;
    let body = || Body::Encoded { content_type: "application/json; charset=utf-8".into(), bytes: Bytes::from(text) };
    let options = |field_validation| Options { dry_run: true, field_validation, ..Options::default() };
    let status = cluster.call(Verb::Create, config_maps(), options(FieldValidation::Strict), body()).await.err().unwrap();
    assert_eq!(status.code, 400);
    assert!(
        status.message.starts_with("ConfigMap in version \"v1\" cannot be handled as a ConfigMap: strict decoding error: "),
        "{status}"
    );
    for field in ["unknown field \"metadata.nope\"", "duplicate field \"data.k\"", "unknown field \"top\""] {
        assert!(status.message.contains(field), "{status}");
    }
    let warned = cluster.call(Verb::Create, config_maps(), options(FieldValidation::Warn), body()).await.unwrap();
    assert_eq!(warned.warnings.len(), 3);
    let ignored = cluster.call(Verb::Create, config_maps(), options(FieldValidation::Ignore), body()).await.unwrap();
    assert!(ignored.warnings.is_empty());
    assert_eq!(object(ignored).unwrap().get("top"), None);
}

#[tokio::test]
async fn bodies_that_cannot_be_read_say_what_is_wrong() {
    let cluster = Cluster::bare().await;
    let cases = [
        ("text/plain", "hello", 415, "the body of the request was in an unknown format"),
        ("application/json", "{\"apiVersion\":", 400, "the object provided is unrecognized (must be of type ConfigMap)"),
        ("application/json", "[]", 400, "ConfigMap"),
        ("application/json", "{\"metadata\":{\"name\":1}}", 400, "ConfigMap in version \"v1\" cannot be handled as a ConfigMap"),
        ("application/vnd.kubernetes.protobuf", "nope", 400, "the object provided is unrecognized"),
    ];
    for (content_type, text, code, message) in cases {
        let body = Body::Encoded { content_type: content_type.into(), bytes: Bytes::from(text) };
        let status = cluster.call(Verb::Create, config_maps(), Options::default(), body).await.err().unwrap();
        assert_eq!(status.code, code, "{text}: {status}");
        assert!(status.message.contains(message), "{text}: {status}");
    }
}

#[tokio::test]
async fn who_may_not_is_told_so_before_anything_else() {
    let cluster = Cluster::bare().await;
    let alice = UserInfo::new("alice", &["system:authenticated"]);
    let request = |verb, target| Request { verb, target, options: Options::default(), body: Body::None };
    let status = cluster.core.call(&alice, request(Verb::Get, pods().named("x"))).await.err().unwrap();
    assert_eq!(status.code, 403);
    assert_eq!(
        status.message,
        "pods \"x\" is forbidden: User \"alice\" cannot get resource \"pods\" in API group \"\" in the namespace \"default\""
    );
    let nowhere = cluster.core.call(&alice, request(Verb::List, Target::of("no.such/v1", "things", ""))).await.err().unwrap();
    assert_eq!(nowhere.code, 403);
    let nothing = cluster.core.call(&cluster.admin, request(Verb::List, Target::of("no.such/v1", "things", ""))).await.err().unwrap();
    assert_eq!(nothing.code, 404);
}

#[tokio::test]
async fn names_follow_the_kind() {
    let cluster = Cluster::bare().await;
    let service = |name: &str| json!({"metadata": {"name": name}, "spec": {"ports": [{"port": 80}]}});
    let services = || Target::of("v1", "services", "default");
    let status = cluster.create(services(), service("web.a")).await.unwrap_err();
    assert!(status.message.contains("metadata.name: Invalid value: \"web.a\": "), "{status}");
    cluster.create(config_maps(), json!({"metadata": {"name": "web.a"}})).await.unwrap();
    let role = json!({"metadata": {"name": "system:Web/x"}});
    let status = cluster.create(Target::of("rbac.authorization.k8s.io/v1", "roles", "default"), role).await.unwrap_err();
    assert_eq!(status.code, 422);
}
