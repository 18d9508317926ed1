//! Port-forward: for each connection a data stream, both ways, and an error stream with a sentence if it fails.
//!
//! Over SPDY (raw, or through a WebSocket tunnel) the client opens both streams, with the headers `port`, `requestID` and
//! `streamType`. Over plain WebSocket each port of the query has two channels, 2i and 2i+1, that begin with the port as two
//! bytes, little end first, and carry one connection.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::protocol::Role;

use crate::handshake::Negotiated;
use crate::remote::{Input, Output};
use crate::spdy::{Headers, Stream};
use crate::websocket::{self, Channels, Encoding, Message};
use crate::{Error, Io, spdy};

/// A client opens both streams of a connection at once.
const PAIR_TIMEOUT: Duration = Duration::from_secs(30);
/// Half-opened pairs.
const PENDING_MAX: usize = 128;
const PORTS_MAX: usize = 64;
const QUEUE_MAX: usize = 32;

pub type Driver = Pin<Box<dyn Future<Output = ()> + Send>>;

/// One forwarded connection.
pub struct Forward {
    pub port: u16,
    pub from_client: Input,
    pub to_client: Output,
    /// A sentence, if the connection fails.
    pub error: Output,
}

/// The connections that the client opens.
pub struct Forwards {
    forwards_rx: mpsc::Receiver<Forward>,
}

impl Forwards {
    /// None: the client is gone.
    pub async fn accept(&mut self) -> Option<Forward> {
        self.forwards_rx.recv().await
    }
}

/// `io` is the upgraded connection, `ports` those of the query (plain WebSocket alone needs them). Spawn the driver.
pub fn server(io: impl Io, negotiated: &Negotiated, ports: &[u16]) -> (Forwards, Driver) {
    let (forwards_tx, forwards_rx) = mpsc::channel(QUEUE_MAX);
    let driver: Driver = match negotiated {
        Negotiated::Spdy { .. } => {
            let (connection, drive) = spdy::server(io);
            Box::pin(both(drive, pair_up(connection, forwards_tx)))
        }
        Negotiated::WebSocket { protocol, .. } if protocol.starts_with("SPDY/3.1+") => {
            let (tunnel, drive_tunnel) = websocket::tunnel(io, Role::Server);
            let (connection, drive) = spdy::server(tunnel);
            Box::pin(both(drive_tunnel, both(drive, pair_up(connection, forwards_tx))))
        }
        Negotiated::WebSocket { protocol, .. } => {
            let encoding = if protocol.contains("base64") { Encoding::Base64 } else { Encoding::Binary };
            let (channels, drive) = websocket::channels(io, Role::Server, encoding);
            Box::pin(both(drive, over_channels(channels, ports.iter().copied().take(PORTS_MAX).collect(), forwards_tx)))
        }
    };
    (Forwards { forwards_rx }, driver)
}

/// The connection decides when it is over.
async fn both(connection: impl Future<Output = ()>, sorting: impl Future<Output = ()>) {
    tokio::pin!(connection);
    tokio::select! {
        () = &mut connection => {}
        () = sorting => connection.await,
    }
}

async fn pair_up(mut connection: spdy::Connection, forwards_tx: mpsc::Sender<Forward>) {
    let mut pending: HashMap<(String, String), (Stream, tokio::time::Instant)> = HashMap::new();
    loop {
        let oldest = pending.values().map(|(_, since)| *since + PAIR_TIMEOUT).min();
        let stream = tokio::select! {
            stream = connection.accept() => stream,
            () = wait_until(oldest) => {
                let now = oldest.unwrap_or_else(|| unreachable!("a deadline has passed"));
                pending.retain(|_, (_, since)| *since + PAIR_TIMEOUT > now);
                continue;
            }
        };
        let Some(stream) = stream else { return };
        let key = (stream.headers.get("port").to_owned(), stream.headers.get("requestID").to_owned());
        match pending.remove(&key) {
            None if pending.len() >= PENDING_MAX => drop(stream.writer.reset().await),
            None => {
                let since = waits_since();
                pending.insert(key, (stream, since));
            }
            Some((first, _)) => {
                if let Some(forward) = join(&key.0, first, stream).await
                    && forwards_tx.send(forward).await.is_err()
                {
                    return;
                }
            }
        }
    }
}

fn waits_since() -> tokio::time::Instant {
    tokio::time::Instant::now()
}

