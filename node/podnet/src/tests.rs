//! The driver against the real kernel, each test in a network namespace of its own.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::time::Duration;

use contract::{ErrorKind, PodNet};
use env::Env;
use stdx::instance::Instance;
use sys::netlink::nft::TableFamily;
use sys::netlink::{Batch, Family, Socket};
use sys::netns::{Netns, in_fresh};

use crate::{Config, Driver, foreign, teardown};

/// Runs `test` on a fresh namespace's own thread and runtime; says so where the machine does not let us.
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
        runtime.block_on(test(Machine::new()));
    })
    .unwrap();
}

/// A machine with nothing but loopback, and that is down.
struct Machine {
    instance: Instance,
    _folder: tempfile::TempDir,
}

impl Machine {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let instance = Instance::new("corten", Some(folder.path())).unwrap();
        Self { instance, _folder: folder }
    }

    fn open(&self) -> Driver {
        Driver::open(Config::new(self.instance.clone()), &Env::real()).unwrap()
    }
}

struct Pod {
    netns: Netns,
    ip: Ipv4Addr,
}

impl Pod {
    async fn join(driver: &Driver, uid: &str) -> Self {
        let netns = Netns::fresh().unwrap();
        let ip = v4(&driver.ensure(uid, &netns.proc_path()).await.unwrap());
        Self { netns, ip }
    }

    /// Answers every connection with the peer's address.
    fn serve(&self, port: u16) {
        let listener = self.netns.run(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).unwrap()).unwrap();
        std::thread::spawn(move || {
            while let Ok((mut stream, peer)) = listener.accept() {
                let _ = stream.write_all(peer.ip().to_string().as_bytes());
            }
        });
    }

    fn ask(&self, ip: Ipv4Addr, port: u16) -> std::io::Result<String> {
        self.netns.run(|| ask(ip, port)).unwrap()
    }
}

fn ask(ip: Ipv4Addr, port: u16) -> std::io::Result<String> {
    let address = SocketAddr::V4(SocketAddrV4::new(ip, port));
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(2))?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

fn v4(address: &contract::PodAddress) -> Ipv4Addr {
    match address.ips[..] {
        [std::net::IpAddr::V4(ip)] => ip,
        ref other => panic!("one IPv4 address expected: {other:?}"),
    }
}

#[test]
fn it_passes_the_suite() {
    in_namespace(|machine| async move {
        let driver = machine.open();
        let mut held = Vec::new();
        contract::podnet_suite::run(&driver, || {
            held.push(Netns::fresh().unwrap());
            held[held.len() - 1].proc_path()
        })
        .await;
    });
}

#[test]
fn pods_and_node_reach_each_other_with_nothing_but_loopback() {
    in_namespace(|machine| async move {
        let driver = machine.open();
        let (a, b) = (Pod::join(&driver, "a").await, Pod::join(&driver, "b").await);
        assert_ne!(a.ip, b.ip);
        b.serve(8080);
        assert_eq!(a.ask(b.ip, 8080).unwrap(), a.ip.to_string());
        assert_eq!(ask(b.ip, 8080).unwrap(), machine.instance.node_ip().to_string(), "the node shows its own address");
        assert_eq!(b.ask(b.ip, 8080).unwrap(), b.ip.to_string());
        let listener = TcpListener::bind((machine.instance.node_ip(), 7000)).unwrap();
        std::thread::spawn(move || listener.accept().unwrap().0.write_all(b"node").unwrap());
        assert_eq!(a.ask(machine.instance.node_ip(), 7000).unwrap(), "node");
    });
}

#[test]
fn an_address_without_a_pod_fails_at_once() {
    in_namespace(|machine| async move {
        let driver = machine.open();
        let a = Pod::join(&driver, "a").await;
        let nobody = Ipv4Addr::new(10, 244, 0, 200);
        for result in [ask(nobody, 80), a.ask(nobody, 80)] {
            assert_eq!(result.unwrap_err().raw_os_error(), Some(rustix::io::Errno::HOSTUNREACH.raw_os_error()));
        }
    });
}

#[test]
fn a_pod_cannot_pretend_to_be_another() {
    in_namespace(|machine| async move {
        let driver = machine.open();
        let (a, b) = (Pod::join(&driver, "a").await, Pod::join(&driver, "b").await);
        let receiver = b.netns.run(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 9000)).unwrap()).unwrap();
        receiver.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        let stolen = Ipv4Addr::new(10, 244, 0, 77);
        a.netns
            .run(|| {
                let mut route = Socket::open(Family::Route).unwrap();
                let eth0 = route.link("eth0").unwrap().unwrap();
                let mut batch = Batch::new();
                batch.address(eth0.index, stolen, 32);
                route.transact(&mut batch).unwrap();
                UdpSocket::bind((stolen, 0)).unwrap().send_to(b"spoofed", (b.ip, 9000)).unwrap();
                UdpSocket::bind((a.ip, 0)).unwrap().send_to(b"honest", (b.ip, 9000)).unwrap();
            })
            .unwrap();
        let mut buffer = [0u8; 64];
        let (length, from) = receiver.recv_from(&mut buffer).unwrap();
        assert_eq!((&buffer[..length], from.ip()), (&b"honest"[..], std::net::IpAddr::V4(a.ip)));
        assert!(receiver.recv_from(&mut buffer).is_err(), "the spoofed packet never comes");
    });
}

