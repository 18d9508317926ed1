//! Discovery, OpenAPI, health and keys.

use std::collections::BTreeSet;

use schema::DocExt;

use super::*;

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";

#[tokio::test]
async fn discovery_names_every_row_of_the_table() {
    let world = World::start().await;
    let (_, headers, bytes) = world.get("/apis", &[("accept", AGGREGATED)]).await;
    assert_eq!(headers["content-type"], "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList");
    let groups: Value = serde_json::from_slice(&bytes).unwrap();
    let (_, _, bytes) = world.get("/api", &[("accept", AGGREGATED)]).await;
    let core: Value = serde_json::from_slice(&bytes).unwrap();
    let mut told = BTreeSet::new();
    for group in groups.items_at("items").iter().chain(core.items_at("items")) {
        for version in group.items_at("versions") {
            for resource in version.items_at("resources") {
                told.insert(format!("{}/{}/{}", group.str_at("metadata.name"), version.str_at("version"), resource.str_at("resource")));
            }
        }
    }
    let rows: BTreeSet<String> =
        world.core.registry().table().rows().iter().map(|row| format!("{}/{}/{}", row.group, row.version, row.resource)).collect();
    assert_eq!(told, rows);
    for row in world.core.registry().table().rows() {
        let path = if row.group.is_empty() { format!("/api/{}", row.version) } else { format!("/apis/{}/{}", row.group, row.version) };
        let list = world.get_json(&path).await;
        assert!(list.items_at("resources").iter().any(|resource| resource["name"] == row.resource.as_ref()), "{path} {}", row.resource);
    }
    let etag = headers["etag"].to_str().unwrap();
    let (status, _, bytes) = world.get("/apis", &[("accept", AGGREGATED), ("if-none-match", etag)]).await;
    assert_eq!((status.as_u16(), bytes.len()), (304, 0));
}

/// Every `$ref` of a document.
fn references(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            if let Some(reference) = members.get("$ref").and_then(Value::as_str) {
                found.insert(reference.to_owned());
            }
            members.values().for_each(|member| references(member, found));
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        _ => {}
    }
}

#[tokio::test]
async fn openapi_resolves_and_has_what_kubectl_looks_for() {
    let world = World::start().await;
    let index = world.get_json("/openapi/v3").await;
    for (name, entry) in index.map_at("paths").unwrap() {
        let document = world.get_json(entry["serverRelativeURL"].as_str().unwrap()).await;
        let mut found = BTreeSet::new();
        references(&document, &mut found);
        let schemas = document.map_at("components.schemas").unwrap();
        for reference in found {
            let name = reference.strip_prefix("#/components/schemas/").unwrap();
            assert!(schemas.contains_key(name), "{reference}");
        }
        let (group, version) =
            name.rsplit_once('/').map(|(group, version)| (group.trim_start_matches("apis/").trim_start_matches("api"), version)).unwrap();
        for row in world.core.registry().table().rows().iter().filter(|row| row.group == group && row.version == version) {
            let gvk = json!({"group": row.group, "version": row.version, "kind": row.kind});
            assert!(schemas.values().any(|schema| schema.items_at("x-kubernetes-group-version-kind").contains(&gvk)), "no schema of {gvk}");
            if !matches!(row.verbs, kinds::Verbs::All) {
                continue;
            }
            let validates = document.map_at("paths").unwrap().values().any(|path| {
                path.at("patch.x-kubernetes-group-version-kind") == Some(&gvk)
                    && path.items_at("patch.parameters").iter().any(|parameter| parameter["name"] == "fieldValidation")
                    && path["patch"]["requestBody"]["content"].get("application/strategic-merge-patch+json").is_some()
            });
            assert!(validates, "no patch of {gvk} with fieldValidation");
        }
    }
}

#[tokio::test]
async fn openapi_v2_is_json_and_protobuf_and_kept_by_its_hash() {
    let world = World::start().await;
    let (status, _, bytes) = world.get("/openapi/v2", &[("accept", "application/json")]).await;
    assert_eq!(status, 200);
    let document: Value = serde_json::from_slice(&bytes).unwrap();
    let mut found = BTreeSet::new();
    references(&document, &mut found);
    let definitions = document.map_at("definitions").unwrap();
    let shared = document.map_at("parameters").unwrap();
    let leads = |reference: &String| match reference.strip_prefix("#/parameters/") {
        Some(name) => shared.contains_key(name),
        None => definitions.contains_key(reference.strip_prefix("#/definitions/").unwrap()),
    };
    assert!(found.iter().all(leads));
    assert!(found.iter().any(|reference| reference.starts_with("#/parameters/labelSelector-")));
    let at = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
    let dots = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
    for accept in [at, dots] {
        let (status, headers, bytes) = world.get("/openapi/v2", &[("accept", accept)]).await;
        assert_eq!(status, 200);
        assert_eq!(headers["content-type"], dots);
        assert_eq!(bytes[..5], *b"\x0a\x032.0");
        let etag = headers["etag"].to_str().unwrap();
        assert_eq!(world.get("/openapi/v2", &[("accept", accept), ("if-none-match", etag)]).await.0, 304);
    }
    assert_eq!(world.get("/openapi/v2", &[("accept", "text/html")]).await.0, 406);
}