async fn wait_until(at: Option<tokio::time::Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// A data and an error stream make a connection; anything else is broken off.
async fn join(port: &str, a: Stream, b: Stream) -> Option<Forward> {
    let kind = |stream: &Stream| stream.headers.get("streamType").to_owned();
    let (data, error) = match (kind(&a).as_str(), kind(&b).as_str()) {
        ("data", "error") => (a, b),
        ("error", "data") => (b, a),
        _ => {
            let _ = tokio::join!(a.writer.reset(), b.writer.reset());
            return None;
        }
    };
    let Ok(port) = port.parse() else {
        let _ = error.writer.send(format!("{port:?} is no port").into()).await;
        let _ = data.writer.reset().await;
        return None;
    };
    Some(Forward {
        port,
        from_client: Input::Stream(data.reader),
        to_client: Output::Stream(data.writer),
        error: Output::Stream(error.writer),
    })
}

async fn over_channels(channels: Channels, ports: Vec<u16>, forwards_tx: mpsc::Sender<Forward>) {
    let Channels { tx, mut rx } = channels;
    let mut inputs = HashMap::new();
    for (index, port) in ports.into_iter().enumerate() {
        let channel = u8::try_from(index * 2).expect("there are at most 64 ports");
        for channel in [channel, channel + 1] {
            let _ = tx.send(Message { channel, data: Bytes::copy_from_slice(&port.to_le_bytes()) }).await;
        }
        let (input_tx, input_rx) = mpsc::channel(QUEUE_MAX);
        inputs.insert(channel, input_tx);
        let output = |channel| Output::Channel { tx: tx.clone(), channel, has_close: false };
        let forward = Forward { port, from_client: Input::Channel(input_rx), to_client: output(channel), error: output(channel + 1) };
        if forwards_tx.send(forward).await.is_err() {
            return;
        }
    }
    drop((tx, forwards_tx));
    while let Some(message) = rx.recv().await {
        if let Some(input_tx) = inputs.get(&message.channel) {
            // An error only says that this connection has ended.
            let _ = input_tx.send(message.data).await;
        }
    }
}

/// The side that listens on the user's machine.
pub struct Forwarder {
    connection: spdy::Connection,
    next: std::sync::atomic::AtomicU32,
}

/// `io` is the upgraded connection, SPDY raw or through WebSocket as `negotiated` says. Spawn the driver.
pub fn client(io: impl Io, negotiated: &Negotiated) -> (Forwarder, Driver) {
    let forwarder = |connection| Forwarder { connection, next: std::sync::atomic::AtomicU32::new(0) };
    match negotiated {
        Negotiated::Spdy { .. } => {
            let (connection, drive) = spdy::client(io);
            (forwarder(connection), Box::pin(drive))
        }
        Negotiated::WebSocket { .. } => {
            let (tunnel, drive_tunnel) = websocket::tunnel(io, Role::Client);
            let (connection, drive) = spdy::client(tunnel);
            (forwarder(connection), Box::pin(both(drive_tunnel, drive)))
        }
    }
}

/// One connection as its opener sees it.
pub struct Opened {
    pub data: Stream,
    pub error: spdy::Reader,
}

impl Forwarder {
    pub async fn open(&self, port: u16) -> Result<Opened, Error> {
        let request = self.next.fetch_add(1, std::sync::atomic::Ordering::Relaxed).to_string();
        let port = port.to_string();
        let headers = |kind: &str| Headers::of(&[("streamType", kind), ("port", &port), ("requestID", &request)]);
        let error = self.connection.open(headers("error")).await?;
        error.writer.finish().await?;
        let data = self.connection.open(headers("data")).await?;
        Ok(Opened { data, error: error.reader })
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::duplex;

    use super::*;
    use crate::testing::spawn;

    #[tokio::test]
    async fn connections_over_spdy_and_through_a_tunnel() {
        let tunnel = Negotiated::WebSocket { protocol: "SPDY/3.1+portforward.k8s.io".into(), accept: String::new() };
        for carrier in [Negotiated::Spdy { protocol: "portforward.k8s.io".into() }, tunnel] {
            let (a, b) = duplex(512);
            let ((client, drive_a), (mut server, drive_b)) = (client(a, &carrier), server(b, &carrier, &[]));
            spawn(drive_a);
            spawn(drive_b);
            for port in [80, 8080] {
                let mut opened = client.open(port).await.unwrap();
                let mut forward = server.accept().await.unwrap();
                assert_eq!(forward.port, port);
                opened.data.writer.send("ping".into()).await.unwrap();
                assert_eq!(forward.from_client.recv().await.unwrap(), "ping");
                forward.to_client.send("pong".into()).await.unwrap();
                assert_eq!(opened.data.reader.recv().await.unwrap(), "pong");
                forward.error.send("refused".into()).await.unwrap();
                assert_eq!(opened.error.recv().await.unwrap(), "refused");
                opened.data.writer.finish().await.unwrap();
                assert_eq!(forward.from_client.recv().await, None);
            }
        }
    }

    #[tokio::test]
    async fn plain_websocket_begins_with_the_ports() {
        let carrier = Negotiated::WebSocket { protocol: "v4.channel.k8s.io".into(), accept: String::new() };
        let (a, b) = duplex(512);
        let (mut peer, drive_a) = websocket::channels(a, Role::Client, Encoding::Binary);
        let (mut server, drive_b) = server(b, &carrier, &[80, 0x1234]);
        spawn(drive_a);
        spawn(drive_b);
        let mut first = Vec::new();
        for _ in 0..4 {
            let message = peer.rx.recv().await.unwrap();
            first.push((message.channel, message.data.to_vec()));
        }
        assert_eq!(first, [(0, vec![80, 0]), (1, vec![80, 0]), (2, vec![0x34, 0x12]), (3, vec![0x34, 0x12])]);
        let (_, mut second) = (server.accept().await.unwrap(), server.accept().await.unwrap());
        peer.tx.send(Message { channel: 2, data: "hi".into() }).await.unwrap();
        assert_eq!(second.from_client.recv().await.unwrap(), "hi");
        second.error.send("no".into()).await.unwrap();
        assert_eq!(peer.rx.recv().await.unwrap(), Message { channel: 3, data: "no".into() });
    }

    #[tokio::test]
    async fn odd_pairs_are_broken_off_and_others_go_on() {
        let carrier = Negotiated::Spdy { protocol: "portforward.k8s.io".into() };
        let (a, b) = duplex(512);
        let ((client, drive_a), (mut server, drive_b)) = (client(a, &carrier), server(b, &carrier, &[]));
        spawn(drive_a);
        spawn(drive_b);
        let odd = |kind: &str| Headers::of(&[("streamType", kind), ("port", "1"), ("requestID", "x")]);
        let mut one = client.connection.open(odd("data")).await.unwrap();
        let _two = client.connection.open(odd("data")).await.unwrap();
        assert_eq!(one.reader.recv().await, None);
        let _opened = client.open(80).await.unwrap();
        assert_eq!(server.accept().await.unwrap().port, 80);
    }
}
