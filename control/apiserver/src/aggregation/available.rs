//! Looks after the servers that answer for groups: one task for each, woken by changes of its APIService, its service and the
//! service's endpoints, and by the clock, since nothing tells of a server that stopped to answer.
//!
//! ```text
//! service? ServiceNotFound ─► port? ServicePortError ─► slices? EndpointsNotFound ─► ready? MissingEndpoints
//!    ─► GET /apis/GROUP/VERSION as system:kube-aggregator? FailedDiscoveryCheck ─► Passed, and its documents are read
//! ```

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use client::{Client, Object, Options, Target};
use schema::{DocExt, Status, Value, json, time};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::documents::Fetch;
use super::routes::{ApiService, Remote};
use super::{API_VERSION, Aggregation, PREFIX, RESOURCE};
use crate::webhook::World;
use crate::{Core, Cursor, Step};

/// A server that is well is asked again after this.
const WELL: Duration = Duration::from_secs(30);
/// One that is not, after this at first, and twice as long each time.
const ILL_MIN: Duration = Duration::from_millis(50);
const ILL_MAX: Duration = Duration::from_secs(30);

pub(super) fn start(aggregation: &Arc<Aggregation>, core: &Arc<Core>, client: Client) {
    let keeper = Keeper { aggregation: Arc::clone(aggregation), core: Arc::clone(core), client };
    let stopped = core.env().shutdown().clone();
    drop(core.env().spawn("aggregation", async move {
        stopped.run_until_cancelled(keeper.run()).await;
    }));
}

/// Sees to it that every remote APIService has a task.
#[derive(Clone)]
struct Keeper {
    aggregation: Arc<Aggregation>,
    core: Arc<Core>,
    client: Client,
}

impl Keeper {
    async fn run(self) {
        let mut looked_after: HashMap<String, DropGuard> = HashMap::new();
        let target = Target::of(API_VERSION, RESOURCE, "");
        // Once the server stops, watches end at once: to begin them again and again would hold the stop up.
        while !self.core.env().shutdown().is_cancelled() {
            let Ok(mut changes) = self.follow(&target, "").await else { return };
            loop {
                self.look_around(&mut looked_after);
                if !matches!(changes.next().await, Ok(Step::Events(_) | Step::Bookmark { .. })) {
                    break; // watches end from time to time
                }
            }
        }
    }

    fn look_around(&self, looked_after: &mut HashMap<String, DropGuard>) {
        let routes = self.aggregation.routes(&self.core);
        looked_after.retain(|name, _| routes.remotes.values().any(|remote| remote.name == *name));
        for remote in routes.remotes.values() {
            if !looked_after.contains_key(&remote.name) {
                let ended = CancellationToken::new();
                looked_after.insert(remote.name.clone(), ended.clone().drop_guard());
                let (keeper, key) = (self.clone(), (remote.group.clone(), remote.version.clone()));
                let stopped = self.core.env().shutdown().clone();
                drop(self.core.env().spawn("aggregated server", async move {
                    let looking = ended.run_until_cancelled(keeper.look_after(&key));
                    stopped.run_until_cancelled(looking).await;
                    keeper.aggregation.documents().forget(&key);
                }));
            }
        }
    }

    async fn follow(&self, target: &Target, label_selector: &str) -> Result<Cursor, Status> {
        let now = Some(self.core.revision().to_string());
        let options = Options { label_selector: label_selector.to_owned(), resource_version: now, ..Options::default() };
        self.core.watch(&auth::loopback_user(), target, &options).await
    }

