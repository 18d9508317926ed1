//! What the server serves, told to clients: `/api`, `/apis` and below, and the aggregated form (`apidiscovery.k8s.io/v2`).
//! All of it is made of the registry.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderValue, IF_NONE_MATCH, VARY};
use http::{HeaderMap, StatusCode};
use kinds::{Descriptor, KindRef, Scope, Verbs};
use schema::{Status, Value, json};

use super::answer::{Answer, Body, answer, document};
use super::message::Message;
use super::negotiate::{self, Encoding};
use super::query::Query;
use crate::Core;
use crate::registry::Table;

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
const AGGREGATED_PROTOBUF: &str = "application/vnd.kubernetes.protobuf;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
const ALL_VERBS: [&str; 8] = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];

/// Keeps the aggregated documents while the registry's table stays the same.
#[derive(Default)]
pub struct Discovery {
    kept: Mutex<Option<Kept>>,
}

#[derive(Clone)]
struct Kept {
    table: Arc<Table>,
    /// Of `/api` and `/apis`.
    documents: [Aggregated; 2],
}

#[derive(Clone)]
struct Aggregated {
    /// As JSON.
    bytes: Bytes,
    /// As protobuf, under the same ETag.
    message: Bytes,
    etag: HeaderValue,
}

impl Discovery {
    /// None: no discovery path, or a group or version that is not served.
    pub fn answer(&self, core: &Core, path: &str, query: &Query, headers: &HeaderMap, base_url: &str) -> Result<Option<Answer>, Status> {
        let table = core.registry().table();
        let trimmed = path.strip_suffix('/').unwrap_or(path);
        let parts: Vec<&str> = trimmed.strip_prefix('/').unwrap_or_default().split('/').collect();
        if let ["api"] | ["apis"] = parts.as_slice() {
            let (aggregated, encoding) = negotiate::alternative(headers, query, "APIGroupDiscoveryList", "apidiscovery.k8s.io", "v2")?;
            let legacy = parts[0] == "api";
            return Ok(Some(match aggregated {
                true => self.aggregated(&table, legacy, headers, encoding == Encoding::Protobuf),
                false if legacy => document(200, &api_versions(base_url), encoding),
                false => document(200, &group_list(&table), encoding),
            }));
        }
        let found = match parts.as_slice() {
            ["api", version] => resource_list(&table, "", version),
            ["apis", group] => groups(&table).get(*group).map(|versions| group_document(group, versions, true)),
            ["apis", group, version] => resource_list(&table, group, version),
            _ => None,
        };
        match found {
            Some(value) => Ok(Some(document(200, &value, negotiate::alternative(headers, query, "", "", "")?.1))),
            None => Ok(None),
        }
    }

    /// The paths of `/`.
    pub fn paths(&self, core: &Core) -> Vec<String> {
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
        for (group, versions) in groups(&core.registry().table()) {
            paths.push(format!("/apis/{group}"));
            paths.extend(versions.iter().map(|version| format!("/apis/{group}/{version}")));
        }
        paths.sort();
        paths
    }

