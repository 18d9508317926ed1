//! Port-forward: connections from inside the pod's network to its own loopback.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use http::Request;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use schema::Status;
use stream::forward::{self, Forward};
use stream::handshake;
use stream::remote::{Input, Output};
use sys::netns::Netns;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::Semaphore;

use super::Answer;
use super::interactive::negotiate;
use crate::context::Context;
use crate::registry::PodEntry;

/// Connections of one client at a time; further ones wait.
const CONNECTIONS_MAX: usize = 256;
const PIECE: usize = 32 << 10;

pub(super) fn answer(cx: &Arc<Context>, pod: &PodEntry, ports: &[u16], request: Request<Incoming>) -> Result<Answer, Status> {
    if !pod.sandbox_ready {
        return Err(Status::bad_request(format!("unable to forward port because pod is not running. Current status={}", pod.status.phase)));
    }
    let (negotiated, answer) = negotiate(&request, handshake::FORWARD)?;
    let place = Arc::new(Place { netns: pod.netns.clone(), pod: pod.pod.metadata.name.clone(), uid: pod.pod.metadata.uid.clone() });
    let (env, ports) = (cx.env.clone(), ports.to_vec());
    cx.env.spawn("port-forward", async move {
        let shutdown = env.shutdown().clone();
        let talk = async {
            let io = match hyper::upgrade::on(request).await {
                Ok(upgraded) => TokioIo::new(upgraded),
                Err(error) => return tracing::debug!(%error, "upgrade not completed"),
            };
            let (mut forwards, driver) = forward::server(io, &negotiated, &ports);
            env.spawn("port-forward connection", shutdown.clone().run_until_cancelled_owned(driver));
            let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
            while let Some(forward) = forwards.accept().await {
                let permit = Arc::clone(&places).acquire_owned().await;
                let (place, shutdown) = (Arc::clone(&place), shutdown.clone());
                env.spawn("forwarded connection", async move {
                    let _permit = permit;
                    shutdown.run_until_cancelled(serve(forward, &place)).await;
                });
            }
        };
        shutdown.run_until_cancelled(talk).await;
    });
    Ok(answer)
}

/// Where connections are made.
struct Place {
    /// None: the host's network.
    netns: Option<PathBuf>,
    pod: String,
    uid: String,
}

async fn serve(forward: Forward, place: &Place) {
    let Forward { port, from_client, to_client, error } = forward;
    let result = match connect(place, port).await {
        Ok(stream) => copy(stream, from_client, &to_client).await,
        Err(why) => Err(why),
    };
    if let Err(why) = result {
        let text = format!("error forwarding port {port} to pod {}, uid {}: {why}", place.pod, place.uid);
        let _ = error.send(text.into()).await;
    }
    to_client.finish().await;
    error.finish().await;
}

/// IPv4 first, as upstream.
async fn connect(place: &Place, port: u16) -> Result<TcpStream, String> {
    let mut first = None;
    for ip in [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)] {
        let address = SocketAddr::new(ip, port);
        match connect_to(place, address).await {
            Ok(stream) => return Ok(stream),
            Err(cause) if first.is_none() => {
                first = Some(format!("failed to connect to localhost:{port} inside the pod: dial {address}: {cause}"));
            }
            Err(_) => {}
        }
    }
    Err(first.unwrap_or_default())
}

async fn connect_to(place: &Place, address: SocketAddr) -> std::io::Result<TcpStream> {
    let Some(netns) = &place.netns else { return TcpStream::connect(address).await };
    let netns = netns.clone();
    // Entering a namespace blocks a thread for a moment; the socket stays inside when it comes back.
    let made = tokio::task::spawn_blocking(move || socket_inside(&netns, address)).await;
    let socket = made.map_err(std::io::Error::other)??;
    socket.connect(address).await
}

fn socket_inside(netns: &Path, address: SocketAddr) -> std::io::Result<TcpSocket> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let netns = Netns::open(netns).map_err(std::io::Error::other)?;
    let make = || rustix::net::socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None);
    let fd = netns.run(make).map_err(std::io::Error::other)??;
    Ok(TcpSocket::from_std_stream(std::net::TcpStream::from(fd)))
}

/// Both directions, each to its end.
async fn copy(stream: TcpStream, mut from_client: Input, to_client: &Output) -> Result<(), String> {
    let _ = stream.set_nodelay(true);
    let (mut read, mut write) = stream.into_split();
    let outward = async {
        let mut piece = vec![0; PIECE];
        loop {
            let length = read.read(&mut piece).await.map_err(|cause| cause.to_string())?;
            // When the pod's side is done the connection is: clients wait for nothing else.
            if length == 0 || to_client.send(bytes::Bytes::copy_from_slice(&piece[..length])).await.is_err() {
                return Ok(());
            }
        }
    };
    let inward = async {
        while let Some(piece) = from_client.recv().await {
            write.write_all(&piece).await.map_err(|cause| cause.to_string())?;
        }
        let _ = write.shutdown().await;
        // The pod may still answer.
        std::future::pending::<Result<(), String>>().await
    };
    tokio::select! {
        result = outward => result,
        result = inward => result,
    }
}