#[test]
fn a_pod_keeps_its_address_over_restarts_of_the_node() {
    in_namespace(|machine| async move {
        let driver = machine.open();
        let a = Pod::join(&driver, "a").await;
        a.serve(8080);
        let gone = Pod::join(&driver, "gone").await;
        driver.remove("gone").await.unwrap();
        drop(driver);
        let driver = machine.open();
        let observed: Vec<_> = driver.observe().await.unwrap().iter().map(v4).collect();
        assert_eq!(observed, [a.ip], "only pods that have an address");
        assert_eq!(v4(&driver.ensure("a", &a.netns.proc_path()).await.unwrap()), a.ip);
        assert_eq!(ask(a.ip, 8080).unwrap(), machine.instance.node_ip().to_string());
        let next = Pod::join(&driver, "next").await;
        assert_ne!(next.ip, gone.ip, "a freed address is given out last");
    });
}

#[test]
fn a_lost_state_file_is_rebuilt_from_the_kernel() {
    in_namespace(|machine| async move {
        let driver = machine.open();
        let a = Pod::join(&driver, "a").await;
        drop(driver);
        std::fs::remove_file(machine.instance.node_dir().join("podnet.json")).unwrap();
        let driver = machine.open();
        assert_eq!(v4(&driver.observe().await.unwrap()[0]), a.ip);
        assert_ne!(Pod::join(&driver, "b").await.ip, a.ip);
    });
}

#[test]
fn a_new_sandbox_of_the_same_pod_takes_the_link_over() {
    in_namespace(|machine| async move {
        let driver = machine.open();
        let old = Pod::join(&driver, "a").await;
        let new = Pod::join(&driver, "a").await;
        assert_eq!(old.ip, new.ip);
        new.serve(8080);
        assert!(ask(new.ip, 8080).is_ok());
    });
}

#[test]
fn a_missing_namespace_takes_no_address() {
    in_namespace(|machine| async move {
        let driver = machine.open();
        let error = driver.ensure("a", &PathBuf::from("/run/nowhere")).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::NotFound);
        assert!(error.message.contains("/run/nowhere"), "{error}");
        assert_eq!(Pod::join(&driver, "b").await.ip, Ipv4Addr::new(10, 244, 0, 2));
    });
}

#[test]
fn rules_come_back_when_somebody_flushes_them() {
    in_namespace(|machine| async move {
        let driver = machine.open();
        let a = Pod::join(&driver, "a").await;
        let mut netfilter = Socket::open(Family::Netfilter).unwrap();
        let table = machine.instance.table();
        let mut flush = sys::netlink::nft::Transaction::empty(&table);
        flush.delete_table();
        flush.commit(&mut netfilter).unwrap();
        let b = Pod::join(&driver, "b").await;
        b.serve(80);
        assert!(a.ask(b.ip, 80).is_ok());
        assert_eq!(netfilter.set_elements(&table, crate::rules::SOURCES).unwrap().len(), 2);
    });
}

#[test]
fn two_instances_live_side_by_side_and_leave_nothing() {
    in_namespace(|machine| async move {
        let folder = tempfile::tempdir().unwrap();
        let blue = Instance::new("blue", Some(folder.path())).unwrap();
        let before = Inventory::take();
        let (one, two) = (machine.open(), Driver::open(Config::new(blue.clone()), &Env::real()).unwrap());
        let (a, b) = (Pod::join(&one, "a").await, Pod::join(&two, "a").await);
        b.serve(80);
        assert!(ask(b.ip, 80).is_ok());
        drop(one);
        let done = teardown(&machine.instance).unwrap();
        assert!(done.removed.iter().any(|what| what == "link corten0"), "{done:?}");
        assert!(ask(b.ip, 80).is_ok(), "the other instance still forwards");
        drop(two);
        teardown(&blue).unwrap();
        assert_eq!(Inventory::take(), before);
        assert_eq!(teardown(&blue).unwrap().removed, Vec::<String>::new(), "the second time there is nothing to do");
        drop((a, b));
    });
}

