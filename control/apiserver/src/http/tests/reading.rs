//! Objects, lists, tables and watches, in each media type.

use std::io::Read;

use http::Method;
use schema::{DocExt, Facts, protobuf};

use super::*;

const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

#[tokio::test]
async fn a_list_is_its_objects_one_after_the_other() {
    let world = World::start().await;
    for name in ["a", "b", "c"] {
        world.config_map(name, name).await;
    }
    let list = world.get_json("/api/v1/namespaces/default/configmaps").await;
    assert_eq!((list.str_at("kind"), list.str_at("apiVersion")), ("ConfigMapList", "v1"));
    // The list says once for all what its items are.
    let mut one = world.get_json("/api/v1/namespaces/default/configmaps/b").await;
    assert_eq!((one.remove_at("kind"), one.remove_at("apiVersion")), (Some(json!("ConfigMap")), Some(json!("v1"))));
    assert_eq!(list.items_at("items")[1], one);
    let page = world.get_json("/api/v1/namespaces/default/configmaps?limit=2").await;
    let token = page.str_at("metadata.continue");
    assert_eq!((page.items_at("items").len(), page.i64_at("metadata.remainingItemCount")), (2, Some(1)));
    let rest = world.get_json(&format!("/api/v1/namespaces/default/configmaps?limit=2&continue={token}")).await;
    assert_eq!(rest.items_at("items")[0].str_at("metadata.name"), "c");
}

#[tokio::test]
async fn each_media_type_says_the_same() {
    let world = World::start().await;
    world.config_map("a", "x").await;
    let path = "/api/v1/namespaces/default/configmaps/a";
    let want = world.get_json(path).await;
    let (_, headers, bytes) = world.get(path, &[("accept", PROTOBUF)]).await;
    assert_eq!(headers["content-type"], PROTOBUF);
    assert_eq!(protobuf::decode_document(&bytes).unwrap(), want);
    let (_, headers, bytes) = world.get(path, &[("accept", "application/yaml")]).await;
    assert_eq!(headers["content-type"], "application/yaml");
    assert_eq!(schema::decode::yaml_value(&bytes).unwrap(), want);
    let (_, _, bytes) = world.get(path, &[("user-agent", "curl/8")]).await;
    assert!(bytes.starts_with(b"{\n  \"apiVersion\""));
    let (_, _, bytes) = world.get(path, &[("accept", "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1")]).await;
    let partial: Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!((partial.str_at("kind"), partial.at("metadata"), partial.at("data")), ("PartialObjectMetadata", want.at("metadata"), None));
    let (_, _, bytes) = world.get("/api/v1/namespaces/default/configmaps", &[("accept", PROTOBUF)]).await;
    let list = protobuf::decode_document(&bytes).unwrap();
    assert_eq!(list.items_at("items")[0].at("data"), want.at("data"));
}

#[tokio::test]
async fn a_protobuf_list_made_of_kept_messages_is_the_encoded_list() {
    let world = World::start().await;
    for name in ["a", "b"] {
        world.config_map(name, &name.repeat(300)).await;
    }
    let path = "/api/v1/namespaces/default/configmaps";
    let ty = Facts::builtin().kind("v1", "ConfigMapList").unwrap();
    let want = protobuf::encode_document(ty, &world.get_json(path).await);
    for round in ["made", "kept"] {
        let (_, headers, bytes) = world.get(path, &[("accept", PROTOBUF)]).await;
        assert_eq!(headers["content-length"].to_str().unwrap(), want.len().to_string(), "{round}");
        assert!(bytes == want, "{round}");
    }
}

#[tokio::test]
async fn a_deprecated_version_warns_in_every_answer() {
    let world = World::start().await;
    let path = "/api/v1/namespaces/default/endpoints";
    for path in [path.to_owned(), format!("{path}/kubernetes"), format!("{path}?watch=1&timeoutSeconds=1")] {
        let (_, headers, _) = world.get(&path, &[]).await;
        let warning = headers.get("warning").unwrap_or_else(|| panic!("{path} warns")).to_str().unwrap();
        assert!(warning.starts_with("299 - \"v1 Endpoints is deprecated"), "{path}: {warning}");
    }
    let (_, headers, _) = world.get("/apis/discovery.k8s.io/v1/endpointslices", &[]).await;
    assert!(headers.get("warning").is_none());
}

