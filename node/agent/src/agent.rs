//! The agent: registers the node, takes up what an earlier agent left, gives each pod its task and passes on what happens.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use client::events::Recorder;
use client::informer::Change;
use client::{Client, Informer, Object, Options, Target};
use contract::{ContainerState, Exit};
use env::Env;
use kinds::core::{Node, Pod};
use schema::json;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;

use crate::admission::{self, NodeFacts, Taken};
use crate::config::{AgentConfig, Drivers};
use crate::context::Context;
use crate::files::Dns;
use crate::inotify::Inotify;
use crate::lease;
use crate::machine::{self, Capacity};
use crate::mirror::{self, SystemPart};
use crate::node::{self, NodeReporter};
use crate::objects::References;
use crate::pod::{self, Birth, Handle, Message, Seen, is_terminal};
use crate::registry::Registry;
use crate::slot::labels;
use crate::status_writer::StatusWriter;
use crate::tokens::TokenManager;

/// Ends of pods that may wait to be noticed.
const FINISHED_MAX: usize = 256;

/// Everything of one node but its drivers.
pub struct Agent {
    cx: Arc<Context>,
    pods: Arc<Informer>,
    node: Arc<Informer>,
    lease_client: Option<Client>,
    dispatcher: Mutex<Option<Dispatcher>>,
}

/// What the loop owns.
struct Dispatcher {
    handles: HashMap<String, Handle>,
    /// Which pod a container belongs to is asked of the runtime's ids once and kept here.
    taken: Taken,
    finished_tx: mpsc::Sender<String>,
    finished_rx: mpsc::Receiver<String>,
}

impl Agent {
    /// `client` speaks as `system:node:<name>`. Starts watching at once, acts from [`Agent::run`] on.
    pub fn new(config: AgentConfig, client: Client, drivers: Drivers, env: Env) -> Arc<Self> {
        let found = machine::capacity();
        let capacity = Capacity {
            cpu_millis: config.cpu_millis.unwrap_or(found.cpu_millis),
            memory_bytes: config.memory_bytes.unwrap_or(found.memory_bytes),
        };
        let only = |field: &str| Options { field_selector: format!("{field}={}", config.node_name), ..Options::default() };
        let pods = Informer::start(&env, client.clone(), Target::of("v1", "pods", ""), only("spec.nodeName"), &[]);
        let node = Informer::start(&env, client.clone(), Target::of("v1", "nodes", ""), only("metadata.name"), &[]);
        let services = Informer::start(&env, client.clone(), Target::of("v1", "services", ""), Options::default(), &[]);
        let host_dns = std::fs::read_to_string(&config.host_resolv_conf).map(|text| Dns::parse(&text)).unwrap_or_default();
        let inotify = if config.write_files { watch_files(&env) } else { None };
        let cx = Arc::new(Context {
            inotify,
            recorder: Recorder::start(&env, client.clone(), "kubelet", &config.node_name),
            references: References::new(&env, client.clone()),
            tokens: TokenManager::new(&env, client.clone()),
            status: StatusWriter::new(&env, client.clone()),
            registry: Registry::default(),
            services,
            capacity,
            host_dns,
            config,
            drivers,
            client,
            env,
        });
        let (finished_tx, finished_rx) = mpsc::channel(FINISHED_MAX);
        let dispatcher = Dispatcher { handles: HashMap::new(), taken: Taken::default(), finished_tx, finished_rx };
        Arc::new(Self { cx, pods, node, lease_client: None, dispatcher: Mutex::new(Some(dispatcher)) })
    }

    /// Gives the heartbeat a connection and a thread of its own, which nothing else on the node can slow down.
    #[must_use]
    pub fn with_lease_client(self: Arc<Self>, client: Client) -> Arc<Self> {
        let mut agent = Arc::into_inner(self).expect("called before the agent is shared");
        agent.lease_client = Some(client);
        Arc::new(agent)
    }

