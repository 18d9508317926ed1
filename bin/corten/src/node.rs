//! The process `node`: agent and its API, images, volumes, network, services, DNS. Root, because the kernel asks for it.
//!
//! It speaks to the API server over TLS as `system:node:<name>`, also on the same machine, and may die at any line:
//! everything is read again from the kernel, the keeper and the API.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use agent::server::{self, ClientReview, Server};
use agent::{Agent, AgentConfig, Drivers, SystemPart};
use anyhow::Context;
use auth::certificate::{ClientCertificates, Peer};
use auth::pki::{Identity, Leaf, Live};
use cli::Failure;
use client::https::{Https, HttpsConfig};
use client::{Client, Informer, Options, Target};
use env::Env;
use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use stdx::Instance;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch::Receiver;

use crate::host::write_secret;
use crate::renewal::{self, Renewal};
use crate::{admin, role};

/// How long the parts may take to end when the process is asked to; containers run on.
const STOP_GRACE: Duration = Duration::from_secs(3);

/// This machine's name as a node's: its host name in lower case.
pub(crate) fn name() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().to_lowercase();
    let good: String = name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '.' || c == '-' { c } else { '-' }).collect();
    let trimmed = good.trim_matches(|c: char| !c.is_ascii_alphanumeric());
    if trimmed.is_empty() { "node".into() } else { trimmed.to_owned() }
}

/// What a node needs to speak and to be spoken to.
pub(crate) struct Keys {
    /// PEM of the cluster's authority.
    pub ca: String,
    /// `system:node:<name>`
    pub client: Identity,
    /// `system:kube-proxy`: services and DNS read what no node may, all Services and EndpointSlices.
    pub proxy: Identity,
    pub server: Identity,
}

/// The authority; then one file for each identity, certificate and key together.
const FILES: [&str; 4] = ["ca.crt", "client.pem", "proxy.pem", "server.pem"];

impl Keys {
    fn paths(instance: &Instance) -> [PathBuf; 4] {
        FILES.map(|name| instance.node_dir().join("pki").join(name))
    }

    pub(crate) fn write(&self, instance: &Instance) -> Result<(), Failure> {
        let folder = instance.node_dir().join("pki");
        fs::create_dir_all(&folder).map_err(|error| Failure::io(&folder, error))?;
        let [ca, identities @ ..] = Self::paths(instance);
        write_secret(&ca, &self.ca)?;
        for (path, identity) in identities.iter().zip([&self.client, &self.proxy, &self.server]) {
            renewal::write(path, identity).map_err(|error| Failure::io(path, error))?;
        }
        Ok(())
    }

    pub(crate) fn read(instance: &Instance) -> anyhow::Result<Self> {
        let [ca, client, proxy, server] = Self::paths(instance);
        let ca = fs::read_to_string(&ca).with_context(|| ca.display().to_string())?;
        Ok(Self { ca, client: renewal::read(&client)?, proxy: renewal::read(&proxy)?, server: renewal::read(&server)? })
    }
}

/// What the node speaks and answers as, renewed while it runs.
struct Identities {
    keys: Keys,
    client: Arc<Live>,
    proxy: Arc<Live>,
    server: Arc<Live>,
}

impl Identities {
    fn new(keys: Keys) -> anyhow::Result<Self> {
        let live = |identity: &Identity| Live::new(identity).map_err(anyhow::Error::msg);
        Ok(Self { client: live(&keys.client)?, proxy: live(&keys.proxy)?, server: live(&keys.server)?, keys })
    }

    /// The API as one of them, over a connection of its own.
    fn https(&self, live: &Arc<Live>, instance: &Instance, env: &Env) -> Arc<Https> {
        let address = ([127, 0, 0, 1], instance.api_port()).into();
        let tls = Arc::new(auth::pki::live_client_config(&self.keys.ca, live));
        let server_name = "localhost".try_into().expect("a constant name");
        // Its first word is who owns what the node writes: what people look for in managedFields is the kubelet.
        let user_agent = concat!("kubelet/", env!("CARGO_PKG_VERSION"), " (corten)").into();
        Https::new(HttpsConfig { address, server_name, tls, token: None, user_agent }, env)
    }

    /// The agent's certificate; callers may show one of theirs, which `certificates` judges, or come with a token.
    fn server_config(&self, certificates: &ClientCertificates) -> ServerConfig {
        let builder = ServerConfig::builder().with_client_cert_verifier(certificates.handshake_verifier());
        let mut config = builder.with_cert_resolver(Arc::clone(&self.server) as _);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config
    }

