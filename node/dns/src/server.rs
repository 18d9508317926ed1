//! The sockets: what can be said at once is said at once, the rest is a bounded number of tasks.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use client::Informer;
use env::Env;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;

use crate::Config;
use crate::cache::{self, Answer};
use crate::forward::Forwarder;
use crate::watch::Watcher;
use crate::wire::{self, Code, Query, Reply, Section};
use crate::zone::{Answers, Found, Zone};

/// Questions of one client burst answered before other tasks get their turn.
const BURST: usize = 64;
/// Replies that wait for something (the first objects, an upstream server).
const LATER_MAX: usize = 2048;
const CONNECTIONS_MAX: usize = 256;
const CONNECTION_IDLE: Duration = Duration::from_secs(10);
/// How long a question about the cluster waits for the first complete set of objects.
const READY_PATIENCE: Duration = Duration::from_secs(4);
/// Aliases of aliases inside the cluster.
const ALIASES_MAX: usize = 8;
const BACKLOG: i32 = 1024;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("DNS on {address}: {cause}")]
    Bind { address: SocketAddr, cause: io::Error },
    #[error("cluster domain {0:?} is no domain name")]
    Domain(String),
}

/// Bound sockets: kept by somebody who outlives this process, they make a question during a restart wait instead of fail.
#[derive(Debug)]
pub struct Sockets {
    pub udp: OwnedFd,
    /// Listening.
    pub tcp: OwnedFd,
}

/// The running server. It stops with the environment's shutdown.
#[derive(Debug)]
pub struct Dns {
    /// True once the cluster's names are complete.
    pub ready: watch::Receiver<bool>,
    /// Where it listens.
    pub address: SocketAddr,
}

/// Binds both sockets, also to an address that this machine does not have yet. But where the loopback link never was
/// up (a fresh network namespace), open the pod network first: before that the kernel takes any address for a broadcast
/// address and would answer from another one.
pub fn bind(address: SocketAddr) -> Result<Sockets, Error> {
    let failed = |cause: rustix::io::Errno| Error::Bind { address, cause: cause.into() };
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let open = |kind| -> rustix::io::Result<OwnedFd> {
        let socket = rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?;
        sockopt::set_socket_reuseaddr(&socket, kind == SocketType::STREAM)?;
        if address.is_ipv4() {
            sockopt::set_ip_freebind(&socket, true)?;
        }
        Ok(socket)
    };
    let udp = open(SocketType::DGRAM).map_err(failed)?;
    rustix::net::bind(&udp, &address).map_err(failed)?;
    // With port 0 (tests) both must get the same.
    let address_bound = rustix::net::getsockname(&udp).map_err(failed)?;
    let tcp = open(SocketType::STREAM).map_err(failed)?;
    rustix::net::bind(&tcp, &address_bound).map_err(failed)?;
    rustix::net::listen(&tcp, BACKLOG).map_err(failed)?;
    Ok(Sockets { udp, tcp })
}

/// Starts the tasks. `slices` must have the index [`crate::BY_SERVICE`]. Without `sockets` they are bound here.
pub fn serve(config: Config, sockets: Option<Sockets>, services: Arc<Informer>, slices: Arc<Informer>, env: &Env) -> Result<Dns, Error> {
    let listen = config.listen;
    let sockets = match sockets {
        Some(sockets) => sockets,
        None => bind(listen)?,
    };
    let failed = |cause| Error::Bind { address: listen, cause };
    let (udp, tcp) = adopt(sockets).map_err(failed)?;
    let address = udp.local_addr().map_err(failed)?;
    let Some(zone) = Zone::new(&config.cluster_domain, config.dns_ip, config.own_ranges) else {
        return Err(Error::Domain(config.cluster_domain));
    };
    let zone = Arc::new(zone);
    let (ready, receiver) = watch::channel(false);
    let watcher = Watcher { zone: Arc::clone(&zone), services, slices, ready };
    let server = Arc::new(Server {
        env: env.clone(),
        zone,
        forwarder: Forwarder::new(env, config.upstreams, address),
        ready: receiver.clone(),
        later: Arc::new(Semaphore::new(LATER_MAX)),
    });
    let stop = env.shutdown();
    env.spawn("dns-watch", stop.clone().run_until_cancelled_owned(watcher.run()));
    env.spawn("dns-udp", stop.clone().run_until_cancelled_owned(Arc::clone(&server).serve_udp(Arc::new(udp))));
    env.spawn("dns-tcp", stop.clone().run_until_cancelled_owned(server.serve_tcp(tcp)));
    Ok(Dns { ready: receiver, address })
}

