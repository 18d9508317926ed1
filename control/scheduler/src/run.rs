//! The loop: informers keep the snapshot current, the queue says who is next, binds go out side by side.

use std::collections::HashMap;
use std::sync::Arc;

use client::events::{Recorder, Reference};
use client::informer::Change;
use client::request::{Body, Options, Patch};
use client::{Client, Informer, Object, Request, Target, Verb};
use env::Env;
use kinds::core::{Node, Pod};
use reconcile::Informers;
use schema::{Status, json};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;

use crate::metrics::{Ended, Metrics};
use crate::queue::{Queue, Waiting};
use crate::schedule::schedule;
use crate::snapshot::Snapshot;

/// The name that pods ask for.
pub const NAME: &str = "default-scheduler";
/// Binds under way at once; the store commits them in groups.
const BINDS_MAX: usize = 256;

/// Conditions of pods that do not fit, written at once.
const REPORTS_MAX: usize = 32;
/// Tries to write such a condition while others write the pod's status too.
const REPORT_TRIES: usize = 3;

/// A bind that failed comes back here.
type Failed = (Waiting, Status);

/// Schedules until shutdown, and counts in `metrics`.
pub async fn run(env: Env, client: Client, informers: Informers, metrics: Metrics) {
    let (nodes, pods) = (informers.of("v1", "nodes"), informers.of("v1", "pods"));
    let (node_changes, pod_changes) = (nodes.changes(), pods.changes());
    nodes.synced().await;
    pods.synced().await;
    let (failed_tx, failed_rx) = mpsc::channel(BINDS_MAX);
    let scheduler = Scheduler {
        events: Recorder::start(&env, client.clone(), NAME, ""),
        env: env.clone(),
        client,
        nodes,
        pods,
        snapshot: Snapshot::default(),
        queue: Queue::default(),
        assumed: HashMap::new(),
        binds: Arc::new(Semaphore::new(BINDS_MAX)),
        reports: Arc::new(Semaphore::new(REPORTS_MAX)),
        failed_tx,
        metrics,
        start: 0,
    };
    let shutdown = env.shutdown().clone();
    shutdown.run_until_cancelled(scheduler.run(node_changes, pod_changes, failed_rx)).await;
}

struct Scheduler {
    env: Env,
    client: Client,
    events: Recorder,
    nodes: Arc<Informer>,
    pods: Arc<Informer>,
    snapshot: Snapshot,
    queue: Queue,
    /// Pods whose bind is under way or not yet shown by the informer, by uid, and their nodes. They count in the snapshot.
    assumed: HashMap<String, (Arc<Pod>, String)>,
    binds: Arc<Semaphore>,
    reports: Arc<Semaphore>,
    failed_tx: mpsc::Sender<Failed>,
    metrics: Metrics,
    /// Where the next search starts.
    start: usize,
}

impl Scheduler {
    async fn run(mut self, mut node_changes: Receiver<Change>, mut pod_changes: Receiver<Change>, mut failed_rx: mpsc::Receiver<Failed>) {
        self.rebuild();
        loop {
            // Nodes first: a pod may be bound to one that has just come.
            self.drain(&mut node_changes, Self::node_changed);
            self.drain(&mut pod_changes, Self::pod_changed);
            while let Ok(failed) = failed_rx.try_recv() {
                self.bind_failed(failed);
            }
            if let Some(waiting) = self.queue.pop(self.env.instant()) {
                self.place(waiting).await;
                continue;
            }
            let alarm = self.queue.next_alarm();
            self.metrics.pending(self.queue.pending());
            tokio::select! {
                change = node_changes.recv() => self.take(change, Self::node_changed),
                change = pod_changes.recv() => self.take(change, Self::pod_changed),
                Some(failed) = failed_rx.recv() => self.bind_failed(failed),
                () = until(alarm) => {}
            }
        }
    }

    /// From scratch: at the start, and when changes came faster than we read them. What is being bound counts as before, and what was
    /// deleted unseen is forgotten.
    fn rebuild(&mut self) {
        self.snapshot = Snapshot::default();
        let pods = self.pods.store.clone();
        let is_there = |pod: &Pod| pods.get(&pod.metadata.key()).is_some_and(|held| held.meta.uid == pod.metadata.uid);
        self.queue.retain(is_there);
        self.assumed.retain(|_, (pod, _)| is_there(pod));
        for (pod, node) in self.assumed.values() {
            self.snapshot.place(pod, node);
        }
        for node in self.nodes.store.all() {
            self.node_changed(Change::Upsert { old: None, new: node });
        }
        for pod in self.pods.store.all() {
            self.pod_changed(Change::Upsert { old: None, new: pod });
        }
    }

