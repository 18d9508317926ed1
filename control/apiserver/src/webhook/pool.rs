//! Open connections of one endpoint, by address: one over HTTP/2, a few idle ones over HTTP/1.1.
//!
//! A request that comes back unsent, because the other side was just closing the connection, goes out once more on a new one.
//! One that may have arrived never does.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use env::Env;
use http::Request;
use http::header::HOST;
use http::uri::PathAndQuery;
use hyper::Response;
use hyper::body::{Body, Incoming};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::client::TlsStream;

use super::dial::{Dial, unconnected};
use super::ending::Ending;
use super::tls::{self, Trust};

/// Connections that wait for work, per address.
const IDLE_MAX: usize = 8;
/// What was not used for so long is closed when somebody looks.
const IDLE: Duration = Duration::from_secs(90);
/// TCP and TLS; callers may have less patience.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

type Http1<B> = http1::SendRequest<B>;
type Http2<B> = http2::SendRequest<B>;

/// What can be sent: a document that is all here, or one that flows.
pub(crate) trait Content: Body<Data = Bytes, Error: Into<BoxError>> + Send + Unpin + 'static {}
impl<B: Body<Data = Bytes, Error: Into<BoxError>> + Send + Unpin + 'static> Content for B {}

type BoxError = Box<dyn std::error::Error + Send + Sync>;
/// What is open, by address.
type Connections<B> = Arc<Mutex<HashMap<SocketAddr, Open<B>>>>;

/// Why a request was not answered.
#[derive(Debug)]
pub(crate) enum Failed {
    /// Nobody has seen it.
    Unconnected(String),
    /// Somebody may have.
    Broken(String),
}

pub(crate) struct Pool<B> {
    trust: Trust,
    dial: Arc<dyn Dial>,
    open: Connections<B>,
}

/// What is open to one address.
struct Open<B> {
    http1: Vec<Http1<B>>,
    http2: Option<Http2<B>>,
    used: Instant,
}

enum Connection<B> {
    Http1(Http1<B>),
    Http2(Http2<B>),
}

/// A connection in use. Dropped, it closes (HTTP/1.1) or loses one stream (HTTP/2).
pub(crate) struct Lease<B> {
    open: Connections<B>,
    address: SocketAddr,
    connection: Connection<B>,
}

impl<B> Lease<B> {
    /// The answer was read to its end: the next request may use the connection.
    pub(crate) fn give_back(self, env: &Env) {
        let mut open = self.open.lock().expect("no holder of a pool panics");
        let here = open.entry(self.address).or_insert_with(|| Open { http1: Vec::new(), http2: None, used: env.instant() });
        here.used = env.instant();
        match self.connection {
            Connection::Http1(sender) if here.http1.len() < IDLE_MAX => here.http1.push(sender),
            Connection::Http1(_) => {}
            Connection::Http2(sender) => here.http2 = Some(sender),
        }
    }
}

impl<B: Content> Pool<B> {
    pub(crate) fn new(trust: Trust, dial: Arc<dyn Dial>) -> Self {
        Self { trust, dial, open: Connections::default() }
    }

    /// Sends over an open connection, or a new one. A request that nobody has seen comes back.
    pub(crate) async fn send(
        &self,
        env: &Env,
        address: SocketAddr,
        mut request: Request<B>,
    ) -> Result<(Response<Incoming>, Lease<B>), (Failed, Option<Request<B>>)> {
        while let Some(mut connection) = self.take(env, address) {
            match connection.send(request).await {
                Ok(response) => return Ok((response, self.lease(address, connection))),
                Err((why, None)) => return Err((Failed::Broken(why), None)),
                Err((_, Some(unsent))) => request = unsent,
            }
        }
        let mut connection = match self.connect(env, address).await {
            Ok(connection) => connection,
            Err(why) => return Err((Failed::Unconnected(why), Some(request))),
        };
        match connection.send(request).await {
            Ok(response) => Ok((response, self.lease(address, connection))),
            Err((why, _)) => Err((Failed::Broken(why), None)),
        }
    }

