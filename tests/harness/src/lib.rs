//! A cluster in one process: the real API core, store, controllers and scheduler. Nodes are the real agent on the
//! contracts' fakes.
//!
//! Nothing here resyncs or polls: a test waits for a state with [`Cluster::eventually`], which watches.

use std::sync::Arc;
use std::time::Duration;

use apiserver::{Config, Core};
use auth::UserInfo;
use client::{Client, Object, Options, Target};
use env::Env;
use futures::StreamExt;
use reconcile::{Informers, Manager};
use schema::{Status, Value, json};

/// How long a state may take before a test fails. Generous: it is a bound for hangs, not a measure.
const DEADLINE: Duration = Duration::from_secs(20);

pub struct Cluster {
    pub env: Env,
    pub core: Arc<Core>,
    /// With every right.
    pub admin: Client,
    pub informers: Informers,
}

impl Cluster {
    /// The API alone.
    pub async fn api() -> Self {
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
        let informers = Informers::new(&env, client_of(&core, UserInfo::new("system:kube-controller-manager", &[auth::AUTHENTICATED])));
        Self { env, core, admin, informers }
    }

    /// The API with all controllers and the scheduler, each under its own identity.
    pub async fn start() -> Self {
        let cluster = Self::api().await;
        let core = Arc::clone(&cluster.core);
        let manager = Manager::new(&cluster.env, cluster.informers.clone(), Arc::new(move |user| client_of(&core, controller_identity(user))));
        controllers::start(&manager, &controllers::Config { root_ca: "PEM".into() });
        let scheduler = client_of(&cluster.core, UserInfo::new("system:kube-scheduler", &[auth::AUTHENTICATED]));
        cluster.env.spawn("scheduler", scheduler::run(cluster.env.clone(), scheduler, cluster.informers.clone()));
        cluster
    }

    /// Registers a node that nobody runs, large enough for everything.
    pub async fn add_node(&self, name: &str) {
        let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}}});
        self.admin.create(Target::of("v1", "nodes", ""), node).await.expect("a node is made");
        let status = json!({"status": {
            "allocatable": {"cpu": "32", "memory": "64Gi", "pods": "500"}, "capacity": {"cpu": "32", "memory": "64Gi", "pods": "500"},
            "conditions": [{"type": "Ready", "status": "True"}],
        }});
        self.admin.patch(Target::of("v1", "nodes", "").named(name).sub("status"), client::Patch::Merge, &status).await.expect("a node reports");
    }

    /// Plays the kubelet for pods that are bound: they become Running and Ready, and go when deleted.
    pub fn play_kubelet(&self) {
        let (client, informer, env) = (self.admin.clone(), self.informers.of("v1", "pods"), self.env.clone());
        let mut changes = informer.changes();
        let shutdown = self.env.shutdown().clone();
        let playing = async move {
            while let Ok(change) = changes.recv().await {
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

    /// Stops every task of the cluster.
    pub async fn stop(self) {
        self.env.stop(Duration::from_secs(5)).await;
    }
}

/// A client of the core for a user.
pub fn client_of(core: &Arc<Core>, user: UserInfo) -> Client {
    Client::new(core.transport(user))
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
