//! What the server serves, told to clients: `/api`, `/apis` and below, and the aggregated form (`apidiscovery.k8s.io/v2`).
//! All of it is made of the registry and of what other API servers say of themselves ([`catalog`]). Only `v2` of the aggregated form
//! is made, as in the original: who asks for `v2beta1` alone is told 406, who takes plain JSON as well gets that.

mod catalog;

use std::sync::{Arc, Mutex, OnceLock};

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderValue, IF_NONE_MATCH, VARY};
use http::{HeaderMap, StatusCode};
use kinds::{Descriptor, KindRef, Scope, Verbs};
use schema::{Status, Value, json};

use self::catalog::{Catalog, Group, Source};
use super::Face;
use super::answer::{Answer, Body, answer, document};
use super::message::Message;
use super::negotiate::{self, Encoding};
use super::query::Query;

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
const AGGREGATED_PROTOBUF: &str = "application/vnd.kubernetes.protobuf;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
const ALL_VERBS: [&str; 8] = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];

/// Keeps the aggregated documents while nothing that they are made of changes.
#[derive(Default)]
pub struct Discovery {
    kept: Mutex<Option<Arc<Kept>>>,
}

struct Kept {
    catalog: Catalog,
    /// Of `/api` and `/apis`; made when they are first asked for.
    documents: [OnceLock<Aggregated>; 2],
}

struct Aggregated {
    /// As JSON.
    bytes: Bytes,
    /// As protobuf, under the same ETag.
    message: Bytes,
    etag: HeaderValue,
}

impl Discovery {
    /// None: no discovery path, or a group or version that is not served here.
    pub(super) fn answer(&self, face: &Face, path: &str, query: &Query, headers: &HeaderMap) -> Result<Option<Answer>, Status> {
        let trimmed = path.strip_suffix('/').unwrap_or(path);
        let parts: Vec<&str> = trimmed.strip_prefix('/').unwrap_or_default().split('/').collect();
        if !matches!(parts[0], "api" | "apis") {
            return Ok(None);
        }
        let kept = self.kept(face);
        let catalog = &kept.catalog;
        if let ["api"] | ["apis"] = parts.as_slice() {
            let (aggregated, encoding) = negotiate::alternative(headers, query, "APIGroupDiscoveryList", "apidiscovery.k8s.io", "v2")?;
            let legacy = parts[0] == "api";
            return Ok(Some(match aggregated {
                true => kept.aggregated(legacy, headers, encoding == Encoding::Protobuf),
                false if legacy => document(200, &api_versions(&face.base_url), encoding),
                false => document(200, &group_list(catalog), encoding),
            }));
        }
        let found = match parts.as_slice() {
            ["api", version] => resource_list(catalog, "", version),
            ["apis", group] => catalog.group(group).map(|group| group_document(group, true)),
            ["apis", group, version] => resource_list(catalog, group, version),
            _ => None,
        };
        match found {
            Some(value) => Ok(Some(document(200, &value, negotiate::alternative(headers, query, "", "", "")?.1))),
            None => Ok(None),
        }
    }

    /// The paths of `/`.
    pub(super) fn paths(&self, face: &Face) -> Vec<String> {
        let mut paths: Vec<String> = [
            "/.well-known/openid-configuration",
            "/api",
            "/api/v1",
            "/apis",
            "/apis/",
            "/healthz",
            "/livez",
            "/metrics",
            "/openapi/v2",
            "/openapi/v3",
            "/openid/v1/jwks",
            "/readyz",
            "/version",
        ]
        .map(str::to_owned)
        .to_vec();
        for Group { name, versions } in &self.kept(face).catalog.groups {
            paths.push(format!("/apis/{name}"));
            paths.extend(versions.iter().map(|version| format!("/apis/{name}/{version}")));
        }
        paths.sort();
        paths
    }

    fn kept(&self, face: &Face) -> Arc<Kept> {
        let mut kept = self.kept.lock().expect("makers of catalogs do not panic");
        if let Some(kept) = kept.as_ref().filter(|kept| kept.catalog.is_current(face)) {
            return Arc::clone(kept);
        }
        let fresh = Arc::new(Kept { catalog: Catalog::of(face), documents: Default::default() });
        *kept = Some(Arc::clone(&fresh));
        fresh
    }
}

