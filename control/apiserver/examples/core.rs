//! What the API core costs without HTTP: CPU per create, bind, status patch, apply, list and delivered watch event.
//!
//! ```text
//! cargo run --release -p apiserver --example core -- [PODS] [WATCHERS]
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use apiserver::{Config, Core, Step};
use auth::UserInfo;
use client::{Body, Bytes, Client, Options, Patch, Request, Target, Verb};
use env::Env;
use futures::StreamExt;
use schema::{Value, json};
use store::{Memory, Store};

/// As in the product.
#[global_allocator]
static HEAP: sys::memory::Heap = sys::memory::HEAP;

fn main() {
    let mut numbers = std::env::args().skip(1).map(|word| word.parse().expect("a number"));
    let (pods, watchers) = (numbers.next().unwrap_or(5_000), numbers.next().unwrap_or(1_000));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(run(pods, watchers));
}

#[expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
async fn run(pods: u64, watchers: u64) {
    let env = Env::real();
    let core =
        Core::new(Memory::new() as Arc<dyn Store>, env.clone(), Config::default(), auth::Chain::new(Vec::new()), kinds::all().to_vec());
    core.start().await.expect("an empty store starts");
    let client = Client::new(core.transport(UserInfo::new("bench", &[auth::MASTERS])));
    let accounts = Target::of("v1", "serviceaccounts", "default");
    client.create(accounts, json!({"metadata": {"name": "default"}})).await.expect("an account");

    measure("create a pod", pods, each(pods, 16, |n| create(client.clone(), n))).await;
    measure("bind it", pods, each(pods, 16, |n| bind(client.clone(), n))).await;
    measure("patch its status", pods, each(pods, 16, |n| patch(client.clone(), n))).await;
    measure("apply labels to it", pods, each(pods, 16, |n| apply(client.clone(), n, "x"))).await;
    measure("apply the same again", pods, each(pods, 16, |n| apply(client.clone(), n, "x"))).await;
    println!("{:32} {:10} bytes", "a pod has", client.get(self::pods().named("p0")).await.expect("a pod").raw.len());
    let list = || async {
        client.list(Target::of("v1", "pods", ""), Options::default()).await.expect("a list").items.len();
    };
    measure("list all pods", 20, each(20, 1, |_| list())).await;
    watch(&core, &client, watchers).await;
    env.stop(Duration::from_secs(1)).await;
}

async fn each<F: Future<Output = ()>>(count: u64, at_once: usize, one: impl Fn(u64) -> F) {
    futures::stream::iter(0..count).map(one).buffer_unordered(at_once).collect::<Vec<()>>().await;
}

fn pods() -> Target {
    Target::of("v1", "pods", "default")
}

async fn create(client: Client, n: u64) {
    let container = json!({"name": "c", "image": "corten.local/hello", "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}},
        "env": [{"name": "A", "value": "b"}], "ports": [{"containerPort": 8080}], "livenessProbe": {"httpGet": {"path": "/", "port": 8080}}});
    let doc =
        json!({"metadata": {"name": format!("p{n}"), "labels": {"app": "web", "n": n.to_string()}}, "spec": {"containers": [container]}});
    let body = Body::Encoded { content_type: "application/json".into(), bytes: Bytes::from(doc.to_string()) };
    let request = Request { verb: Verb::Create, target: pods(), options: Options::default(), body };
    client.call(request).await.expect("a pod");
}

async fn bind(client: Client, n: u64) {
    let doc = json!({"metadata": {"name": format!("p{n}")}, "target": {"kind": "Node", "name": format!("n{}", n % 1_000)}});
    client.create(pods().named(&format!("p{n}")).sub("binding"), doc).await.expect("a binding");
}

async fn patch(client: Client, n: u64) {
    let patch = json!({"status": {"phase": "Running", "podIP": "10.0.0.1", "conditions": [{"type": "Ready", "status": "True"}]}});
    client.patch(pods().named(&format!("p{n}")).sub("status"), Patch::Strategic, &patch).await.expect("a status");
}

async fn apply(client: Client, n: u64, label: &str) {
    let name = format!("p{n}");
    let config = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"applied": label}}});
    client.patch(pods().named(&name), Patch::Apply, &config).await.expect("an apply");
}

/// One config map changes; every watcher hears of it.
async fn watch(core: &Arc<Core>, client: &Client, watchers: u64) {
    const WRITES: u64 = 200;
    let heard = Arc::new(AtomicU64::new(0));
    let admin = UserInfo::new("bench", &[auth::MASTERS]);
    let maps = || Target::of("v1", "configmaps", "default");
    let options = Options { resource_version: Some(core.revision().to_string()), ..Options::default() };
    for _ in 0..watchers {
        let mut cursor = core.watch(&admin, &maps(), &options).await.expect("a watch");
        let heard = Arc::clone(&heard);
        core.env().spawn("watcher", async move {
            while let Ok(Step::Events(events)) = cursor.next().await {
                let bytes: usize = events.iter().map(|event| event.object(cursor.kind()).expect("an object").raw.len()).sum();
                heard.fetch_add(if bytes > 0 { events.len() as u64 } else { 0 }, Ordering::Relaxed);
            }
        });
    }
    let write = |n: u64| {
        let doc: Value = json!({"metadata": {"name": format!("c{n}")}, "data": {"x": "y".repeat(800)}});
        let client = client.clone();
        async move { drop(client.create(maps(), doc).await.expect("a config map")) }
    };
    let all = async {
        each(WRITES, 8, write).await;
        while heard.load(Ordering::Relaxed) < WRITES * watchers {
            tokio::task::yield_now().await;
        }
    };
    measure("deliver an event to a watcher", WRITES * watchers, all).await;
}

#[expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
async fn measure(what: &str, count: u64, work: impl Future<Output = ()>) {
    let (wall, cpu) = (tokio::time::Instant::now(), cpu_micros());
    work.await;
    let (wall, cpu) = (wall.elapsed(), cpu_micros() - cpu);
    let each = cpu as f64 / count as f64;
    println!("{what:32} {each:10.2} CPU-µs each, {:10.0} each second", count as f64 / wall.as_secs_f64());
}

/// CPU time of this process.
fn cpu_micros() -> u64 {
    let tasks = std::fs::read_dir("/proc/self/task").expect("Linux");
    let nanos = tasks.flatten().filter_map(|task| std::fs::read_to_string(task.path().join("schedstat")).ok());
    nanos.filter_map(|text| text.split(' ').next()?.parse::<u64>().ok()).sum::<u64>() / 1_000
}