    /// Keeps all three fresh; `as_node` and `as_proxy` are the connections to be made anew.
    fn keep_fresh(self, instance: &Instance, name: &str, as_node: Vec<Arc<Https>>, as_proxy: Vec<Arc<Https>>, env: &Env) {
        let [_, client, proxy, server] = Keys::paths(instance);
        let Keys { client: node, proxy: proxier, server: serving, .. } = self.keys;
        let asker = Client::new(Arc::clone(&as_node[0]) as _);
        let start = |leaf, signer, identity, file, live, connections| {
            Renewal { env: env.clone(), client: asker.clone(), leaf, signer, identity, file, live, connections }.start();
        };
        let names = [name.to_owned(), instance.node_ip().to_string()];
        start(Leaf::node_client(name), renewal::NODE_CLIENT, node, client, self.client, as_node);
        start(Leaf::component("system:kube-proxy"), renewal::CLIENT, proxier, proxy, self.proxy, as_proxy);
        start(Leaf::node_server(name, &names), renewal::NODE_SERVER, serving, server, self.server, Vec::new());
    }
}

pub(crate) async fn run(instance: Instance) -> anyhow::Result<()> {
    let env = Env::real();
    let mut terminate = signal(SignalKind::terminate())?;
    let identities = Identities::new(Keys::read(&instance)?)?;
    // The heartbeat has a connection of its own.
    let as_node = [(); 2].map(|()| identities.https(&identities.client, &instance, &env));
    let as_proxy = identities.https(&identities.proxy, &instance, &env);
    let [client, lease_client] = as_node.clone().map(|https| Client::new(https));
    let name = name();

    let keeper = keeper::Driver::connect(&instance, &env).await.context("keeper")?;
    // The node's link and address come before anything that listens on them or dials through them.
    let podnet = Arc::new(podnet::Driver::open(podnet::Config::new(instance.clone()), &env).context("pod network")?);
    let service_driver = Arc::new(services::Driver::open(services::Config { instance: instance.clone() }, &env).context("services")?);
    let builtin = images::Builtin { exe: role::program(&instance) };
    let images = images::Store::open(&instance.node_dir().join("images"), &instance.run_dir(), &env, builtin).context("images")?;
    let volumes = Arc::new(volumes::Driver::open(&instance.node_dir().join("volumes"), &instance.run_dir(), &env).context("volumes")?);
    admin::serve(&instance, Arc::clone(&images) as _, &env).context("admin socket")?;

    let watched = Watched::start(&env, &Client::new(Arc::clone(&as_proxy) as _));
    let programmed = services::watch::start(&env, &name, service_driver, Arc::clone(&watched.services), Arc::clone(&watched.slices));
    let dns = dns::Config::new(&instance);
    let sockets = held_dns_sockets(&keeper, dns.listen).await.context("DNS sockets")?;
    let names = dns::serve(dns, Some(sockets), Arc::clone(&watched.services), Arc::clone(&watched.slices), &env).context("DNS")?;
    env.spawn("ready", report_ready(programmed.clone(), names.ready.clone()));

    let config = AgentConfig::new(&name, IpAddr::V4(instance.node_ip()), instance.clone());
    let drivers = Drivers { runtime: Arc::clone(&keeper) as _, images, volumes, podnet };
    let agent = Agent::new(config, client.clone(), drivers, env.clone()).with_lease_client(lease_client);
    agent.mirror(system_parts(&instance, programmed, names.ready));
    let review = Arc::new(ClientReview::new(&env, client));
    let socket = held_listener(&keeper, instance.agent_port()).await?;
    let callers =
        Callers { certificates: ClientCertificates::new(&identities.keys.ca, &env).map_err(anyhow::Error::msg)?, env: env.clone() };
    let server = Server::new(&agent, Arc::new(identities.server_config(&callers.certificates)), Arc::new(callers), review);
    identities.keep_fresh(&instance, &name, as_node.into(), vec![as_proxy], &env);
    env.spawn("agent-api", async move { server.serve(socket).await });
    let mut work = env.spawn("agent", Arc::clone(&agent).run());
    tracing::info!(node = name, "the node is up");
    tokio::select! {
        _ = terminate.recv() => {}
        ended = &mut work => ended.context("agent")??,
    }
    env.stop(STOP_GRACE).await;
    Ok(())
}

/// Client certificates as the API server takes them, for the agent's API.
struct Callers {
    certificates: ClientCertificates,
    env: Env,
}

struct Caller {
    peer: Peer,
    env: Env,
}

