//! The driver against the real kernel, each test in a network namespace of its own, with real pods and connections.

use std::collections::BTreeSet;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use contract::{Affinity, Endpoint, PodNet, PortSpec, Protocol, ServiceSpec, Services};
use env::Env;
use stdx::instance::Instance;
use sys::netlink::nft::Transaction;
use sys::netlink::route::LinkChange;
use sys::netlink::{Batch, Family, Socket};
use sys::netns::{Netns, in_fresh};

use crate::{Config, Driver};

const VIP: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 77);
const EXTERNAL: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 9);
/// A client outside of the cluster, and the node's address on the link to it.
const OUTSIDER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 9);
const NODE_OUTSIDE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

fn in_namespace<F: Future<Output = ()>>(test: impl FnOnce(Machine) -> F + Send) {
    if !rustix::process::geteuid().is_root() {
        #[expect(clippy::print_stderr, reason = "a skipped test says so")]
        {
            eprintln!("skipped: needs root for network namespaces");
        }
        return;
    }
    in_fresh(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async { test(Machine::new()).await });
    })
    .unwrap();
}

struct Machine {
    instance: Instance,
    pods: podnet::Driver,
    services: Driver,
    outside: Netns,
    _folder: tempfile::TempDir,
}

impl Machine {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let instance = Instance::new("corten", Some(folder.path())).unwrap();
        up("lo");
        let outside = Netns::fresh().unwrap();
        ip(&format!("link add out0 type veth peer name eth0 netns /proc/{}/fd/{}", std::process::id(), fd_of(&outside)));
        ip(&format!("addr add {NODE_OUTSIDE}/24 dev out0"));
        ip("link set out0 up");
        outside
            .run(|| {
                up("lo");
                ip(&format!("addr add {OUTSIDER}/24 dev eth0"));
                ip("link set eth0 up");
                ip(&format!("route add {EXTERNAL}/32 via {NODE_OUTSIDE}"));
                ip(&format!("route add {VIP}/32 via {NODE_OUTSIDE}"));
            })
            .unwrap();
        // As on any machine with an uplink: addresses of nobody here have a way out.
        ip(&format!("route add default via {OUTSIDER}"));
        let pods = podnet::Driver::open(podnet::Config::new(instance.clone()), &Env::real()).unwrap();
        let services = Driver::open(Config { instance: instance.clone() }, &Env::real()).unwrap();
        Self { instance, pods, services, outside, _folder: folder }
    }

    async fn pod(&self, name: &str) -> Pod {
        let netns = Netns::fresh().unwrap();
        let address = self.pods.ensure(name, &netns.proc_path()).await.unwrap();
        let IpAddr::V4(ip) = address.ips[0] else { panic!("IPv4 expected") };
        let pod = Pod { name: name.to_owned(), netns, ip };
        pod.serve();
        pod
    }

    fn restart(&mut self) {
        self.services = Driver::open(Config { instance: self.instance.clone() }, &Env::real()).unwrap();
    }
}

fn fd_of(netns: &Netns) -> i32 {
    use std::os::fd::{AsFd, AsRawFd};
    netns.as_fd().as_raw_fd()
}

struct Pod {
    name: String,
    netns: Netns,
    ip: Ipv4Addr,
}

impl Pod {
    /// Answers each TCP connection and UDP packet on 8080 with `name client`.
    fn serve(&self) {
        let bind = || (TcpListener::bind("0.0.0.0:8080").unwrap(), UdpSocket::bind("0.0.0.0:8080").unwrap());
        let (listener, socket) = self.netns.run(bind).unwrap();
        let (tcp_name, udp_name) = (self.name.clone(), self.name.clone());
        std::thread::spawn(move || {
            while let Ok((mut stream, peer)) = listener.accept() {
                let _ = stream.write_all(format!("{tcp_name} {}", peer.ip()).as_bytes());
            }
        });
        std::thread::spawn(move || {
            let mut buffer = [0u8; 64];
            while let Ok((_, peer)) = socket.recv_from(&mut buffer) {
                let _ = socket.send_to(format!("{udp_name} {}", peer.ip()).as_bytes(), peer);
            }
        });
    }

