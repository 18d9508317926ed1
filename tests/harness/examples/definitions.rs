//! What a thousand definitions of custom kinds cost the whole of `control`: memory, and the time until the last of them is served,
//! in discovery and in OpenAPI. All parts run in this process (the log store on disk, TLS, controllers, scheduler, aggregation);
//! definitions come over HTTPS, sixteen at a time.
//!
//! ```text
//! cargo run --release -p harness --example definitions -- [COUNT]
//! ```

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use apiserver::aggregation::Trust;
use apiserver::assemble::{Assembled, assemble};
use apiserver::http::{Agents, Face, Limits, Listener, serve};
use apiserver::{Config, Core};
use auth::certificate::ClientCertificates;
use auth::pki::{Leaf, Live};
use auth::{Authenticator, Pki, UserInfo};
use client::https::HttpsConfig;
use client::{Client, Https, Target};
use env::Env;
use futures::StreamExt;
use reconcile::{Informers, Manager};
use schema::{DocExt, Value, json};
use store::{Log, LogConfig};
use tokio::net::TcpListener;

/// As many as kubebuilder's larger types have.
const FIELDS: usize = 40;
const GROUPS: usize = 50;
const WRITERS: usize = 16;
const PATIENCE: Duration = Duration::from_secs(120);

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<()> {
    let count: usize = std::env::args().nth(1).map_or(Ok(1_000), |word| word.parse())?;
    let (env, dir) = (Env::real(), tempfile::tempdir()?);
    let pki = Arc::new(Pki::ensure(dir.path(), &env)?);
    let store = Log::open(&dir.path().join("log"), &env, LogConfig::default())?;
    let config = Config { api_address: (Ipv4Addr::new(192, 0, 2, 1).into(), 6443), ..Config::default() };
    let assembled = assemble(store, &env, config, pki.signing_key()).await?;
    let https = listen(&env, &pki, &assembled).await?;
    start_deciders(&env, &assembled.core, &pki);
    env.sleep(Duration::from_secs(2)).await; // what every cluster makes at its start
    let before = settled(&env).await?;
    let seconds = tokio::time::timeout(PATIENCE, install(&env, &https, count)).await.context("the last one was never served")??;
    let after = settled(&env).await?;
    let size = definition(0).to_string().len();
    report(&format!(
        "definitions={count} bytes_each={size} last_served_s={seconds:.2} memory_mb={:.1} (from {:.1})",
        after - before,
        before
    ));
    env.stop(Duration::from_secs(5)).await;
    Ok(())
}

#[expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
fn report(text: &str) {
    println!("{text}");
}

async fn listen(env: &Env, pki: &Arc<Pki>, assembled: &Assembled) -> Result<Arc<Https>> {
    let certificates = ClientCertificates::new(pki.ca(), env).map_err(anyhow::Error::msg)?;
    let authenticator = Authenticator::new(certificates, Arc::clone(&assembled.tokens) as _, env);
    let agents = Agents::new(pki.client_config(Some(&pki.leaf(&Leaf::api_server_to_agent())?)));
    let face = Face::new(Arc::clone(&assembled.core), authenticator, Arc::clone(&assembled.tokens), agents, "https://localhost");
    let leaf = Leaf::front_proxy();
    let (client_ca, front_proxy_ca) = (pki.ca().to_owned(), pki.front_proxy_ca().to_owned());
    let trust = Trust { client_ca, front_proxy_ca, front_proxy_name: leaf.common_name.clone() };
    face.aggregation().set_identity(Live::new(&pki.leaf(&leaf)?).map_err(anyhow::Error::msg)?);
    face.aggregation().start(&assembled.core, trust);
    let relief = Arc::clone(face.relief());
    let task_env = env.clone();
    env.spawn("relief", async move { relief.run(&task_env, || _ = sys::memory::give_back()).await });
    let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = socket.local_addr()?;
    let server = Listener::new(&pki.leaf(&Leaf::api_server(&[]))?, Limits::default()).map_err(anyhow::Error::msg)?;
    env.spawn("listen", serve(face, server, socket));
    let tls = Arc::new(pki.client_config(Some(&pki.leaf(&Leaf::admin())?)));
    let server_name = "localhost".try_into()?;
    Ok(Https::new(HttpsConfig { address, server_name, tls, token: None, user_agent: "definitions".into() }, env))
}

