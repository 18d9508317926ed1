//! The node's own object: registered at start, its status written when it changes and every five minutes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use client::events::{Recorder, Reference};
use client::{Client, Object, Patch, Target};
use contract::Image;
use env::Env;
use schema::{DocExt, Map, Status, Value, json};

use crate::config::{AgentConfig, Drivers};
use crate::machine::{self, Capacity, Identity};

const CHECK_EVERY: Duration = Duration::from_secs(10);
const REPORT_EVERY: Duration = Duration::from_secs(300);
const RETRY_FIRST: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(7);
const IMAGES_MAX: usize = 50;
/// Upstream's hard eviction thresholds.
const MEMORY_AVAILABLE_MIN: u64 = 100 << 20;
const DISK_FREE_MIN_PERCENT: u64 = 10;

pub(crate) struct NodeReporter {
    pub env: Env,
    pub client: Client,
    pub config: AgentConfig,
    pub drivers: Drivers,
    pub capacity: Capacity,
    pub identity: Identity,
    pub recorder: Recorder,
}

/// One of the conditions that we own.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Condition {
    name: &'static str,
    holds: bool,
    reason: &'static str,
    message: String,
}

impl NodeReporter {
    /// Creates or takes over the Node; tries until it is done.
    pub(crate) async fn register(&self) {
        let mut delay = RETRY_FIRST;
        loop {
            match self.try_register().await {
                Ok(()) => return,
                Err(error) => tracing::warn!(node = self.config.node_name, %error, "node not registered, trying again"),
            }
            self.env.sleep(delay).await;
            delay = (delay * 2).min(RETRY_MAX);
        }
    }

    /// Keeps the status current until shutdown.
    pub(crate) async fn run(self) {
        let shutdown = self.env.shutdown().clone();
        shutdown.run_until_cancelled(self.watch_over()).await;
    }

    async fn watch_over(&self) {
        let mut last = self.conditions().await;
        let mut images = self.images().await;
        let mut reported = self.env.instant();
        loop {
            self.env.sleep(CHECK_EVERY).await;
            let (now, held) = (self.conditions().await, self.images().await);
            let is_due = reported.elapsed() >= REPORT_EVERY;
            if !is_due && same(&now, &last) && held == images {
                continue;
            }
            self.tell(&last, &now);
            match self.report(&now, &held).await {
                Ok(()) => (last, images, reported) = (now, held, self.env.instant()),
                Err(error) => tracing::warn!(node = self.config.node_name, %error, "node status not written, trying again"),
            }
        }
    }

