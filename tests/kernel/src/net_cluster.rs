//! Links, services and DNS together, as one node has them: on a machine with nothing but a loopback link that is down.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use client::{Answer, Client, Informer, List, Object, Options, Request, Response, Target, Transport, Verb, WatchEvent, WatchKind};
use contract::PodNet;
use env::Env;
use futures::StreamExt;
use schema::{Status, Value, json};
use stdx::instance::Instance;
use sys::netlink::conntrack::Which;
use sys::netlink::nft::TableFamily;
use sys::netlink::{Family, Socket};
use sys::netns::Netns;
use tokio::sync::mpsc;

use crate::Case;
use crate::world::block_on;

pub(crate) const CASES: &[Case] = &[
    Case { name: "net::a_pod_finds_a_service_by_name", own_network: true, run: || block_on(a_pod_finds_a_service_by_name()) },
    Case {
        name: "net::the_api_server_answers_at_its_cluster_ip",
        own_network: true,
        run: || block_on(the_api_server_answers_at_its_cluster_ip()),
    },
    Case { name: "net::nobody_notices_a_restart", own_network: true, run: || block_on(nobody_notices_a_restart()) },
    Case { name: "net::nothing_is_left", own_network: true, run: || block_on(nothing_is_left()) },
];

async fn a_pod_finds_a_service_by_name() -> Result<()> {
    let node = Node::start().await?;
    let (client, web) = (node.pod("client").await?, node.pod("web").await?);
    web.serve("web")?;
    node.api.service("web", "10.96.0.7", 80);
    node.api.slice("web", 8080, &[web.ip]);
    let ip = client.inside(|| wait_for_name("web.default.svc.cluster.local", node.dns_ip()))??;
    ensure!(ip == Ipv4Addr::new(10, 96, 0, 7), "{ip}");
    // The name and the address come from two watchers; the second may need a moment more.
    ensure!(client.inside(|| until_ok(|| ask(ip, 80)))?? == "web");
    ensure!(ask(ip, 80)? == "web", "from the node");
    ensure!(look_up("web.default.svc.cluster.local", node.dns_ip())? == Some(ip), "the node may ask too");
    ensure!(client.inside(|| look_up_tcp("web.default.svc.cluster.local", node.dns_ip()))?? == Some(ip));
    ensure!(client.inside(|| look_up("missing.default.svc.cluster.local", node.dns_ip()))??.is_none());
    let tracked = Socket::open(Family::Netfilter)?
        .drop_connections(17, Which { sent_to: Some(node.dns_ip()), sent_to_port: 53, answered_by: None })?;
    ensure!(tracked == 0, "{tracked} DNS questions were tracked");
    node.end().await
}

async fn the_api_server_answers_at_its_cluster_ip() -> Result<()> {
    let node = Node::start().await?;
    let client = node.pod("client").await?;
    let listener = TcpListener::bind((node.instance.node_ip(), 6443))?;
    std::thread::spawn(move || answer_all(&listener, "api"));
    node.api.service("kubernetes", "10.96.0.1", 443);
    node.api.slice("kubernetes", 6443, &[node.instance.node_ip()]);
    let kubernetes = node.instance.kubernetes_ip();
    ensure!(client.inside(|| until_ok(|| ask(kubernetes, 443)))?? == "api");
    ensure!(ask(kubernetes, 443)? == "api", "from the node itself");
    node.end().await
}

