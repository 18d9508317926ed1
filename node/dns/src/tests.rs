//! The server on real sockets of loopback, asked by an independent codec; objects come from scripted informers.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use client::{Answer, Client, Informer, List, Object, Options, Request, Response, Target, Transport, Verb, WatchEvent, WatchKind};
use env::Env;
use futures::StreamExt;
use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, SOA};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use schema::{Status, Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{Notify, mpsc};
use tokio::time::timeout;

use crate::{BY_SERVICE, Config, Dns, Upstreams, bind, serve, service_of_slice};

const PATIENCE: Duration = Duration::from_secs(20);

/// Lists once, when it may; then its watch says what the test sends.
struct Script {
    listed: Vec<Arc<Object>>,
    events: Mutex<Option<mpsc::UnboundedReceiver<WatchEvent>>>,
    gate: Arc<Notify>,
    open: bool,
}

#[async_trait]
impl Transport for Script {
    async fn call(&self, request: Request) -> Result<Answer, Status> {
        let response = match request.verb {
            Verb::List => {
                if !self.open {
                    self.gate.notified().await;
                }
                Response::List(List {
                    items: self.listed.clone(),
                    resource_version: "10".into(),
                    continue_token: String::new(),
                    remaining: None,
                })
            }
            _ => match self.events.lock().unwrap().take() {
                Some(events) => Response::Watch(Box::pin(futures::stream::unfold(events, |mut events| async {
                    events.recv().await.map(|event| (Ok(event), events))
                }))),
                None => Response::Watch(futures::stream::pending().boxed()),
            },
        };
        Ok(Answer { response, warnings: Vec::new() })
    }
}

/// A running server.
struct World {
    env: Env,
    dns: Dns,
    services: mpsc::UnboundedSender<WatchEvent>,
    slices: mpsc::UnboundedSender<WatchEvent>,
    gate: Arc<Notify>,
    /// Its end ends the informers, which the server holds only through its watcher.
    _informers: [Arc<Informer>; 2],
}

impl World {
    async fn new(services: Vec<Value>, slices: Vec<Value>, upstreams: Vec<SocketAddr>) -> Self {
        let world = Self::start(services, slices, upstreams, true);
        world.dns.ready.clone().wait_for(|ready| *ready).await.unwrap();
        world
    }

    fn start(services: Vec<Value>, slices: Vec<Value>, upstreams: Vec<SocketAddr>, open: bool) -> Self {
        let env = Env::real();
        let gate = Arc::new(Notify::new());
        let informer = |listed: Vec<Value>, indexes: &[(&'static str, client::informer::IndexFn)]| {
            let (sender, receiver) = mpsc::unbounded_channel();
            let listed = listed.iter().map(|value| Object::from_value(value).unwrap()).collect();
            let script = Script { listed, events: Mutex::new(Some(receiver)), gate: gate.clone(), open };
            (Informer::start(&env, Client::new(Arc::new(script)), Target::of("v1", "things", ""), Options::default(), indexes), sender)
        };
        let (services, service_events) = informer(services, &[]);
        let (slices, slice_events) = informer(slices, &[(BY_SERVICE, service_of_slice)]);
        let config = Config {
            listen: "127.0.0.1:0".parse().unwrap(),
            cluster_domain: "cluster.local".into(),
            dns_ip: Ipv4Addr::new(10, 96, 0, 10),
            own_ranges: vec![(Ipv4Addr::new(10, 96, 0, 0), 16), (Ipv4Addr::new(10, 244, 0, 0), 16)],
            upstreams: Upstreams::Fixed(upstreams),
        };
        let dns = serve(config, None, services.clone(), slices.clone(), &env).unwrap();
        Self { env, dns, services: service_events, slices: slice_events, gate, _informers: [services, slices] }
    }

    async fn ask(&self, name: &str, kind: RecordType) -> Message {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let question = question(name, kind);
        socket.send_to(&question.to_vec().unwrap(), self.dns.address).await.unwrap();
        let mut buffer = vec![0u8; 65_535];
        let (length, from) = timeout(PATIENCE, socket.recv_from(&mut buffer)).await.expect("an answer").unwrap();
        assert_eq!(from, self.dns.address);
        let answer = Message::from_vec(&buffer[..length]).unwrap();
        assert_eq!((answer.id, answer.queries[0].name().to_ascii()), (question.id, question.queries[0].name().to_ascii()));
        answer
    }

    /// `NoError 10.96.0.5`, `NXDomain` …, records as text in sorted order.
    async fn say(&self, name: &str, kind: RecordType) -> String {
        shown(&self.ask(name, kind).await)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.env.shutdown().cancel();
    }
}

fn question(name: &str, kind: RecordType) -> Message {
    let mut message = Message::new(4711, MessageType::Query, OpCode::Query);
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    message
}

fn shown(message: &Message) -> String {
    let mut records: Vec<String> = message.answers.iter().map(|record| record.data.to_string()).collect();
    records.sort();
    let negative = message.authorities.iter().any(|record| record.record_type() == RecordType::SOA);
    format!(
        "{}{}{}",
        message.response_code,
        if negative { " SOA" } else { "" },
        records.iter().map(|record| format!(" {record}")).collect::<String>()
    )
}

fn service(name: &str, spec: Value) -> Value {
    json!({"metadata": {"namespace": "d", "name": name, "resourceVersion": "5"}, "spec": spec})
}

fn slice(service: &str, revision: u64, endpoints: Value) -> Value {
    json!({
        "metadata": {"namespace": "d", "name": format!("{service}-x"), "resourceVersion": revision.to_string(), "labels": {"kubernetes.io/service-name": service}},
        "addressType": "IPv4", "ports": [{"name": "db", "port": 5432, "protocol": "TCP"}], "endpoints": endpoints,
    })
}

#[tokio::test]
async fn names_of_the_cluster() {
    let services = vec![
        service("web", json!({"clusterIP": "10.96.0.5", "ports": [{"name": "http", "port": 80, "protocol": "TCP"}]})),
        service("db", json!({"clusterIP": "None"})),
        service("out", json!({"type": "ExternalName", "externalName": "web.d.svc.cluster.local"})),
    ];
    let endpoints = json!([{"addresses": ["10.244.0.5"], "hostname": "db-0"}, {"addresses": ["10.244.0.6"]}]);
    let world = World::new(services, vec![slice("db", 6, endpoints)], vec![]).await;
    use RecordType::{A, AAAA, CNAME, MX, NS, PTR, SOA, SRV, TXT};
    for (name, kind, expected) in [
        ("web.d.svc.cluster.local.", A, "No Error 10.96.0.5"),
        ("WEB.d.Svc.cluster.LOCAL.", A, "No Error 10.96.0.5"),
        ("web.d.svc.cluster.local.", AAAA, "No Error SOA"),
        ("web.d.svc.cluster.local.", MX, "No Error SOA"),
        ("nothing.d.svc.cluster.local.", A, "Non-Existent Domain SOA"),
        ("web.other.svc.cluster.local.", A, "Non-Existent Domain SOA"),
        ("d.svc.cluster.local.", A, "No Error SOA"),
        ("_http._tcp.web.d.svc.cluster.local.", SRV, "No Error 0 100 80 web.d.svc.cluster.local."),
        ("_tcp.web.d.svc.cluster.local.", SRV, "No Error SOA"),
        ("_http._udp.web.d.svc.cluster.local.", SRV, "Non-Existent Domain SOA"),
        ("db.d.svc.cluster.local.", A, "No Error 10.244.0.5 10.244.0.6"),
        ("db-0.db.d.svc.cluster.local.", A, "No Error 10.244.0.5"),
        ("10-244-0-6.db.d.svc.cluster.local.", A, "No Error 10.244.0.6"),
        (
            "_db._tcp.db.d.svc.cluster.local.",
            SRV,
            "No Error 0 50 5432 10-244-0-6.db.d.svc.cluster.local. 0 50 5432 db-0.db.d.svc.cluster.local.",
        ),
        ("5.0.96.10.in-addr.arpa.", PTR, "No Error web.d.svc.cluster.local."),
        ("5.0.244.10.in-addr.arpa.", PTR, "No Error db-0.db.d.svc.cluster.local."),
        ("9.0.244.10.in-addr.arpa.", PTR, "Non-Existent Domain SOA"),
        ("10-244-0-77.d.pod.cluster.local.", A, "No Error 10.244.0.77"),
        ("10-244-0-77.d.pod.cluster.local.", AAAA, "No Error SOA"),
        ("x.d.pod.cluster.local.", A, "Non-Existent Domain SOA"),
        ("dns-version.cluster.local.", TXT, "No Error 1.1.0"),
        ("cluster.local.", NS, "No Error ns.dns.cluster.local."),
        ("ns.dns.cluster.local.", A, "No Error 10.96.0.10"),
        ("out.d.svc.cluster.local.", CNAME, "No Error web.d.svc.cluster.local."),
        ("out.d.svc.cluster.local.", A, "No Error 10.96.0.5 web.d.svc.cluster.local."),
        ("web.d.svc.cluster.local.example.org.", A, "Server Failure"),
    ] {
        assert_eq!(world.say(name, kind).await, expected, "{name} {kind}");
    }
    let soa = world.ask("cluster.local.", SOA).await;
    assert!(soa.authoritative && soa.answers[0].ttl == 5);
    let srv = world.ask("_db._tcp.db.d.svc.cluster.local.", SRV).await;
    assert_eq!(srv.additionals.len(), 2, "the targets' addresses come along");
}

#[tokio::test]
async fn changes_are_answered_and_every_endpoint_comes_first_at_times() {
    let world = World::new(vec![service("db", json!({"clusterIP": "None"}))], vec![], vec![]).await;
    assert_eq!(world.say("db.d.svc.cluster.local.", RecordType::A).await, "Non-Existent Domain SOA", "no endpoint, no name");
    let endpoints = json!([{"addresses": ["10.244.0.5"]}, {"addresses": ["10.244.0.6"]}, {"addresses": ["10.244.0.7"], "conditions": {"ready": false}}]);
    world.slices.send(WatchEvent { kind: WatchKind::Added, object: Object::from_value(&slice("db", 11, endpoints)).unwrap() }).unwrap();
    let becomes = async |expected: &str| {
        timeout(PATIENCE, async { while world.say("db.d.svc.cluster.local.", RecordType::A).await != expected {} }).await.expect(expected);
    };
    becomes("No Error 10.244.0.5 10.244.0.6").await;
    let mut first = std::collections::HashSet::new();
    for _ in 0..40 {
        first.insert(world.ask("db.d.svc.cluster.local.", RecordType::A).await.answers[0].data.to_string());
    }
    assert_eq!(first.len(), 2);
    world
        .services
        .send(WatchEvent { kind: WatchKind::Deleted, object: Object::from_value(&service("db", json!({"clusterIP": "None"}))).unwrap() })
        .unwrap();
    becomes("Non-Existent Domain SOA").await;
}

#[tokio::test]
async fn long_answers_are_cut_over_udp_and_whole_over_tcp() {
    let endpoints: Vec<Value> = (1..=200).map(|last| json!({"addresses": [format!("10.244.1.{last}")]})).collect();
    let world = World::new(vec![service("db", json!({"clusterIP": "None"}))], vec![slice("db", 6, json!(endpoints))], vec![]).await;
    let plain = world.ask("db.d.svc.cluster.local.", RecordType::A).await;
    assert!(plain.truncation && plain.to_vec().unwrap().len() <= 512);
    let mut stream = TcpStream::connect(world.dns.address).await.unwrap();
    for _ in 0..2 {
        let question = question("db.d.svc.cluster.local.", RecordType::A).to_vec().unwrap();
        stream.write_u16(question.len() as u16).await.unwrap();
        stream.write_all(&question).await.unwrap();
        let mut answer = vec![0u8; usize::from(stream.read_u16().await.unwrap())];
        stream.read_exact(&mut answer).await.unwrap();
        let answer = Message::from_vec(&answer).unwrap();
        assert_eq!((answer.truncation, answer.answers.len()), (false, 200), "one connection, several questions");
    }
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let mut question = question("db.d.svc.cluster.local.", RecordType::A);
    let mut edns = Edns::new();
    edns.set_max_payload(4096);
    question.set_edns(edns);
    socket.send_to(&question.to_vec().unwrap(), world.dns.address).await.unwrap();
    let mut buffer = vec![0u8; 65_535];
    let length = socket.recv(&mut buffer).await.unwrap();
    let answer = Message::from_vec(&buffer[..length]).unwrap();
    assert!(answer.truncation && answer.edns.is_some() && (513..=1232).contains(&length), "{length}");
}

#[tokio::test]
async fn nonsense_does_not_stop_the_server() {
    let world = World::new(vec![service("web", json!({"clusterIP": "10.96.0.5"}))], vec![], vec![]).await;
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    for bytes in [&b""[..], b"x", &[0xff; 12], &[0; 600], b"\x12\x34\x01\0\0\x01\0\0\0\0\0\x05\x03web\0\0\x01\0\x01"] {
        socket.send_to(bytes, world.dns.address).await.unwrap();
    }
    let mut stream = TcpStream::connect(world.dns.address).await.unwrap();
    stream.write_all(&[0xff, 0xff, 1, 2]).await.unwrap();
    assert_eq!(world.say("web.d.svc.cluster.local.", RecordType::A).await, "No Error 10.96.0.5");
}

#[tokio::test]
async fn before_the_first_objects_a_question_waits() {
    let world = World::start(vec![service("web", json!({"clusterIP": "10.96.0.5"}))], vec![], vec![], false);
    let (answer, ()) = tokio::join!(world.say("web.d.svc.cluster.local.", RecordType::A), async {
        tokio::task::yield_now().await;
        assert!(!*world.dns.ready.borrow());
        loop {
            world.gate.notify_one();
            if *world.dns.ready.borrow() {
                return;
            }
            tokio::task::yield_now().await;
        }
    });
    assert_eq!(answer, "No Error 10.96.0.5");
}

#[tokio::test]
async fn without_objects_the_answer_is_a_failure_not_a_no() {
    let world = World::start(vec![], vec![], vec![], false);
    assert_eq!(world.say("web.d.svc.cluster.local.", RecordType::A).await, "Server Failure");
}

/// A name server that knows what `answer` says and counts the questions.
struct Upstream {
    address: SocketAddr,
    questions: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Upstream {
    async fn start(answer: impl Fn(Message, bool) -> Option<Message> + Send + 'static) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let listener = TcpListener::bind(address).await.unwrap();
        let questions = Arc::new(AtomicUsize::new(0));
        let counted = questions.clone();
        #[expect(clippy::disallowed_methods, reason = "the other side of the test")]
        let task = tokio::spawn(async move {
            let mut buffer = vec![0u8; 4096];
            loop {
                tokio::select! {
                    Ok((length, from)) = socket.recv_from(&mut buffer) => {
                        counted.fetch_add(1, Ordering::SeqCst);
                        if let Some(reply) = answer(Message::from_vec(&buffer[..length]).unwrap(), false) {
                            socket.send_to(&reply.to_vec().unwrap(), from).await.unwrap();
                        }
                    }
                    Ok((mut stream, _)) = listener.accept() => {
                        let length = stream.read_u16().await.unwrap();
                        let mut question = vec![0u8; usize::from(length)];
                        stream.read_exact(&mut question).await.unwrap();
                        let reply = answer(Message::from_vec(&question).unwrap(), true).unwrap().to_vec().unwrap();
                        stream.write_u16(reply.len() as u16).await.unwrap();
                        stream.write_all(&reply).await.unwrap();
                    }
                }
            }
        });
        Self { address, questions, task }
    }

    /// Answers every A question with these, and everything else with NXDOMAIN.
    async fn with(addresses: &'static [[u8; 4]]) -> Self {
        Self::start(move |question, _| Some(reply(&question, addresses))).await
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn reply(question: &Message, addresses: &[[u8; 4]]) -> Message {
    let query = question.queries[0].clone();
    let mut reply = Message::response(question.id, OpCode::Query);
    reply.add_query(query.clone());
    if query.query_type() == RecordType::A {
        reply.add_answers(addresses.iter().map(|ip| Record::from_rdata(query.name().clone(), 60, RData::A(A(Ipv4Addr::from(*ip))))));
    } else {
        reply.metadata.response_code = ResponseCode::NXDomain;
        let soa = SOA::new(Name::root(), Name::root(), 1, 1, 1, 1, 60);
        reply.add_authority(Record::from_rdata(Name::root(), 60, RData::SOA(soa)));
    }
    reply.set_edns(Edns::new());
    reply
}

#[tokio::test]
async fn the_world_is_asked_once_and_remembered() {
    let upstream = Upstream::with(&[[192, 0, 2, 80], [192, 0, 2, 81]]).await;
    let world = World::new(vec![], vec![], vec![upstream.address]).await;
    let asks = (0..20).map(|_| world.say("www.Example.org.", RecordType::A));
    for answer in futures::future::join_all(asks).await {
        assert_eq!(answer, "No Error 192.0.2.80 192.0.2.81");
    }
    assert_eq!(upstream.questions.load(Ordering::SeqCst), 1, "one flight");
    assert_eq!(world.say("WWW.example.ORG.", RecordType::A).await, "No Error 192.0.2.80 192.0.2.81");
    for _ in 0..3 {
        assert_eq!(world.say("www.example.org.", RecordType::MX).await, "Non-Existent Domain SOA");
    }
    assert_eq!(upstream.questions.load(Ordering::SeqCst), 2, "that there is none is remembered too");
    let answer = world.ask("www.example.org.", RecordType::A).await;
    assert!(answer.edns.is_none() && !answer.authoritative && answer.recursion_available);
}

#[tokio::test]
async fn a_dead_or_failing_server_is_followed_by_the_next() {
    let failing = Upstream::start(|question, _| {
        let mut reply = reply(&question, &[]);
        reply.metadata.response_code = ResponseCode::ServFail;
        Some(reply)
    })
    .await;
    let closed = bind("127.0.0.1:0".parse().unwrap()).map(|sockets| rustix::net::getsockname(&sockets.udp).unwrap()).unwrap();
    let closed = SocketAddr::try_from(closed).unwrap();
    let good = Upstream::with(&[[192, 0, 2, 80]]).await;
    let world = World::new(vec![], vec![], vec![closed, failing.address, good.address]).await;
    assert_eq!(world.say("a.example.org.", RecordType::A).await, "No Error 192.0.2.80");
    assert_eq!(world.say("b.example.org.", RecordType::A).await, "No Error 192.0.2.80");
    assert_eq!(failing.questions.load(Ordering::SeqCst), 1, "the one that answered is asked first from then on");
    let nobody = World::new(vec![], vec![], vec![closed]).await;
    assert_eq!(nobody.say("a.example.org.", RecordType::A).await, "Server Failure");
}

#[tokio::test]
async fn a_truncated_answer_is_asked_for_again_over_tcp() {
    let upstream = Upstream::start(|question, tcp| {
        let mut reply = reply(&question, if tcp { &[[192, 0, 2, 80]] } else { &[] });
        reply.metadata.truncation = !tcp;
        Some(reply)
    })
    .await;
    let world = World::new(vec![], vec![], vec![upstream.address]).await;
    assert_eq!(world.say("a.example.org.", RecordType::A).await, "No Error 192.0.2.80");
}

#[tokio::test]
async fn a_forged_answer_is_passed_over() {
    let upstream = Upstream::start(|question, _| {
        let mut forged = reply(&question, &[[6, 6, 6, 6]]);
        forged.metadata.id = forged.id.wrapping_add(1);
        Some(forged)
    })
    .await;
    let good = Upstream::with(&[[192, 0, 2, 80]]).await;
    let world = World::new(vec![], vec![], vec![upstream.address, good.address]).await;
    assert_eq!(world.say("a.example.org.", RecordType::A).await, "No Error 192.0.2.80");
}

#[tokio::test]
async fn an_external_name_leads_out() {
    let upstream = Upstream::with(&[[192, 0, 2, 80]]).await;
    let out = service("out", json!({"type": "ExternalName", "externalName": "www.example.org"}));
    let world = World::new(vec![out.clone()], vec![], vec![upstream.address]).await;
    assert_eq!(world.say("out.d.svc.cluster.local.", RecordType::A).await, "No Error 192.0.2.80 www.example.org.");
    let alone = World::new(vec![out], vec![], vec![]).await;
    assert_eq!(
        alone.say("out.d.svc.cluster.local.", RecordType::A).await,
        "No Error www.example.org.",
        "the alias is true without an upstream"
    );
}

#[tokio::test]
async fn held_sockets_keep_questions_over_a_restart() {
    let sockets = bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = SocketAddr::try_from(rustix::net::getsockname(&sockets.udp).unwrap()).unwrap();
    let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    client.send_to(&question("cluster.local.", RecordType::NS).to_vec().unwrap(), address).await.unwrap();
    let env = Env::real();
    let script = || Script { listed: vec![], events: Mutex::new(None), gate: Arc::new(Notify::new()), open: true };
    let informer = |indexes: &[(&'static str, client::informer::IndexFn)]| {
        Informer::start(&env, Client::new(Arc::new(script())), Target::of("v1", "things", ""), Options::default(), indexes)
    };
    let config = Config {
        listen: address,
        cluster_domain: "cluster.local".into(),
        dns_ip: Ipv4Addr::LOCALHOST,
        own_ranges: vec![],
        upstreams: Upstreams::Fixed(vec![]),
    };
    let dns = serve(config, Some(sockets), informer(&[]), informer(&[(BY_SERVICE, service_of_slice)]), &env).unwrap();
    assert_eq!(dns.address, address);
    let mut buffer = [0u8; 512];
    let length = timeout(PATIENCE, client.recv(&mut buffer)).await.unwrap().unwrap();
    assert_eq!(shown(&Message::from_vec(&buffer[..length]).unwrap()), "No Error ns.dns.cluster.local.");
    env.stop(Duration::from_secs(5)).await;
}