    /// Shows these parts of the system as pods of kube-system once the Node is registered. Call it once, within the runtime.
    pub fn mirror(&self, parts: Vec<SystemPart>) {
        parts.into_iter().for_each(|part| mirror::spawn(&self.cx, &self.pods, &self.node, part));
    }

    /// What each pod's task last said of itself.
    pub fn registry(&self) -> &Registry {
        &self.cx.registry
    }

    pub(crate) fn context(&self) -> &Arc<Context> {
        &self.cx
    }

    /// The pods of this node as the API has them.
    pub(crate) fn pods(&self) -> Vec<Arc<Object>> {
        self.pods.store.all()
    }

    /// Runs until the environment shuts down. Containers run on after it.
    pub async fn run(self: Arc<Self>) -> contract::Result<()> {
        let shutdown = self.cx.env.shutdown().clone();
        let dispatcher = self.dispatcher.lock().expect("no holder panics").take().expect("an agent runs once");
        shutdown.run_until_cancelled(self.work(dispatcher)).await.unwrap_or(Ok(()))
    }

    async fn work(&self, mut dispatcher: Dispatcher) -> contract::Result<()> {
        self.start_node().await;
        // First the exits, then what there is: nothing can end unseen between the two.
        let mut exits_rx = self.cx.drivers.runtime.exits().await?;
        let mut changes_rx = self.pods.changes();
        self.pods.synced().await;
        self.take_up(&mut dispatcher).await?;
        loop {
            tokio::select! {
                change = changes_rx.recv() => match change {
                    Ok(change) => self.changed(&mut dispatcher, change),
                    Err(RecvError::Lagged(_)) => self.look_again(&mut dispatcher),
                    Err(RecvError::Closed) => return Ok(()),
                },
                exit = exits_rx.recv() => match exit {
                    Some(exit) => self.exited(&dispatcher, exit).await,
                    None => return Err(contract::Error::new(contract::ErrorKind::Io, "the runtime stopped reporting exits")),
                },
                Some(uid) = dispatcher.finished_rx.recv() => self.finished(&mut dispatcher, &uid),
            }
        }
    }

    /// Node and heartbeat. The first registration does not hold up the pods of a node that is known already.
    async fn start_node(&self) {
        let cx = &self.cx;
        let reporter = NodeReporter {
            env: cx.env.clone(),
            client: cx.client.clone(),
            config: cx.config.clone(),
            drivers: cx.drivers.clone(),
            capacity: cx.capacity,
            identity: machine::identity(),
            recorder: cx.recorder.clone(),
        };
        let (shared, lease_client, env, name) = (cx.client.clone(), self.lease_client.clone(), cx.env.clone(), cx.config.node_name.clone());
        cx.env.spawn("node", async move {
            let shutdown = reporter.env.shutdown().clone();
            if shutdown.run_until_cancelled(reporter.register()).await.is_none() {
                return;
            }
            match lease_client {
                Some(client) => lease_on_own_thread(env, client, name),
                None => drop(env.clone().spawn("lease", lease::run(env, shared, name))),
            }
            reporter.run().await;
        });
    }

    /// Everything that exists: pods with what runs of them, and what runs without a pod.
    async fn take_up(&self, dispatcher: &mut Dispatcher) -> contract::Result<()> {
        let mut known: HashMap<String, Vec<ContainerState>> = HashMap::new();
        for container in self.cx.drivers.runtime.observe().await? {
            known.entry(container.pod_uid.clone()).or_default().push(container);
        }
        let mut pods = self.pods.store.all();
        // What runs keeps its place before what is to be admitted; the rest by age.
        pods.sort_by_key(|object| (!known.contains_key(&object.meta.uid), object.meta.creation_timestamp.clone()));
        for object in pods {
            let containers = known.remove(&object.meta.uid).unwrap_or_default();
            self.begin(dispatcher, object, containers);
        }
        let uids: Vec<String> = dispatcher.handles.keys().cloned().collect();
        for (uid, containers) in known {
            self.end_orphan(dispatcher, &uid, containers);
        }
        self.remove_remains(&uids, dispatcher).await;
        Ok(())
    }