impl Kept {
    fn aggregated(&self, legacy: bool, headers: &HeaderMap, protobuf: bool) -> Answer {
        let document = &self.documents[usize::from(!legacy)];
        let Aggregated { bytes, message, etag } = document.get_or_init(|| encode(&aggregate(&self.catalog, legacy)));
        let (media, bytes) = if protobuf { (AGGREGATED_PROTOBUF, message) } else { (AGGREGATED, bytes) };
        let same = headers.get(IF_NONE_MATCH).is_some_and(|given| given == etag);
        let mut answer = answer(200, media, if same { Body::empty() } else { Body::Bytes(bytes.clone()) });
        let fields = answer.headers_mut();
        fields.insert(ETAG, etag.clone());
        fields.insert(VARY, HeaderValue::from_static("Accept"));
        // It has an ETag, so clients may keep it as long as they ask again.
        fields.insert(CACHE_CONTROL, HeaderValue::from_static("public"));
        if same {
            fields.remove(CONTENT_TYPE);
            *answer.status_mut() = StatusCode::NOT_MODIFIED;
        }
        answer
    }
}

fn encode(value: &Value) -> Aggregated {
    let bytes = serde_json::to_vec(value).unwrap_or_default();
    let message = schema::protobuf::envelope_message("apidiscovery.k8s.io/v2", "APIGroupDiscoveryList", &list_message(value).0);
    Aggregated { etag: etag(&bytes), bytes: bytes.into(), message: message.into() }
}

/// `apidiscovery.v2.APIGroupDiscoveryList`
fn list_message(list: &Value) -> Message {
    let mut message = Message::default();
    message.message(1, Message::default()).each(2, list.get("items"), |group| {
        let (mut of_group, mut metadata) = (Message::default(), Message::default());
        metadata.text(1, group["metadata"].get("name"));
        of_group.message(1, metadata).each(2, group.get("versions"), |version| {
            let mut of_version = Message::default();
            of_version
                .text(1, version.get("version"))
                .each(2, version.get("resources"), resource_message)
                .text(3, version.get("freshness"));
            of_version
        });
        of_group
    });
    message
}

fn resource_message(resource: &Value) -> Message {
    let mut message = Message::default();
    message.text(1, resource.get("resource")).message(2, kind_message(&resource["responseKind"])).text(3, resource.get("scope"));
    message.text(4, resource.get("singularResource")).texts(5, resource.get("verbs")).texts(6, resource.get("shortNames"));
    message.texts(7, resource.get("categories")).each(8, resource.get("subresources"), |sub| {
        let mut of_sub = Message::default();
        of_sub.text(1, sub.get("subresource")).message(2, kind_message(&sub["responseKind"])).texts(4, sub.get("verbs"));
        of_sub
    });
    message
}

fn kind_message(kind: &Value) -> Message {
    let mut message = Message::default();
    message.text(1, kind.get("group")).text(2, kind.get("version")).text(3, kind.get("kind"));
    message
}

/// `"<hex of SHA-512>"`
pub fn etag(bytes: &[u8]) -> HeaderValue {
    HeaderValue::from_str(&format!("\"{}\"", hash(bytes))).expect("hexadecimal is a header value")
}

/// Upper-case hexadecimal of the SHA-512.
pub fn hash(bytes: &[u8]) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA512, bytes);
    digest.as_ref().iter().map(|byte| format!("{byte:02X}")).collect()
}

fn api_versions(base_url: &str) -> Value {
    let address = base_url.strip_prefix("https://").unwrap_or(base_url);
    json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}]})
}

fn group_list(catalog: &Catalog) -> Value {
    let all: Vec<Value> = catalog.groups.iter().map(|group| group_document(group, false)).collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": all})
}

fn group_document(group: &Group, alone: bool) -> Value {
    let Group { name, versions } = group;
    let version = |version: &String| json!({"groupVersion": format!("{name}/{version}"), "version": version});
    let mut document =
        json!({"name": name, "versions": versions.iter().map(version).collect::<Vec<_>>(), "preferredVersion": version(&versions[0])});
    if alone {
        document["kind"] = json!("APIGroup");
        document["apiVersion"] = json!("v1");
    }
    document
}

fn resource_list(catalog: &Catalog, group: &str, version: &str) -> Option<Value> {
    let Some(Source::Own(rows)) = catalog.source(group, version) else { return None };
    let mut resources: Vec<Value> = rows.iter().flat_map(|row| std::iter::once(resource(row)).chain(subresources(row))).collect();
    resources.sort_by(|a, b| a["name"].as_str().cmp(&b["name"].as_str()));
    let group_version = rows[0].api_version();
    Some(json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": resources}))
}

fn verbs(row: &Descriptor) -> Vec<&'static str> {
    match row.verbs {
        Verbs::All => ALL_VERBS.to_vec(),
        Verbs::CreateOnly => vec!["create"],
        Verbs::These(verbs) => verbs.to_vec(),
    }
}

