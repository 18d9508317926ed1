//! The node's certificates, renewed while it runs: what it is to the API, what its proxy is, what it serves with.
//!
//! When a third of a certificate's life is left, the node asks for the next one with a CertificateSigningRequest and a new key.
//! It is written beside the others (certificate and key in one file, so that no crash leaves half of a pair), new
//! connections show it at once, and the open ones to the API are left to what still runs on them.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use auth::pki::{self, Identity, Leaf, Live};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use client::https::Https;
use client::{Client, Options, Target};
use env::Env;
use futures::StreamExt;
use schema::{DocExt, Value, json};

/// A machine that sleeps does not count the time; its clock tells at the next look.
const LOOK_EVERY: Duration = Duration::from_secs(12 * 3600);
/// How long a signer may take.
const ANSWER_MAX: Duration = Duration::from_secs(15 * 60);
const RETRY_FIRST: Duration = Duration::from_secs(60);
const RETRY_MAX: Duration = Duration::from_secs(3600);

/// Who signs what, in upstream's names.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Signer {
    pub name: &'static str,
    pub usage: &'static str,
}

pub(crate) const NODE_CLIENT: Signer = Signer { name: "kubernetes.io/kube-apiserver-client-kubelet", usage: "client auth" };
pub(crate) const NODE_SERVER: Signer = Signer { name: "kubernetes.io/kubelet-serving", usage: "server auth" };
pub(crate) const CLIENT: Signer = Signer { name: "kubernetes.io/kube-apiserver-client", usage: "client auth" };

/// One certificate and all that uses it.
pub(crate) struct Renewal {
    pub env: Env,
    /// Asks, as the node.
    pub client: Client,
    pub leaf: Leaf,
    pub signer: Signer,
    pub identity: Identity,
    pub file: PathBuf,
    pub live: Arc<Live>,
    /// Connections as this identity.
    pub connections: Vec<Arc<Https>>,
}

impl Renewal {
    /// Renews in time until the environment shuts down.
    pub(crate) fn start(self) {
        let (env, shutdown) = (self.env.clone(), self.env.shutdown().clone());
        env.spawn("certificate-renewal", async move {
            shutdown.run_until_cancelled(self.run()).await;
        });
    }

    async fn run(mut self) {
        let mut retry = RETRY_FIRST;
        loop {
            let left = pki::renewal(&self.identity, &self.env);
            if !left.is_zero() {
                self.env.sleep(left.min(LOOK_EVERY)).await;
                continue;
            }
            match self.renew().await {
                Ok(()) => {
                    tracing::info!(certificate = self.leaf.common_name, signer = self.signer.name, "renewed");
                    retry = RETRY_FIRST;
                }
                Err(error) => {
                    tracing::error!(certificate = self.leaf.common_name, "not renewed, trying again: {error:#}");
                    self.env.sleep(retry).await;
                    retry = (retry * 2).min(RETRY_MAX);
                }
            }
        }
    }

    async fn renew(&mut self) -> anyhow::Result<()> {
        let (request, key) = pki::request(&self.leaf)?;
        let answered = tokio::time::timeout(ANSWER_MAX, self.ask(&request)).await;
        let certificate = answered.with_context(|| format!("no answer within {} s", ANSWER_MAX.as_secs()))??;
        let identity = Identity { certificate, key };
        ensure!(identity.fits(), "the certificate that came is for another key");
        write(&self.file, &identity).with_context(|| self.file.display().to_string())?;
        self.live.exchange(&identity).map_err(anyhow::Error::msg)?;
        self.identity = identity;
        for connection in &self.connections {
            connection.renew().await;
        }
        Ok(())
    }

    async fn ask(&self, request: &str) -> anyhow::Result<String> {
        let requests = Target::of("certificates.k8s.io/v1", "certificatesigningrequests", "");
        let doc = json!({
            "apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest", "metadata": {"generateName": "csr-"},
            "spec": {"signerName": self.signer.name, "request": STANDARD.encode(request), "usages": ["digital signature", self.signer.usage]},
        });
        let made = self.client.create(requests.clone(), doc).await?;
        let only = Options {
            field_selector: format!("metadata.name={}", made.meta.name),
            resource_version: Some(made.meta.resource_version.clone()),
            ..Options::default()
        };
        let mut events = self.client.watch(requests, only).await?;
        while let Some(event) = events.next().await {
            if let Some(certificate) = answer(&event?.object.value())? {
                return Ok(certificate);
            }
        }
        bail!("the watch of {} ended without an answer", made.meta.name)
    }
}

/// The certificate, or why there will be none.
fn answer(doc: &Value) -> anyhow::Result<Option<String>> {
    let refused = doc.items_at("status.conditions").iter().find(|one| matches!(one.str_at("type"), "Denied" | "Failed"));
    if let Some(refused) = refused {
        bail!("{} is {}: {}", doc.str_at("metadata.name"), refused.str_at("type").to_lowercase(), refused.str_at("message"));
    }
    match doc.str_at("status.certificate") {
        "" => Ok(None),
        encoded => Ok(Some(String::from_utf8(STANDARD.decode(encoded)?)?)),
    }
}

