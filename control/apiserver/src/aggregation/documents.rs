//! What other API servers say of themselves: their discovery and their OpenAPI. Read when a server is found to be well and
//! again as long as it is; kept as last heard while it is not.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, RwLock};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http::header::{ACCEPT, HOST, HeaderMap, HeaderName, HeaderValue};
use http_body_util::{BodyExt, Empty, Limited};
use schema::{DocExt, Map, Value, json};

use super::remote::Sent;
use super::routes::Remote;
use crate::cache::Cache;

/// As upstream waits.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Of one document; the largest servers have some megabytes of OpenAPI.
const DOCUMENT_BYTES_MAX: usize = 16 << 20;
/// Aggregated discovery as servers of the last years make it, then the plain one.
const DISCOVERY: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,\
                         application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json";

type Key = (String, String);

/// By group and version.
#[derive(Default)]
pub(crate) struct Documents {
    told: RwLock<HashMap<Key, Arc<Told>>>,
    /// Counts changes.
    generation: AtomicU64,
}

/// Of one group and version, as last heard.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Told {
    pub is_stale: bool,
    /// As aggregated discovery lists resources.
    pub resources: Vec<Value>,
    /// Where its OpenAPI v3 document is.
    pub openapi_v3: Option<String>,
    /// Its part of OpenAPI v2: `paths` and `definitions`.
    pub openapi_v2: Option<Arc<Value>>,
}

impl Documents {
    /// Changes whenever anything does.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    pub(crate) fn of(&self, group: &str, version: &str) -> Option<Arc<Told>> {
        self.told.read().expect("no holder of documents panics").get(&(group.to_owned(), version.to_owned())).cloned()
    }

    pub(super) fn forget(&self, key: &Key) {
        self.write(|told| told.remove(key).is_some());
    }

    pub(super) fn set_stale(&self, remote: &Remote) {
        let key = (remote.group.clone(), remote.version.clone());
        let held = self.of(&key.0, &key.1).unwrap_or_default();
        self.set(key, Told { is_stale: true, ..Told::clone(&held) });
    }

    /// Reads everything anew; false where discovery could not be read.
    pub(super) async fn renew(&self, fetch: &Fetch<'_>) -> bool {
        let key = (fetch.remote.group.clone(), fetch.remote.version.clone());
        let held = self.of(&key.0, &key.1).unwrap_or_default();
        let Some(resources) = fetch.resources().await else {
            self.set(key, Told { is_stale: true, ..Told::clone(&held) });
            return false;
        };
        let openapi_v3 = fetch.openapi_v3().await.or_else(|| held.openapi_v3.clone());
        let openapi_v2 = fetch.openapi_v2().await.map(Arc::new).or_else(|| held.openapi_v2.clone());
        self.set(key, Told { is_stale: false, resources, openapi_v3, openapi_v2 });
        true
    }

    fn set(&self, key: Key, now: Told) {
        self.write(|told| match told.get(&key) {
            Some(held) if **held == now => false,
            _ => {
                told.insert(key, Arc::new(now));
                true
            }
        });
    }

    fn write(&self, change: impl FnOnce(&mut HashMap<Key, Arc<Told>>) -> bool) {
        let mut told = self.told.write().expect("no holder of documents panics");
        if change(&mut told) {
            self.generation.fetch_add(1, Ordering::Release);
        }
    }
}

/// Reads documents of one server as ourselves.
pub(super) struct Fetch<'a> {
    pub cache: &'a Cache,
    pub remote: &'a Remote,
}

pub(super) struct Answer {
    pub code: u16,
    bytes: Bytes,
}

impl Remote {
    /// `/apis/GROUP/VERSION`
    pub(crate) fn path(&self) -> String {
        if self.group.is_empty() { format!("/api/{}", self.version) } else { format!("/apis/{}/{}", self.group, self.version) }
    }
}