    async fn try_register(&self) -> Result<(), Status> {
        let (conditions, images) = (self.conditions().await, self.images().await);
        let target = self.target();
        let doc = json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": {"name": self.config.node_name, "labels": self.labels()},
            "spec": {"taints": self.config.taints},
            "status": self.status(&json!({}), &conditions, &images),
        });
        match self.client.create(Target::of("v1", "nodes", ""), doc).await {
            Ok(object) => self.recorder.normal(Reference::to("v1", "Node", &object.meta), "Starting", "Starting kubelet."),
            Err(status) if status.is_already_exists() => {
                self.client.patch(target, Patch::Merge, &json!({"metadata": {"labels": self.labels()}})).await?;
            }
            Err(status) => return Err(status),
        }
        self.report(&conditions, &images).await
    }

    /// Writes what differs from what the API has; again where somebody else wrote meanwhile.
    async fn report(&self, conditions: &[Condition], images: &[Value]) -> Result<(), Status> {
        loop {
            let held = self.client.get(self.target()).await?;
            let patch = self.patch(&held, conditions, images);
            match self.client.patch(self.target().sub("status"), Patch::Merge, &patch).await {
                Err(status) if status.is_conflict() => {}
                other => return other.map(|_| ()),
            }
        }
    }

    fn patch(&self, held: &Arc<Object>, conditions: &[Condition], images: &[Value]) -> Value {
        let doc = held.value();
        json!({"metadata": {"resourceVersion": held.meta.resource_version}, "status": self.status(&doc, conditions, images)})
    }

    fn target(&self) -> Target {
        Target::of("v1", "nodes", "").named(&self.config.node_name)
    }

    fn labels(&self) -> BTreeMap<String, String> {
        node_labels(&self.config, self.identity.architecture)
    }

    /// The status that we own; `held` is the Node as the API has it.
    fn status(&self, held: &Value, conditions: &[Condition], images: &[Value]) -> Value {
        let ip = self.config.node_ip.to_string();
        let name = &self.config.node_name;
        let (capacity, allocatable) = self.resources(held);
        let identity = &self.identity;
        json!({
            "capacity": capacity, "allocatable": allocatable,
            "conditions": self.condition_list(held, conditions),
            "addresses": [{"type": "InternalIP", "address": ip}, {"type": "Hostname", "address": name}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": self.config.port}},
            "nodeInfo": {
                "machineID": identity.machine_id, "systemUUID": identity.system_uuid, "bootID": identity.boot_id,
                "kernelVersion": identity.kernel, "osImage": identity.os_image, "containerRuntimeVersion": self.config.runtime_version,
                "kubeletVersion": self.config.kubelet_version, "kubeProxyVersion": "", "operatingSystem": "linux",
                "architecture": identity.architecture,
            },
            "images": images,
        })
    }

    /// Ours, and what somebody else added to the capacity (extended resources), which is allocatable as it stands.
    fn resources(&self, held: &Value) -> (Map<String, Value>, Map<String, Value>) {
        let disk = machine::disk(&self.config.instance.node_dir()).map_or(0, |(_, total)| total);
        let own = [
            ("cpu", cpu(self.capacity.cpu_millis)),
            ("memory", format!("{}Ki", self.capacity.memory_bytes / 1024)),
            ("pods", self.config.max_pods.to_string()),
            ("ephemeral-storage", format!("{}Ki", disk / 1024)),
        ];
        let capacity: Map<String, Value> = own.into_iter().map(|(name, amount)| (name.to_owned(), json!(amount))).collect();
        let mut allocatable = capacity.clone();
        for (name, amount) in held.map_at("status.capacity").into_iter().flatten().filter(|(name, _)| !capacity.contains_key(*name)) {
            allocatable.insert(name.clone(), amount.clone());
        }
        (capacity, allocatable)
    }

    fn condition_list(&self, held: &Value, conditions: &[Condition]) -> Vec<Value> {
        let now = schema::time::format(self.env.now());
        let old = held.items_at("status.conditions");
        let of = |name: &str| old.iter().find(|condition| condition.str_at("type") == name);
        let own = conditions.iter().map(|condition| {
            let status = if condition.holds { "True" } else { "False" };
            let since =
                of(condition.name).filter(|old| old.str_at("status") == status).map(|old| old.str_at("lastTransitionTime").to_owned());
            json!({"type": condition.name, "status": status, "reason": condition.reason, "message": condition.message,
                "lastHeartbeatTime": now, "lastTransitionTime": since.unwrap_or_else(|| now.clone())})
        });
        let others = old.iter().filter(|old| !conditions.iter().any(|own| own.name == old.str_at("type"))).cloned();
        own.chain(others).collect()
    }

    async fn conditions(&self) -> Vec<Condition> {
        let memory = machine::memory_available().is_some_and(|free| free < MEMORY_AVAILABLE_MIN);
        let disk = machine::disk(&self.config.instance.node_dir()).is_some_and(|(free, total)| free * 100 < total * DISK_FREE_MIN_PERCENT);
        let pids = machine::processes().is_some_and(|(now, most)| now * 100 > most * 90);
        let pressure = |name, holds, yes: (&'static str, &str), no: (&'static str, &str)| {
            let (reason, message) = if holds { yes } else { no };
            Condition { name, holds, reason, message: message.to_owned() }
        };
        let ready = match self.drivers.runtime.sandboxes().await {
            Ok(_) => Condition { name: "Ready", holds: true, reason: "KubeletReady", message: "kubelet is posting ready status".into() },
            Err(error) => {
                Condition { name: "Ready", holds: false, reason: "KubeletNotReady", message: format!("container runtime is down: {error}") }
            }
        };
        vec![
            pressure(
                "MemoryPressure",
                memory,
                ("KubeletHasInsufficientMemory", "kubelet has insufficient memory available"),
                ("KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
            ),
            pressure(
                "DiskPressure",
                disk,
                ("KubeletHasDiskPressure", "kubelet has disk pressure"),
                ("KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
            ),
            pressure(
                "PIDPressure",
                pids,
                ("KubeletHasInsufficientPID", "kubelet has insufficient PID available"),
                ("KubeletHasSufficientPID", "kubelet has sufficient PID available"),
            ),
            ready,
        ]
    }

    async fn images(&self) -> Vec<Value> {
        let mut images = self.drivers.images.list().await.unwrap_or_default();
        images.sort_by(|a, b| b.size.cmp(&a.size).then_with(|| a.id.cmp(&b.id)));
        images.truncate(IMAGES_MAX);
        images.iter().map(|image: &Image| json!({"names": image.names, "sizeBytes": image.size})).collect()
    }

    /// Events about conditions that changed.
    fn tell(&self, before: &[Condition], now: &[Condition]) {
        let about = Reference {
            api_version: "v1".into(),
            kind: "Node".into(),
            name: self.config.node_name.clone(),
            uid: self.config.node_name.clone(),
            ..Reference::default()
        };
        for (new, _) in now.iter().zip(before).filter(|(new, old)| new.holds != old.holds) {
            let reason = match (new.name, new.holds) {
                ("Ready", true) => "NodeReady",
                ("Ready", false) => "NodeNotReady",
                _ => new.reason,
            };
            self.recorder.normal(about.clone(), reason, format!("Node {} status is now: {reason}", self.config.node_name));
        }
    }
}

/// Messages of errors may change; what counts is what holds.
fn same(a: &[Condition], b: &[Condition]) -> bool {
    a.iter().map(|one| (one.name, one.holds)).eq(b.iter().map(|one| (one.name, one.holds)))
}

fn cpu(millis: u64) -> String {
    if millis.is_multiple_of(1000) { (millis / 1000).to_string() } else { format!("{millis}m") }
}

/// The labels that every node has, and its own.
pub(crate) fn node_labels(config: &AgentConfig, architecture: &str) -> BTreeMap<String, String> {
    let mut labels = config.labels.clone();
    for prefix in ["kubernetes.io", "beta.kubernetes.io"] {
        labels.insert(format!("{prefix}/os"), "linux".into());
        labels.insert(format!("{prefix}/arch"), architecture.into());
    }
    labels.insert("kubernetes.io/hostname".into(), config.node_name.clone());
    labels
}