#[test]
fn a_forward_policy_of_drop_is_answered_and_left_as_it_was() {
    in_namespace(|machine| async move {
        nft("table ip filter {
               chain FORWARD { type filter hook forward priority 0; policy drop; }
               chain INPUT { type filter hook input priority 0; policy drop; iifname lo accept; ct state established accept; }
             }
             table inet wall {
               chain through { type filter hook forward priority 5; policy drop; }
             }");
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
        let before = Inventory::take();
        assert_eq!(foreign::dropping_chains(&machine.instance).unwrap().len(), 3);
        let driver = machine.open();
        let (a, b) = (Pod::join(&driver, "a").await, Pod::join(&driver, "b").await);
        b.serve(80);
        assert!(a.ask(b.ip, 80).is_ok());
        let listener = TcpListener::bind((machine.instance.node_ip(), 7000)).unwrap();
        std::thread::spawn(move || listener.accept().unwrap().0.write_all(b"node").unwrap());
        assert_eq!(a.ask(machine.instance.node_ip(), 7000).unwrap(), "node");
        let rules = || Socket::open(Family::Netfilter).unwrap().rules(TableFamily::Ip, "filter").unwrap().len();
        let once = rules();
        drop(machine.open());
        assert_eq!(rules(), once, "opening again adds nothing");
        drop(driver);
        teardown(&machine.instance).unwrap();
        assert_eq!(Inventory::take(), before);
    });
}

#[test]
fn a_firewall_that_starts_later_is_answered_too() {
    in_namespace(|machine| async move {
        let driver = machine.open();
        let (a, b) = (Pod::join(&driver, "a").await, Pod::join(&driver, "b").await);
        b.serve(80);
        nft("flush ruleset
             table ip filter {
               chain FORWARD { type filter hook forward priority 0; policy drop; }
             }");
        let mut netfilter = Socket::open(Family::Netfilter).unwrap();
        while netfilter.rules(TableFamily::Ip, "filter").unwrap().is_empty()
            || netfilter.rules(TableFamily::Ip, "corten").unwrap().is_empty()
        {
            tokio::task::yield_now().await;
        }
        assert!(a.ask(b.ip, 80).is_ok());
    });
}

#[test]
fn the_older_iptables_are_seen() {
    in_namespace(|machine| async move {
        assert_eq!(foreign::legacy_fix(&machine.instance).unwrap(), None);
        let Some(()) = try_run("iptables-legacy", &["-P", "FORWARD", "DROP"]) else { return };
        let fix = foreign::legacy_fix(&machine.instance).unwrap().unwrap();
        let driver = machine.open();
        let (a, b) = (Pod::join(&driver, "a").await, Pod::join(&driver, "b").await);
        b.serve(80);
        assert!(a.ask(b.ip, 80).is_err());
        run("sh", &["-c", &fix]);
        assert!(a.ask(b.ip, 80).is_ok(), "the fix is one");
        run("iptables-legacy", &["-P", "FORWARD", "ACCEPT"]);
        assert_eq!(foreign::legacy_fix(&machine.instance).unwrap(), None);
    });
}

#[test]
fn a_route_in_the_way_is_named() {
    in_namespace(|machine| async move {
        ip("link add way type veth peer name wayp");
        ip("link set way up");
        ip("route add 10.96.7.0/24 dev way");
        let error = Driver::open(Config::new(machine.instance.clone()), &Env::real()).err().unwrap();
        assert!(error.to_string().contains("route 10.96.7.0/24 on link way lies inside our range 10.96.0.0/16"), "{error}");
    });
}

/// Everything of a namespace that a driver could leave behind.
#[derive(Debug, PartialEq)]
struct Inventory {
    links: Vec<String>,
    routes: Vec<sys::netlink::route::Route>,
    ruleset: String,
    forwarding: String,
}

impl Inventory {
    fn take() -> Self {
        let mut route = Socket::open(Family::Route).unwrap();
        Self {
            links: route.links().unwrap().into_iter().map(|link| link.name).collect(),
            routes: route.routes().unwrap(),
            ruleset: run("nft", &["list", "ruleset"]),
            forwarding: std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap(),
        }
    }
}

fn nft(rules: &str) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rules.nft");
    std::fs::write(&file, rules).unwrap();
    run("nft", &["-f", file.to_str().unwrap()]);
}

fn ip(arguments: &str) {
    run("ip", &arguments.split(' ').collect::<Vec<_>>());
}

/// None where the machine does not have it.
#[expect(clippy::disallowed_methods, clippy::print_stderr, reason = "a test with an unusual tool, which says where it is missing")]
fn try_run(program: &str, arguments: &[&str]) -> Option<()> {
    let works = std::process::Command::new(program).args(arguments).status().is_ok_and(|status| status.success());
    if !works {
        eprintln!("skipped: {program} does not work here");
    }
    works.then_some(())
}

#[expect(clippy::disallowed_methods, reason = "tests inspect the kernel with the usual tools")]
fn run(program: &str, arguments: &[&str]) -> String {
    let output = std::process::Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
