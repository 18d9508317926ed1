//! One pod's task: it owns everything known of the pod, asks [`plan`] what is next, starts that as tasks of its own and
//! waits for what they, the runtime, the probes and the API report. It never waits for work itself, so that a slow pull, hook
//! or stop delays nobody, also not the rest of the same pod.
//!
//! ```text
//! API ──pod──►┐                        ┌──► prepare / refresh / clean up ─┐
//! runtime exit►├─► take ─► plan ─► act ├──► start ─────────────────────────┤──► Message
//! probe ──────►┘                       └──► stop (exit comes from above) ──┘
//! ```

mod adopt;
mod clean;
mod prepare;
mod start;
mod stop;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use client::Object;
use contract::{ContainerState, Exit};
use jiff::Timestamp;
use kinds::core::{Pod, PodStatus};
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub(crate) use self::prepare::Prepared;
use self::start::Outcome;
use crate::context::Context;
use crate::objects::PodObjects;
use crate::plan::{self, Action, Ending, Plan, Setup};
use crate::probe::{self, Kind};
use crate::registry::{ContainerEntry, PodEntry};
use crate::rotation;
use crate::slot::{self, Run, Slot, State, Unhealthy, Why};
use crate::status::{self, Facts};

/// Reports that may wait for one pod's task. Senders wait beyond it; the task never does.
const MESSAGES_MAX: usize = 64;
const SETUP_RETRY_FIRST: Duration = Duration::from_millis(500);
const SETUP_RETRY_MAX: Duration = Duration::from_secs(120);
const DEFAULT_GRACE_SECONDS: i64 = 30;

/// What the tasks of a pod report to it.
pub(crate) enum Message {
    Exit(Exit),
    Prepared(Result<Prepared, Why>),
    Refreshed(Result<Option<Timestamp>, Why>),
    CleanedUp(Result<(), String>),
    Started { index: usize, id: String, outcome: Outcome },
    Probe { index: usize, id: String, kind: Kind, healthy: bool, message: String, grace_seconds: Option<i64> },
}

/// What the API says of a pod.
#[derive(Clone)]
pub(crate) enum Seen {
    Present(Arc<Object>),
    /// Deleted; the last state.
    Gone(Arc<Object>),
}

/// The way to a pod's task.
pub(crate) struct Handle {
    pub seen_tx: watch::Sender<Seen>,
    pub messages_tx: mpsc::Sender<Message>,
}

/// What to start a pod's task with.
pub(crate) struct Birth {
    pub object: Arc<Object>,
    /// Why the node refuses it.
    pub rejected: Option<Why>,
    /// Containers of it that the runtime knows, from before this agent started.
    pub containers: Vec<ContainerState>,
    /// The API does not know the pod any more.
    pub gone: bool,
}

/// Starts the task; `finished` is called with the uid when nothing of the pod is left.
pub(crate) fn spawn(cx: &Arc<Context>, birth: Birth, finished: impl FnOnce(&str) + Send + 'static) -> Handle {
    let (messages_tx, messages_rx) = mpsc::channel(MESSAGES_MAX);
    let first = if birth.gone { Seen::Gone(Arc::clone(&birth.object)) } else { Seen::Present(Arc::clone(&birth.object)) };
    let (seen_tx, seen_rx) = watch::channel(first);
    let shutdown = cx.env.shutdown().clone();
    let (cx_task, tx) = (Arc::clone(cx), messages_tx.clone());
    cx.env.spawn("pod", async move {
        let mut worker = Worker::new(cx_task, birth, tx);
        let uid = worker.pod.metadata.uid.clone();
        if shutdown.run_until_cancelled(worker.run(messages_rx, seen_rx)).await.is_some() {
            finished(&uid);
        }
    });
    Handle { seen_tx, messages_tx }
}