#[tokio::test]
async fn protobuf_goes_in_as_well() {
    let world = World::start().await;
    let ty = Facts::builtin().kind("v1", "ConfigMap").unwrap();
    let doc = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "p"}, "data": {"k": "v"}});
    let body = protobuf::encode_document(ty, &doc);
    let response = world.ask(Method::POST, "/api/v1/namespaces/default/configmaps", &[("content-type", PROTOBUF)], body).await;
    assert_eq!(response.status(), 201);
    assert_eq!(world.get_json("/api/v1/namespaces/default/configmaps/p").await.at("data"), doc.at("data"));
}

#[tokio::test]
async fn tables_have_columns_and_rows() {
    let world = World::start().await;
    world.config_map("a", "x").await;
    let (_, _, bytes) = world.get("/api/v1/namespaces/default/configmaps", &[("accept", TABLE)]).await;
    let table: Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!((table.str_at("kind"), table.str_at("apiVersion")), ("Table", "meta.k8s.io/v1"));
    assert_eq!(table.items_at("columnDefinitions")[0].str_at("name"), "Name");
    let row = &table.items_at("rows")[0];
    assert_eq!((&row["cells"][0], row.str_at("object.kind")), (&json!("a"), "PartialObjectMetadata"));
    let (status, _, _) = world.get("/api/v1/namespaces/default/configmaps?includeObject=All", &[("accept", TABLE)]).await;
    assert_eq!(status, 400);
}

#[tokio::test]
async fn large_lists_are_compressed_on_request() {
    let world = World::start().await;
    for index in 0..5 {
        world.config_map(&format!("big-{index}"), &"abcdefgh".repeat(8 << 10)).await;
    }
    let path = "/api/v1/namespaces/default/configmaps";
    let (_, _, plain) = world.get(path, &[]).await;
    let (_, headers, packed) = world.get(path, &[("accept-encoding", "gzip")]).await;
    assert_eq!(headers["content-encoding"], "gzip");
    assert!(packed.len() < plain.len() / 10);
    let mut unpacked = Vec::new();
    flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut unpacked).unwrap();
    assert_eq!(unpacked, plain);
}

#[tokio::test]
async fn a_watch_answers_at_once_and_tells_what_happens() {
    let world = World::start().await;
    let mut watch = world.ask(Method::GET, "/api/v1/namespaces/default/configmaps?watch=true", &[], "").await;
    assert_eq!((watch.status().as_u16(), watch.headers()["content-type"].to_str().unwrap()), (200, "application/json"));
    world.config_map("a", "x").await;
    let line: Value = serde_json::from_slice(&next_bytes(watch.body_mut()).await).unwrap();
    assert_eq!((line.str_at("type"), line.str_at("object.metadata.name"), line.str_at("object.kind")), ("ADDED", "a", "ConfigMap"));
    let target = Target::of("v1", "configmaps", "default").named("a");
    world.loopback.delete(target, client::Options::default()).await.unwrap();
    let line: Value = serde_json::from_slice(&next_bytes(watch.body_mut()).await).unwrap();
    assert_eq!(line.str_at("type"), "DELETED");
}

#[tokio::test]
async fn tables_and_protobuf_can_be_watched() {
    let world = World::start().await;
    let path = "/api/v1/namespaces/default/configmaps?watch=true";
    let mut tables = world.ask(Method::GET, path, &[("accept", TABLE)], "").await;
    let mut frames = world.ask(Method::GET, path, &[("accept", PROTOBUF)], "").await;
    assert_eq!(frames.headers()["content-type"], "application/vnd.kubernetes.protobuf;stream=watch");
    for (name, has_columns) in [("a", true), ("b", false)] {
        world.config_map(name, "x").await;
        let line: Value = serde_json::from_slice(&next_bytes(tables.body_mut()).await).unwrap();
        assert_eq!((line.str_at("object.kind"), &line["object"]["rows"][0]["cells"][0]), ("Table", &json!(name)));
        assert_eq!(!line.items_at("object.columnDefinitions").is_empty(), has_columns, "only the first table names its columns");
        let frame = next_bytes(frames.body_mut()).await;
        let length = u32::from_be_bytes(frame[..4].try_into().unwrap());
        assert_eq!(frame.len(), length as usize + 4);
        assert!(
            frame.windows(name.len() + 5).any(|part| part.starts_with(b"ADDED")) && frame.windows(4).any(|part| part == protobuf::MAGIC)
        );
    }
}

