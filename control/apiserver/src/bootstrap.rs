//! What every cluster has from its first second, made or mended at each start through the API itself.

use std::sync::Arc;

use client::{Client, Target};
use futures::future::try_join_all;
use schema::{DocExt, Status, Value, json};
use store::{Guard, Txn};

use crate::write::transact;
use crate::{Core, allocate, failure, flow, list};

const NAMESPACES: &[&str] = &["default", "kube-system", "kube-public", "kube-node-lease"];
const ENDPOINTS_PORT: &str = "https";

/// Mends the allocations, then makes what is missing: namespaces, priority classes, the default roles and bindings, and the
/// `kubernetes` service with its endpoints.
pub(crate) async fn run(core: &Arc<Core>) -> Result<(), Status> {
    repair_allocations(core).await?;
    let client = Client::new(core.transport(auth::loopback_user()));
    try_join_all(NAMESPACES.iter().map(|name| namespace(core, &client, name))).await?;
    let policy = auth::bootstrap_policy();
    let classes = priority_classes();
    let flow = flow::bootstrap::objects();
    let absent = policy.iter().chain(&classes).chain(&flow).filter(|doc| is_absent(core, doc));
    // Together, so that they share the store's commits: there are more than a hundred.
    try_join_all(absent.map(|doc| create(core, &client, doc))).await?;
    auth::policy::reconcile(&client).await?;
    try_join_all(flow.iter().map(|doc| flow_object(core, &client, doc))).await?;
    kubernetes_service(core, &client).await
}

async fn repair_allocations(core: &Core) -> Result<(), Status> {
    let Some(services) = core.cache.kind("/services/") else { return Ok(()) };
    let (start, end) = list::bounds("/services/", "");
    let (docs, guards) = {
        let ring = services.read();
        let items = || ring.range(&start, &end);
        let docs: Vec<Value> = items().map(|(_, item)| item.object.value()).collect();
        let guards: Vec<Guard> = items().map(|(key, item)| Guard::At(Arc::clone(key), store::Revision(item.object.revision()))).collect();
        (docs, guards)
    };
    let repair = allocate::repair(&core.cache.allocations, &docs);
    if repair.ops.is_empty() {
        return Ok(());
    }
    tracing::warn!(keys = repair.ops.len(), "allocations of service addresses and ports did not fit the services; mending them");
    match transact(core, Txn { guards, ops: repair.ops }).await? {
        Ok(_) => Ok(()),
        Err(key) => Err(Status::internal(format!("{key} changed while the allocations were mended"))),
    }
}

async fn namespace(core: &Core, client: &Client, name: &str) -> Result<(), Status> {
    let doc = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
    if is_absent(core, &doc) { create(core, client, &doc).await } else { Ok(()) }
}

fn is_absent(core: &Core, doc: &Value) -> bool {
    let Some(kind) = core.registry.kind(doc.str_at("apiVersion"), doc.str_at("kind")) else { return false };
    let key = crate::core::key(&kind, doc.str_at("metadata.namespace"), doc.str_at("metadata.name"));
    core.cache.of(&kind).is_some_and(|cache| cache.get(&key).is_none())
}

/// Creates `doc`; somebody else's is as good.
async fn create(core: &Core, client: &Client, doc: &Value) -> Result<(), Status> {
    let unknown = || Status::internal(format!("{} {} is not served", doc.str_at("apiVersion"), doc.str_at("kind")));
    let kind = core.registry.kind(doc.str_at("apiVersion"), doc.str_at("kind")).ok_or_else(unknown)?;
    let target = Target::of(&kind.api_version(), &kind.resource, doc.str_at("metadata.namespace"));
    match client.create(target, doc.clone()).await {
        Err(status) if !status.is_already_exists() => Err(status),
        _ => Ok(()),
    }
}

fn priority_classes() -> Vec<Value> {
    let class = |name: &str, value: i64, what: &str| {
        json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name}, "value": value, "preemptionPolicy": "PreemptLowerPriority",
               "description": format!("Used for system critical pods that {what}.")})
    };
    vec![
        class("system-cluster-critical", 2_000_000_000, "must run in the cluster, but can be moved to another node if necessary"),
        class("system-node-critical", 2_000_001_000, "must not be moved from their current node"),
    ]
}