struct Worker {
    cx: Arc<Context>,
    object: Arc<Object>,
    pod: Arc<Pod>,
    slots: Vec<Slot>,
    setup: Setup,
    setup_delay: Duration,
    prepared: Option<Arc<Prepared>>,
    /// The pod must end; the sender lets a second, shorter deadline reach stops that are under way.
    ending: Option<watch::Sender<Instant>>,
    failed: Option<Why>,
    rejected: bool,
    gone: bool,
    /// Its final delete is wanted of the API.
    delete_wanted: bool,
    status: PodStatus,
    start_time: Timestamp,
    active_deadline: Option<Instant>,
    objects: Arc<PodObjects>,
    changed: Arc<Notify>,
    renew_at: Option<Instant>,
    is_refreshing: bool,
    refresh_again: bool,
    /// Per slot: ends the start, the stop and the probes of its current run.
    starts: HashMap<usize, CancellationToken>,
    runs: HashMap<usize, CancellationToken>,
    /// Containers that ran before this agent did; their probes start with the first turn.
    adopted: Vec<usize>,
    /// Exits that came before the report of their start.
    early: HashMap<String, Exit>,
    tx: mpsc::Sender<Message>,
}

impl Worker {
    fn new(cx: Arc<Context>, birth: Birth, tx: mpsc::Sender<Message>) -> Self {
        let Birth { object, rejected, containers, gone } = birth;
        let pod = object.lens::<Pod>().unwrap_or_else(|error| {
            tracing::error!(pod = %object.meta.key(), %error, "pod cannot be read");
            Arc::new(Pod { metadata: object.meta.clone(), ..Pod::default() })
        });
        let changed = Arc::new(Notify::new());
        let objects = Arc::new(cx.references.of_pod(&pod.metadata.uid, Arc::clone(&changed)));
        let start_time = pod.status.start_time.as_deref().and_then(schema::time::parse).unwrap_or_else(|| cx.env.now());
        let mut worker = Self {
            slots: slot::slots(&pod.spec),
            status: pod.status.clone(),
            setup: Setup::Absent { retry_at: None },
            setup_delay: SETUP_RETRY_FIRST,
            prepared: None,
            ending: None,
            rejected: rejected.is_some(),
            failed: rejected,
            gone,
            delete_wanted: false,
            start_time,
            active_deadline: None,
            objects,
            changed,
            renew_at: None,
            is_refreshing: false,
            refresh_again: false,
            starts: HashMap::new(),
            runs: HashMap::new(),
            adopted: Vec::new(),
            early: HashMap::new(),
            tx,
            object,
            pod,
            cx,
        };
        worker.active_deadline = worker.active_deadline();
        worker.adopt(containers);
        worker
    }

    async fn run(&mut self, mut messages_rx: mpsc::Receiver<Message>, mut seen_rx: watch::Receiver<Seen>) {
        let first = seen_rx.borrow_and_update().clone();
        self.see(first);
        if self.failed.is_some() || is_terminal(&self.status.phase) {
            self.end_within(Duration::ZERO);
        }
        for index in std::mem::take(&mut self.adopted) {
            self.probe(index);
            self.rotate_log(index);
        }
        loop {
            let plan = self.plan_and_act();
            self.publish();
            if plan.done && self.gone {
                return clean::forget(&self.cx, &self.pod, &self.slots).await;
            }
            let wake = [plan.wake, self.renew_at].into_iter().flatten().min();
            tokio::select! {
                Some(message) = messages_rx.recv() => self.take(message).await,
                Ok(()) = seen_rx.changed() => {
                    let seen = seen_rx.borrow_and_update().clone();
                    self.see(seen);
                }
                () = self.changed.notified() => self.references_changed(),
                () = wait_until(wake) => self.renew(),
            }
        }
    }