    /// Sandboxes, addresses and volumes of pods that nobody knows.
    async fn remove_remains(&self, known: &[String], dispatcher: &Dispatcher) {
        let drivers = &self.cx.drivers;
        let mut uids: Vec<String> =
            drivers.runtime.sandboxes().await.unwrap_or_default().into_iter().map(|sandbox| sandbox.pod_uid).collect();
        uids.extend(drivers.podnet.observe().await.unwrap_or_default().into_iter().map(|address| address.pod_uid));
        uids.extend(drivers.volumes.observe().await.unwrap_or_default().into_iter().map(|volume| volume.pod_uid));
        uids.sort();
        uids.dedup();
        for uid in uids.iter().filter(|uid| !known.contains(uid) && !dispatcher.handles.contains_key(*uid)) {
            let result = drivers.runtime.remove_sandbox(uid).await;
            let (address, volumes) = (drivers.podnet.remove(uid).await, drivers.volumes.remove_pod(uid).await);
            for error in [result, address, volumes].into_iter().filter_map(Result::err) {
                tracing::warn!(pod = uid, %error, "remains of an unknown pod not removed");
            }
        }
    }

    fn changed(&self, dispatcher: &mut Dispatcher, change: Change) {
        match change {
            Change::Upsert { old, new } => {
                if let Some(old) = old.filter(|old| old.meta.uid != new.meta.uid) {
                    self.gone(dispatcher, old);
                }
                self.present(dispatcher, new);
            }
            Change::Delete { old } => self.gone(dispatcher, old),
        }
    }

    fn present(&self, dispatcher: &mut Dispatcher, object: Arc<Object>) {
        match dispatcher.handles.get(&object.meta.uid) {
            Some(handle) => drop(handle.seen_tx.send_replace(Seen::Present(object))),
            None => self.begin(dispatcher, object, Vec::new()),
        }
    }

    fn gone(&self, dispatcher: &mut Dispatcher, object: Arc<Object>) {
        if let Some(handle) = dispatcher.handles.get(&object.meta.uid) {
            handle.seen_tx.send_replace(Seen::Gone(object));
        }
    }

    /// Events were missed: the store is the truth.
    fn look_again(&self, dispatcher: &mut Dispatcher) {
        let now = self.pods.store.all();
        let lost: Vec<Arc<Object>> = dispatcher
            .handles
            .iter()
            .filter(|(uid, _)| !now.iter().any(|object| object.meta.uid == **uid))
            .map(|(_, handle)| match &*handle.seen_tx.borrow() {
                Seen::Present(object) | Seen::Gone(object) => Arc::clone(object),
            })
            .collect();
        lost.into_iter().for_each(|object| self.gone(dispatcher, object));
        now.into_iter().for_each(|object| self.present(dispatcher, object));
    }

    /// A pod that is new to this agent.
    fn begin(&self, dispatcher: &mut Dispatcher, object: Arc<Object>, containers: Vec<ContainerState>) {
        if mirror::is_mirror(&object) {
            return;
        }
        let pod = object.lens::<Pod>();
        let was_admitted = |pod: &Pod| !containers.is_empty() || is_terminal(&pod.status.phase) || pod.metadata.is_deleting();
        let rejected = match &pod {
            Ok(pod) if was_admitted(pod) => None,
            Ok(pod) => admission::admit(pod, &self.node_facts(), &dispatcher.taken).err(),
            Err(error) => Some(crate::slot::Why::new("UnreadablePod", format!("Pod was rejected: {error}"))),
        };
        if let (Ok(pod), Some(why)) = (&pod, &rejected) {
            self.cx.recorder.warning(self.cx.about(pod), &why.reason, why.message.as_str());
        }
        if let Ok(pod) = &pod
            && rejected.is_none()
            && !is_terminal(&pod.status.phase)
        {
            dispatcher.taken.add(pod);
        }
        self.spawn(dispatcher, Birth { object, rejected, containers, gone: false });
    }