impl Fetch<'_> {
    /// A document, asked for as `system:kube-aggregator` in `groups`.
    pub(super) async fn get(&self, path: &str, accept: &'static str, groups: &[&'static str]) -> Result<Answer, String> {
        let answered = tokio::time::timeout(TIMEOUT, self.get_patiently(path, accept, groups)).await;
        answered.unwrap_or_else(|_| Err("context deadline exceeded (Client.Timeout exceeded while awaiting headers)".into()))
    }

    async fn get_patiently(&self, path: &str, accept: &'static str, groups: &[&'static str]) -> Result<Answer, String> {
        let link = self.remote.link.as_ref().map_err(Clone::clone)?;
        let addresses = self.remote.addresses(self.world()).await.map_err(super::Unreached::why)?;
        let request = self.request(path, accept, groups)?;
        let (response, lease) = link.send(self.cache, &addresses, request).await.map_err(super::Unreached::why)?;
        let code = response.status().as_u16();
        let body = Limited::new(response.into_body(), DOCUMENT_BYTES_MAX).collect().await.map_err(|error| error.to_string())?;
        lease.give_back(self.cache.env());
        Ok(Answer { code, bytes: body.to_bytes() })
    }

    fn request(&self, path: &str, accept: &'static str, groups: &[&'static str]) -> Result<Request<Sent>, String> {
        let url = self.remote.url(path);
        let mut request = Request::get(&url).body(empty()).map_err(|error| format!("the address {url:?} is none: {error}"))?;
        let headers: &mut HeaderMap = request.headers_mut();
        let host = HeaderValue::from_str(&format!("{}:{}", self.remote.service.server_name(), self.remote.service.port()));
        headers.insert(HOST, host.map_err(|error| error.to_string())?);
        headers.insert(ACCEPT, HeaderValue::from_static(accept));
        headers.insert(HeaderName::from_static("x-remote-user"), HeaderValue::from_static("system:kube-aggregator"));
        for group in groups {
            headers.append(HeaderName::from_static("x-remote-group"), HeaderValue::from_static(group));
        }
        Ok(request)
    }

    async fn json(&self, path: &str, accept: &'static str) -> Option<Value> {
        let answer = self.get(path, accept, &["system:masters"]).await.ok().filter(|answer| answer.code == 200)?;
        serde_json::from_slice(&answer.bytes).ok()
    }

    /// Its resources, as aggregated discovery lists them; None where it does not say.
    async fn resources(&self) -> Option<Vec<Value>> {
        let (group, version) = (&self.remote.group, &self.remote.version);
        let whole = self.json("/apis", DISCOVERY).await.filter(|list| list.str_at("kind") == "APIGroupDiscoveryList");
        let own = whole.as_ref().and_then(|list| list.items_at("items").iter().find(|one| one.str_at("metadata.name") == group));
        let own = own.and_then(|own| own.items_at("versions").iter().find(|one| one.str_at("version") == version));
        match own {
            Some(own) => Some(own.items_at("resources").to_vec()),
            None => self.json(&self.remote.path(), "application/json").await.map(|list| aggregated(&list, group, version)),
        }
    }

    async fn openapi_v3(&self) -> Option<String> {
        let index = self.json("/openapi/v3", "application/json").await?;
        let name = self.remote.path();
        let entry = index.map_at("paths")?.get(name.trim_start_matches('/'))?;
        Some(entry.str_at("serverRelativeURL").to_owned()).filter(|url| !url.is_empty())
    }

    async fn openapi_v2(&self) -> Option<Value> {
        let whole = self.json("/openapi/v2", "application/json").await?;
        let path = self.remote.path();
        let is_own = |name: &str| name == path || name == format!("{path}/") || name.starts_with(&format!("{path}/"));
        let paths: Map<String, Value> =
            whole.map_at("paths")?.iter().filter(|(name, _)| is_own(name)).map(|(n, v)| (n.clone(), v.clone())).collect();
        let definitions = whole.map_at("definitions").cloned().unwrap_or_default();
        Some(json!({"definitions": reached(&paths, definitions), "paths": paths}))
    }
}

fn empty() -> Sent {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// An APIResourceList as aggregated discovery has it.
fn aggregated(list: &Value, group: &str, version: &str) -> Vec<Value> {
    let mut resources: Vec<Value> = Vec::new();
    let kind = |one: &Value| {
        let text =
            |name: &str, other: &str| one.get(name).and_then(Value::as_str).filter(|text| !text.is_empty()).unwrap_or(other).to_owned();
        json!({"group": text("group", group), "version": text("version", version), "kind": one.str_at("kind")})
    };
    for one in list.items_at("resources") {
        let name = one.str_at("name");
        if let Some((parent, sub)) = name.split_once('/') {
            let sub = json!({"subresource": sub, "responseKind": kind(one), "verbs": one["verbs"]});
            if let Some(parent) = resources.iter_mut().find(|held| held.str_at("resource") == parent) {
                let mut subs = parent.items_at("subresources").to_vec();
                subs.push(sub);
                parent["subresources"] = json!(subs);
            }
            continue;
        }
        let scope = if one.bool_at("namespaced") { "Namespaced" } else { "Cluster" };
        let mut made = json!({"resource": name, "responseKind": kind(one), "scope": scope, "singularResource": one.str_at("singularName"), "verbs": one["verbs"]});
        for list in ["shortNames", "categories"] {
            if !one.items_at(list).is_empty() {
                made[list] = one[list].clone();
            }
        }
        resources.push(made);
    }
    resources
}

/// The definitions that `paths` lead to, and those that these lead to.
fn reached(paths: &Map<String, Value>, mut all: Map<String, Value>) -> Map<String, Value> {
    let (mut found, mut todo) = (Map::new(), Vec::new());
    paths.values().for_each(|path| references(path, &mut todo));
    while let Some(name) = todo.pop() {
        if let Some(definition) = all.remove(&name) {
            references(&definition, &mut todo);
            found.insert(name, definition);
        }
    }
    found
}

fn references(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            let own = members.get("$ref").and_then(Value::as_str).and_then(|text| text.strip_prefix("#/definitions/"));
            found.extend(own.map(str::to_owned));
            members.values().for_each(|member| references(member, found));
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_list_of_resources_becomes_an_aggregated_one() {
        let list = json!({"resources": [
            {"name": "gadgets", "singularName": "gadget", "namespaced": true, "kind": "Gadget", "verbs": ["get"], "shortNames": ["gd"]},
            {"name": "gadgets/scale", "namespaced": true, "group": "autoscaling", "version": "v1", "kind": "Scale", "verbs": ["get"]}]});
        let want = json!([{"resource": "gadgets", "responseKind": {"group": "g", "version": "v1", "kind": "Gadget"}, "scope": "Namespaced",
            "singularResource": "gadget", "verbs": ["get"], "shortNames": ["gd"],
            "subresources": [{"subresource": "scale", "responseKind": {"group": "autoscaling", "version": "v1", "kind": "Scale"}, "verbs": ["get"]}]}]);
        assert_eq!(json!(aggregated(&list, "g", "v1")), want);
    }

    #[test]
    fn only_definitions_that_are_reached_are_kept() {
        let reference = |name: &str| json!({"$ref": format!("#/definitions/{name}")});
        let paths = json!({"/apis/g/v1/x": {"get": {"schema": reference("X")}}});
        let all = json!({"X": {"properties": {"y": reference("Y"), "x": reference("X")}}, "Y": {}, "Z": {}});
        let found = reached(paths.as_object().unwrap(), all.as_object().unwrap().clone());
        assert_eq!(found.keys().collect::<Vec<_>>(), ["X", "Y"]);
    }
}