    /// Plans until nothing more is to be done at once.
    fn plan_and_act(&mut self) -> Plan {
        loop {
            let plan = plan::plan(&plan::View {
                spec: &self.pod.spec,
                slots: &self.slots,
                setup: self.setup,
                ending: self.ending.as_ref().map(|deadline| Ending { deadline: *deadline.borrow() }),
                active_deadline: self.active_deadline,
                now: self.cx.env.instant(),
            });
            if plan.actions.is_empty() {
                return plan;
            }
            for action in plan.actions {
                self.act(action);
            }
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Prepare => self.prepare(),
            Action::Start(index) => self.start(index),
            Action::BackOff(index) => self.back_off(index),
            Action::PullBackOff(index) => self.pull_back_off(index),
            Action::StopUnhealthy(index) => self.stop_unhealthy(index),
            Action::Stop(index) => self.stop_for_end(index),
            Action::Cancel(index) => self.cancel(index),
            Action::Complete => self.end_within(self.spec_grace()),
            Action::Expire => self.expire(),
            Action::CleanUp => self.clean_up(),
        }
    }

    async fn take(&mut self, message: Message) {
        match message {
            Message::Exit(exit) => self.exited(exit).await,
            Message::Prepared(result) => self.was_prepared(result),
            Message::Refreshed(result) => self.was_refreshed(result),
            Message::CleanedUp(result) => self.was_cleaned(result),
            Message::Started { index, id, outcome } => self.was_started(index, &id, outcome).await,
            Message::Probe { index, id, kind, healthy, message, grace_seconds } => {
                self.probed(index, &id, kind, healthy, Unhealthy { message, grace_seconds });
            }
        }
    }

    /// What the API says now.
    fn see(&mut self, seen: Seen) {
        let (object, gone) = match seen {
            Seen::Present(object) => (object, false),
            Seen::Gone(object) => (object, true),
        };
        self.gone |= gone;
        let had_metadata = (self.pod.metadata.labels.clone(), self.pod.metadata.annotations.clone());
        if let Ok(pod) = object.lens::<Pod>() {
            self.pod = pod;
        }
        self.object = object;
        self.add_ephemeral();
        self.active_deadline = self.active_deadline();
        if had_metadata != (self.pod.metadata.labels.clone(), self.pod.metadata.annotations.clone()) {
            self.refresh();
        }
        if self.gone || self.pod.metadata.is_deleting() {
            let asked = self.pod.metadata.deletion_grace_period_seconds;
            let seconds = asked.or(self.pod.spec.termination_grace_period_seconds).unwrap_or(DEFAULT_GRACE_SECONDS);
            // A pod that vanished was deleted by force; it still gets a second.
            let seconds = if self.gone { seconds.max(1) } else { seconds.max(0) };
            self.end_within(Duration::from_secs(u64::try_from(seconds).unwrap_or_default()));
        }
        if is_terminal(&self.pod.status.phase) && self.ending.is_none() {
            // Somebody else (an eviction, the pod collector) declared it over.
            self.status.phase.clone_from(&self.pod.status.phase);
            self.end_within(self.spec_grace());
        }
    }

    /// Ephemeral containers may be added to a running pod.
    fn add_ephemeral(&mut self) {
        for (container, role) in slot::containers(&self.pod.spec) {
            if !self.slots.iter().any(|slot| slot.name == container.name) {
                self.slots.push(Slot::new(container, role, &self.pod.spec.restart_policy));
            }
        }
    }

    fn spec_grace(&self) -> Duration {
        let seconds = self.pod.spec.termination_grace_period_seconds.unwrap_or(DEFAULT_GRACE_SECONDS);
        Duration::from_secs(u64::try_from(seconds).unwrap_or_default())
    }

    /// The pod ends; an earlier deadline than the one before takes its place.
    fn end_within(&mut self, grace: Duration) {
        let deadline = self.cx.env.instant() + grace;
        match &self.ending {
            Some(held) if *held.borrow() <= deadline => {}
            Some(held) => {
                held.send_replace(deadline);
            }
            None => self.ending = Some(watch::channel(deadline).0),
        }
    }