#[tokio::test]
async fn the_initial_state_ends_with_a_bookmark_even_when_empty() {
    let world = World::start().await;
    let path = "/api/v1/namespaces/default/configmaps?watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    let mut watch = world.ask(Method::GET, path, &[], "").await;
    let line: Value = serde_json::from_slice(&next_bytes(watch.body_mut()).await).unwrap();
    assert_eq!((line.str_at("type"), line.str_at("object.kind")), ("BOOKMARK", "ConfigMap"));
    assert_eq!(line["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
    assert!(line.str_at("object.metadata.resourceVersion").parse::<u64>().unwrap() > 0);
}

#[tokio::test]
async fn many_watches_share_one_connection() {
    let world = World::start().await;
    let mut h2 = world.http2().await;
    let uri = format!("https://{}/api/v1/namespaces/default/configmaps?watch=1", world.address);
    let mut watches = Vec::new();
    for _ in 0..200 {
        let request = Request::get(&uri).header("authorization", "Bearer admin").body(Full::default()).unwrap();
        watches.push(h2.send_request(request).await.unwrap());
    }
    world.config_map("a", "x").await;
    for watch in &mut watches {
        assert!(next_bytes(watch.body_mut()).await.starts_with(b"{\"type\":\"ADDED\""));
    }
}

/// None of them may be left without its headers, however many are opened in the same moment.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watches_opened_at_once_are_all_answered() {
    let world = World::start().await;
    let uri = format!("https://{}/api/v1/namespaces/default/configmaps?watch=1", world.address);
    for round in 0..10 {
        let h2 = world.http2().await;
        let open = (0..100).map(|_| {
            let mut sender = h2.clone();
            let request = Request::get(&uri).header("authorization", "Bearer admin").body(Full::default()).unwrap();
            async move { sender.send_request(request).await.unwrap() }
        });
        let opened = tokio::time::timeout(Duration::from_secs(20), futures::future::join_all(open)).await;
        assert_eq!(opened.expect("every watch is answered").len(), 100, "round {round}");
    }
}

/// A watch is its body and its stream's task; both are allocated once and live for hours.
#[tokio::test]
async fn a_watchs_own_memory_is_small() {
    let world = World::start().await;
    let user = auth::loopback_user();
    let cursor = world.core.watch(&user, &Target::of("v1", "configmaps", "default"), &client::Options::default()).await.unwrap();
    let cursor_bytes = size_of_val(&cursor);
    let wanted = crate::http::negotiate::watch(&HeaderMap::new(), &crate::http::query::Query::default()).unwrap();
    let body = crate::http::watch::stream(cursor, wanted, crate::http::shape::Include::Metadata, client::object::Budget::new(0));
    let bytes = size_of_val(&body);
    assert!(bytes <= 1024, "a watch's body takes {bytes} bytes, {cursor_bytes} of them its cursor");
}

#[tokio::test]
async fn a_scale_as_a_table_tells_its_replicas() {
    let world = World::start().await;
    let doc = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": {"replicas": 2,
        "selector": {"matchLabels": {"app": "web"}},
        "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}});
    world.loopback.create(Target::of("apps/v1", "deployments", "default"), doc).await.unwrap();
    let (_, _, bytes) = world.get("/apis/apps/v1/namespaces/default/deployments/web/scale", &[("accept", TABLE)]).await;
    let table: Value = serde_json::from_slice(&bytes).unwrap();
    let columns: Vec<&str> = table.items_at("columnDefinitions").iter().map(|column| column.str_at("name")).collect();
    assert_eq!((table.str_at("kind"), columns), ("Table", vec!["Name", "Desired", "Available", "Age"]));
    assert_eq!(table.items_at("rows")[0].items_at("cells")[..3], [json!("web"), json!(2), json!(0)]);
}
