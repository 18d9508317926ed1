//! How fast pods are created and durably bound: API core, log store and scheduler in one process, nodes that nobody runs.
//!
//! `cargo run --release -p scheduler --example throughput [NODES] [PODS] [CLIENTS]` prints one line of JSON: pods per second from the
//! first create to the last bind that the API acknowledged, and CPU milliseconds per pod of the whole process (clients included).

use std::sync::Arc;
use std::time::Duration;

use auth::UserInfo;
use client::{Client, Target};
use env::Env;
use reconcile::Informers;
use schema::json;
use store::{Log, LogConfig};

#[expect(clippy::print_stdout, reason = "the line is what it is run for")]
#[tokio::main]
async fn main() {
    let mut numbers = std::env::args().skip(1).map(|arg| arg.parse::<usize>().expect("NODES, PODS and CLIENTS are numbers"));
    let (nodes, pods, clients) = (numbers.next().unwrap_or(5000), numbers.next().unwrap_or(5000), numbers.next().unwrap_or(16));
    let dir = tempfile::tempdir().expect("a temporary folder");
    let env = Env::real();
    let log = Log::open(&dir.path().join("log"), &env, LogConfig::default()).expect("a new log opens");
    let key = auth::Pki::ensure(dir.path(), &env).expect("keys are made").signing_key().to_owned();
    let config = apiserver::Config { api_address: ([10, 0, 0, 1].into(), 6443), ..apiserver::Config::default() };
    let core = apiserver::assemble::assemble(log, &env, config, &key).await.expect("an empty store assembles").core;
    let client_of = |user: &str, groups: &[&str]| Client::new(core.transport(UserInfo::new(user, groups)));
    let admin = client_of("admin", &[auth::MASTERS, auth::AUTHENTICATED]);
    prepare(&env, &admin, nodes).await;
    let informers = Informers::new(&env, client_of("system:kube-controller-manager", &[auth::AUTHENTICATED]));
    env.spawn(
        "scheduler",
        scheduler::run(
            env.clone(),
            client_of("system:kube-scheduler", &[auth::AUTHENTICATED]),
            informers.clone(),
            scheduler::Metrics::default(),
        ),
    );
    let informer = informers.of("v1", "pods");
    informers.of("v1", "nodes").synced().await;
    informer.synced().await;

    let (since, cpu) = (env.instant(), cpu());
    for client in 0..clients {
        let admin = admin.clone();
        env.spawn("client", async move {
            for n in (client..pods).step_by(clients) {
                admin.create(Target::of("v1", "pods", "default"), pod(n)).await.expect("a pod is made");
            }
        });
    }
    let mut changes = informer.changes();
    let is_bound = |object: &Arc<client::Object>| object.lens::<kinds::core::Pod>().is_ok_and(|pod| !pod.spec.node_name.is_empty());
    while informer.store.all().iter().filter(|pod| is_bound(pod)).count() < pods {
        // Looked at in large steps: counting is not part of what is measured.
        for _ in 0..200 {
            if tokio::time::timeout(Duration::from_millis(20), changes.recv()).await.is_err() {
                break;
            }
        }
    }
    let (seconds, used) = (since.elapsed().as_secs_f64(), (self::cpu() - cpu).as_secs_f64());
    println!(
        "{}",
        json!({"nodes": nodes, "pods": pods, "clients": clients, "pods_per_second": (pods as f64 / seconds).round(), "cpu_ms_per_pod": (used * 1e6 / pods as f64).round() / 1e3})
    );
    env.stop(Duration::from_secs(5)).await;
}

async fn prepare(env: &Env, admin: &Client, nodes: usize) {
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
    let _ = admin.create(Target::of("v1", "serviceaccounts", "default"), account).await;
    let made = (0..16).map(|part| {
        let admin = admin.clone();
        env.spawn("nodes", async move {
            for n in (part..nodes).step_by(16) {
                add_node(&admin, &format!("node-{n}")).await;
            }
        })
    });
    futures::future::join_all(made).await;
}

async fn add_node(admin: &Client, name: &str) {
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}}});
    admin.create(Target::of("v1", "nodes", ""), node).await.expect("a node is made");
    let room = json!({"cpu": "8", "memory": "32Gi", "pods": "110"});
    let status =
        json!({"metadata": {}, "status": {"allocatable": room, "capacity": room, "conditions": [{"type": "Ready", "status": "True"}]}});
    admin.patch(Target::of("v1", "nodes", "").named(name).sub("status"), client::Patch::Merge, &status).await.expect("a node reports");
    let free = json!({"spec": {"taints": null}});
    admin.patch(Target::of("v1", "nodes", "").named(name), client::Patch::Merge, &free).await.expect("a node is untainted");
}

fn pod(n: usize) -> schema::Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": format!("pod-{n}"), "labels": {"app": "load"}},
        "spec": {"containers": [{"name": "c", "image": "corten.local/hello", "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}}}]},
    })
}

/// User and system time of this process.
fn cpu() -> Duration {
    let text = std::fs::read_to_string("/proc/self/stat").expect("/proc is mounted");
    let after_name = text.rsplit_once(')').expect("the name is in brackets").1;
    let fields: Vec<u64> = after_name.split_whitespace().skip(11).take(2).map(|field| field.parse().expect("ticks")).collect();
    Duration::from_millis(fields.iter().sum::<u64>() * 10)
}