#[tokio::test]
async fn openapi_v3_is_protobuf_for_who_prefers_it() {
    let world = World::start().await;
    let dots = "application/com.github.proto-openapi.spec.v3.v1.0+protobuf";
    for accept in ["application/com.github.proto-openapi.spec.v3@v1.0+protobuf", dots] {
        let (status, headers, bytes) = world.get("/openapi/v3/apis/apps/v1", &[("accept", accept)]).await;
        assert_eq!((status.as_u16(), &headers["content-type"]), (200, &http::header::HeaderValue::from_static(dots)));
        assert_eq!(bytes[..7], *b"\x0a\x053.0.0");
        let etag = headers["etag"].to_str().unwrap();
        assert_eq!(world.get("/openapi/v3/apis/apps/v1", &[("accept", accept), ("if-none-match", etag)]).await.0, 304);
    }
    assert_eq!(world.get("/openapi/v3/apis/apps/v1", &[("accept", "text/html")]).await.0, 406);
}

#[tokio::test]
async fn merge_keys_and_list_types_are_published() {
    let world = World::start().await;
    let index = world.get_json("/openapi/v3").await;
    let document = world.get_json(index["paths"]["apis/apps/v1"]["serverRelativeURL"].as_str().unwrap()).await;
    let ports = &document["components"]["schemas"]["io.k8s.api.core.v1.Container"]["properties"]["ports"];
    assert_eq!(
        (&ports["x-kubernetes-patch-merge-key"], &ports["x-kubernetes-patch-strategy"], &ports["x-kubernetes-list-map-keys"]),
        (&json!("containerPort"), &json!("merge"), &json!(["containerPort", "protocol"]))
    );
    let labels = &document["components"]["schemas"]["io.k8s.api.apps.v1.DeploymentSpec"]["required"];
    assert!(labels.as_array().unwrap().contains(&json!("selector")));
}

#[tokio::test]
async fn health_is_for_everybody_and_keys_for_those_who_may() {
    let world = World::start().await;
    let anonymous = |path: &'static str| {
        let request = Request::get(path).header("host", "x").body(Full::default()).unwrap();
        async { world.http1(None).await.send_request(request).await.unwrap().status().as_u16() }
    };
    assert_eq!(anonymous("/readyz").await, 200);
    assert_eq!(anonymous("/version").await, 200);
    assert_eq!(anonymous("/openid/v1/jwks").await, 403);
    let keys = world.get_json("/openid/v1/jwks").await;
    assert_eq!(keys["keys"][0]["alg"], "ES256");
    let discovery = world.get_json("/.well-known/openid-configuration").await;
    assert_eq!(discovery.str_at("issuer"), auth::token::ISSUER);
    assert!(world.get_json("/").await.items_at("paths").contains(&json!("/apis/apps/v1")));
    let (_, headers, bytes) = world.get("/metrics", &[]).await;
    assert!(headers["content-type"].to_str().unwrap().starts_with("application/openmetrics-text"));
    assert!(String::from_utf8_lossy(&bytes).contains("apiserver_request_total"));
}

#[tokio::test]
async fn a_custom_kind_is_in_every_document_as_soon_as_it_is_established() {
    let world = World::start().await;
    let schema = json!({"openAPIV3Schema": {"type": "object", "properties": {"spec": {"type": "object"}}}});
    let definition = json!({"metadata": {"name": "widgets.example.com"}, "spec": {"group": "example.com", "scope": "Namespaced",
        "names": {"plural": "widgets", "kind": "Widget"}, "versions": [{"name": "v1", "served": true, "storage": true, "schema": schema}]}});
    let definitions = Target::of("apiextensions.k8s.io/v1", "customresourcedefinitions", "");
    world.loopback.create(definitions.clone(), definition).await.unwrap();
    let named = definitions.named("widgets.example.com");
    while !kinds::custom::is_established(&world.loopback.get(named.clone()).await.unwrap().value()) {
        tokio::task::yield_now().await;
    }
    let (_, _, bytes) = world.get("/apis", &[("accept", AGGREGATED)]).await;
    assert!(String::from_utf8_lossy(&bytes).contains("\"resource\":\"widgets\""));
    let list = world.get_json("/apis/example.com/v1").await;
    assert_eq!(list["resources"][0]["name"], "widgets");
    let v3 = world.get_json("/openapi/v3/apis/example.com/v1").await;
    assert!(v3["components"]["schemas"].get("com.example.v1.Widget").is_some());
    let v2 = world.get_json("/openapi/v2").await;
    assert!(v2["definitions"].get("com.example.v1.Widget").is_some());
}
