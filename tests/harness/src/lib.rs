//! A cluster in one process: the real API core, store, controllers and scheduler. Nodes are objects, and one loop plays their
//! kubelets.
//!
//! Nothing here resyncs or polls: a test waits for a state with [`Cluster::eventually`], which watches.

pub mod faults;

use std::sync::Arc;
use std::time::Duration;

use apiserver::{Config, Core};
use auth::UserInfo;
use client::{Client, Object, Options, Target};
use env::Env;
use futures::StreamExt;
use reconcile::{Informers, Manager};
use schema::{Status, Value, json};
use tokio::sync::broadcast::error::RecvError;

use crate::faults::{Line, Refusals};

/// How long a state may take before a test fails. Generous: it is a bound for hangs, not a measure.
const DEADLINE: Duration = Duration::from_secs(20);

pub struct Cluster {
    pub env: Env,
    pub core: Arc<Core>,
    /// With every right.
    pub admin: Client,
    pub informers: Informers,
    /// Where upstream's bootstrap roles did not suffice; [`Cluster::stop`] checks that there is none.
    pub refusals: Refusals,
    faults: Option<Env>,
}

impl Cluster {
    /// The API alone.
    pub async fn api() -> Self {
        Self::api_behind(None).await
    }

    async fn api_behind(faults: Option<Env>) -> Self {
        // Shown by the test runner only for tests that fail.
        let _ = tracing_subscriber::fmt().with_env_filter("warn").with_test_writer().try_init();
        let env = Env::real();
        let store = store::Memory::new();
        let signing_key = signing_key();
        // Nobody listens there; Endpoints must not name a loopback address.
        let config = Config { api_address: ([10, 0, 0, 1].into(), 6443), ..Config::default() };
        let assembled = apiserver::assemble::assemble(store, &env, config, &signing_key).await.expect("an empty store assembles");
        let core = assembled.core;
        let admin = client_of(&core, UserInfo::new("admin", &[auth::MASTERS, auth::AUTHENTICATED]));
        let refusals = Refusals::default();
        let manager = UserInfo::new("system:kube-controller-manager", &[auth::AUTHENTICATED]);
        let informers = Informers::new(&env, line_to(&core, manager, &refusals, &faults));
        Self { env, core, admin, informers, refusals, faults }
    }

    /// The API with all controllers and the scheduler, each under its own identity.
    pub async fn start() -> Self {
        Self::api().await.with_components()
    }

    /// As [`Cluster::start`], with the components on a bad line to the API ([`faults`]). The test itself has a good one.
    pub async fn start_on_bad_line(seed: u64) -> Self {
        Self::api_behind(Some(Env::sim(seed))).await.with_components()
    }

    fn with_components(self) -> Self {
        let (core, refusals, faults) = (Arc::clone(&self.core), Arc::clone(&self.refusals), self.faults.clone());
        let client_of = move |user: &str| line_to(&core, controller_identity(user), &refusals, &faults);
        let manager = Manager::new(&self.env, self.informers.clone(), Arc::new(client_of));
        controllers::start(&manager, &controllers::Config { root_ca: "PEM".into(), ..controllers::Config::default() });
        let scheduler = UserInfo::new("system:kube-scheduler", &[auth::AUTHENTICATED]);
        let scheduler = line_to(&self.core, scheduler, &self.refusals, &self.faults);
        let running = scheduler::run(self.env.clone(), scheduler, self.informers.clone(), scheduler::Metrics::default());
        self.env.spawn("scheduler", running);
        self
    }