    fn ask(&self, ip: Ipv4Addr, port: u16) -> std::io::Result<(String, String)> {
        self.netns.run(|| ask(ip, port)).unwrap()
    }

    fn endpoint(&self) -> Endpoint {
        Endpoint { ip: self.ip.into(), port: 8080, local: true }
    }
}

/// Which pod answered, and what it saw as the client. Waits longer than a loaded machine may stand still.
fn ask(ip: Ipv4Addr, port: u16) -> std::io::Result<(String, String)> {
    ask_within(ip, port, Duration::from_secs(20))
}

fn ask_within(ip: Ipv4Addr, port: u16, patience: Duration) -> std::io::Result<(String, String)> {
    let mut stream = TcpStream::connect_timeout(&SocketAddr::from((ip, port)), patience)?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let (name, client) = text.split_once(' ').unwrap();
    Ok((name.to_owned(), client.to_owned()))
}

fn service(name: &str, endpoints: Vec<Endpoint>) -> ServiceSpec {
    let port = PortSpec { name: "http".into(), protocol: Protocol::Tcp, port: 80, node_port: 0, endpoints };
    ServiceSpec {
        namespace: "default".into(),
        name: name.into(),
        ips: vec![VIP.into()],
        ports: vec![port],
        affinity: Affinity::None,
        external_local: false,
        internal_local: false,
    }
}

fn with_node_port(mut service: ServiceSpec) -> ServiceSpec {
    service.ports[0].node_port = 30_080;
    service
}

/// For a connection that nobody answers.
fn is_dropped(netns: &Netns, ip: Ipv4Addr, port: u16) -> bool {
    let result = netns.run(|| ask_within(ip, port, Duration::from_millis(400))).unwrap();
    result.is_err_and(|error| error.kind() == ErrorKind::TimedOut)
}

fn answering(count: usize, ask: impl Fn() -> std::io::Result<(String, String)>) -> BTreeSet<String> {
    (0..count).map(|_| ask().unwrap().0).collect()
}

/// Connections of one pod to others that say their names.
struct PodWire {
    client: Pod,
    node: Ipv4Addr,
    backends: [Endpoint; 3],
}

impl PodWire {
    fn answer(&self, ip: Ipv4Addr, port: u16) -> Option<(IpAddr, u16)> {
        let name = self.client.ask(ip, port).ok()?.0;
        let index: usize = name.parse().unwrap();
        Some((self.backends[index].ip, self.backends[index].port))
    }
}

#[async_trait::async_trait]
impl contract::services_suite::Wire for PodWire {
    async fn to_address(&self, ip: IpAddr, port: u16) -> Option<(IpAddr, u16)> {
        let IpAddr::V4(ip) = ip else { return None };
        self.answer(ip, port)
    }

    async fn to_node_port(&self, port: u16) -> Option<(IpAddr, u16)> {
        self.answer(self.node, port)
    }
}

#[test]
fn it_passes_the_suite() {
    in_namespace(|machine| async move {
        let pods = [machine.pod("0").await, machine.pod("1").await, machine.pod("2").await];
        let backends = pods.each_ref().map(Pod::endpoint);
        let wire = PodWire { client: machine.pod("client").await, node: machine.instance.node_ip(), backends: backends.clone() };
        let addresses = [77, 78].map(|last| IpAddr::from([10, 96, 0, last]));
        contract::services_suite::run(&machine.services, &wire, addresses, 30_080, &backends).await;
    });
}