async fn nobody_notices_a_restart() -> Result<()> {
    let mut node = Node::start().await?;
    let (client, web) = (node.pod("client").await?, node.pod("web").await?);
    web.serve("web")?;
    node.api.service("web", "10.96.0.7", 80);
    node.api.slice("web", 8080, &[web.ip]);
    let vip = client.inside(|| wait_for_name("web.default.svc.cluster.local", node.dns_ip()))??;
    client.inside(|| until_ok(|| ask(vip, 80)))??;
    let (stop, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let (stopped, counted, dns_ip) = (stop.clone(), count.clone(), node.dns_ip());
    let load = client.inside(move || {
        std::thread::spawn(move || -> Result<()> {
            while !stopped.load(Ordering::Relaxed) {
                ensure!(look_up("web.default.svc.cluster.local", dns_ip)? == Some(vip));
                ask(vip, 80)?;
                counted.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        })
    })?;
    for _ in 0..5 {
        node.restart().await?;
        let before = count.load(Ordering::Relaxed);
        while count.load(Ordering::Relaxed) < before + 20 && !load.is_finished() {
            tokio::task::yield_now().await;
        }
    }
    stop.store(true, Ordering::Relaxed);
    load.join().expect("the load does not panic").context("a client noticed")?;
    node.end().await
}

async fn nothing_is_left() -> Result<()> {
    let before = Inventory::take()?;
    let node = Node::start().await?;
    let web = node.pod("web").await?;
    web.serve("web")?;
    node.api.service("web", "10.96.0.7", 80);
    node.api.slice("web", 8080, &[web.ip]);
    until_ok(|| ask(Ipv4Addr::new(10, 96, 0, 7), 80))?;
    node.end().await?;
    ensure!(Inventory::take()? == before, "{:?}\n{before:?}", Inventory::take()?);
    Ok(())
}

/// What a node's network parts could leave behind in a namespace.
#[derive(Debug, PartialEq)]
struct Inventory {
    links: Vec<String>,
    routes: usize,
    rules: usize,
    chains: usize,
    forwarding: String,
}

impl Inventory {
    fn take() -> Result<Self> {
        let mut route = Socket::open(Family::Route)?;
        let mut netfilter = Socket::open(Family::Netfilter)?;
        Ok(Self {
            links: route.links()?.into_iter().map(|link| link.name).collect(),
            routes: route.routes()?.len(),
            rules: netfilter.rules(TableFamily::Ip, "corten")?.len(),
            chains: netfilter.base_chains()?.len(),
            forwarding: std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward")?,
        })
    }
}

/// The network parts of one node, with a scripted API.
struct Node {
    instance: Instance,
    api: Api,
    parts: Option<Parts>,
    /// As the keeper holds them over restarts.
    sockets: Option<dns::Sockets>,
    _folder: tempfile::TempDir,
}

struct Parts {
    env: Env,
    pods: podnet::Driver,
}

impl Node {
    async fn start() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let instance = Instance::new("corten", Some(folder.path()))?;
        let mut node = Self { instance, api: Api::default(), parts: None, sockets: None, _folder: folder };
        node.restart().await?;
        Ok(node)
    }

    async fn restart(&mut self) -> Result<()> {
        self.stop().await;
        let env = Env::real();
        let pods = podnet::Driver::open(podnet::Config::new(self.instance.clone()), &env)?;
        let driver = services::Driver::open(services::Config { instance: self.instance.clone() }, &env)?;
        let (all_services, slices) =
            (self.api.services.informer(&env, &[]), self.api.slices.informer(&env, &[(dns::BY_SERVICE, dns::service_of_slice)]));
        let mut ready = services::watch::start(&env, "node", Arc::new(driver), all_services.clone(), slices.clone());
        let config = dns::Config { upstreams: dns::Upstreams::Fixed(vec![]), ..dns::Config::new(&self.instance) };
        let held = match self.sockets.take() {
            Some(held) => held,
            None => dns::bind(config.listen)?,
        };
        let sockets = dns::Sockets { udp: held.udp.try_clone()?, tcp: held.tcp.try_clone()? };
        self.sockets = Some(held);
        let mut dns = dns::serve(config, Some(sockets), all_services, slices, &env)?;
        ready.wait_for(|ready| *ready).await?;
        dns.ready.wait_for(|ready| *ready).await?;
        self.parts = Some(Parts { env, pods });
        Ok(())
    }

    async fn stop(&mut self) {
        if let Some(parts) = self.parts.take() {
            parts.env.stop(Duration::from_secs(5)).await;
        }
    }

    async fn end(mut self) -> Result<()> {
        self.stop().await;
        podnet::teardown(&self.instance)?;
        Ok(())
    }

    async fn pod(&self, name: &str) -> Result<Pod> {
        let netns = Netns::fresh()?;
        let parts = self.parts.as_ref().context("the node runs")?;
        let address = parts.pods.ensure(name, &netns.proc_path()).await?;
        let Some(IpAddr::V4(ip)) = address.ips.first().copied() else { anyhow::bail!("no IPv4 address: {address:?}") };
        Ok(Pod { netns, ip })
    }

    fn dns_ip(&self) -> Ipv4Addr {
        self.instance.dns_ip()
    }
}

struct Pod {
    netns: Netns,
    ip: Ipv4Addr,
}

impl Pod {
    fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        Ok(self.netns.run(work)?)
    }

    fn serve(&self, text: &'static str) -> Result<()> {
        let listener = self.inside(|| TcpListener::bind("0.0.0.0:8080"))??;
        std::thread::spawn(move || answer_all(&listener, text));
        Ok(())
    }
}

fn answer_all(listener: &TcpListener, text: &str) {
    while let Ok((mut stream, _)) = listener.accept() {
        let _ = stream.write_all(text.as_bytes());
    }
}

fn ask(ip: Ipv4Addr, port: u16) -> Result<String> {
    let mut stream =
        TcpStream::connect_timeout(&SocketAddr::from((ip, port)), Duration::from_secs(20)).with_context(|| format!("{ip}:{port}"))?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

/// Again until it works; the case's own time limit ends it.
fn until_ok<T>(mut attempt: impl FnMut() -> Result<T>) -> Result<T> {
    loop {
        if let Ok(done) = attempt() {
            return Ok(done);
        }
        std::thread::yield_now();
    }
}

fn wait_for_name(name: &str, server: Ipv4Addr) -> Result<Ipv4Addr> {
    until_ok(|| look_up(name, server)?.context("not yet"))
}

/// One question over UDP, without a second try.
fn look_up(name: &str, server: Ipv4Addr) -> Result<Option<Ipv4Addr>> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.set_read_timeout(Some(Duration::from_secs(20)))?;
    socket.connect((server, 53))?;
    socket.send(&question(name))?;
    let mut buffer = [0u8; 512];
    let length = socket.recv(&mut buffer).with_context(|| format!("asking {server} for {name}"))?;
    first_address(&buffer[..length])
}

