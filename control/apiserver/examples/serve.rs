//! The API server alone, on the memory store: for kubectl smoke tests and the replays of the golden exchanges.
//!
//! ```text
//! cargo run -p apiserver --example serve -- [--port 6443] [--dir DIR] [--services 10.0.0.0] [--agents-on-loopback]
//! ```
//! DIR (default: a new folder below the system's temporary one) gets the certificates and `admin.kubeconfig`, and may hold `apiserver.yaml`. The tokens
//! `golden-admin` (user admin, in system:masters) and `golden-alice` (user alice, group dev) are good until it ends. Ctrl-C ends it.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use apiserver::Config;
use apiserver::aggregation::Trust;
use apiserver::assemble::{Assembled, assemble};
use apiserver::http::{Agents, Face, Limits, Listener, serve};
use apiserver::settings::Settings;
use auth::certificate::ClientCertificates;
use auth::pki::{Leaf, Live};
use auth::{Authenticator, MASTERS, Pki, UserInfo};
use env::Env;
use store::Memory;
use tokio::net::TcpListener;

struct Arguments {
    port: u16,
    dir: PathBuf,
    services: Ipv4Addr,
    loopback: bool,
}

fn arguments() -> Result<Arguments, String> {
    let mut parsed = Arguments {
        port: 6443,
        dir: std::env::temp_dir().join(format!("serve-{}", std::process::id())),
        services: Ipv4Addr::new(10, 0, 0, 0),
        loopback: false,
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
        match word.as_str() {
            "--port" => parsed.port = value()?.parse().map_err(|error| format!("--port: {error}"))?,
            "--dir" => parsed.dir = value()?.into(),
            "--services" => parsed.services = value()?.parse().map_err(|error| format!("--services: {error}"))?,
            "--agents-on-loopback" => parsed.loopback = true,
            other => return Err(format!("unknown argument {other:?}; known: --port, --dir, --services, --agents-on-loopback")),
        }
    }
    Ok(parsed)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let Arguments { port, dir, services, loopback } = arguments()?;
    let env = Env::real();
    let started = env.instant();
    let pki = Pki::ensure(&dir, &env)?;
    // An endpoint may not be a loopback address; nothing here ever dials this one.
    let endpoint = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
    let config = Config { service_range: (services, 16), api_address: (endpoint, port), ..Config::default() };
    let server = pki.leaf(&Leaf::api_server(&[config.kubernetes_ip().to_string()]))?;
    let settings = Settings::load(&dir)?;
    let assembled = assemble(Memory::new(), &env, settings.configure(config)?, pki.signing_key()).await?;
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
    let kubeconfig = dir.join("admin.kubeconfig");
    std::fs::write(&kubeconfig, pki.kubeconfig("serve", &url, &pki.leaf(&Leaf::admin())?))?;
    announce(&format!("serving {url} after {:?}; KUBECONFIG={}", started.elapsed(), kubeconfig.display()));
    tokio::signal::ctrl_c().await?;
    env.stop(Duration::from_secs(5)).await;
    Ok(())
}

#[expect(clippy::print_stdout, reason = "an example says where it is")]
fn announce(text: &str) {
    println!("{text}");
}