fn adopt(sockets: Sockets) -> io::Result<(UdpSocket, TcpListener)> {
    let (udp, tcp) = (std::net::UdpSocket::from(sockets.udp), std::net::TcpListener::from(sockets.tcp));
    udp.set_nonblocking(true)?;
    tcp.set_nonblocking(true)?;
    Ok((UdpSocket::from_std(udp)?, TcpListener::from_std(tcp)?))
}

struct Server {
    env: Env,
    zone: Arc<Zone>,
    forwarder: Arc<Forwarder>,
    ready: watch::Receiver<bool>,
    later: Arc<Semaphore>,
}

/// What can be said without waiting.
enum Now {
    Say(Vec<u8>),
    Nothing,
    Later(Box<Query>),
}

impl Server {
    async fn serve_udp(self: Arc<Self>, socket: Arc<UdpSocket>) {
        let mut buffer = vec![0u8; usize::from(u16::MAX)];
        loop {
            if let Err(error) = socket.readable().await {
                tracing::error!(%error, "DNS socket is broken");
                return;
            }
            for _ in 0..BURST {
                match socket.try_recv_from(&mut buffer) {
                    Ok((length, client)) => self.take(&socket, &buffer[..length], client),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    // An ICMP error about an earlier reply: that client is gone.
                    Err(_) => {}
                }
            }
            tokio::task::yield_now().await;
        }
    }

    fn take(self: &Arc<Self>, socket: &Arc<UdpSocket>, message: &[u8], client: SocketAddr) {
        let query = match self.answer_now(message, false) {
            Now::Say(reply) => {
                // A full send buffer drops it, as the network might: the client asks again.
                let _ = socket.try_send_to(&reply, client);
                return;
            }
            Now::Nothing => return,
            Now::Later(query) => query,
        };
        let Ok(permit) = Arc::clone(&self.later).try_acquire_owned() else {
            let _ = socket.try_send_to(&Reply::to(&query, message, false, Code::ServFail, false).finish(), client);
            return;
        };
        let (this, socket, message) = (Arc::clone(self), Arc::clone(socket), message.to_vec());
        self.env.spawn("dns-query", async move {
            let reply = this.answer_later(&query, &message, false).await;
            let _ = socket.send_to(&reply, client).await;
            drop(permit);
        });
    }

