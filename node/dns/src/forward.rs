//! Questions for the rest of the world: to the machine's own name servers, each once at a time.
//!
//! One attempt is a fresh UDP socket (the kernel picks its port) with two seconds of patience; a truncated answer is
//! asked for again over TCP; a server that refuses, fails or stays silent is followed by the next, and the one that
//! answered last is asked first. Without any server the answer is SERVFAIL, at once.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use env::Env;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::Upstreams;
use crate::cache::{Answer, Cache, Key};
use crate::resolv::Resolv;
use crate::wire::{self, Code, HEADER};

const ATTEMPT: Duration = Duration::from_secs(2);
/// A client asks again after five seconds: later answers help nobody.
const PATIENCE: Duration = Duration::from_millis(4500);
const ROUNDS: usize = 2;
/// Questions under way at once.
const FLIGHTS_MAX: usize = 1024;

type Landing = watch::Receiver<Option<Option<Arc<Answer>>>>;

pub(crate) struct Forwarder {
    env: Env,
    resolv: Resolv,
    cache: Cache,
    flights: Mutex<HashMap<Key, Landing>>,
    /// Index of the server that answered last.
    preferred: AtomicUsize,
}

impl Forwarder {
    pub(crate) fn new(env: &Env, upstreams: Upstreams, own: SocketAddr) -> Arc<Self> {
        let resolv = Resolv::new(upstreams, own);
        Arc::new(Self { env: env.clone(), resolv, cache: Cache::default(), flights: Mutex::default(), preferred: AtomicUsize::new(0) })
    }

    /// What is known already.
    pub(crate) fn cached(&self, name: &[u8], kind: u16) -> Option<Arc<Answer>> {
        self.cache.get(&(name.into(), kind), self.env.instant())
    }

    /// None: no server answered.
    pub(crate) async fn resolve(self: &Arc<Self>, name: &[u8], kind: u16) -> Option<Arc<Answer>> {
        let key: Key = (name.into(), kind);
        if let Some(answer) = self.cache.get(&key, self.env.instant()) {
            return Some(answer);
        }
        let mut landing = self.board(key)?;
        let landed = landing.wait_for(Option::is_some).await.ok()?;
        landed.clone().flatten()
    }

    /// Joins the flight to this question, or starts one. None: too many are under way.
    fn board(self: &Arc<Self>, key: Key) -> Option<Landing> {
        let mut flights = self.flights.lock().expect("no holder of the flights panics");
        if let Some(landing) = flights.get(&key) {
            return Some(landing.clone());
        }
        if flights.len() >= FLIGHTS_MAX {
            return None;
        }
        let (landed, landing) = watch::channel(None);
        flights.insert(key.clone(), landing.clone());
        let this = Arc::clone(self);
        // A task of its own: that the first asker goes away must not leave the others without an answer.
        self.env.spawn("dns-forward", async move {
            let answer = timeout(PATIENCE, this.ask_all(&key)).await.ok().flatten();
            if let Some(answer) = &answer {
                this.cache.put(key.clone(), Arc::clone(answer));
            }
            this.flights.lock().expect("no holder of the flights panics").remove(&key);
            landed.send_replace(Some(answer));
        });
        Some(landing)
    }

    async fn ask_all(&self, (name, kind): &Key) -> Option<Arc<Answer>> {
        let servers = self.resolv.servers(self.env.instant());
        let first = self.preferred.load(Ordering::Relaxed);
        let mut worst = None;
        for attempt in 0..servers.len() * ROUNDS {
            let index = (first + attempt) % servers.len();
            let question = wire::question(self.env.random_u64() as u16, name, *kind);
            match ask(servers[index], &question).await {
                Ok(message) => {
                    let code = wire::code_of(&message);
                    let answer = Answer::read(message, HEADER + name.len() + 4, self.env.instant()).map(Arc::new);
                    if matches!(code, 0 | 3) && answer.is_some() {
                        self.preferred.store(index, Ordering::Relaxed);
                        return answer;
                    }
                    worst = answer.or(worst);
                }
                Err(error) => tracing::debug!(server = %servers[index], %error, "name server did not answer"),
            }
        }
        // Every server failed: the client may know what it said.
        worst.filter(|answer| answer.code() != Code::Refused as u8)
    }
}

async fn ask(server: SocketAddr, question: &[u8]) -> io::Result<Vec<u8>> {
    let answer = timeout(ATTEMPT, ask_udp(server, question)).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    if !wire::is_truncated(&answer) {
        return Ok(answer);
    }
    timeout(ATTEMPT, ask_tcp(server, question)).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

async fn ask_udp(server: SocketAddr, question: &[u8]) -> io::Result<Vec<u8>> {
    let any: IpAddr = if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    socket.send(question).await?;
    let mut buffer = vec![0u8; 4096];
    loop {
        let length = socket.recv(&mut buffer).await?;
        // Somebody may guess at us: only the answer to this very question counts.
        if wire::answers(&buffer[..length], question) {
            buffer.truncate(length);
            return Ok(buffer);
        }
    }
}

async fn ask_tcp(server: SocketAddr, question: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    let framed = [&(question.len() as u16).to_be_bytes()[..], question].concat();
    stream.write_all(&framed).await?;
    let length = stream.read_u16().await?;
    let mut answer = vec![0u8; usize::from(length)];
    stream.read_exact(&mut answer).await?;
    if wire::answers(&answer, question) { Ok(answer) } else { Err(io::Error::other("the answer is to another question")) }
}
