//! Connections: TLS with a deadline for the handshake, HTTP/2 or HTTP/1.1 as ALPN says, a bound on how many, a graceful end.
//!
//! Memory per connection and stream is kept small on purpose: a cluster has few connections and many watches on each.

use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use arc_swap::ArcSwap;
use auth::Pki;
use auth::pki::{Identity, Leaf};
use env::Env;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::answer::BoxError;
use super::gather::{Turns, gather};
use super::{Caller, Face};

/// Bounds of the listener.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections open at once; more wait in the kernel's queue.
    pub connections: usize,
    pub handshake: Duration,
    /// An HTTP/1.1 client must have sent its headers by then.
    pub headers: Duration,
    pub streams: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connections: 4096, handshake: Duration::from_secs(10), headers: Duration::from_secs(30), streams: 1000 }
    }
}

/// TLS of the server; its certificate can be renewed while it runs.
pub struct Listener {
    certificate: Arc<Certificate>,
    limits: Limits,
}

#[derive(Debug)]
struct Certificate(ArcSwap<CertifiedKey>);

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

impl Listener {
    pub fn new(identity: &Identity, limits: Limits) -> Result<Arc<Self>, String> {
        let certificate = Arc::new(Certificate(ArcSwap::new(certified(identity)?)));
        Ok(Arc::new(Self { certificate, limits }))
    }

    /// Shows new connections another certificate.
    pub fn renew(&self, identity: &Identity) -> Result<(), String> {
        self.certificate.0.store(certified(identity)?);
        Ok(())
    }

    /// Renews the certificate for `leaf` in time, for as long as the environment runs.
    pub fn keep_fresh(self: &Arc<Self>, env: &Env, pki: Arc<Pki>, leaf: Leaf) {
        /// After a failure (a full disk), and no more often than that.
        const AGAIN: Duration = Duration::from_secs(3600);
        let (listener, task_env) = (Arc::clone(self), env.clone());
        env.spawn("certificate-renewal", async move {
            let renew = async {
                loop {
                    let fresh = pki.leaf(&leaf).map_err(|error| error.to_string());
                    let wait = match fresh.and_then(|identity| listener.renew(&identity).map(|()| pki.renewal(&identity))) {
                        Ok(wait) => wait.max(AGAIN),
                        Err(error) => {
                            tracing::error!(%error, "renewing the server's certificate failed");
                            AGAIN
                        }
                    };
                    task_env.sleep(wait).await;
                }
            };
            task_env.shutdown().run_until_cancelled(renew).await
        });
    }

    fn config(&self, face: &Face) -> ServerConfig {
        let verifier = face.authenticator.certificates().handshake_verifier();
        let mut config = ServerConfig::builder().with_client_cert_verifier(verifier).with_cert_resolver(Arc::clone(&self.certificate) as _);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        // Session tickets would carry a client's certificate past its check.
        config.send_tls13_tickets = 0;
        config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
        config
    }
}

fn certified(identity: &Identity) -> Result<Arc<CertifiedKey>, String> {
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let key = provider
        .key_provider
        .load_private_key(identity.private_key())
        .map_err(|error| format!("the server's key cannot be used: {error}"))?;
    Ok(Arc::new(CertifiedKey::new(identity.chain(), key)))
}