/// Whole or not at all; root's alone.
pub(crate) fn write(file: &std::path::Path, identity: &Identity) -> std::io::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let fresh = file.with_extension("new");
    let mut handle = std::fs::File::options().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
    handle.write_all(format!("{}{}", identity.certificate, identity.key).as_bytes())?;
    handle.sync_all()?;
    std::fs::rename(&fresh, file)
}

/// What [`write`] wrote.
pub(crate) fn read(file: &std::path::Path) -> anyhow::Result<Identity> {
    let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
    let at = text.find("-----BEGIN PRIVATE KEY-----").with_context(|| format!("{}: no private key in it", file.display()))?;
    let (certificate, key) = text.split_at(at);
    Ok(Identity { certificate: certificate.to_owned(), key: key.to_owned() })
}

#[cfg(test)]
mod tests {
    use apiserver::http::metrics::Metrics;
    use apiserver::{Config, assemble};
    use auth::certificate::ClientCertificates;
    use auth::pki::Request;
    use auth::{AUTHENTICATED, NODES, Pki, UserInfo};

    use super::*;

    /// A whole control plane on a paused clock, and a node with certificates that live for ten minutes.
    struct World {
        env: Env,
        pki: Arc<Pki>,
        node: Client,
        dir: tempfile::TempDir,
    }

    impl World {
        async fn new() -> Self {
            let (dir, env) = (tempfile::tempdir().unwrap(), Env::sim(7));
            let pki = Arc::new(Pki::ensure(&dir.path().join("pki"), &env).unwrap());
            let config = Config { api_address: ([10, 0, 0, 1].into(), 6443), ..Config::default() };
            let core = assemble::assemble(store::Memory::new(), &env, config, pki.signing_key()).await.unwrap().core;
            crate::control::start_deciders(&env, &core, &pki, &Metrics::new());
            let admin = Client::new(core.transport(auth::loopback_user()));
            let addresses = json!([{"type": "InternalIP", "address": "10.0.0.9"}]);
            let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}, "status": {"addresses": addresses}});
            admin.create(Target::of("v1", "nodes", ""), node).await.unwrap();
            let node = Client::new(core.transport(UserInfo::new("system:node:n1", &[NODES, AUTHENTICATED])));
            Self { env, pki, node, dir }
        }

        fn short_lived(&self, leaf: &Leaf) -> Identity {
            let (request, key) = pki::request(leaf).unwrap();
            let certificate = self.pki.sign(&Request::parse(&request).unwrap(), leaf, Some(Duration::from_secs(600))).unwrap();
            Identity { certificate, key }
        }

        /// Starts the renewal; returns the certificate that it begins with and its file.
        fn renew(&self, leaf: Leaf, signer: Signer) -> (Identity, PathBuf) {
            let identity = self.short_lived(&leaf);
            let file = self.dir.path().join(format!("{}.pem", leaf.file));
            write(&file, &identity).unwrap();
            let live = Live::new(&identity).unwrap();
            let held = (identity.clone(), file.clone());
            let (env, client) = (self.env.clone(), self.node.clone());
            Renewal { env, client, leaf, signer, identity, file, live, connections: Vec::new() }.start();
            held
        }
    }

    #[tokio::test(start_paused = true)]
    async fn every_certificate_of_a_node_is_renewed_before_it_expires() {
        let world = World::new().await;
        let names = ["n1".to_owned(), "10.0.0.9".to_owned()];
        let rows = [
            (Leaf::node_client("n1"), NODE_CLIENT),
            (Leaf::component("system:kube-proxy"), CLIENT),
            (Leaf::node_server("n1", &names), NODE_SERVER),
        ];
        let held = rows.map(|(leaf, signer)| world.renew(leaf, signer));
        tokio::time::sleep(Duration::from_secs(270)).await;
        for (old, file) in &held {
            assert_eq!(read(file).unwrap().certificate, old.certificate, "too early");
        }
        tokio::time::sleep(Duration::from_secs(240)).await;
        for (old, file) in &held {
            let fresh = read(file).unwrap();
            assert!(fresh.certificate != old.certificate && fresh.key != old.key && fresh.fits(), "{}", file.display());
            assert!(pki::renewal(&fresh, &world.env) > Duration::from_secs(200 * 24 * 3600));
        }
        let clients = ClientCertificates::new(world.pki.ca(), &world.env).unwrap();
        tokio::time::sleep(Duration::from_secs(120)).await;
        for (old, file) in &held[..2] {
            let fresh = clients.identify(&read(file).unwrap().chain()).expect("renewed in time");
            assert!(clients.identify(&old.chain()).is_none() && fresh.user(&world.env).is_some(), "the old one has expired");
        }
        world.env.stop(Duration::from_secs(5)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_grants_keeps_the_old_certificate_and_is_asked_for_again() {
        let world = World::new().await;
        let (old, file) = world.renew(Leaf::node_server("n1", &["not.mine".into()]), NODE_SERVER);
        tokio::time::sleep(Duration::from_secs(360 + 15 * 60 + 120)).await;
        assert_eq!(read(&file).unwrap().certificate, old.certificate);
        let requests = Target::of("certificates.k8s.io/v1", "certificatesigningrequests", "");
        assert_eq!(world.node.list(requests, Options::default()).await.unwrap().items.len(), 2);
        world.env.stop(Duration::from_secs(5)).await;
    }
}