    /// Containers whose pod the API does not know: they end, and what is left of them goes.
    fn end_orphan(&self, dispatcher: &mut Dispatcher, uid: &str, containers: Vec<ContainerState>) {
        let label = |name: &str| containers.iter().find_map(|container| container.labels.get(name)).cloned().unwrap_or_default();
        let names: Vec<_> = containers.iter().map(|container| json!({"name": container.name})).collect();
        let metadata =
            json!({"uid": uid, "name": label(labels::POD), "namespace": label(labels::NAMESPACE), "deletionGracePeriodSeconds": 1});
        let mut unique: Vec<serde_json::Value> = Vec::new();
        names.into_iter().for_each(|name| {
            if !unique.contains(&name) {
                unique.push(name)
            }
        });
        let doc = json!({"metadata": metadata, "spec": {"containers": unique}});
        match Object::from_value(&doc) {
            Ok(object) => self.spawn(dispatcher, Birth { object, rejected: None, containers, gone: true }),
            Err(error) => tracing::error!(pod = uid, %error, "containers of an unknown pod cannot be taken up"),
        }
    }

    fn spawn(&self, dispatcher: &mut Dispatcher, birth: Birth) {
        let uid = birth.object.meta.uid.clone();
        let finished_tx = dispatcher.finished_tx.clone();
        let (registry, env) = (self.cx.registry.clone(), self.cx.env.clone());
        let handle = pod::spawn(&self.cx, birth, move |uid| {
            registry.remove(uid);
            let uid = uid.to_owned();
            env.spawn("pod end", async move {
                let _ = finished_tx.send(uid).await;
            });
        });
        dispatcher.handles.insert(uid, handle);
    }

    fn finished(&self, dispatcher: &mut Dispatcher, uid: &str) {
        dispatcher.handles.remove(uid);
        dispatcher.taken.remove(uid);
    }

    /// To the pod that has this container; the registry knows which.
    async fn exited(&self, dispatcher: &Dispatcher, exit: Exit) {
        let owner = match self.cx.registry.owner(&exit.id) {
            Some(uid) => dispatcher.handles.get(&uid),
            None => None,
        };
        match owner {
            Some(handle) => drop(handle.messages_tx.send(Message::Exit(exit)).await),
            None => tracing::debug!(container = %exit.id, "exit of a container that no pod claims"),
        }
    }

    fn node_facts(&self) -> NodeFacts {
        let cx = &self.cx;
        let node = self.node.store.get(&cx.config.node_name).and_then(|object| object.lens::<Node>().ok());
        let own = || node::node_labels(&cx.config, machine::architecture());
        NodeFacts {
            name: cx.config.node_name.clone(),
            labels: node.as_ref().map_or_else(own, |node| node.metadata.labels.clone()),
            taints: node.map(|node| node.spec.taints.clone()).unwrap_or_default(),
            cpu_millis: cx.capacity.cpu_millis,
            memory_bytes: cx.capacity.memory_bytes,
            max_pods: u64::from(cx.config.max_pods),
        }
    }
}

fn watch_files(env: &Env) -> Option<Inotify> {
    let started = Inotify::start(env);
    started.inspect_err(|error| tracing::error!(%error, "no inotify: logs are not rotated and following them is refused")).ok()
}

/// A thread whose only work is the heartbeat.
fn lease_on_own_thread(env: Env, client: Client, name: String) {
    let run = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        match runtime {
            Ok(runtime) => runtime.block_on(lease::run(env, client, name)),
            Err(error) => tracing::error!(%error, "no runtime for the lease"),
        }
    };
    if let Err(error) = std::thread::Builder::new().name("lease".into()).spawn(run) {
        tracing::error!(%error, "no thread for the lease");
    }
}