    fn active_deadline(&self) -> Option<Instant> {
        let allowed = u64::try_from(self.pod.spec.active_deadline_seconds?).unwrap_or_default();
        let so_far = Duration::try_from(self.cx.env.now().duration_since(self.start_time)).unwrap_or_default();
        Some(self.cx.env.instant() + Duration::from_secs(allowed).saturating_sub(so_far))
    }

    fn expire(&mut self) {
        let why = Why::new("DeadlineExceeded", "Pod was active on the node longer than the specified deadline");
        self.cx.recorder.normal(self.cx.about(&self.pod), &why.reason, why.message.as_str());
        self.failed = Some(why);
        self.end_within(self.spec_grace());
    }

    /// Tells the API what has changed.
    fn publish(&mut self) {
        let over = self.is_over();
        let facts = Facts {
            host_ip: self.cx.config.node_ip.to_string(),
            pod_ips: self.pod_ips(),
            start_time: Some(self.start_time),
            sandbox_ready: !over && (self.prepared.is_some() || self.slots.iter().any(Slot::is_running)),
            failed: self.failed.clone(),
            rejected: self.rejected,
            is_over: over,
        };
        let status = status::pod_status(&self.pod, &self.status, &self.slots, &facts, self.cx.env.now());
        let delete = over && self.setup == Setup::Removed && self.pod.metadata.is_deleting() && !self.gone;
        self.register(&status);
        if self.gone || (status == self.status && (delete == self.delete_wanted)) {
            return;
        }
        self.status = status.clone();
        self.delete_wanted = delete;
        self.cx.status.publish(Arc::clone(&self.object), status, delete);
    }

    /// For the node's API: who runs here, under which ids.
    fn register(&self, status: &PodStatus) {
        let entry = |slot: &Slot| ContainerEntry {
            name: slot.name.clone(),
            running_id: match &slot.state {
                State::Running(run) => Some(run.id.clone()),
                _ => None,
            },
            restarts: slot.restarts,
            has_run: slot.has_run() || slot.previous.is_some(),
            has_previous: match slot.state {
                State::Running(_) | State::Exited { .. } => slot.previous.is_some(),
                State::Idle | State::Starting { .. } => false,
            },
        };
        self.cx.registry.put(PodEntry {
            pod: Arc::clone(&self.pod),
            status: status.clone(),
            containers: self.slots.iter().map(entry).collect(),
            netns: self.prepared.as_ref().and_then(|prepared| prepared.netns.clone()),
            sandbox_ready: self.setup == Setup::Ready,
            plain_log: None,
        });
    }

    /// Nothing runs and nothing will.
    fn is_over(&self) -> bool {
        self.ending.is_some() && !self.slots.iter().any(Slot::is_live)
    }

    fn pod_ips(&self) -> Vec<String> {
        match &self.prepared {
            Some(prepared) => prepared.ips.clone(),
            None => self.status.pod_ips.iter().map(|ip| ip.ip.clone()).collect(),
        }
    }

    /// A container's process is gone.
    async fn exited(&mut self, exit: Exit) {
        let Some(index) = self.slots.iter().position(|slot| slot.live_id() == Some(&exit.id)) else { return };
        let State::Running(run) = &self.slots[index].state else {
            // Its start has not been reported yet.
            self.early.insert(exit.id.clone(), exit);
            return;
        };
        let run = run.clone();
        self.end_run(index, run, &exit).await;
    }

    async fn end_run(&mut self, index: usize, run: Run, exit: &Exit) {
        if let Some(token) = self.runs.remove(&index) {
            token.cancel();
        }
        self.cx.registry.release(&exit.id);
        let message = clean::termination_message(&self.cx, &self.pod, &self.slots[index], exit).await;
        let ended = slot::ended(exit, run.started_at, message);
        let now = self.cx.env.instant();
        let slot = &mut self.slots[index];
        slot.state = State::Exited { ended, at: now };
        slot.waiting = run
            .unhealthy
            .filter(|unhealthy| unhealthy.message == start::HOOK_FAILED)
            .map(|_| Why::new("PostStartHookError", start::HOOK_FAILED));
    }