    fn drain(&mut self, changes: &mut Receiver<Change>, take: fn(&mut Self, Change)) {
        loop {
            match changes.try_recv() {
                Ok(change) => take(self, change),
                Err(TryRecvError::Lagged(_)) => self.rebuild(),
                Err(TryRecvError::Empty | TryRecvError::Closed) => return,
            }
        }
    }

    fn take(&mut self, change: Result<Change, RecvError>, take: fn(&mut Self, Change)) {
        match change {
            Ok(change) => take(self, change),
            Err(_) => self.rebuild(),
        }
    }

    fn node_changed(&mut self, change: Change) {
        match change {
            Change::Upsert { old, new } => {
                let Some(node) = lens::<Node>(&new) else { return };
                let old = old.as_ref().and_then(lens::<Node>);
                let helps = old.is_none_or(|old| may_help(&old, &node));
                self.snapshot.set_node(node);
                if helps {
                    self.queue.nodes_changed();
                }
            }
            Change::Delete { old } => self.snapshot.remove_node(&old.meta.name),
        }
    }

    fn pod_changed(&mut self, change: Change) {
        let gone = matches!(change, Change::Delete { .. });
        let Some(pod) = lens::<Pod>(change.object()) else { return };
        let uid = pod.metadata.uid.clone();
        let finished = gone || matches!(pod.status.phase.as_str(), "Succeeded" | "Failed");
        if finished {
            self.queue.remove(&uid);
            self.assumed.remove(&uid);
            if self.snapshot.remove(&uid) {
                self.queue.room_made();
            }
        } else if !pod.spec.node_name.is_empty() {
            self.queue.remove(&uid);
            self.assumed.remove(&uid);
            self.snapshot.place(&pod, &pod.spec.node_name);
        } else if pod.metadata.is_deleting() || pod.spec.scheduler_name != NAME || !pod.spec.scheduling_gates.is_empty() {
            self.queue.remove(&uid);
        } else if !self.snapshot.holds(&uid) {
            // What the snapshot holds is being bound right now.
            self.queue.add(pod);
        }
    }

    async fn place(&mut self, waiting: Waiting) {
        let since = self.env.instant();
        let decision = schedule(&self.snapshot, &waiting.pod, self.start, self.env.random_u64());
        self.start = decision.next_start;
        match &decision.node {
            Some(node) => {
                self.snapshot.place(&waiting.pod, node);
                self.assumed.insert(waiting.pod.metadata.uid.clone(), (Arc::clone(&waiting.pod), node.clone()));
                let permit = Arc::clone(&self.binds).acquire_owned().await.expect("the semaphore is never closed");
                let (tries, seen, metrics) = (waiting.attempts + 1, waiting.since, self.metrics.clone());
                let bind = bind(self.client.clone(), self.events.clone(), waiting, node.clone(), self.failed_tx.clone());
                self.env.spawn("bind", async move {
                    let is_bound = bind.await;
                    drop(permit);
                    metrics.attempt(if is_bound { Ended::Scheduled } else { Ended::Error }, since.elapsed());
                    if is_bound {
                        metrics.bound(tries, seen.elapsed());
                    }
                });
            }
            None => {
                self.metrics.attempt(Ended::Unschedulable, since.elapsed());
                let message = decision.message(self.snapshot.nodes().len());
                let (client, events, pod) = (self.client.clone(), self.events.clone(), Arc::clone(&waiting.pod));
                let now = schema::time::format(self.env.now());
                let reports = Arc::clone(&self.reports);
                self.env.spawn("unschedulable", async move {
                    let _permit = reports.acquire().await;
                    report(&client, &events, &pod, &message, &now).await;
                });
                self.queue.park(waiting, decision.waits_for_room(), self.env.instant());
            }
        }
    }

