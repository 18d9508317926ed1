//! Cluster names answered per second of the server's own CPU time: `cargo run --release -p dns --example dns_load
//! [QUERIES]`. Ten thousand names in random order over UDP on loopback; the server has one thread, the clients have
//! others.
#![expect(clippy::print_stdout, reason = "a benchmark talks to its caller")]

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;

use async_trait::async_trait;
use client::{Answer, Client, Informer, List, Object, Options, Request, Response, Target, Transport, Verb};
use env::Env;
use futures::StreamExt;
use rustix::time::{ClockId, clock_gettime};
use schema::{Status, json};

const NAMES: u32 = 10_000;
const CLIENTS: usize = 2;
/// Questions of one client under way.
const WINDOW: usize = 64;

/// One list that never changes.
struct Fixed(Vec<Arc<Object>>);

#[async_trait]
impl Transport for Fixed {
    async fn call(&self, request: Request) -> Result<Answer, Status> {
        let response = if request.verb == Verb::List {
            Response::List(List { items: self.0.clone(), resource_version: "1".into(), continue_token: String::new(), remaining: None })
        } else {
            Response::Watch(futures::stream::pending().boxed())
        };
        Ok(Answer { response, warnings: Vec::new() })
    }
}

fn main() {
    let queries = std::env::args().nth(1).and_then(|count| count.parse().ok()).unwrap_or(400_000);
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(measure(queries));
}

async fn measure(queries: usize) {
    let env = Env::real();
    let informer = |objects, indexes: &[(&'static str, client::informer::IndexFn)]| {
        Informer::start(&env, Client::new(Arc::new(Fixed(objects))), Target::of("v1", "things", ""), Options::default(), indexes)
    };
    let services = informer((0..NAMES).map(service).collect(), &[]);
    let slices = informer(Vec::new(), &[(dns::BY_SERVICE, dns::service_of_slice)]);
    let config = dns::Config {
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        cluster_domain: "cluster.local".into(),
        dns_ip: Ipv4Addr::LOCALHOST,
        own_ranges: Vec::new(),
        upstreams: dns::Upstreams::Fixed(Vec::new()),
    };
    let mut server = dns::serve(config, None, services, slices, &env).expect("a server");
    server.ready.wait_for(|ready| *ready).await.expect("the server lives");
    let (begun, cpu_begun) = (env.instant(), cpu_seconds());
    let (done, mut all_done) = tokio::sync::mpsc::channel::<()>(1);
    for client in 0..CLIENTS {
        let (done, address) = (done.clone(), server.address);
        std::thread::spawn(move || {
            ask(address, queries / CLIENTS, client as u64 + 1);
            drop(done);
        });
    }
    drop(done);
    while all_done.recv().await.is_some() {}
    let (wall, cpu) = (begun.elapsed().as_secs_f64(), cpu_seconds() - cpu_begun);
    println!(
        "dns: {queries} questions about {NAMES} names: {:.0} per server CPU second, {:.0} per second",
        queries as f64 / cpu,
        queries as f64 / wall
    );
}

/// Of the calling thread, which is the server's.
fn cpu_seconds() -> f64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    now.tv_sec as f64 + now.tv_nsec as f64 / 1e9
}

fn service(number: u32) -> Arc<Object> {
    let ip = Ipv4Addr::from(0x0a60_1000 + number).to_string();
    let value =
        json!({"metadata": {"namespace": "bench", "name": format!("s{number}"), "resourceVersion": "1"}, "spec": {"clusterIP": ip}});
    Object::from_value(&value).expect("a good object")
}

/// Keeps a window of questions open until all are answered; a lost one would hang, and loopback loses none.
fn ask(server: SocketAddr, count: usize, mut random: u64) {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
    socket.connect(server).expect("loopback");
    let mut buffer = [0u8; 512];
    let mut sent = 0;
    for received in 0..count {
        while sent < count && sent < received + WINDOW {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            socket.send(&question((random >> 33) as u32 % NAMES)).expect("loopback");
            sent += 1;
        }
        let length = socket.recv(&mut buffer).expect("an answer");
        assert!(length > 40 && buffer[3] & 0xf == 0 && buffer[7] == 1, "a wrong answer: {:?}", &buffer[..length]);
    }
}

fn question(number: u32) -> Vec<u8> {
    let mut out = vec![0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in [&format!("s{number}"), "bench", "svc", "cluster", "local"] {
        out.push(label.len() as u8);
        out.extend_from_slice(label.as_bytes());
    }
    out.extend_from_slice(&[0, 0, 1, 0, 1]);
    out
}