fn resource(row: &Descriptor) -> Value {
    let mut value = json!({
        "name": row.resource, "singularName": row.singular, "namespaced": row.scope == Scope::Namespaced, "kind": row.kind, "verbs": verbs(row),
    });
    if !row.short_names.is_empty() {
        value["shortNames"] = json!(row.short_names);
    }
    if !row.categories.is_empty() {
        value["categories"] = json!(row.categories);
    }
    if !row.storage_prefix.is_empty() {
        value["storageVersionHash"] = json!(storage_version_hash(row));
    }
    value
}

/// base64 of the first 8 bytes of SHA-256 of `group/version/kind` as stored: clients see by it when the storage changes.
fn storage_version_hash(row: &Descriptor) -> String {
    use base64::Engine;
    let text = format!("{}/{}/{}", row.group, row.stored_version, row.kind);
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
    base64::engine::general_purpose::STANDARD.encode(&digest.as_ref()[..8])
}

fn subresources(row: &KindRef) -> impl Iterator<Item = Value> {
    row.subresources.iter().map(|sub| {
        let mut value = json!({
            "name": format!("{}/{}", row.resource, sub.name), "singularName": "", "namespaced": row.scope == Scope::Namespaced,
            "kind": row.kind, "verbs": sub.verbs,
        });
        if let Some((group, version, kind)) = &sub.kind {
            value["kind"] = json!(kind);
            if (group, version) != (&row.group, &row.version) {
                value["group"] = json!(group);
                value["version"] = json!(version);
            }
        }
        value
    })
}

fn aggregate(catalog: &Catalog, legacy: bool) -> Value {
    let items: Vec<Value> = match legacy {
        true => vec![json!({"metadata": {"creationTimestamp": null}, "versions": [aggregated_version(catalog, "", "v1")]})],
        false => {
            let group = |Group { name, versions }: &Group| {
                let built_in = versions.iter().any(|version| catalog.table.is_built_in(name, version));
                let versions: Vec<Value> = versions.iter().map(|version| aggregated_version(catalog, name, version)).collect();
                let metadata = if built_in { json!({"name": name, "creationTimestamp": null}) } else { json!({"name": name}) };
                json!({"metadata": metadata, "versions": versions})
            };
            catalog.groups.iter().map(group).collect()
        }
    };
    json!({"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items})
}

/// What another server said last is stale while it does not answer; one that said nothing yet has nothing to show.
fn aggregated_version(catalog: &Catalog, group: &str, version: &str) -> Value {
    match catalog.source(group, version) {
        Some(Source::Own(rows)) => {
            let resources: Vec<Value> = rows.iter().map(|row| aggregated_resource(row)).collect();
            json!({"version": version, "resources": resources, "freshness": "Current"})
        }
        Some(Source::Other(Some(told))) if !told.resources.is_empty() => {
            json!({"version": version, "resources": told.resources, "freshness": if told.is_stale { "Stale" } else { "Current" }})
        }
        Some(Source::Other(Some(told))) if !told.is_stale => json!({"version": version, "freshness": "Current"}),
        _ => json!({"version": version, "freshness": "Stale"}),
    }
}

fn aggregated_resource(row: &Descriptor) -> Value {
    let kind = |group: &str, version: &str, kind: &str| json!({"group": group, "version": version, "kind": kind});
    let own = kind(&row.group, &row.version, &row.kind);
    let scope = if row.scope == Scope::Namespaced { "Namespaced" } else { "Cluster" };
    let mut value =
        json!({"resource": row.resource, "responseKind": own, "scope": scope, "singularResource": row.singular, "verbs": verbs(row)});
    if !row.short_names.is_empty() {
        value["shortNames"] = json!(row.short_names);
    }
    if !row.categories.is_empty() {
        value["categories"] = json!(row.categories);
    }
    if !row.subresources.is_empty() {
        let subs = row.subresources.iter().map(|sub| {
            let response = sub.kind.as_ref().map_or_else(|| own.clone(), |(g, v, k)| kind(g, v, k));
            json!({"subresource": sub.name, "responseKind": response, "verbs": sub.verbs})
        });
        value["subresources"] = subs.collect();
    }
    value
}