#[test]
fn a_cluster_ip_spreads_over_its_endpoints_from_everywhere() {
    in_namespace(|machine| async move {
        let (a, b, c) = (machine.pod("a").await, machine.pod("b").await, machine.pod("c").await);
        machine.services.ensure(service("web", vec![a.endpoint(), b.endpoint()])).await.unwrap();
        let both: BTreeSet<String> = ["a".into(), "b".into()].into();
        assert_eq!(answering(40, || c.ask(VIP, 80)), both);
        assert_eq!(answering(40, || ask(VIP, 80)), both);
        assert_eq!(c.ask(VIP, 80).unwrap().1, c.ip.to_string(), "a pod's address is kept");
        assert_eq!(ask(VIP, 80).unwrap().1, machine.instance.node_ip().to_string());
        assert_eq!(machine.outside.run(|| ask(VIP, 80)).unwrap().unwrap().1, machine.instance.node_ip().to_string());
    });
}

#[test]
fn a_pod_reaches_itself_through_its_service() {
    in_namespace(|machine| async move {
        let a = machine.pod("a").await;
        machine.services.ensure(service("web", vec![a.endpoint()])).await.unwrap();
        assert_eq!(a.ask(VIP, 80).unwrap(), ("a".into(), machine.instance.node_ip().to_string()));
        machine.services.remove("default", "web").await.unwrap();
        assert_eq!(a.ask(VIP, 80).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    });
}

#[test]
fn a_node_port_answers_on_every_address_of_the_node() {
    in_namespace(|machine| async move {
        let (a, b) = (machine.pod("a").await, machine.pod("b").await);
        machine.services.ensure(with_node_port(service("web", vec![a.endpoint()]))).await.unwrap();
        let node = machine.instance.node_ip();
        for ip in [node, NODE_OUTSIDE, Ipv4Addr::LOCALHOST, Ipv4Addr::new(127, 8, 8, 8)] {
            assert_eq!(ask(ip, 30_080).unwrap_or_else(|error| panic!("{ip}: {error}")), ("a".into(), node.to_string()), "{ip}");
        }
        for ip in [node, NODE_OUTSIDE] {
            assert_eq!(b.ask(ip, 30_080).unwrap(), ("a".into(), b.ip.to_string()));
        }
        assert_eq!(a.ask(node, 30_080).unwrap().0, "a", "hairpin");
        assert_eq!(machine.outside.run(|| ask(NODE_OUTSIDE, 30_080)).unwrap().unwrap(), ("a".into(), node.to_string()));
    });
}

#[test]
fn a_pod_cannot_reach_the_nodes_loopback() {
    in_namespace(|machine| async move {
        let a = machine.pod("a").await;
        let listener = TcpListener::bind("127.0.0.1:7777").unwrap();
        listener.set_nonblocking(true).unwrap();
        let reached = a.netns.run(|| {
            ip("addr del 127.0.0.1/8 dev lo");
            ip("route add 127.0.0.1/32 via 169.254.1.1 dev eth0 table 100");
            ip("rule add to 127.0.0.1 lookup 100 pref 0");
            std::fs::write("/proc/sys/net/ipv4/conf/eth0/route_localnet", "1").unwrap();
            TcpStream::connect_timeout(&SocketAddr::from((Ipv4Addr::LOCALHOST, 7777)), Duration::from_millis(200)).is_ok()
        });
        assert!(!reached.unwrap());
    });
}

#[test]
fn an_external_address_under_local_policy_keeps_the_client() {
    in_namespace(|machine| async move {
        let (a, b) = (machine.pod("a").await, machine.pod("b").await);
        let elsewhere = Endpoint { local: false, ..b.endpoint() };
        let mut web = with_node_port(service("web", vec![a.endpoint(), elsewhere.clone()]));
        web.ips.push(EXTERNAL.into());
        web.external_local = true;
        machine.services.ensure(web.clone()).await.unwrap();
        for (ip, port) in [(EXTERNAL, 80), (NODE_OUTSIDE, 30_080)] {
            let outside = || machine.outside.run(|| ask(ip, port)).unwrap();
            assert_eq!(answering(20, outside), ["a".into()].into(), "local endpoints alone");
            assert_eq!(outside().unwrap().1, OUTSIDER.to_string());
            assert_eq!(answering(40, || a.ask(ip, port)).len(), 2, "pods use all endpoints");
            assert_eq!(answering(40, || ask(ip, port)).len(), 2, "the node does too");
        }
        web.ports[0].endpoints = vec![elsewhere];
        machine.services.ensure(web).await.unwrap();
        assert!(is_dropped(&machine.outside, EXTERNAL, 80), "another node may answer");
        assert_eq!(a.ask(EXTERNAL, 80).unwrap().0, "b");
    });
}

#[test]
fn internal_policy_local_uses_this_nodes_endpoints_alone() {
    in_namespace(|machine| async move {
        let (a, b) = (machine.pod("a").await, machine.pod("b").await);
        let mut web = service("web", vec![a.endpoint(), Endpoint { local: false, ..b.endpoint() }]);
        web.internal_local = true;
        machine.services.ensure(web.clone()).await.unwrap();
        assert_eq!(answering(20, || b.ask(VIP, 80)), ["a".into()].into());
        web.ports[0].endpoints.remove(0);
        machine.services.ensure(web).await.unwrap();
        assert!(is_dropped(&b.netns, VIP, 80));
    });
}

#[test]
fn nothing_behind_it_is_refused_at_once() {
    in_namespace(|machine| async move {
        let a = machine.pod("a").await;
        let mut empty = with_node_port(service("empty", vec![]));
        empty.ips.push(EXTERNAL.into());
        machine.services.ensure(empty).await.unwrap();
        let refused = |result: std::io::Result<(String, String)>| assert_eq!(result.unwrap_err().kind(), ErrorKind::ConnectionRefused);
        for (ip, port) in [(VIP, 80), (VIP, 81), (EXTERNAL, 80), (NODE_OUTSIDE, 30_080), (Ipv4Addr::new(10, 96, 200, 1), 443)] {
            refused(a.ask(ip, port));
            refused(ask(ip, port));
        }
        for (ip, port) in [(VIP, 80), (EXTERNAL, 80), (NODE_OUTSIDE, 30_080)] {
            refused(machine.outside.run(|| ask(ip, port)).unwrap());
        }
    });
}

#[test]
fn affinity_keeps_a_client_on_its_endpoint_while_that_lives() {
    in_namespace(|machine| async move {
        let pods = [machine.pod("a").await, machine.pod("b").await, machine.pod("c").await];
        let client = machine.pod("client").await;
        let endpoints = || pods.iter().map(Pod::endpoint).collect::<Vec<_>>();
        let mut web = with_node_port(service("web", endpoints()));
        web.affinity = Affinity::ClientIp { timeout_seconds: 100 };
        machine.services.ensure(web.clone()).await.unwrap();
        let (vip, node_port) = (|| client.ask(VIP, 80), || machine.outside.run(|| ask(NODE_OUTSIDE, 30_080)).unwrap());
        let asks: [&dyn Fn() -> std::io::Result<(String, String)>; 2] = [&vip, &node_port];
        for ask in asks {
            machine.services.ensure(web.clone()).await.unwrap();
            let first = answering(25, ask);
            assert_eq!(first.len(), 1);
            let mut fewer = web.clone();
            let gone = pods.iter().find(|pod| first.contains(&pod.name)).unwrap();
            fewer.ports[0].endpoints.retain(|endpoint| endpoint.ip != IpAddr::V4(gone.ip));
            machine.services.ensure(fewer).await.unwrap();
            let second = answering(25, ask);
            assert_eq!(second.len(), 1, "it sticks to another");
            assert_ne!(first, second);
            machine.services.ensure(web.clone()).await.unwrap();
            assert_eq!(answering(25, ask), second, "and stays there when the first is back");
        }
        web.affinity = Affinity::None;
        machine.services.ensure(web).await.unwrap();
        assert_eq!(answering(60, vip).len(), 3);
    });
}

#[test]
fn a_udp_client_leaves_an_endpoint_that_is_gone() {
    in_namespace(|machine| async move {
        let (a, b, client) = (machine.pod("a").await, machine.pod("b").await, machine.pod("client").await);
        let mut dns = service("udp", vec![a.endpoint()]);
        dns.ports[0].protocol = Protocol::Udp;
        dns.ports[0].node_port = 30_053;
        for (ip, port) in [(VIP, 80), (NODE_OUTSIDE, 30_053)] {
            let mut dns = dns.clone();
            machine.services.ensure(dns.clone()).await.unwrap();
            let socket = client.netns.run(|| UdpSocket::bind("0.0.0.0:0").unwrap()).unwrap();
            socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            assert_eq!(ask_udp(&socket, ip, port).unwrap(), "a");
            dns.ports[0].endpoints = vec![b.endpoint()];
            machine.services.ensure(dns.clone()).await.unwrap();
            assert_eq!(ask_udp(&socket, ip, port).unwrap(), "b", "the same socket");
            dns.ports[0].endpoints = vec![];
            machine.services.ensure(dns.clone()).await.unwrap();
            socket.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
            assert!(ask_udp(&socket, ip, port).is_err());
            socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            dns.ports[0].endpoints = vec![a.endpoint()];
            machine.services.ensure(dns).await.unwrap();
            let _ = socket.take_error();
            assert_eq!(ask_udp(&socket, ip, port).unwrap(), "a");
        }
    });
}

fn ask_udp(socket: &UdpSocket, ip: Ipv4Addr, port: u16) -> std::io::Result<String> {
    socket.send_to(b"?", (ip, port))?;
    let mut buffer = [0u8; 64];
    let (length, from) = socket.recv_from(&mut buffer)?;
    assert_eq!(from, SocketAddr::from((ip, port)));
    Ok(String::from_utf8_lossy(&buffer[..length]).split(' ').next().unwrap().to_owned())
}

/// Connects without pause from two threads while `work` runs; returns how often, and what failed.
async fn under_load(client: &Pod, work: impl AsyncFnOnce()) -> (usize, Vec<String>) {
    let (stop, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let load = |stop: Arc<AtomicBool>, count: Arc<AtomicUsize>| {
        move || {
            let mut failures = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                match ask(VIP, 80) {
                    Ok(_) => drop(count.fetch_add(1, Ordering::Relaxed)),
                    Err(error) => failures.push(error.to_string()),
                }
            }
            failures
        }
    };
    let inside = load(stop.clone(), count.clone());
    let in_pod = client.netns.run(|| std::thread::spawn(inside)).unwrap();
    let on_node = std::thread::spawn(load(stop.clone(), count.clone()));
    work().await;
    stop.store(true, Ordering::Relaxed);
    let failures = [in_pod, on_node].into_iter().flat_map(|thread| thread.join().unwrap()).collect();
    (count.load(Ordering::Relaxed), failures)
}

#[test]
fn a_thousand_changes_and_a_restart_lose_no_connection() {
    in_namespace(|mut machine| async move {
        let (a, b, c) = (machine.pod("a").await, machine.pod("b").await, machine.pod("c").await);
        let client = machine.pod("client").await;
        let lists = [vec![&a], vec![&a, &b], vec![&b, &c], vec![&c], vec![&a, &b, &c], vec![&b]];
        let specs: Vec<ServiceSpec> = lists.iter().map(|list| service("web", list.iter().map(|pod| pod.endpoint()).collect())).collect();
        machine.services.ensure(specs[0].clone()).await.unwrap();
        let (count, failures) = under_load(&client, async || {
            for flip in 0..1000 {
                machine.services.ensure(specs[flip % specs.len()].clone()).await.unwrap();
                if flip % 100 == 50 {
                    machine.restart();
                    machine.services.replace(vec![specs[flip % specs.len()].clone()]).await.unwrap();
                }
            }
        })
        .await;
        assert!(count > 100, "{count} connections");
        assert_eq!(failures, Vec::<String>::new(), "of {count} connections");
    });
}

#[test]
fn replace_makes_it_exactly_so_and_touches_nothing_that_is_right() {
    in_namespace(|mut machine| async move {
        let (a, b) = (machine.pod("a").await, machine.pod("b").await);
        let web = with_node_port(service("web", vec![a.endpoint(), b.endpoint()]));
        let mut old = service("old", vec![a.endpoint()]);
        old.ips = vec![IpAddr::V4(Ipv4Addr::new(10, 96, 0, 78))];
        machine.services.ensure(web.clone()).await.unwrap();
        machine.services.ensure(old).await.unwrap();
        machine.restart();
        machine.services.replace(vec![web.clone()]).await.unwrap();
        assert_eq!(a.ask(Ipv4Addr::new(10, 96, 0, 78), 80).unwrap_err().kind(), ErrorKind::ConnectionRefused);
        assert_eq!(answering(30, || a.ask(VIP, 80)).len(), 2);
        let before = (generation(), run("nft", &["list", "ruleset"]));
        machine.restart();
        machine.services.replace(vec![web]).await.unwrap();
        assert_eq!((generation(), run("nft", &["list", "ruleset"])), before);
    });
}

/// Counts transactions of the namespace.
fn generation() -> String {
    let mut netfilter = Socket::open(Family::Netfilter).unwrap();
    netfilter.generation().unwrap().to_string()
}

#[test]
fn a_flushed_ruleset_comes_back_with_the_next_change() {
    in_namespace(|machine| async move {
        let a = machine.pod("a").await;
        machine.services.ensure(service("web", vec![a.endpoint()])).await.unwrap();
        let table = machine.instance.table();
        let mut flush = Transaction::empty(&table);
        flush.delete_table();
        flush.commit(&mut Socket::open(Family::Netfilter).unwrap()).unwrap();
        let mut other = service("other", vec![a.endpoint()]);
        other.ips = vec![IpAddr::V4(Ipv4Addr::new(10, 96, 0, 78))];
        machine.services.ensure(other).await.unwrap();
        assert!(ask(VIP, 80).is_ok());
    });
}

#[test]
fn a_flushed_ruleset_comes_back_by_itself() {
    in_namespace(|machine| async move {
        let a = machine.pod("a").await;
        machine.services.replace(vec![service("web", vec![a.endpoint()])]).await.unwrap();
        run("nft", &["flush", "ruleset"]);
        let mut netfilter = Socket::open(Family::Netfilter).unwrap();
        while netfilter.set_elements("corten", "svc").unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
        assert!(a.ask(VIP, 80).is_ok());
    });
}

#[test]
fn the_first_service_to_name_an_address_has_it() {
    in_namespace(|machine| async move {
        let (a, b) = (machine.pod("a").await, machine.pod("b").await);
        let mut second = service("second", vec![b.endpoint()]);
        machine.services.ensure(service("first", vec![a.endpoint()])).await.unwrap();
        machine.services.ensure(second.clone()).await.unwrap();
        assert_eq!(answering(20, || ask(VIP, 80)), ["a".into()].into());
        machine.services.remove("default", "first").await.unwrap();
        assert_eq!(answering(20, || ask(VIP, 80)), ["b".into()].into());
        second.ips = vec!["2001:db8::1".parse().unwrap()];
        let error = machine.services.ensure(second).await.unwrap_err();
        assert_eq!(
            (error.kind, error.message.as_str()),
            (contract::ErrorKind::Unsupported, "service default/second: address 2001:db8::1: this build serves IPv4 alone")
        );
        assert!(ask(VIP, 80).is_ok(), "what cannot be done changes nothing");
    });
}

fn up(link: &str) {
    let mut route = Socket::open(Family::Route).unwrap();
    let index = route.link(link).unwrap().unwrap().index;
    let mut batch = Batch::new();
    batch.change_link(index, &LinkChange { up: true, ..LinkChange::default() });
    route.transact(&mut batch).unwrap();
}

fn ip(arguments: &str) {
    run("ip", &arguments.split(' ').collect::<Vec<_>>());
}

#[expect(clippy::disallowed_methods, reason = "tests inspect the kernel with the usual tools")]
fn run(program: &str, arguments: &[&str]) -> String {
    let output = std::process::Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