    fn lease(&self, address: SocketAddr, connection: Connection<B>) -> Lease<B> {
        Lease { open: Arc::clone(&self.open), address, connection }
    }

    fn take(&self, env: &Env, address: SocketAddr) -> Option<Connection<B>> {
        let mut open = self.open.lock().expect("no holder of a pool panics");
        let now = env.instant();
        open.retain(|_, there| now.duration_since(there.used) < IDLE);
        let there = open.get_mut(&address)?;
        if let Some(sender) = there.http2.clone().filter(|sender| !sender.is_closed()) {
            return Some(Connection::Http2(sender));
        }
        there.http2 = None;
        there.http1.retain(|sender| !sender.is_closed());
        there.http1.pop().map(Connection::Http1)
    }

    async fn connect(&self, env: &Env, address: SocketAddr) -> Result<Connection<B>, String> {
        let tls = connected(&self.trust, &*self.dial, address).await?;
        let is_http2 = tls.get_ref().1.alpn_protocol() == Some(b"h2");
        let connected = if is_http2 { over_http2(env, tls).await } else { over_http1(env, tls).await };
        connected.map_err(|error| error.to_string())
    }
}

/// A connection on which nothing was said yet.
pub(crate) async fn connected(trust: &Trust, dial: &dyn Dial, address: SocketAddr) -> Result<TlsStream<TcpStream>, String> {
    let connecting = async {
        let tcp = dial.dial(address).await.map_err(|error| unconnected(address, &error))?;
        trust.connect(tcp).await.map_err(|error| tls::untrusted(&error, trust.server_name()))
    };
    tokio::time::timeout(CONNECT_TIMEOUT, connecting).await.unwrap_or_else(|_| Err(format!("dial tcp {address}: i/o timeout")))
}

async fn over_http1<B: Content>(env: &Env, tls: TlsStream<TcpStream>) -> hyper::Result<Connection<B>> {
    let (sender, connection) = http1::handshake(TokioIo::new(Ending(tls))).await?;
    run(env, connection);
    Ok(Connection::Http1(sender))
}

async fn over_http2<B: Content>(env: &Env, tls: TlsStream<TcpStream>) -> hyper::Result<Connection<B>> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder.timer(TokioTimer::new()).keep_alive_interval(Duration::from_secs(30)).keep_alive_timeout(Duration::from_secs(15));
    let (sender, connection) = builder.handshake(TokioIo::new(tls)).await?;
    run(env, connection);
    Ok(Connection::Http2(sender))
}

/// The connection's own task: until it is closed or the process stops.
fn run(env: &Env, connection: impl Future<Output = hyper::Result<()>> + Send + 'static) {
    let stop = env.shutdown().clone();
    env.spawn("webhook-connection", async move {
        if let Some(Err(error)) = stop.run_until_cancelled(connection).await {
            tracing::debug!(%error, "a connection to a webhook ended");
        }
    });
}

impl<B: Content> Connection<B> {
    /// The answer's head; else why, with the request where it never left.
    async fn send(&mut self, request: Request<B>) -> Result<Response<Incoming>, (String, Option<Request<B>>)> {
        let sent = match self {
            Self::Http1(sender) => {
                if sender.ready().await.is_err() {
                    return Err(("EOF".into(), Some(request)));
                }
                sender.try_send_request(relative(request)).await
            }
            Self::Http2(sender) => sender.try_send_request(without_host(request)).await,
        };
        sent.map_err(|mut error| {
            let unsent = error.take_message();
            (format!("EOF ({})", error.into_error()), unsent)
        })
    }
}

/// HTTP/1.1 names the host in a header and the path alone in the first line.
pub(crate) fn relative<B>(mut request: Request<B>) -> Request<B> {
    let path = request.uri().path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    *request.uri_mut() = path.into();
    request
}

/// HTTP/2 has an authority of its own.
fn without_host<B>(mut request: Request<B>) -> Request<B> {
    request.headers_mut().remove(HOST);
    request
}