fn start_deciders(env: &Env, core: &Arc<Core>, pki: &Arc<Pki>) {
    let client_of = |user: UserInfo| Client::new(core.transport(user));
    let informers = Informers::new(env, client_of(UserInfo::new("system:kube-controller-manager", &[auth::AUTHENTICATED])));
    let for_controllers = Arc::clone(core);
    let identity = move |user: &str| Client::new(for_controllers.transport(auth::controller_user(user.rsplit(':').next().unwrap_or(user))));
    let manager = Manager::new(env, informers.clone(), Arc::new(identity));
    controllers::start(&manager, &controllers::Config { root_ca: pki.ca().to_owned(), signer: Some(Arc::clone(pki)) });
    let scheduler = client_of(UserInfo::new("system:kube-scheduler", &[auth::AUTHENTICATED]));
    env.spawn("scheduler", scheduler::run(env.clone(), scheduler, informers, scheduler::Metrics::default()));
}

/// Seconds from the first definition until the last is served, in discovery and in both forms of OpenAPI.
async fn install(env: &Env, https: &Arc<Https>, count: usize) -> Result<f64> {
    let started = env.instant();
    let client = Client::new(Arc::clone(https) as _);
    let target = Target::of("apiextensions.k8s.io/v1", "customresourcedefinitions", "");
    let created: Vec<_> = (0..count).map(|n| client.create(target.clone(), definition(n))).collect();
    let made: Vec<_> = futures::stream::iter(created).buffer_unordered(WRITERS).collect().await;
    made.into_iter().collect::<Result<Vec<_>, _>>()?;
    let last = format!("widget{}s.g{}.example.com", count - 1, (count - 1) % GROUPS);
    let mut watch =
        client.watch(target.clone(), client::Options { field_selector: format!("metadata.name={last}"), ..Default::default() }).await?;
    while let Some(event) = watch.next().await {
        if kinds::custom::is_established(&event?.object.value()) {
            break;
        }
    }
    let group = format!("g{}.example.com", (count - 1) % GROUPS);
    let (plural, kind) = (format!("widget{}s", count - 1), format!("Widget{}", count - 1));
    https.get_raw(&format!("/apis/{group}/v1/{plural}")).await?;
    let list: Value = serde_json::from_slice(&https.get_raw(&format!("/apis/{group}/v1")).await?)?;
    anyhow::ensure!(list.items_at("resources").iter().any(|one| one.str_at("name") == plural), "not in discovery");
    let v3: Value = serde_json::from_slice(&https.get_raw(&format!("/openapi/v3/apis/{group}/v1")).await?)?;
    let schema = format!("com.example.g{}.v1.{kind}", (count - 1) % GROUPS);
    anyhow::ensure!(v3["components"]["schemas"].get(&schema).is_some(), "not in OpenAPI v3");
    let v2: Value = serde_json::from_slice(&https.get_raw("/openapi/v2").await?)?;
    anyhow::ensure!(v2["definitions"].get(&schema).is_some(), "not in OpenAPI v2");
    Ok(started.elapsed().as_secs_f64())
}

fn definition(n: usize) -> Value {
    let text = "what this field is for, in one sentence that is about as long as such sentences are in practice";
    let mut properties = schema::Map::new();
    for field in 0..FIELDS {
        let inner = json!({"name": {"type": "string", "description": text}, "value": {"type": "integer", "minimum": 0}});
        properties
            .insert(format!("field{field}"), json!({"type": "object", "description": text, "properties": inner, "required": ["name"]}));
    }
    let spec = json!({"type": "object", "properties": properties});
    let schema = json!({"openAPIV3Schema": {"type": "object", "properties": {"spec": spec, "status": {"type": "object"}}}});
    let group = format!("g{}.example.com", n % GROUPS);
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": format!("widget{n}s.{group}")},
        "spec": {"group": group, "scope": "Namespaced", "names": {"plural": format!("widget{n}s"), "kind": format!("Widget{n}")},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": schema, "subresources": {"status": {}}}]},
    })
}

/// Resident memory in MB, once it has stopped to fall.
async fn settled(env: &Env) -> Result<f64> {
    let mut least = f64::MAX;
    for _ in 0..10 {
        env.sleep(Duration::from_millis(500)).await;
        least = resident()?.min(least);
    }
    Ok(least)
}

fn resident() -> Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kib: f64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib * 1024.0 / 1e6)
}