    async fn look_after(&self, key: &(String, String)) {
        let (mut ill, mut last) = (ILL_MIN, "");
        while !self.core.env().shutdown().is_cancelled() {
            let Some(remote) = self.aggregation.routes(&self.core).remote(&key.0, &key.1) else { return };
            let Ok(mut changes) = self.changes(&remote).await else { return };
            loop {
                let Some(remote) = self.aggregation.routes(&self.core).remote(&key.0, &key.1) else { return };
                let verdict = self.verdict(&remote).await;
                if let Err(error) = self.tell(&remote, &verdict).await {
                    tracing::debug!(name = remote.name, %error, "the condition of an APIService could not be written");
                }
                let is_well = self.read_documents(&remote, &verdict).await;
                // What ails it now is another thing: patience begins anew.
                ill = if is_well || verdict.reason != last { ILL_MIN } else { (ill * 2).min(ILL_MAX) };
                last = verdict.reason;
                if !changes.within(&self.core, if is_well { WELL } else { ill }).await {
                    break;
                }
                let moved = self.aggregation.routes(&self.core).remote(&key.0, &key.1).is_none_or(|now| now.service != remote.service);
                if moved {
                    break;
                }
            }
        }
    }

    async fn changes(&self, remote: &Remote) -> Result<Changes, Status> {
        let service = &remote.service;
        let of_service = Target::of("v1", "services", &service.namespace).named(&service.name);
        let slices = Target::of("discovery.k8s.io/v1", "endpointslices", &service.namespace);
        Ok(Changes {
            own: self.follow(&Target::of(API_VERSION, RESOURCE, "").named(&remote.name), "").await?,
            service: self.follow(&of_service, "").await?,
            slices: self.follow(&slices, &format!("kubernetes.io/service-name={}", service.name)).await?,
        })
    }

    /// What it says of itself, where it answers. Returns whether all is well.
    async fn read_documents(&self, remote: &Remote, verdict: &Verdict) -> bool {
        let documents = self.aggregation.documents();
        if verdict.status != "True" {
            documents.set_stale(remote);
            return false;
        }
        let fetch = Fetch { cache: &self.core.cache, remote };
        documents.renew(&fetch).await
    }

    async fn verdict(&self, remote: &Remote) -> Verdict {
        match self.find(remote) {
            Err(verdict) => verdict,
            Ok(shown) => match self.probe(remote, &shown).await {
                Ok(()) => Verdict { status: "True", reason: "Passed", message: "all checks passed".into() },
                Err(message) => Verdict { status: "False", reason: "FailedDiscoveryCheck", message },
            },
        }
    }

    /// Looks for the service and its endpoints; the address that messages show.
    fn find(&self, remote: &Remote) -> Result<String, Verdict> {
        let (name, namespace, port) = (&remote.service.name, &remote.service.namespace, remote.service.port());
        let missing = |reason, message| Err(Verdict { status: "False", reason, message });
        let services = self.core.cache.kind("/services/");
        let Some(service) = services.and_then(|services| services.get(&format!("/services/{namespace}/{name}"))) else {
            return missing("ServiceNotFound", format!("service/{name} in {namespace:?} is not present"));
        };
        let service = service.object.value();
        let own_ip: Option<IpAddr> = service.str_at("spec.clusterIP").parse().ok();
        if service.str_at("spec.type") != "ClusterIP" {
            return Ok(own_ip.map_or_else(|| service.str_at("spec.externalName").to_owned(), |ip| ip.to_string()));
        }
        let Some(own) = service.items_at("spec.ports").iter().find(|own| own.i64_at("port") == Some(port.into())) else {
            return missing("ServicePortError", format!("service/{name} in {namespace:?} is not listening on port {port}"));
        };
        let slices = self.slices(namespace, name);
        if slices.is_empty() {
            return missing("EndpointsNotFound", format!("cannot find endpointslices for service/{name} in {namespace:?}"));
        }
        let port_name = own.str_at("name");
        if !slices.iter().any(|slice| has_endpoint(&slice.value(), port_name)) {
            let message = format!("endpointslices for service/{name} in {namespace:?} have no addresses with port name {port_name:?}");
            return missing("MissingEndpoints", message);
        }
        Ok(own_ip.map_or_else(|| remote.service.server_name(), |ip| ip.to_string()))
    }

    fn slices(&self, namespace: &str, service: &str) -> Vec<Arc<Object>> {
        const SLICES: &str = "/discovery.k8s.io/endpointslices/";
        let Some(slices) = self.core.cache.kind(SLICES) else { return Vec::new() };
        let (start, end) = crate::list::bounds(SLICES, namespace);
        let ring = slices.read();
        let objects = ring.range(&start, &end).map(|(_, item)| &item.object);
        objects.filter(|object| object.meta.labels.get("kubernetes.io/service-name").is_some_and(|name| name == service)).cloned().collect()
    }