    async fn serve_tcp(self: Arc<Self>, listener: TcpListener) {
        let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let Ok(permit) = Arc::clone(&connections).acquire_owned().await else { return };
            match listener.accept().await {
                Ok((stream, _)) => {
                    let this = Arc::clone(&self);
                    let stop = self.env.shutdown().clone();
                    self.env.spawn("dns-connection", async move {
                        stop.run_until_cancelled(this.serve_connection(stream)).await;
                        drop(permit);
                    });
                }
                // Out of descriptors, or the client went away: neither ends with this connection, both pass.
                Err(error) => {
                    tracing::debug!(%error, "DNS connection");
                    self.env.sleep(Duration::from_millis(10)).await;
                }
            }
        }
    }

    async fn serve_connection(&self, mut stream: TcpStream) {
        while let Ok(Ok(message)) = timeout(CONNECTION_IDLE, read_framed(&mut stream)).await {
            let reply = match self.answer_now(&message, true) {
                Now::Say(reply) => reply,
                Now::Nothing => return,
                Now::Later(query) => self.answer_later(&query, &message, true).await,
            };
            let framed = [&(reply.len() as u16).to_be_bytes()[..], &reply].concat();
            if !matches!(timeout(CONNECTION_IDLE, stream.write_all(&framed)).await, Ok(Ok(()))) {
                return;
            }
        }
    }

    fn answer_now(&self, message: &[u8], tcp: bool) -> Now {
        let query = match Query::read(message) {
            Ok(query) => query,
            Err(refusal) => return wire::refuse(message, &refusal).map_or(Now::Nothing, Now::Say),
        };
        match self.zone.find(query.name()) {
            Found::Elsewhere => match self.forwarder.cached(query.name(), query.kind) {
                Some(answer) => Now::Say(answer.reply(&query, message, tcp, self.env.instant())),
                None => Now::Later(Box::new(query)),
            },
            _ if !*self.ready.borrow() => Now::Later(Box::new(query)),
            Found::Name(answers) if answers.alias.is_some() && cache::follows_aliases(query.kind) => Now::Later(Box::new(query)),
            found => Now::Say(self.own_reply(&query, message, tcp, &found)),
        }
    }

    async fn answer_later(&self, query: &Query, message: &[u8], tcp: bool) -> Vec<u8> {
        let failure = || Reply::to(query, message, tcp, Code::ServFail, false).finish();
        if let Found::Elsewhere = self.zone.find(query.name()) {
            return match self.forwarder.resolve(query.name(), query.kind).await {
                Some(answer) => answer.reply(query, message, tcp, self.env.instant()),
                None => failure(),
            };
        }
        let mut ready = self.ready.clone();
        if !matches!(timeout(READY_PATIENCE, ready.wait_for(|ready| *ready)).await, Ok(Ok(_))) {
            return failure();
        }
        match self.zone.find(query.name()) {
            Found::Name(answers) if answers.alias.is_some() && cache::follows_aliases(query.kind) => {
                self.aliased_reply(query, message, tcp, answers).await
            }
            found => self.own_reply(query, message, tcp, &found),
        }
    }

    /// Positive, NODATA or NXDOMAIN out of the zone.
    fn own_reply(&self, query: &Query, message: &[u8], tcp: bool, found: &Found) -> Vec<u8> {
        let code = if let Found::Nothing = found { Code::NxDomain } else { Code::NoError };
        let mut reply = Reply::to(query, message, tcp, code, true);
        let mut records = match found {
            Found::Name(answers) => answers.of_kind(query.kind),
            _ => Vec::new(),
        };
        if records.is_empty() {
            reply.record(Section::Authority, &self.zone.soa);
            return reply.finish();
        }
        self.shuffle(&mut records);
        let written = records.iter().take_while(|(record, _)| reply.record(Section::Answer, record)).count();
        for extra in records[..written].iter().filter_map(|(_, extra)| *extra) {
            reply.record(Section::Additional, extra);
        }
        reply.finish()
    }

    /// An ExternalName: the alias, and what it leads to where anybody knows.
    async fn aliased_reply(&self, query: &Query, message: &[u8], tcp: bool, mut answers: Arc<Answers>) -> Vec<u8> {
        let mut reply = Reply::to(query, message, tcp, Code::NoError, true);
        let mut owner = query.name().to_vec();
        for _ in 0..ALIASES_MAX {
            let Some(alias) = &answers.alias else { break };
            reply.record(Section::Answer, &wire::record(&owner, wire::TYPE_CNAME, crate::zone::TTL_SECONDS, alias.target.as_bytes()));
            owner = alias.target.as_bytes().to_vec();
            match self.zone.find(&owner) {
                Found::Name(next) => answers = next,
                Found::Elsewhere => {
                    if let Some(answer) = self.forwarder.resolve(&owner, query.kind).await {
                        Answer::append_to(&answer, &mut reply);
                    }
                    return reply.finish();
                }
                Found::Empty | Found::Nothing => return reply.finish(),
            }
        }
        for (record, _) in answers.of_kind(query.kind) {
            // Its owner is a pointer to the question, which is another name here.
            reply.record(Section::Answer, &[&owner[..], &record[2..]].concat());
        }
        reply.finish()
    }

    /// Clients take the first: each in turn should be it.
    fn shuffle<T>(&self, records: &mut [T]) {
        for at in (1..records.len()).rev() {
            records.swap(at, self.env.random_below(at as u64 + 1) as usize);
        }
    }
}

async fn read_framed(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let length = stream.read_u16().await?;
    let mut message = vec![0u8; usize::from(length)];
    stream.read_exact(&mut message).await?;
    Ok(message)
}