    fn back_off(&mut self, index: usize) {
        let slot = &mut self.slots[index];
        let name = format!("{}_{}({})", self.pod.metadata.name, self.pod.metadata.namespace, self.pod.metadata.uid);
        let delay = schema::duration::format_nanos(i64::try_from(slot.backoff.delay.as_nanos()).unwrap_or(i64::MAX));
        slot.waiting = Some(Why::new("CrashLoopBackOff", format!("back-off {delay} restarting failed container={} pod={name}", slot.name)));
        let about = self.cx.about_container(&self.pod, &slot.name);
        self.cx.recorder.warning(about, "BackOff", format!("Back-off restarting failed container {} in pod {name}", slot.name));
    }

    /// A probe's verdict has changed.
    fn probed(&mut self, index: usize, id: &str, kind: Kind, healthy: bool, unhealthy: Unhealthy) {
        let Some(run) = self.slots[index].run_mut().filter(|run| run.id == id) else { return };
        match (kind, healthy) {
            (Kind::Readiness, ready) => run.ready = ready,
            (Kind::Startup, true) => {
                run.started = true;
                self.probe(index);
            }
            (Kind::Liveness, true) => {}
            (Kind::Startup | Kind::Liveness, false) => run.unhealthy = Some(unhealthy),
        }
    }

    /// Starts the probes that the run's state calls for: first the startup probe alone, then the others.
    fn probe(&mut self, index: usize) {
        let slot = &self.slots[index];
        let State::Running(run) = &slot.state else { return };
        let Some(container) = self.container(index) else { return };
        let wanted = match run.started {
            false => vec![(Kind::Startup, container.startup_probe.clone())],
            true => vec![(Kind::Liveness, container.liveness_probe.clone()), (Kind::Readiness, container.readiness_probe.clone())],
        };
        let (id, started_at) = (run.id.clone(), run.started_at);
        let token = self.run_token(index);
        for (kind, probe) in wanted.into_iter().filter_map(|(kind, probe)| probe.map(|probe| (kind, probe))) {
            let target = probe::Target {
                pod: Arc::clone(&self.pod),
                container: container.clone(),
                id: id.clone(),
                pod_ip: self.pod_ips().first().cloned(),
            };
            probe::spawn(&self.cx, target, kind, probe, started_at, index, token.child_token(), self.tx.clone());
        }
    }

    /// Keeps the log of the current run within its bounds.
    fn rotate_log(&mut self, index: usize) {
        let State::Running(run) = &self.slots[index].state else { return };
        if self.cx.inotify.is_none() {
            return;
        }
        let (id, slot, meta) = (run.id.clone(), &self.slots[index], &self.pod.metadata);
        let dir = self.cx.config.log_dir(&meta.namespace, &meta.name, &meta.uid).join(&slot.name);
        let path = dir.join(format!("{}.log", slot.restarts));
        let token = self.run_token(index);
        rotation::spawn(&self.cx, &id, path, token.child_token());
    }

    fn container(&self, index: usize) -> Option<kinds::core::Container> {
        let name = &self.slots[index].name;
        slot::containers(&self.pod.spec).map(|(container, _)| container).find(|container| container.name == *name).cloned()
    }

    /// Sends `work`'s message to this task when it is done.
    fn spawn<F>(&self, name: &'static str, work: F)
    where
        F: Future<Output = Message> + Send + 'static,
    {
        let (tx, shutdown) = (self.tx.clone(), self.cx.env.shutdown().clone());
        self.cx.env.spawn(name, async move {
            if let Some(message) = shutdown.run_until_cancelled(work).await {
                // An error only says that the pod's task has ended.
                let _ = tx.send(message).await;
            }
        });
    }
}

async fn wait_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

pub(crate) fn is_terminal(phase: &str) -> bool {
    matches!(phase, "Succeeded" | "Failed")
}