    /// Whether it answers for its group and version.
    async fn probe(&self, remote: &Remote, shown: &str) -> Result<(), String> {
        let path = remote.path();
        let url = format!("https://{}:{}{path}", bracketed(shown), remote.service.port());
        let fetch = Fetch { cache: &self.core.cache, remote };
        let failed = |why: String| format!("failing or missing response from {url}: {why}");
        match fetch.get(&path, "application/json", &["system:masters"]).await {
            Ok(answer) if (200..300).contains(&answer.code) => Ok(()),
            Ok(answer) => Err(failed(format!("bad status from {url}: {}", answer.code))),
            Err(why) => Err(failed(format!("Get {url:?}: {why}"))),
        }
    }

    /// Writes the condition where it is another one.
    async fn tell(&self, remote: &Remote, verdict: &Verdict) -> Result<(), Status> {
        let services = self.core.cache.kind(PREFIX);
        let Some(held) = services.and_then(|services| services.get(&format!("{PREFIX}{}", remote.name))) else { return Ok(()) };
        if held.object.lens::<ApiService>().is_ok_and(|own| own.spec.service.as_ref() != Some(&remote.service)) {
            return Ok(()); // it was about another one
        }
        let mut doc = held.object.value();
        if !verdict.put_into(&mut doc, self.core.env().now()) {
            return Ok(());
        }
        let target = Target::of(API_VERSION, RESOURCE, "").named(&remote.name).sub("status");
        self.client.update(target, doc).await.map(|_| ())
    }
}

/// An IPv6 address as URLs have it.
fn bracketed(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
}

fn has_endpoint(slice: &Value, port: &str) -> bool {
    let is_ready = |endpoint: &Value| endpoint.at("conditions.ready") != Some(&Value::Bool(false));
    let is_it = |own: &Value| own.str_at("name") == port && own.i64_at("port").is_some();
    slice.items_at("endpoints").iter().any(is_ready) && slice.items_at("ports").iter().any(is_it)
}

/// What is known of a server: its condition `Available`.
#[derive(Debug)]
struct Verdict {
    status: &'static str,
    reason: &'static str,
    message: String,
}

impl Verdict {
    /// Returns whether that changed anything. The time moves with the status alone.
    fn put_into(&self, doc: &mut Value, now: jiff::Timestamp) -> bool {
        let mut conditions = doc.items_at("status.conditions").to_vec();
        let held = conditions.iter().position(|one| one.str_at("type") == "Available");
        let since =
            held.filter(|&at| conditions[at].str_at("status") == self.status).map(|at| conditions[at]["lastTransitionTime"].clone());
        let since = since.unwrap_or_else(|| json!(time::format(now)));
        let made = json!({"type": "Available", "status": self.status, "reason": self.reason, "message": self.message, "lastTransitionTime": since});
        match held {
            Some(at) if conditions[at] == made => return false,
            Some(at) => conditions[at] = made,
            None => conditions.push(made),
        }
        doc.set_at("status.conditions", conditions);
        true
    }
}

/// What a verdict depends on.
struct Changes {
    own: Cursor,
    service: Cursor,
    slices: Cursor,
}

impl Changes {
    /// Resolves at a change, or when the time is up; false where a watch has ended.
    async fn within(&mut self, core: &Core, time: Duration) -> bool {
        let changed = tokio::select! {
            step = self.own.next() => step,
            step = self.service.next() => step,
            step = self.slices.next() => step,
            () = core.env().sleep(time) => return true,
        };
        matches!(changed, Ok(Step::Events(_) | Step::Bookmark { .. }))
    }
}

/// For its servers, what a world is.
impl<'a> Fetch<'a> {
    pub(super) fn world(&self) -> World<'a> {
        World { env: self.cache.env(), cache: self.cache }
    }
}