    fn bind_failed(&mut self, (mut waiting, error): Failed) {
        let uid = waiting.pod.metadata.uid.clone();
        // The informer has told meanwhile: bound after all (by us or by someone else), finished, or gone.
        if self.assumed.remove(&uid).is_none() {
            return;
        }
        self.snapshot.remove(&uid);
        self.queue.room_made();
        let held = self.pods.store.get(&waiting.pod.metadata.key()).filter(|held| held.meta.uid == uid && !held.meta.is_deleting());
        let Some(pod) = held.as_ref().and_then(lens::<Pod>) else { return };
        // Also after a conflict: two writers of one pod may have met, and no event would bring it here again. If somebody else has
        // bound it, the informer takes it out of the queue before its back-off is over.
        if !error.is_not_found() && !error.is_conflict() {
            tracing::warn!(pod = %pod.metadata.key(), %error, "bind failed, trying again");
            self.events.warning(Reference::to("v1", "Pod", &pod.metadata), "FailedScheduling", format!("binding rejected: {error}"));
        }
        waiting.pod = pod;
        self.queue.back_off(waiting, self.env.instant());
    }
}

fn lens<T: client::Lens>(object: &Arc<Object>) -> Option<Arc<T>> {
    object.lens::<T>().inspect_err(|error| tracing::error!(object = %object.meta.key(), %error, "unreadable")).ok()
}

/// A heart-beat does not make a pod fit; these changes may.
fn may_help(old: &Node, new: &Node) -> bool {
    old.status.allocatable != new.status.allocatable
        || old.spec.taints != new.spec.taints
        || old.spec.unschedulable != new.spec.unschedulable
        || old.metadata.labels != new.metadata.labels
}

async fn until(alarm: Option<Instant>) {
    match alarm {
        Some(alarm) => tokio::time::sleep_until(alarm).await,
        None => std::future::pending().await,
    }
}

/// Whether the pod has its node now.
async fn bind(client: Client, events: Recorder, waiting: Waiting, node: String, failed_tx: mpsc::Sender<Failed>) -> bool {
    let meta = &waiting.pod.metadata;
    let target = Target::of("v1", "pods", &meta.namespace).named(&meta.name).sub("binding");
    let binding = json!({
        "apiVersion": "v1", "kind": "Binding", "metadata": {"name": meta.name, "namespace": meta.namespace, "uid": meta.uid},
        "target": {"apiVersion": "v1", "kind": "Node", "name": node},
    });
    let request = Request { verb: Verb::Create, target, options: Options::default(), body: Body::Value(binding) };
    match client.call(request).await {
        Ok(_) => {
            events.normal(Reference::to("v1", "Pod", meta), "Scheduled", format!("Successfully assigned {} to {node}", meta.key()));
            true
        }
        Err(error) => {
            let _ = failed_tx.send((waiting, error)).await;
            false
        }
    }
}

/// The condition and the event that say why a pod waits.
async fn report(client: &Client, events: &Recorder, pod: &Pod, message: &str, now: &str) {
    events.warning(Reference::to("v1", "Pod", &pod.metadata), "FailedScheduling", message);
    let mut pod = Arc::new(pod.clone());
    for _ in 0..REPORT_TRIES {
        match write_condition(client, &pod, message, now).await {
            // Somebody wrote the pod meanwhile: perhaps its node, and then it must not read that it waits for one.
            Err(error) if error.is_conflict() => {}
            Err(error) => return tracing::debug!(pod = %pod.metadata.key(), %error, "condition not written"),
            Ok(()) => return,
        }
        let target = Target::of("v1", "pods", &pod.metadata.namespace).named(&pod.metadata.name);
        let Some(fresh) = client.get(target).await.ok().filter(|fresh| fresh.meta.uid == pod.metadata.uid) else { return };
        match lens::<Pod>(&fresh).filter(|fresh| fresh.spec.node_name.is_empty()) {
            Some(fresh) => pod = fresh,
            None => return,
        }
    }
}

async fn write_condition(client: &Client, pod: &Pod, message: &str, now: &str) -> Result<(), Status> {
    let held = pod.status.conditions.iter().find(|condition| condition.r#type == "PodScheduled");
    if held.is_some_and(|held| held.status == "False" && held.message == message) {
        return Ok(());
    }
    let mut condition = json!({"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message});
    if held.is_none_or(|held| held.status != "False") {
        condition["lastTransitionTime"] = json!(now);
    }
    let guard = json!({"uid": pod.metadata.uid, "resourceVersion": pod.metadata.resource_version});
    let patch = json!({"metadata": guard, "status": {"conditions": [condition]}});
    let target = Target::of("v1", "pods", &pod.metadata.namespace).named(&pod.metadata.name).sub("status");
    client.patch(target, Patch::Strategic, &patch).await.map(|_| ())
}