fn look_up_tcp(name: &str, server: Ipv4Addr) -> Result<Option<Ipv4Addr>> {
    let mut stream = TcpStream::connect((server, 53))?;
    let question = question(name);
    stream.write_all(&[&(question.len() as u16).to_be_bytes()[..], &question].concat())?;
    let mut length = [0u8; 2];
    stream.read_exact(&mut length)?;
    let mut answer = vec![0u8; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut answer)?;
    first_address(&answer)
}

fn question(name: &str) -> Vec<u8> {
    let mut out = vec![0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        out.push(label.len() as u8);
        out.extend_from_slice(label.as_bytes());
    }
    out.extend_from_slice(&[0, 0, 1, 0, 1]);
    out
}

/// None: there is no such name. Our server's answers point at the question, so the address is the last thing in it.
fn first_address(answer: &[u8]) -> Result<Option<Ipv4Addr>> {
    ensure!(answer.len() > 12, "{answer:?}");
    match (answer[3] & 0xf, answer[7]) {
        (0, 1) => Ok(Some(Ipv4Addr::from(<[u8; 4]>::try_from(&answer[answer.len() - 4..])?))),
        (3, _) => Ok(None),
        (code, count) => anyhow::bail!("code {code}, {count} answers"),
    }
}

/// The two collections that the network parts read.
#[derive(Default)]
struct Api {
    services: Collection,
    slices: Collection,
}

impl Api {
    fn service(&self, name: &str, ip: &str, port: u16) {
        self.services.put(|revision| {
            json!({
                "metadata": {"namespace": "default", "name": name, "resourceVersion": revision.to_string()},
                "spec": {"type": "ClusterIP", "clusterIP": ip, "clusterIPs": [ip], "ports": [{"port": port, "protocol": "TCP"}]},
            })
        });
    }

    fn slice(&self, service: &str, port: u16, ips: &[Ipv4Addr]) {
        let endpoints: Vec<Value> =
            ips.iter().map(|ip| json!({"addresses": [ip.to_string()], "conditions": {"ready": true}, "nodeName": "node"})).collect();
        self.slices.put(|revision| {
            json!({
                "metadata": {
                    "namespace": "default", "name": format!("{service}-1"), "resourceVersion": revision.to_string(),
                    "labels": {"kubernetes.io/service-name": service},
                },
                "addressType": "IPv4", "ports": [{"name": "", "port": port, "protocol": "TCP"}], "endpoints": endpoints,
            })
        });
    }
}

/// Objects that are only ever added, listed and watched.
#[derive(Clone, Default)]
struct Collection(Arc<Mutex<Contents>>);

#[derive(Default)]
struct Contents {
    objects: Vec<Arc<Object>>,
    watchers: Vec<mpsc::UnboundedSender<Arc<Object>>>,
}

impl Collection {
    fn put(&self, make: impl FnOnce(usize) -> Value) {
        let mut contents = self.0.lock().expect("no holder of the collection panics");
        let object = Object::from_value(&make(contents.objects.len() + 1)).expect("a good object");
        contents.objects.push(object.clone());
        contents.watchers.retain(|watcher| watcher.send(object.clone()).is_ok());
    }

    fn informer(&self, env: &Env, indexes: &[(&'static str, client::informer::IndexFn)]) -> Arc<Informer> {
        Informer::start(env, Client::new(Arc::new(self.clone())), Target::of("v1", "things", ""), Options::default(), indexes)
    }
}

#[async_trait::async_trait]
impl Transport for Collection {
    async fn call(&self, request: Request) -> Result<Answer, Status> {
        let mut contents = self.0.lock().expect("no holder of the collection panics");
        let response = if request.verb == Verb::List {
            let resource_version = contents.objects.len().to_string();
            Response::List(List { items: contents.objects.clone(), resource_version, continue_token: String::new(), remaining: None })
        } else {
            let from: usize = request.options.resource_version.and_then(|revision| revision.parse().ok()).unwrap_or_default();
            let (sender, receiver) = mpsc::unbounded_channel();
            for object in contents.objects.iter().skip(from) {
                let _ = sender.send(object.clone());
            }
            contents.watchers.push(sender);
            let events = futures::stream::unfold(receiver, |mut events| async move { events.recv().await.map(|object| (object, events)) });
            Response::Watch(events.map(|object| Ok(WatchEvent { kind: WatchKind::Added, object })).boxed())
        };
        Ok(Answer { response, warnings: Vec::new() })
    }
}
