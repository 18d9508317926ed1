//! The node's API over real TLS on a loopback port, with a node on fakes behind it.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use async_trait::async_trait;
use client::Client;
use contract::fake::{ExecReply, FakeImages, FakePodNet, FakeRuntime, FakeVolumes, Script};
use env::Env;
use http::header::{AUTHORIZATION, CONNECTION, UPGRADE};
use http_body_util::Empty;
use hyper::client::conn::http1 as client_http1;
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use stdx::Instance;
use stream::handshake::Negotiated;
use stream::remote::{self, ClientSession, Outcome, Wants};

use super::*;
use crate::stub::Stub;
use crate::{AgentConfig, Drivers};

struct Tokens;

#[async_trait]
impl Review for Tokens {
    async fn authenticate(&self, token: &str) -> Result<Option<User>, Status> {
        Ok(matches!(token, "admin" | "reader").then(|| User { name: token.into(), ..User::default() }))
    }

    async fn authorize(&self, user: &User, attributes: &Attributes<'_>) -> Result<bool, Status> {
        Ok(user.name == "admin" || (attributes.verb == "get" && attributes.subresource == "stats"))
    }
}

/// Of the certificates that the handshake lets through, one is of a caller that we know.
impl Certificates for Tokens {
    fn identify(&self, chain: &[rustls::pki_types::CertificateDer<'_>]) -> Option<Box<dyn Caller>> {
        let known = chain[0].as_ref().windows(5).any(|bytes| bytes == b"known");
        known.then(|| Box::new(Known) as Box<dyn Caller>)
    }
}

struct Known;

impl Caller for Known {
    fn user(&self) -> Option<User> {
        Some(User { name: "admin".into(), ..User::default() })
    }
}

struct World {
    env: Env,
    agent: Arc<Agent>,
    runtime: FakeRuntime,
    address: SocketAddr,
    connector: tokio_rustls::TlsConnector,
    /// With certificates of callers, by name.
    connectors: HashMap<&'static str, tokio_rustls::TlsConnector>,
    dir: tempfile::TempDir,
}

impl World {
    /// One node with the running pod d/web, container a.
    async fn new() -> Self {
        let env = Env::real();
        let dir = tempfile::tempdir().unwrap();
        let runtime = FakeRuntime::new(&env);
        let config = AgentConfig::new("n1", "127.0.0.1".parse().unwrap(), Instance::new("corten", Some(dir.path())).unwrap());
        let drivers = Drivers {
            runtime: Arc::new(runtime.clone()),
            images: Arc::new(FakeImages::any()),
            volumes: Arc::new(FakeVolumes::new()),
            podnet: Arc::new(FakePodNet::new("10.244.0.0/24".parse().unwrap())),
        };
        let exec = [
            ("fails".to_owned(), ExecReply { code: 3, stdout: "out".into(), stderr: "err".into(), ..ExecReply::default() }),
            ("hangs".to_owned(), ExecReply { delay: Duration::from_secs(3600), ..ExecReply::default() }),
        ];
        runtime.script("a", Script { exec: exec.into(), ..Script::default() });
        let api = Stub::default();
        let agent = Agent::new(config, Client::new(Arc::new(api.clone())), drivers, env.clone());
        env.spawn("agent", Arc::clone(&agent).run());
        api.put("v1", "pods", json!({"metadata": {"name": "web", "namespace": "d"}, "spec": {"nodeName": "n1", "hostNetwork": true, "containers": [{"name": "a", "image": "i"}]}}));
        while runtime.running("a").is_empty()
            || agent.registry().by_name("d", "web").is_none_or(|pod| pod.containers[0].running_id.is_none())
        {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let (server, client, connectors) = tls();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = Server::new(&agent, server, Arc::new(Tokens), Arc::new(Tokens));
        env.spawn("server", async move { server.serve(listener).await });
        Self { env, agent, runtime, address, connector: client, connectors, dir }
    }

    async fn send(&self, token: &str, path: &str, headers: &[(&str, &str)]) -> Response<Incoming> {
        self.send_over(&self.connector, token, path, headers).await
    }

    async fn send_over(
        &self,
        connector: &tokio_rustls::TlsConnector,
        token: &str,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Response<Incoming> {
        let tcp = TcpStream::connect(self.address).await.unwrap();
        let tls = connector.connect(ServerName::try_from("localhost").unwrap(), tcp).await.unwrap();
        let (mut sender, connection) = client_http1::handshake(TokioIo::new(tls)).await.unwrap();
        self.env.spawn("test connection", async move { drop(connection.with_upgrades().await) });
        let mut request = Request::get(path).header("host", "localhost");
        if !token.is_empty() {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        sender.send_request(request.body(Empty::<Bytes>::new()).unwrap()).await.unwrap()
    }

    async fn get(&self, token: &str, path: &str) -> (u16, String) {
        let answer = self.send(token, path, &[]).await;
        let code = answer.status().as_u16();
        let bytes = answer.into_body().collect().await.unwrap().to_bytes();
        (code, String::from_utf8_lossy(&bytes).into_owned())
    }

    async fn session(&self, path: &str, carrier: Negotiated, wants: Wants) -> ClientSession {
        let key = ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
        let headers = match &carrier {
            Negotiated::WebSocket { protocol, .. } => {
                vec![(UPGRADE.as_str(), "websocket"), key, ("sec-websocket-protocol", protocol.as_str())]
            }
            Negotiated::Spdy { protocol } => vec![(UPGRADE.as_str(), "SPDY/3.1"), ("x-stream-protocol-version", protocol.as_str())],
        };
        let answer = self.send("admin", path, &[headers.as_slice(), &[(CONNECTION.as_str(), "Upgrade")]].concat()).await;
        assert_eq!(answer.status(), 101);
        let io = TokioIo::new(hyper::upgrade::on(answer).await.unwrap());
        let (session, driver) = remote::client(io, &carrier, wants);
        self.env.spawn("test session", driver);
        session.await.unwrap()
    }

    fn log(&self) -> PathBuf {
        self.dir.path().join("node/pods-log/d_web_uid-web/a/0.log")
    }
}

type Connectors = HashMap<&'static str, tokio_rustls::TlsConnector>;

fn tls() -> (Arc<ServerConfig>, tokio_rustls::TlsConnector, Connectors) {
    let rcgen::CertifiedKey { cert, signing_key } = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
    let server = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions().unwrap();
    let callers = ["known", "stranger"].map(|name| (name, rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap()));
    let mut taken = rustls::RootCertStore::empty();
    callers.iter().for_each(|(_, caller)| taken.add(caller.cert.der().clone()).unwrap());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(taken), Arc::clone(&provider)).allow_unauthenticated().build();
    let server = server.with_client_cert_verifier(verifier.unwrap()).with_single_cert(vec![cert.der().clone()], key).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(cert.der().clone()).unwrap();
    let client = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let client = client.with_root_certificates(roots);
    let connectors = callers.map(|(name, caller)| {
        let key = PrivateKeyDer::try_from(caller.signing_key.serialize_der()).unwrap();
        let config = client.clone().with_client_auth_cert(vec![caller.cert.der().clone()], key).unwrap();
        (name, Arc::new(config).into())
    });
    (Arc::new(server), Arc::new(client.with_no_client_auth()).into(), connectors.into())
}

fn carriers() -> [Negotiated; 3] {
    let websocket = |protocol: &str| Negotiated::WebSocket { protocol: protocol.into(), accept: String::new() };
    [websocket("v5.channel.k8s.io"), websocket("v4.channel.k8s.io"), Negotiated::Spdy { protocol: "v4.channel.k8s.io".into() }]
}

async fn text_of(input: &mut remote::Input) -> String {
    let mut all = Vec::new();
    while let Some(piece) = input.recv().await {
        all.extend_from_slice(&piece);
    }
    String::from_utf8(all).unwrap()
}

#[tokio::test]
async fn a_part_of_the_system_has_logs_and_nothing_to_enter() {
    let world = World::new().await;
    let log = world.dir.path().join("node.log");
    std::fs::write(&log, "one\ntwo\n").unwrap();
    let part = crate::SystemPart { name: "kube-dns".into(), labels: [].into(), log, ready: tokio::sync::watch::channel(true).1 };
    world.agent.mirror(vec![part]);
    while world.agent.registry().by_name("kube-system", "kube-dns-n1").is_none() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let path = |what: &str| format!("/{what}/kube-system/kube-dns-n1/kube-dns");
    assert_eq!(world.get("admin", &path("containerLogs")).await, (200, "one\ntwo\n".into()));
    let (code, text) = world.get("admin", &format!("{}?output=1&command=x", path("exec"))).await;
    assert!(code == 400 && text.contains("runs in no container"), "{code} {text}");
    world.env.stop(Duration::from_secs(5)).await;
}

/// The handshake proves only that a caller holds a key: a certificate that says `system:masters` of itself opens nothing.
#[tokio::test]
async fn a_certificate_counts_only_when_it_is_known() {
    let world = World::new().await;
    for (caller, code) in [("known", 200), ("stranger", 401)] {
        let answer = world.send_over(&world.connectors[caller], "", "/pods", &[]).await;
        assert_eq!(answer.status().as_u16(), code, "{caller}");
    }
    world.env.stop(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn nobody_unknown_and_nothing_forbidden() {
    let world = World::new().await;
    assert_eq!(world.get("admin", "/healthz").await, (200, "ok".into()));
    assert_eq!(world.get("", "/healthz").await.0, 401);
    assert_eq!(world.get("stranger", "/healthz").await.0, 401);
    let (code, text) = world.get("reader", "/pods").await;
    assert_eq!(code, 403);
    assert!(text.contains("cannot get resource \\\"nodes/pods\\\""), "{text}");
    assert_eq!(world.get("reader", "/stats/summary").await.0, 200);
    assert_eq!(world.get("reader", "/exec/d/web/a?output=1&command=x").await.0, 403, "running something is no get");
    assert_eq!(world.get("admin", "/nothing").await.0, 404);
    world.env.stop(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn pods_stats_and_metrics() {
    let world = World::new().await;
    assert!(world.get("admin", "/pods").await.1.contains("\"PodList\""));
    let summary: Value = serde_json::from_str(&world.get("admin", "/stats/summary").await.1).unwrap();
    assert_eq!(summary["pods"][0]["podRef"]["name"], "web");
    assert!(summary["node"]["cpu"]["usageCoreNanoSeconds"].as_u64() > Some(0));
    assert!(world.get("admin", "/metrics").await.1.contains("kubelet_running_containers{container_state=\"running\"} 1\n"));
    assert!(
        world
            .get("admin", "/metrics/resource")
            .await
            .1
            .contains("container_memory_working_set_bytes{container=\"a\",namespace=\"d\",pod=\"web\"} 0\n")
    );
    world.env.stop(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn logs_are_read_and_followed_to_the_end_of_the_container() {
    use std::io::Write;
    let world = World::new().await;
    let mut log = std::fs::File::create(world.log()).unwrap();
    log.write_all(b"2026-01-01T00:00:00.000000000Z stdout F one\n").unwrap();
    assert_eq!(world.get("admin", "/containerLogs/d/web/a").await, (200, "one\n".into()));
    let (code, text) = world.get("admin", "/containerLogs/d/web/a?previous=true").await;
    assert_eq!(code, 400);
    assert!(text.contains("previous terminated container \\\"a\\\" in pod \\\"web\\\" not found"), "{text}");
    assert_eq!(world.get("admin", "/containerLogs/d/web/b").await.0, 404);
    let mut body = world.send("admin", "/containerLogs/d/web/a?follow=true&tailLines=1", &[]).await.into_body();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "one\n");
    log.write_all(b"2026-01-01T00:00:01.000000000Z stdout F two\n").unwrap();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "two\n");
    world.runtime.exit(&world.runtime.running("a")[0], 0);
    drop(log);
    assert!(tokio::time::timeout(Duration::from_secs(5), body.frame()).await.expect("it ends with the container").is_none());
    world.env.stop(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn large_logs_are_rotated_and_read_as_one() {
    use std::io::Write;
    let world = World::new().await;
    let line = |text: &str| format!("2026-01-01T00:00:00.000000000Z stdout F {text}\n");
    let copies = || std::fs::read_dir(world.log().parent().unwrap()).unwrap().count();
    // The agent looks again a second after a run begins, at the latest; a fake writes nothing, so this test does.
    let mut log = std::fs::OpenOptions::new().create(true).append(true).open(world.log()).unwrap();
    log.write_all(line("first").as_bytes()).unwrap();
    log.write_all(line(&"x".repeat(16 << 10)).repeat(700).as_bytes()).unwrap();
    let rotated = async {
        while copies() < 2 && world.log().exists() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), rotated).await.expect("a log above its limit is renamed");
    std::fs::write(world.log(), line("second")).unwrap();
    let (_, text) = world.get("admin", "/containerLogs/d/web/a").await;
    assert!(text.starts_with("first\n") && text.ends_with("x\nsecond\n"));
    world.env.stop(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn exec_over_every_carrier() {
    let world = World::new().await;
    for carrier in carriers() {
        let wants = Wants { stdout: true, stderr: true, ..Wants::default() };
        let mut session = world.session("/exec/d/web/a?output=1&error=1&command=fails", carrier.clone(), wants).await;
        let (mut out, mut err) = (session.stdout.take().unwrap(), session.stderr.take().unwrap());
        assert_eq!((text_of(&mut out).await, text_of(&mut err).await), ("out".into(), "err".into()), "{carrier:?}");
        assert_eq!(session.outcome.await.unwrap(), Outcome::ExitCode(3), "{carrier:?}");
    }
    for carrier in [&carriers()[0], &carriers()[2]] {
        let wants = Wants { stdin: true, stdout: true, ..Wants::default() };
        let mut session = world.session("/exec/d/web/a?input=1&output=1&command=cat", carrier.clone(), wants).await;
        let stdin = session.stdin.take().unwrap();
        stdin.send("hello".into()).await.unwrap();
        stdin.finish().await;
        assert_eq!(text_of(session.stdout.as_mut().unwrap()).await, "hello", "{carrier:?}");
        assert_eq!(session.outcome.await.unwrap(), Outcome::Success);
    }
    assert_eq!(world.send("admin", "/exec/d/web/none?output=1&command=x", &[]).await.status(), 404);
    assert_eq!(world.send("admin", "/exec/d/web/a?output=1&command=x", &[]).await.status(), 400, "no upgrade, no exec");
    world.env.stop(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn attach_shows_output_from_now_on() {
    let world = World::new().await;
    let wants = Wants { stdout: true, ..Wants::default() };
    let mut session = world.session("/attach/d/web/a?output=1", carriers()[0].clone(), wants).await;
    let stdout = session.stdout.as_mut().unwrap();
    let id = world.runtime.running("a")[0].clone();
    let piece = loop {
        world.runtime.print(&id, "tick");
        if let Ok(piece) = tokio::time::timeout(Duration::from_millis(50), stdout.recv()).await {
            break piece.unwrap();
        }
    };
    assert_eq!(piece, "tick");
    world.env.stop(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn ports_are_forwarded_through_a_tunnel() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let world = World::new().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    world.env.spawn("echo", async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut piece = [0; 64];
            let length = stream.read(&mut piece).await.unwrap();
            stream.write_all(&piece[..length]).await.unwrap();
        }
    });
    let protocol = "SPDY/3.1+portforward.k8s.io";
    let headers = [
        (UPGRADE.as_str(), "websocket"),
        (CONNECTION.as_str(), "Upgrade"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("sec-websocket-protocol", protocol),
    ];
    let answer = world.send("admin", "/portForward/d/web", &headers).await;
    assert_eq!(answer.status(), 101);
    let io = TokioIo::new(hyper::upgrade::on(answer).await.unwrap());
    let (forwarder, driver) = stream::forward::client(io, &Negotiated::WebSocket { protocol: protocol.into(), accept: String::new() });
    world.env.spawn("test forward", driver);
    let mut opened = forwarder.open(port).await.unwrap();
    opened.data.writer.send("ping".into()).await.unwrap();
    assert_eq!(opened.data.reader.recv().await.unwrap(), "ping");
    let mut refused = forwarder.open(1).await.unwrap();
    let error = refused.error.recv().await.unwrap();
    assert!(std::str::from_utf8(&error).unwrap().contains("error forwarding port 1 to pod web"), "{error:?}");
    world.env.stop(Duration::from_secs(5)).await;
}