    fn aggregated(&self, table: &Arc<Table>, legacy: bool, headers: &HeaderMap, protobuf: bool) -> Answer {
        let kept = self.kept(table);
        let Aggregated { bytes, message, etag } = &kept.documents[usize::from(!legacy)];
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

    fn kept(&self, table: &Arc<Table>) -> Kept {
        let mut kept = self.kept.lock().expect("makers of discovery documents do not panic");
        if let Some(kept) = kept.as_ref().filter(|kept| Arc::ptr_eq(&kept.table, table)) {
            return kept.clone();
        }
        let documents = [true, false].map(|legacy| encode(&aggregate(table, legacy)));
        let fresh = Kept { table: Arc::clone(table), documents };
        *kept = Some(fresh.clone());
        fresh
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

/// Versions of every named group, the preferred one first.
fn groups(table: &Table) -> BTreeMap<String, Vec<String>> {
    let mut groups: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for row in table.rows().iter().filter(|row| !row.group.is_empty()) {
        let versions = groups.entry(row.group.to_string()).or_default();
        if !versions.iter().any(|version| *version == row.version) {
            versions.push(row.version.to_string());
        }
    }
    for versions in groups.values_mut() {
        versions.sort_by(|a, b| rank(b).cmp(&rank(a)).then_with(|| a.cmp(b)));
    }
    groups
}

/// GA before beta before alpha, then the higher number: upstream's order of versions.
fn rank(version: &str) -> (u8, u32, u32) {
    let rest = version.strip_prefix('v').unwrap_or_default();
    let digits = |text: &str| -> (u32, usize) {
        let length = text.bytes().take_while(u8::is_ascii_digit).count();
        (text[..length].parse().unwrap_or_default(), length)
    };
    let (major, length) = digits(rest);
    match &rest[length..] {
        "" if length > 0 => (3, major, 0),
        beta if beta.starts_with("beta") => (2, major, digits(&beta[4..]).0),
        alpha if alpha.starts_with("alpha") => (1, major, digits(&alpha[5..]).0),
        _ => (0, 0, 0),
    }
}

fn api_versions(base_url: &str) -> Value {
    let address = base_url.strip_prefix("https://").unwrap_or(base_url);
    json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}]})
}

fn group_list(table: &Table) -> Value {
    let all: Vec<Value> = groups(table).iter().map(|(group, versions)| group_document(group, versions, false)).collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": all})
}

fn group_document(group: &str, versions: &[String], alone: bool) -> Value {
    let version = |version: &String| json!({"groupVersion": format!("{group}/{version}"), "version": version});
    let mut document =
        json!({"name": group, "versions": versions.iter().map(version).collect::<Vec<_>>(), "preferredVersion": version(&versions[0])});
    if alone {
        document["kind"] = json!("APIGroup");
        document["apiVersion"] = json!("v1");
    }
    document
}

fn rows<'a>(table: &'a Table, group: &str, version: &str) -> Vec<&'a KindRef> {
    let mut rows: Vec<&KindRef> = table.rows().iter().filter(|row| row.group == group && row.version == version).collect();
    rows.sort_by(|a, b| a.resource.cmp(&b.resource));
    rows
}

fn resource_list(table: &Table, group: &str, version: &str) -> Option<Value> {
    let rows = rows(table, group, version);
    if rows.is_empty() {
        return None;
    }
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

fn aggregate(table: &Table, legacy: bool) -> Value {
    let items: Vec<Value> = match legacy {
        true => vec![json!({"metadata": {"creationTimestamp": null}, "versions": [aggregated_version(table, "", "v1")]})],
        false => {
            let group = |(group, versions): (&String, &Vec<String>)| {
                let versions: Vec<Value> = versions.iter().map(|version| aggregated_version(table, group, version)).collect();
                let built_in = table.rows().iter().any(|row| row.group == *group && row.custom.is_none());
                let metadata = if built_in { json!({"name": group, "creationTimestamp": null}) } else { json!({"name": group}) };
                json!({"metadata": metadata, "versions": versions})
            };
            groups(table).iter().map(group).collect()
        }
    };
    json!({"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items})
}

fn aggregated_version(table: &Table, group: &str, version: &str) -> Value {
    let resources: Vec<Value> = rows(table, group, version).into_iter().map(|row| aggregated_resource(row)).collect();
    json!({"version": version, "resources": resources, "freshness": "Current"})
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_as_upstream_does() {
        let mut versions = vec!["v1beta1", "v2", "v1", "v2beta1", "v10", "v1alpha1", "foo"];
        versions.sort_by(|a, b| rank(b).cmp(&rank(a)).then_with(|| a.cmp(b)));
        assert_eq!(versions, ["v10", "v2", "v1", "v2beta1", "v1beta1", "v1alpha1", "foo"]);
    }
}