/// `default/kubernetes`: the API server as a Service, with the endpoints that lead to it.
async fn kubernetes_service(core: &Core, client: &Client) -> Result<(), Status> {
    let labels = json!({"component": "apiserver", "provider": "kubernetes"});
    let (address, port) = core.config.api_address;
    let service = json!({"apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "kubernetes", "namespace": "default", "labels": labels},
        "spec": {"clusterIP": core.config.kubernetes_ip().to_string(), "type": "ClusterIP", "sessionAffinity": "None",
                 "ports": [{"name": ENDPOINTS_PORT, "port": 443, "protocol": "TCP", "targetPort": port}]}});
    let endpoints = json!({"apiVersion": "v1", "kind": "Endpoints",
        "metadata": {"name": "kubernetes", "namespace": "default", "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"}},
        "subsets": [{"addresses": [{"ip": address.to_string()}],
                     "ports": [{"name": ENDPOINTS_PORT, "port": port, "protocol": "TCP"}]}]});
    let slice = json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": "kubernetes", "namespace": "default", "labels": {"kubernetes.io/service-name": "kubernetes"}},
        "addressType": if address.is_ipv4() { "IPv4" } else { "IPv6" },
        "endpoints": [{"addresses": [address.to_string()], "conditions": {"ready": true}}],
        "ports": [{"name": ENDPOINTS_PORT, "port": port, "protocol": "TCP"}]});
    ensure(core, client, &service, "spec.ports").await?;
    ensure(core, client, &endpoints, "subsets").await?;
    ensure(core, client, &slice, "endpoints").await?;
    ensure(core, client, &slice, "ports").await
}

/// Mends a flow schema or priority level that follows our list: mandatory ones, and others while their annotation says so.
async fn flow_object(core: &Core, client: &Client, doc: &Value) -> Result<(), Status> {
    let (Some(kind), name) = (core.registry.kind(doc.str_at("apiVersion"), doc.str_at("kind")), doc.str_at("metadata.name")) else {
        return Ok(());
    };
    let cache = core.cache.kind(&kind.storage_prefix).ok_or_else(|| failure::plain("no cache for a served kind"))?;
    let Some(item) = cache.get(&crate::core::key(&kind, "", name)) else { return Ok(()) };
    let mut held = item.object.value();
    let follows = match item.object.meta.annotations.get(flow::bootstrap::AUTO_UPDATE) {
        Some(word) => word == "true",
        // Nobody has changed it since it was made.
        None => held.i64_at("metadata.generation") == Some(1),
    };
    if held.at("spec") == doc.at("spec") || !(follows || flow::bootstrap::is_mandatory(name)) {
        return Ok(());
    }
    held["spec"] = doc["spec"].clone();
    held["metadata"]["annotations"][flow::bootstrap::AUTO_UPDATE] = json!("true");
    client.update(Target::of(&kind.api_version(), &kind.resource, "").named(name), held).await.map(|_| ())
}

/// Creates `doc`, or makes what stands at `path` in the existing one what it is in `doc`.
async fn ensure(core: &Core, client: &Client, doc: &Value, path: &str) -> Result<(), Status> {
    let Some(kind) = core.registry.kind(doc.str_at("apiVersion"), doc.str_at("kind")) else { return Ok(()) };
    let (namespace, name) = (doc.str_at("metadata.namespace"), doc.str_at("metadata.name"));
    let key = crate::core::key(&kind, namespace, name);
    let cache = core.cache.of(&kind).ok_or_else(|| failure::plain("no cache for a served kind"))?;
    let Some(item) = cache.get(&key) else { return create(core, client, doc).await };
    let mut held = item.object.value();
    if held.at(path) == doc.at(path) {
        return Ok(());
    }
    held.set_at(path, doc.at(path).cloned().unwrap_or_default());
    let target = Target::of(&kind.api_version(), &kind.resource, namespace).named(name);
    client.update(target, held).await.map(|_| ())
}