impl server::Certificates for Callers {
    fn identify(&self, chain: &[CertificateDer<'_>]) -> Option<Box<dyn server::Caller>> {
        Some(Box::new(Caller { peer: self.certificates.identify(chain)?, env: self.env.clone() }))
    }
}

impl server::Caller for Caller {
    fn user(&self) -> Option<server::User> {
        let user = self.peer.user(&self.env)?;
        Some(server::User { name: user.name.clone(), groups: user.groups.clone(), uid: user.uid.clone() })
    }
}

/// The DNS sockets that the keeper holds, or new ones, left with it: a question during a restart of this process then waits for
/// the next one instead of failing.
async fn held_dns_sockets(keeper: &keeper::Driver, address: SocketAddr) -> anyhow::Result<dns::Sockets> {
    let names = [format!("dns-udp-{address}"), format!("dns-tcp-{address}")];
    if let (Some(udp), Some(tcp)) = (keeper.stored_fd(&names[0]).await?, keeper.stored_fd(&names[1]).await?) {
        return Ok(dns::Sockets { udp, tcp });
    }
    let sockets = dns::bind(address)?;
    keeper.store_fd(&names[0], sockets.udp.try_clone()?).await?;
    keeper.store_fd(&names[1], sockets.tcp.try_clone()?).await?;
    Ok(sockets)
}

/// As [`held_dns_sockets`], for the agent's own API: logs, exec, attach, port-forward, stats.
async fn held_listener(keeper: &keeper::Driver, port: u16) -> anyhow::Result<TcpListener> {
    let name = format!("agent-{port}");
    if let Some(held) = keeper.stored_fd(&name).await? {
        return Ok(TcpListener::from_std(held.into())?);
    }
    let listener = std::net::TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).with_context(|| format!("listen on port {port}"))?;
    listener.set_nonblocking(true)?;
    keeper.store_fd(&name, listener.as_fd().try_clone_to_owned()?).await?;
    Ok(TcpListener::from_std(listener)?)
}

/// One line when Services and names are complete: what a person looks for in the log.
async fn report_ready(mut services: Receiver<bool>, mut names: Receiver<bool>) {
    if services.wait_for(|ready| *ready).await.is_ok() && names.wait_for(|ready| *ready).await.is_ok() {
        tracing::info!("services and names are complete");
    }
}

/// What runs on this node beside containers, under the names and labels that tools select. Those of `control` are as ready as the
/// server that answers for them: where it does not, nothing can be said of them at all.
fn system_parts(instance: &Instance, services: Receiver<bool>, names: Receiver<bool>) -> Vec<SystemPart> {
    let part = |name: &str, label: (&str, &str), log: &str, ready: Receiver<bool>| SystemPart {
        name: name.to_owned(),
        labels: [(label.0.to_owned(), label.1.to_owned())].into(),
        log: instance.log_dir().join(format!("{log}.log")),
        ready,
    };
    let control = ["kube-apiserver", "kube-controller-manager", "kube-scheduler"].map(|name| {
        let mut part = part(name, ("component", name), "control", tokio::sync::watch::channel(true).1);
        part.labels.insert("tier".into(), "control-plane".into());
        part
    });
    let own = [part("kube-dns", ("k8s-app", "kube-dns"), "node", names), part("kube-proxy", ("k8s-app", "kube-proxy"), "node", services)];
    control.into_iter().chain(own).collect()
}

/// Collections that several parts of the node read: one informer each.
struct Watched {
    services: Arc<Informer>,
    slices: Arc<Informer>,
}

impl Watched {
    fn start(env: &Env, client: &Client) -> Self {
        let all = |api_version: &str, resource: &str, indexes: &[(&'static str, client::informer::IndexFn)]| {
            Informer::start(env, client.clone(), Target::of(api_version, resource, ""), Options::default(), indexes)
        };
        Self {
            services: all("v1", "services", &[]),
            slices: all("discovery.k8s.io/v1", "endpointslices", &[(services::watch::BY_SERVICE, services::watch::service_of_slice)]),
        }
    }
}

#[cfg(test)]
mod tests {
    use agent::server::Certificates;
    use auth::Pki;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_agent_takes_the_clusters_certificates_alone_and_only_while_they_are_valid() {
        let (ours, theirs, env) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), Env::sim(1));
        let (ours, theirs) = (Pki::ensure(ours.path(), &env).unwrap(), Pki::ensure(theirs.path(), &env).unwrap());
        let callers = Callers { certificates: ClientCertificates::new(ours.ca(), &env).unwrap(), env };
        let chain_of = |pki: &Pki, leaf: &Leaf| pki.leaf(leaf).unwrap().chain();
        assert!(callers.identify(&chain_of(&theirs, &Leaf::admin())).is_none(), "what it says of itself counts for nothing");
        assert!(callers.identify(&chain_of(&ours, &Leaf::api_server(&[]))).is_none(), "a server is no client");
        let caller = callers.identify(&chain_of(&ours, &Leaf::api_server_to_agent())).unwrap();
        assert_eq!(caller.user().unwrap().groups, ["system:masters", "system:authenticated"]);
        tokio::time::advance(Duration::from_secs(366 * 24 * 3600)).await;
        assert!(caller.user().is_none(), "an open connection does not outlive the certificate");
    }
}