/// Accepts connections on `socket` until the environment stops; then lets requests in flight end.
pub async fn serve(face: Arc<Face>, listener: Arc<Listener>, socket: TcpListener) {
    let env = face.env.clone();
    let acceptor = TlsAcceptor::from(Arc::new(listener.config(&face)));
    let places = Arc::new(Semaphore::new(listener.limits.connections));
    let stop = env.shutdown().clone();
    loop {
        let accepted = stop.run_until_cancelled(async {
            let place = Arc::clone(&places).acquire_owned().await.expect("the semaphore is never closed");
            (place, socket.accept().await)
        });
        let (place, (tcp, peer)) = match accepted.await {
            None => return,
            Some((place, Ok(accepted))) => (place, accepted),
            Some((_, Err(error))) => {
                // Out of descriptors or a peer that went away: the next one may do.
                tracing::warn!(%error, "accept failed");
                env.sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let (face, acceptor, limits) = (Arc::clone(&face), acceptor.clone(), listener.limits.clone());
        env.spawn("api-connection", async move {
            let _place = place;
            connection(face, acceptor, limits, tcp, peer).await;
        });
    }
}

async fn connection(face: Arc<Face>, acceptor: TlsAcceptor, limits: Limits, tcp: TcpStream, peer: SocketAddr) {
    let _ = tcp.set_nodelay(true);
    let tls = match tokio::time::timeout(limits.handshake, acceptor.accept(tcp)).await {
        Ok(Ok(tls)) => tls,
        Ok(Err(error)) => return tracing::debug!(%peer, %error, "TLS handshake failed"),
        Err(_) => return tracing::debug!(%peer, "TLS handshake took too long"),
    };
    let (_, session) = tls.get_ref();
    let connection = face.authenticator.connection(session.peer_certificates());
    let who = Arc::new(Caller { connection, ip: peer.ip() });
    let is_h2 = session.alpn_protocol() == Some(b"h2");
    face.metrics.connections.inc();
    let ended = if is_h2 { http2(&face, who, &limits, tls).await } else { http1(&face, who, &limits, tls).await };
    face.metrics.connections.dec();
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "connection broke off");
    }
}

async fn http2(face: &Arc<Face>, who: Arc<Caller>, limits: &Limits, tls: TlsStream<TcpStream>) -> Result<(), BoxError> {
    let env = face.env.clone();
    let mut builder = http2::Builder::new(Tasks(env.clone()));
    builder
        .timer(TokioTimer::new())
        .initial_stream_window_size(256 << 10)
        .initial_connection_window_size(25 << 20)
        .max_concurrent_streams(limits.streams)
        .max_send_buf_size(32 << 10)
        .max_header_list_size(64 << 10)
        .keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(15));
    let service = service_fn(|request| {
        let (face, who) = (Arc::clone(face), Arc::clone(&who));
        // Boxed, so that a stream's task is no larger than its body: a watch lives for hours, its answer's making does not.
        async move { Ok::<_, std::convert::Infallible>(Box::pin(face.answer(&who, request)).await) }
    });
    let (io, outlet) = gather(tls);
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(io), service));
    let (mut stop, mut stopping) = (std::pin::pin!(env.shutdown().cancelled()), false);
    let mut turns = Turns::new(env.instant());
    std::future::poll_fn(|cx| {
        if turns.gives_way(env.instant()) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if !stopping && stop.as_mut().poll(cx).is_ready() {
            stopping = true;
            connection.as_mut().graceful_shutdown();
        }
        let ended = connection.as_mut().poll(cx);
        // Whatever h2 has written in this turn goes out with it.
        let settled = outlet.settle(cx);
        match (ended, settled) {
            (Poll::Ready(ended), _) => Poll::Ready(ended.map_err(BoxError::from)),
            (Poll::Pending, Poll::Ready(Err(error))) => Poll::Ready(Err(error.into())),
            (Poll::Pending, _) => Poll::Pending,
        }
    })
    .await
}

async fn http1(face: &Arc<Face>, who: Arc<Caller>, limits: &Limits, tls: TlsStream<TcpStream>) -> Result<(), BoxError> {
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(limits.headers).max_buf_size(64 << 10).keep_alive(true);
    let service = service_fn(|request| {
        let (face, who) = (Arc::clone(face), Arc::clone(&who));
        // Boxed, so that a stream's task is no larger than its body: a watch lives for hours, its answer's making does not.
        async move { Ok::<_, std::convert::Infallible>(Box::pin(face.answer(&who, request)).await) }
    });
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(tls), service).with_upgrades());
    tokio::select! {
        ended = connection.as_mut() => return Ok(ended?),
        () = face.env.shutdown().cancelled() => connection.as_mut().graceful_shutdown(),
    }
    Ok(connection.await?)
}

/// hyper's tasks as tasks of the environment, so that shutdown waits for them.
#[derive(Clone)]
struct Tasks(Env);

impl<F> hyper::rt::Executor<F> for Tasks
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, future: F) {
        self.0.spawn("api-stream", future);
    }
}
