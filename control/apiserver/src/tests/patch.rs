use schema::DocExt;

use super::*;

async fn raw(cluster: &Cluster, kind: Patch, text: &'static str) -> Result<Value, Status> {
    let body = Body::Patch { kind, bytes: Bytes::from(text) };
    object(cluster.call(Verb::Patch, config_maps().named("a"), Options::default(), body).await?)
}

#[tokio::test]
async fn all_three_patches_change_the_document() {
    let cluster = Cluster::bare().await;
    cluster.config_map("a", "x").await;
    let doc = raw(&cluster, Patch::Merge, r#"{"data":{"k":null,"m":"1"}}"#).await.unwrap();
    assert_eq!(doc["data"], json!({"m": "1"}));
    let doc = raw(&cluster, Patch::Json, r#"[{"op":"add","path":"/data/j","value":"2"}]"#).await.unwrap();
    assert_eq!(doc["data"], json!({"m": "1", "j": "2"}));
    let doc = raw(&cluster, Patch::Strategic, r#"{"data":{"$patch":"replace","s":"3"}}"#).await.unwrap();
    assert_eq!(doc["data"], json!({"s": "3"}));
}

#[tokio::test]
async fn bad_patches_are_refused_in_upstreams_words() {
    let cluster = Cluster::bare().await;
    let made = cluster.config_map("a", "x").await;
    let cases: [(Patch, &'static str, u16, &str); 7] = [
        (Patch::Strategic, r#"{"data":["a"]}"#, 422, " \"\" is invalid: patch: Invalid value: "),
        (Patch::Merge, r#"{"data": "#, 400, "invalid JSON patch"),
        (Patch::Merge, "[]", 400, "error decoding patch: json: cannot unmarshal array into Go value of type map[string]interface {}"),
        (Patch::Merge, r#"{"metadata":{"name":"b"}}"#, 400, "the name of the object (b) does not match the name on the URL (a)"),
        (
            Patch::Merge,
            r#"{"metadata":{"namespace":"b"}}"#,
            400,
            "the namespace of the provided object does not match the namespace sent on the request",
        ),
        (
            Patch::Merge,
            r#"{"metadata":{"uid":"b"}}"#,
            422,
            "ConfigMap \"a\" is invalid: metadata.uid: Invalid value: \"b\": field is immutable",
        ),
        (
            Patch::Merge,
            r#"{"metadata":{"resourceVersion":"1"}}"#,
            409,
            "Operation cannot be fulfilled on configmaps \"a\": the object has been modified",
        ),
    ];
    for (kind, text, code, message) in cases {
        let status = raw(&cluster, kind, text).await.unwrap_err();
        assert_eq!(status.code, code, "{text}: {status}");
        assert!(status.message.starts_with(message), "{text}: {status}");
    }
    let missing = cluster.patch(config_maps().named("none"), Patch::Merge, json!({})).await.unwrap_err();
    assert_eq!(missing.code, 404);
    assert_eq!(cluster.get(config_maps().named("a")).await.unwrap(), made);
}

#[tokio::test]
async fn a_strategic_patch_that_makes_no_object_is_shown_as_upstream_shows_it() {
    let cluster = Cluster::bare().await;
    cluster.config_map("a", "x").await;
    for (text, code, message) in [
        (r#"{"data":["a"]}"#, 422, r#" "" is invalid: patch: Invalid value: "map[data:[a]]": cannot restore map from slice"#),
        (r#"{"data":{"n":1}}"#, 422, r#" "" is invalid: patch: Invalid value: "map[data:map[n:1]]": cannot convert int64 to string"#),
        (r#"{"data":{"$patch":"frob"}}"#, 500, "unknown patch type: frob in map: map[$patch:frob]"),
        (r#"{"metadata":{"$retainKeys":3}}"#, 400, "invalid patch format of retainKeys"),
    ] {
        let status = raw(&cluster, Patch::Strategic, text).await.unwrap_err();
        assert_eq!((status.code, status.message.as_str()), (code, message), "{text}");
    }
}

#[tokio::test]
async fn what_is_wrong_with_changed_metadata_is_two_causes_and_told_once() {
    let cluster = Cluster::bare().await;
    cluster.config_map("a", "x").await;
    let status = raw(&cluster, Patch::Merge, r#"{"metadata":{"uid":"b"}}"#).await.unwrap_err();
    assert_eq!(status.message, "ConfigMap \"a\" is invalid: metadata.uid: Invalid value: \"b\": field is immutable");
    let causes = status.details.unwrap().causes;
    assert_eq!(causes.iter().map(|cause| cause.field.as_str()).collect::<Vec<_>>(), ["metadata.uid"; 2]);
}

#[tokio::test]
async fn a_refused_merge_patch_is_shown_with_the_whole_document() {
    let cluster = Cluster::bare().await;
    cluster.config_map("a", "x").await;
    let status = raw(&cluster, Patch::Merge, r#"{"data":["a"]}"#).await.unwrap_err();
    assert!(status.message.contains("managedFields"), "{status}");
}

#[tokio::test]
async fn a_status_patch_merges_conditions_by_type() {
    let cluster = Cluster::bare().await;
    let nodes = || Target::of("v1", "nodes", "");
    cluster.create(nodes(), json!({"metadata": {"name": "n"}})).await.unwrap();
    let status = || nodes().named("n").sub("status");
    let condition = |ty: &str, status: &str| json!({"type": ty, "status": status, "reason": "R"});
    let first = json!({"status": {"capacity": {"cpu": "4", "memory": "8Gi"}, "conditions": [condition("Ready", "True"), condition("Other", "True")]}});
    cluster.patch(status(), Patch::Strategic, first).await.unwrap();
    let second = json!({"status": {"capacity": {"cpu": "5"}, "conditions": [condition("Ready", "False")]}});
    let doc = cluster.patch(status(), Patch::Strategic, second).await.unwrap();
    assert_eq!(doc.at("status.capacity"), Some(&json!({"cpu": "5", "memory": "8Gi"})));
    let conditions: Vec<(&str, &str)> =
        doc.items_at("status.conditions").iter().map(|one| (one.str_at("type"), one.str_at("status"))).collect();
    assert!(conditions.contains(&("Ready", "False")) && conditions.contains(&("Other", "True")), "{conditions:?}");
}