    /// Registers a node that nobody runs, large enough for everything.
    pub async fn add_node(&self, name: &str) {
        let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}}});
        self.admin.create(Target::of("v1", "nodes", ""), node).await.expect("a node is made");
        let status = json!({"status": {
            "allocatable": {"cpu": "32", "memory": "64Gi", "pods": "500"}, "capacity": {"cpu": "32", "memory": "64Gi", "pods": "500"},
            "conditions": [{"type": "Ready", "status": "True"}],
        }});
        self.admin
            .patch(Target::of("v1", "nodes", "").named(name).sub("status"), client::Patch::Merge, &status)
            .await
            .expect("a node reports");
    }

    /// Plays the kubelet for pods that are bound: they become Running and Ready, and go when deleted.
    pub fn play_kubelet(&self) {
        let (client, informer, env) = (self.admin.clone(), self.informers.of("v1", "pods"), self.env.clone());
        let mut changes = informer.changes();
        let shutdown = self.env.shutdown().clone();
        let playing = async move {
            loop {
                let change = match changes.recv().await {
                    Ok(change) => change,
                    Err(RecvError::Lagged(_)) => continue,
                    Err(RecvError::Closed) => return,
                };
                let object = Arc::clone(change.object());
                let Ok(pod) = object.lens::<kinds::core::Pod>() else { continue };
                let target = Target::of("v1", "pods", &pod.metadata.namespace).named(&pod.metadata.name);
                if matches!(change, client::Change::Delete { .. }) || pod.spec.node_name.is_empty() {
                    continue;
                }
                if pod.metadata.is_deleting() {
                    let mut options = Options::default();
                    options.delete.grace_period_seconds = Some(0);
                    let _ = client.delete(target, options).await;
                } else if pod.status.phase == "Pending" {
                    let now = schema::time::format(env.now());
                    let ip = format!("10.244.0.{}", env.random_below(250) + 2);
                    let status = json!({"status": {
                        "phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}],
                        "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": now}],
                    }});
                    let _ = client.patch(target.sub("status"), client::Patch::Strategic, &status).await;
                }
            }
        };
        self.env.spawn("kubelet", async move {
            shutdown.run_until_cancelled(playing).await;
        });
    }

    /// Waits until an object of the collection satisfies `is`; panics with what was seen last.
    pub async fn eventually(&self, what: &str, collection: Target, is: impl Fn(&[Arc<Object>]) -> bool) -> Vec<Arc<Object>> {
        let mut last = Vec::new();
        let waiting = async {
            loop {
                let list = self.admin.list(collection.clone(), Options::default()).await?;
                if is(&list.items) {
                    return Ok::<_, Status>(list.items);
                }
                last = list.items.iter().map(|item| item.value().to_string()).collect();
                let options = Options { resource_version: Some(list.resource_version), ..Options::default() };
                self.admin.watch(collection.clone(), options).await?.next().await;
            }
        };
        match tokio::time::timeout(DEADLINE, waiting).await {
            Ok(items) => items.expect("the API answers"),
            Err(_) => panic!("{what}: not so after {} s; last seen: {}", DEADLINE.as_secs(), last.join("\n")),
        }
    }

    /// Stops every task of the cluster. Nobody may have been refused anything meanwhile.
    pub async fn stop(self) {
        self.env.stop(Duration::from_secs(5)).await;
        let refusals = self.refusals.lock().expect("no holder panics");
        assert!(refusals.is_empty(), "the bootstrap roles do not suffice:\n{}", refusals.join("\n"));
    }
}

/// A client of the core for a user.
pub fn client_of(core: &Arc<Core>, user: UserInfo) -> Client {
    Client::new(core.transport(user))
}

/// A client of the core for a user whose refusals are noted, on a bad line where `faults` says so.
pub fn line_to(core: &Arc<Core>, user: UserInfo, refusals: &Refusals, faults: &Option<Env>) -> Client {
    let name = user.name.clone();
    Client::new(Arc::new(Line { inner: core.transport(user), user: name, refusals: Arc::clone(refusals), faults: faults.clone() }))
}

/// The identity of a controller by its service account's user name.
pub fn controller_identity(user: &str) -> UserInfo {
    auth::controller_user(user.rsplit(':').next().unwrap_or(user))
}

fn signing_key() -> String {
    let dir = tempfile::tempdir().expect("a temporary folder");
    auth::Pki::ensure(dir.path(), &Env::real()).expect("keys are made").signing_key().to_owned()
}

/// A Deployment of `replicas` pods with the label `app=<name>`.
pub fn deployment(name: &str, replicas: i32, image: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "replicas": replicas, "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": {"containers": [{"name": "c", "image": image}]}},
        },
    })
}
