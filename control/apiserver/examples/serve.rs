//! The API server alone: for kubectl smoke tests and the replays of the golden exchanges.
//!
//! ```text
//! cargo run -p apiserver --example serve -- [--port 6443] [--dir DIR] [--store STORE] [--services 10.0.0.0] [--program NAME] [--agents-on-loopback]
//! ```
//! STORE is `memory` (the default), `log` (below DIR) or `etcd=http://127.0.0.1:2379`. The program's name (default: kube-apiserver)
//! is what the server signs its own writes with in managedFields. SIGUSR1 compacts the store's history: the process id is in DIR/pid.
//! DIR (default: a new folder below the system's temporary one) gets the certificates and `admin.kubeconfig`, and may hold `apiserver.yaml`. The tokens
//! `golden-admin` (user admin, in system:masters) and `golden-alice` (user alice, group dev) are good until it ends. Ctrl-C ends it.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use apiserver::aggregation::Trust;
use apiserver::assemble::{Assembled, assemble};
use apiserver::http::{Agents, Face, Limits, Listener, serve};
use apiserver::settings::Settings;
use apiserver::{Config, folders};
use auth::certificate::ClientCertificates;
use auth::pki::{Leaf, Live};
use auth::{Authenticator, MASTERS, Pki, UserInfo};
use env::Env;
use store::{Etcd, EtcdConfig, Log, LogConfig, Memory, Revision, Store};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

struct Arguments {
    port: u16,
    dir: PathBuf,
    store: String,
    services: Ipv4Addr,
    program: &'static str,
    loopback: bool,
}

fn arguments() -> Result<Arguments, String> {
    let mut parsed = Arguments {
        port: 6443,
        dir: std::env::temp_dir().join(format!("serve-{}", std::process::id())),
        store: "memory".into(),
        services: Ipv4Addr::new(10, 0, 0, 0),
        program: Config::default().program,
        loopback: false,
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
        match word.as_str() {
            "--port" => parsed.port = value()?.parse().map_err(|error| format!("--port: {error}"))?,
            "--dir" => parsed.dir = value()?.into(),
            "--store" => parsed.store = value()?,
            "--services" => parsed.services = value()?.parse().map_err(|error| format!("--services: {error}"))?,
            "--program" => parsed.program = value()?.leak(),
            "--agents-on-loopback" => parsed.loopback = true,
            other => {
                let known = "--port, --dir, --store, --services, --program, --agents-on-loopback";
                return Err(format!("unknown argument {other:?}; known: {known}"));
            }
        }
    }
    Ok(parsed)
}

async fn open(store: &str, dir: &Path, env: &Env) -> Result<Arc<dyn Store>, Box<dyn std::error::Error>> {
    match (store, store.strip_prefix("etcd=")) {
        ("memory", _) => Ok(Memory::new()),
        ("log", _) => Ok(Log::open(&dir.join("store"), env, LogConfig::default())?),
        (_, Some(urls)) => {
            let endpoints = urls.split(',').map(str::to_owned).collect();
            Ok(Etcd::open(EtcdConfig { folders: folders::upstream(), ..EtcdConfig::new(endpoints) }, env).await?)
        }
        _ => Err(format!("--store {store:?}: there is no such store; known: memory, log, etcd=URL").into()),
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let Arguments { port, dir, store, services, program, loopback } = arguments()?;
    let env = Env::real();
    let started = env.instant();
    let pki = Pki::ensure(&dir, &env)?;
    // An endpoint may not be a loopback address; nothing here ever dials this one.
    let endpoint = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
    let config = Config { program, service_range: (services, 16), api_address: (endpoint, port), ..Config::default() };
    let server = pki.leaf(&Leaf::api_server(&[config.kubernetes_ip().to_string()]))?;
    let settings = Settings::load(&dir)?;
    let store = settings.store(open(&store, &dir, &env).await?, &env)?;
    let assembled = assemble(Arc::clone(&store), &env, settings.configure(config)?, pki.signing_key()).await?;
    settings.authorize(&assembled.authority, &env)?;
    let authenticator = Authenticator::new(ClientCertificates::new(pki.ca(), &env)?, Arc::clone(&assembled.reviewers) as _, &env)
        .with_static_token("golden-admin", UserInfo { uid: "admin-uid".into(), ..UserInfo::new("admin", &[MASTERS]) })
        .with_static_token("golden-alice", UserInfo::new("alice", &["dev"]));
    let authenticator = settings.authenticator(authenticator, &assembled, &env)?;
    let Assembled { core, tokens, .. } = assembled;
    let agents = Agents::new(pki.client_config(Some(&pki.leaf(&Leaf::api_server_to_agent())?)));
    let agents = if loopback { agents.on_loopback() } else { agents };
    let url = format!("https://127.0.0.1:{port}");
    let face = Face::with_options(Arc::clone(&core), authenticator, tokens, agents, &url, settings.options(&env)?);
    let leaf = Leaf::front_proxy();
    let trust = Trust {
        client_ca: pki.ca().to_owned(),
        front_proxy_ca: pki.front_proxy_ca().to_owned(),
        front_proxy_name: leaf.common_name.clone(),
    };
    face.aggregation().set_identity(Live::new(&pki.leaf(&leaf)?)?);
    face.aggregation().start(&core, trust);
    let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    env.spawn("listen", serve(face, Listener::new(&server, Limits::default())?, socket));
    env.spawn("compaction", compact_when_told(store));
    std::fs::write(dir.join("pid"), std::process::id().to_string())?;
    let kubeconfig = dir.join("admin.kubeconfig");
    std::fs::write(&kubeconfig, pki.kubeconfig("serve", &url, &pki.leaf(&Leaf::admin())?))?;
    announce(&format!("serving {url} after {:?}; KUBECONFIG={}", started.elapsed(), kubeconfig.display()));
    tokio::signal::ctrl_c().await?;
    env.stop(Duration::from_secs(5)).await;
    Ok(())
}

/// The commits that a compaction leaves: lists that are being paged through go on, as the original's do out of the snapshots
/// that its cache keeps when etcd is compacted.
const KEPT: u64 = 32;

/// Forgets the history but for its end at every SIGUSR1.
async fn compact_when_told(store: Arc<dyn Store>) {
    let Ok(mut told) = signal(SignalKind::user_defined1()) else { return };
    while told.recv().await.is_some() {
        if let Ok(now) = store.current().await {
            // Only what is gone already can be in the way.
            let _ = store.compact(Revision(now.0.saturating_sub(KEPT))).await;
        }
    }
}

#[expect(clippy::print_stdout, reason = "an example says where it is")]
fn announce(text: &str) {
    println!("{text}");
}
