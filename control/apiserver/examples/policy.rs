//! What admission policies cost: CPU per create of a pod, with none, some and many of them.
//!
//! ```text
//! cargo run --release -p apiserver --example policy -- [PODS]
//! ```

use std::sync::Arc;
use std::time::Duration;

use apiserver::{Config, Core};
use auth::UserInfo;
use client::{Body, Client, Options, Request, Target, Verb};
use env::Env;
use futures::StreamExt;
use schema::{Value, json};
use store::{Memory, Store};

const GROUP: &str = "admissionregistration.k8s.io/v1";

fn main() {
    let pods = std::env::args().nth(1).map_or(5_000, |word| word.parse().expect("a number"));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(run(pods));
}

async fn run(pods: u64) {
    let env = Env::real();
    let core =
        Core::new(Memory::new() as Arc<dyn Store>, env.clone(), Config::default(), auth::Chain::new(Vec::new()), kinds::all().to_vec());
    core.start().await.expect("an empty store starts");
    let client = Client::new(core.transport(UserInfo::new("bench", &[auth::MASTERS])));
    let accounts = Target::of("v1", "serviceaccounts", "default");
    client.create(accounts, json!({"metadata": {"name": "default"}})).await.expect("an account");
    measure("no policy", pods, &client).await;
    for n in 0..100 {
        bind(&client, "validating", &format!("other{n}"), validating("secrets")).await;
    }
    measure("100 policies for secrets", pods, &client).await;
    bind(&client, "validating", "one", validating("pods")).await;
    measure("and 1 for pods: 3 rules, 1 variable", pods, &client).await;
    for n in 1..10 {
        bind(&client, "validating", &format!("more{n}"), validating("pods")).await;
    }
    measure("and 10 for pods", pods, &client).await;
    bind(&client, "mutating", "label", mutating()).await;
    measure("and 1 that adds a label", pods, &client).await;
    env.stop(Duration::from_secs(1)).await;
}

fn constraints(resource: &str) -> Value {
    json!({"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": [resource]}]})
}

fn validating(resource: &str) -> Value {
    json!({"matchConstraints": constraints(resource),
    "variables": [{"name": "containers", "expression": "object.spec.containers"}],
    "validations": [
        {"expression": "variables.containers.all(c, c.image.startsWith('corten.local/'))"},
        {"expression": "variables.containers.all(c, has(c.resources.requests) && 'cpu' in c.resources.requests)"},
        {"expression": "!has(object.spec.hostNetwork) || !object.spec.hostNetwork", "message": "no host network"},
    ]})
}

fn mutating() -> Value {
    let expression = "Object{metadata: Object.metadata{labels: {'by': request.userInfo.username}}}";
    json!({"matchConstraints": constraints("pods"), "reinvocationPolicy": "Never",
        "mutations": [{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": expression}}]})
}

async fn bind(client: &Client, sort: &str, name: &str, spec: Value) {
    let target = |suffix: &str| Target::of(GROUP, &format!("{sort}admissionpolic{suffix}"), "");
    client.create(target("ies"), json!({"metadata": {"name": name}, "spec": spec})).await.expect("a policy");
    let mut binding = json!({"policyName": name});
    if sort == "validating" {
        binding["validationActions"] = json!(["Deny"]);
    }
    client.create(target("ybindings"), json!({"metadata": {"name": name}, "spec": binding})).await.expect("a binding");
}

/// A dry run passes the whole chain and writes nothing.
async fn create(client: Client, n: u64) {
    let container = json!({"name": "c", "image": "corten.local/hello", "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}},
        "env": [{"name": "A", "value": "b"}], "ports": [{"containerPort": 8080}], "livenessProbe": {"httpGet": {"path": "/", "port": 8080}}});
    let doc = json!({"metadata": {"name": format!("p{n}"), "labels": {"app": "web"}}, "spec": {"containers": [container]}});
    let target = Target::of("v1", "pods", "default");
    let options = Options { dry_run: true, ..Options::default() };
    client.call(Request { verb: Verb::Create, target, options, body: Body::Value(doc) }).await.expect("a pod");
}

#[expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
async fn measure(what: &str, count: u64, client: &Client) {
    let cpu = cpu_micros();
    futures::stream::iter(0..count).map(|n| create(client.clone(), n)).buffer_unordered(16).collect::<Vec<()>>().await;
    println!("{what:40} {:10.2} CPU-µs each", (cpu_micros() - cpu) as f64 / count as f64);
}

/// CPU time of this process.
fn cpu_micros() -> u64 {
    let tasks = std::fs::read_dir("/proc/self/task").expect("Linux");
    let nanos = tasks.flatten().filter_map(|task| std::fs::read_to_string(task.path().join("schedstat")).ok());
    nanos.filter_map(|text| text.split(' ').next()?.parse::<u64>().ok()).sum::<u64>() / 1_000
}
