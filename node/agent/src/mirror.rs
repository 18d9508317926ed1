//! The system's own parts as pods of kube-system, so that policies, Services and tools that select them keep working.
//!
//! They run whether or not the API knows; a mirror pod only shows it. One that somebody deletes is made again.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use client::{Client, Delete, Informer, Object, Options, Target};
use jiff::Timestamp;
use kinds::core::{Pod, PodStatus};
use schema::{Status, json};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::watch;

use crate::context::Context;
use crate::registry::{ContainerEntry, PodEntry};
use crate::slot::{self, Run, State};
use crate::status::{self, Facts};

const NAMESPACE: &str = "kube-system";
/// What marks a pod as a mirror.
pub(crate) const ANNOTATION: &str = "kubernetes.io/config.mirror";
const RETRY_FIRST: Duration = Duration::from_millis(200);
const RETRY_MAX: Duration = Duration::from_secs(30);

/// A part of the system that runs on this node.
#[derive(Clone)]
pub struct SystemPart {
    /// The pod is `<name>-<node>`.
    pub name: String,
    /// As upstream's: `k8s-app: kube-dns` …
    pub labels: BTreeMap<String, String>,
    /// Plain text, not CRI.
    pub log: PathBuf,
    pub ready: watch::Receiver<bool>,
}

/// The node starts nothing for such a pod.
pub(crate) fn is_mirror(object: &Object) -> bool {
    object.meta.annotations.contains_key(ANNOTATION)
}

/// Keeps the mirror of `part` until shutdown.
pub(crate) fn spawn(cx: &Arc<Context>, pods: &Arc<Informer>, node: &Arc<Informer>, part: SystemPart) {
    let (pods, node) = (Arc::clone(pods), Arc::clone(node));
    let mirror = Mirror { started_at: cx.env.now(), cx: Arc::clone(cx), pods, node, part, status: PodStatus::default() };
    let shutdown = cx.env.shutdown().clone();
    cx.env.spawn("mirror pod", async move {
        shutdown.run_until_cancelled(mirror.run()).await;
    });
}

struct Mirror {
    cx: Arc<Context>,
    pods: Arc<Informer>,
    node: Arc<Informer>,
    part: SystemPart,
    started_at: Timestamp,
    /// Written last.
    status: PodStatus,
}

impl Mirror {
    async fn run(mut self) {
        let mut changes = self.pods.changes();
        self.pods.synced().await;
        self.registered().await;
        let mut delay = RETRY_FIRST;
        loop {
            if let Err(error) = self.ensure().await {
                tracing::warn!(pod = self.name(), %error, "mirror pod not made, trying again");
                self.cx.env.sleep(delay).await;
                delay = (delay * 2).min(RETRY_MAX);
                continue;
            }
            delay = RETRY_FIRST;
            loop {
                tokio::select! {
                    change = changes.recv() => match change {
                        Ok(change) if change.object().meta.key() != self.key() => continue,
                        Err(RecvError::Closed) => return,
                        _ => {}
                    },
                    Ok(()) = self.part.ready.changed() => {}
                }
                break;
            }
        }
    }

    /// Waits for the Node, which owns the pod.
    async fn registered(&self) {
        let mut changes = self.node.changes();
        self.node.synced().await;
        while self.node.store.get(&self.cx.config.node_name).is_none() {
            if matches!(changes.recv().await, Err(RecvError::Closed)) {
                return;
            }
        }
    }

    fn name(&self) -> String {
        format!("{}-{}", self.part.name, self.cx.config.node_name)
    }

    fn key(&self) -> String {
        format!("{NAMESPACE}/{}", self.name())
    }

    /// Makes the pod where there is none, ends one that is being deleted, and shows the current state.
    async fn ensure(&mut self) -> Result<(), Status> {
        let client = self.cx.client.clone();
        match self.pods.store.get(&self.key()) {
            None => self.create(&client).await,
            Some(object) if object.meta.is_deleting() => self.remove(&client, &object).await,
            Some(object) => {
                self.show(&object);
                Ok(())
            }
        }
    }

    async fn create(&mut self, client: &Client) -> Result<(), Status> {
        let node = client.get(Target::of("v1", "nodes", "").named(&self.cx.config.node_name)).await?;
        let owner = json!({"apiVersion": "v1", "kind": "Node", "name": node.meta.name, "uid": node.meta.uid, "controller": true});
        let annotations =
            json!({ANNOTATION: self.part.name, "kubernetes.io/config.hash": self.part.name, "kubernetes.io/config.source": "file"});
        let doc = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": self.name(), "namespace": NAMESPACE, "labels": self.part.labels, "annotations": annotations, "ownerReferences": [owner]},
            "spec": {
                "nodeName": self.cx.config.node_name, "hostNetwork": true, "enableServiceLinks": false, "restartPolicy": "Always",
                "tolerations": [{"operator": "Exists"}],
                "containers": [{"name": self.part.name, "image": "corten.local/system", "imagePullPolicy": "Never"}],
            },
        });
        self.status = PodStatus::default();
        match client.create(Target::of("v1", "pods", NAMESPACE), doc).await {
            Err(status) if !status.is_already_exists() => Err(status),
            _ => Ok(()),
        }
    }

    async fn remove(&self, client: &Client, object: &Object) -> Result<(), Status> {
        let delete = Delete { grace_period_seconds: Some(0), uid: Some(object.meta.uid.clone()), ..Delete::default() };
        let target = Target::of("v1", "pods", NAMESPACE).named(&self.name());
        self.cx.registry.remove(&object.meta.uid);
        match client.delete(target, Options { delete, ..Options::default() }).await {
            Err(status) if !status.is_not_found() && !status.is_conflict() => Err(status),
            _ => Ok(()),
        }
    }

    fn show(&mut self, object: &Arc<Object>) {
        let Ok(pod) = object.lens::<Pod>() else { return };
        let ip = self.cx.config.node_ip.to_string();
        let id = format!("{}-{}", self.part.name, object.meta.uid);
        let ready = *self.part.ready.borrow_and_update();
        let mut slots = slot::slots(&pod.spec);
        for slot in &mut slots {
            let run = Run { id: id.clone(), started_at: self.started_at, started: true, ready, unhealthy: None, stopping: false };
            slot.state = State::Running(run);
            slot.image_id = self.cx.config.runtime_version.clone();
        }
        let facts =
            Facts { host_ip: ip.clone(), pod_ips: vec![ip], start_time: Some(self.started_at), sandbox_ready: true, ..Facts::default() };
        let status = status::pod_status(&pod, &self.status, &slots, &facts, self.cx.env.now());
        self.register(&pod, &status, id);
        if status != self.status {
            self.status = status.clone();
            self.cx.status.publish(Arc::clone(object), status, false);
        }
    }

    /// For its log.
    fn register(&self, pod: &Arc<Pod>, status: &PodStatus, id: String) {
        let entry = ContainerEntry { name: self.part.name.clone(), running_id: Some(id), restarts: 0, has_run: true, has_previous: false };
        let log = Some(self.part.log.clone());
        self.cx.registry.put(PodEntry {
            pod: Arc::clone(pod),
            status: status.clone(),
            containers: vec![entry],
            netns: None,
            sandbox_ready: true,
            plain_log: log,
        });
    }
}
