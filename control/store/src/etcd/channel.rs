//! The way to etcd: one multiplexed HTTP/2 connection to one of the endpoints, made when needed, and to the next endpoint
//! when it fails. Every call has a deadline.
//!
//! A call that may have arrived is asked again only where asking twice does what asking once does. A connection over
//! which a call went unanswered is given up for all that runs on it: its member may be paused or cut off, and a watch on
//! it would stay silent for ever.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use hyper::client::conn::http2::{self, SendRequest};
use hyper::rt::Executor;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;

use super::grpc::{self, Answers, CallError, Message, code, told};
use super::messages::{Method, WATCH, WatchCreate};
use super::wire::{Decode, Encode};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// etcd takes clients that ping more often than every five seconds for broken ones.
const PING_INTERVAL: Duration = Duration::from_secs(10);
const PING_TIMEOUT: Duration = Duration::from_secs(5);

const CERTIFICATE_HINT: &str = "etcd may want a client certificate of its own authority (--store-cert, --store-key)";

/// The files of TLS, in PEM; read for every connection, so that exchanged ones are taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// Who signed etcd's certificate.
    pub ca: PathBuf,
    /// Our certificate and its key; None: etcd wants none.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// One member's client address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) is_tls: bool,
}

impl Endpoint {
    /// `https://10.0.0.1:2379`, `http://[::1]:2379`, `https://etcd.example.org`
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| format!("etcd endpoint {text:?}: {why}; write it like https://10.0.0.1:2379");
        let uri: http::Uri = text.parse().map_err(|_| wrong("it is no URL"))?;
        let is_tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(wrong("it must start with https:// or http://")),
        };
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err(wrong("it must end after the port"));
        }
        let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(|| wrong("it has no host"))?;
        if uri.port_u16().is_none() && uri.authority().is_some_and(|authority| authority.as_str() != host) {
            return Err(wrong("behind the host there is no port"));
        }
        Ok(Self { host: host.trim_matches(['[', ']']).to_owned(), port: uri.port_u16().unwrap_or(2379), is_tls })
    }

    fn authority(&self) -> String {
        if self.host.contains(':') { format!("[{}]:{}", self.host, self.port) } else { format!("{}:{}", self.host, self.port) }
    }
}

struct Connection {
    sender: SendRequest<Message>,
    /// Place in the list of endpoints.
    endpoint: usize,
    /// Something came back over it.
    has_answered: AtomicBool,
    given_up: CancellationToken,
}

#[derive(Default)]
struct Held {
    connection: Option<Arc<Connection>>,
    /// The endpoint to try first.
    next: usize,
}

/// Calls to etcd.
pub(crate) struct Channel {
    endpoints: Vec<Endpoint>,
    tls: Option<TlsFiles>,
    /// For every attempt of a call, beside the time to connect.
    deadline: Duration,
    // An async mutex: one caller connects while the others wait for that connection.
    held: Mutex<Held>,
}

impl Channel {
    /// `endpoints` is not empty.
    pub(crate) fn new(endpoints: Vec<Endpoint>, tls: Option<TlsFiles>, deadline: Duration) -> Self {
        assert!(!endpoints.is_empty(), "there is an endpoint");
        Self { endpoints, tls, deadline, held: Mutex::default() }
    }

    /// How the endpoints are called in messages.
    pub(crate) fn name(&self) -> String {
        self.endpoints.iter().map(Endpoint::authority).collect::<Vec<_>>().join(", ")
    }

    /// One request, one answer.
    pub(crate) async fn call<A: Decode>(&self, method: Method, request: &impl Encode) -> Result<A, CallError> {
        let message = grpc::framed(request);
        let mut attempts = 1 + self.endpoints.len();
        loop {
            attempts -= 1;
            let connection = self.connection().await?;
            let error = match self.exchange(&connection, method.path, message.clone()).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let is_elsewhere_better = !matches!(error, CallError::Refused { code, .. } if code != code::UNAVAILABLE);
            if is_elsewhere_better {
                self.give_up(&connection).await;
            }
            let may_repeat = method.repeatable || matches!(error, CallError::Unreachable(_));
            if attempts == 0 || !is_elsewhere_better || !may_repeat {
                return Err(error);
            }
        }
    }

    async fn exchange<A: Decode>(&self, connection: &Connection, path: &str, message: Bytes) -> Result<A, CallError> {
        let exchange = async {
            let mut answers = self.send(connection, path, message, false).await?;
            let answer = answers.next().await?.ok_or_else(|| CallError::Broken("an answer without a message".into()))?;
            match answers.next::<A>().await? {
                None => Ok(answer),
                Some(_) => Err(CallError::Broken("two answers to one request".into())),
            }
        };
        let answered = timeout(self.deadline, exchange).await.unwrap_or_else(|_| {
            let authority = self.endpoints[connection.endpoint].authority();
            Err(CallError::Broken(format!("{authority} did not answer within {:?}", self.deadline)))
        });
        match answered {
            Ok(_) | Err(CallError::Refused { .. }) => connection.has_answered.store(true, Ordering::Relaxed),
            Err(_) => {}
        }
        answered.map_err(|error| self.at(connection, error))
    }

    /// Names the endpoint where the transport failed. Whether our certificate is refused shows only after the handshake, and most
    /// often as a connection that just ends.
    fn at(&self, connection: &Connection, error: CallError) -> CallError {
        let endpoint = &self.endpoints[connection.endpoint];
        let is_new = endpoint.is_tls && !connection.has_answered.load(Ordering::Relaxed);
        let named = |why: String| {
            let authority = endpoint.authority();
            match () {
                () if why.starts_with(&authority) => why,
                () if is_new && !why.contains("alert") => format!("{authority}: {why} before the first answer; {CERTIFICATE_HINT}"),
                () => format!("{authority}: {}", hinted(&why)),
            }
        };
        match error {
            CallError::Unreachable(why) => CallError::Unreachable(named(why)),
            CallError::Broken(why) => CallError::Broken(named(why)),
            refused @ CallError::Refused { .. } => refused,
        }
    }

    async fn send(&self, connection: &Connection, path: &str, message: Bytes, stays_open: bool) -> Result<Answers, CallError> {
        let authority = self.endpoints[connection.endpoint].authority();
        grpc::send(&mut connection.sender.clone(), &authority, path, message, stays_open).await
    }

    /// Starts a watch. It ends with an error when its connection is given up.
    pub(crate) async fn watch(&self, create: &WatchCreate) -> Result<Watching, CallError> {
        let connection = self.connection().await?;
        let opened = timeout(self.deadline, self.send(&connection, WATCH, grpc::framed(create), true)).await;
        let opened = opened.unwrap_or_else(|_| Err(CallError::Broken(format!("no watch within {:?}", self.deadline))));
        match opened {
            Ok(answers) => Ok(Watching { answers, given_up: connection.given_up.clone() }),
            Err(error) => {
                self.give_up(&connection).await;
                Err(self.at(&connection, error))
            }
        }
    }

    async fn give_up(&self, connection: &Arc<Connection>) {
        connection.given_up.cancel();
        let mut held = self.held.lock().await;
        if held.connection.as_ref().is_some_and(|current| Arc::ptr_eq(current, connection)) {
            *held = Held { connection: None, next: (connection.endpoint + 1) % self.endpoints.len() };
        }
    }

    /// The open connection, or a new one to the first endpoint that answers.
    async fn connection(&self) -> Result<Arc<Connection>, CallError> {
        let mut held = self.held.lock().await;
        if let Some(connection) = held.connection.as_ref().filter(|connection| !connection.sender.is_closed()) {
            return Ok(Arc::clone(connection));
        }
        let mut failures = Vec::new();
        for offset in 0..self.endpoints.len() {
            let endpoint = (held.next + offset) % self.endpoints.len();
            let connecting = timeout(CONNECT_TIMEOUT, self.connect(&self.endpoints[endpoint]));
            let connected = connecting.await.unwrap_or_else(|_| Err(format!("no connection within {CONNECT_TIMEOUT:?}")));
            match connected {
                Ok(sender) => {
                    let connection =
                        Arc::new(Connection { sender, endpoint, has_answered: AtomicBool::new(false), given_up: CancellationToken::new() });
                    *held = Held { connection: Some(Arc::clone(&connection)), next: endpoint };
                    return Ok(connection);
                }
                Err(why) => failures.push(format!("{}: {}", self.endpoints[endpoint].authority(), hinted(&why))),
            }
        }
        Err(CallError::Unreachable(failures.join("; ")))
    }

    async fn connect(&self, endpoint: &Endpoint) -> Result<SendRequest<Message>, String> {
        let tcp = TcpStream::connect((endpoint.host.as_str(), endpoint.port)).await.map_err(|error| error.to_string())?;
        tcp.set_nodelay(true).map_err(|error| error.to_string())?;
        if !endpoint.is_tls {
            return handshake(tcp).await;
        }
        let name = ServerName::try_from(endpoint.host.clone()).map_err(|error| error.to_string())?;
        let connector = connector(self.tls.as_ref())?;
        handshake(connector.connect(name, tcp).await.map_err(|error| told(&error))?).await
    }
}

/// What the alert of a handshake means for whoever set this up.
fn hinted(why: &str) -> String {
    let refused = ["CertificateRequired", "BadCertificate", "UnknownCA", "CertificateUnknown", "HandshakeFailure", "CertificateExpired"];
    if refused.iter().any(|alert| why.contains(&format!("alert: {alert}"))) {
        return format!("{why}; {CERTIFICATE_HINT}");
    }
    if why.contains("invalid peer certificate") {
        return format!("{why}; name the authority of etcd's certificate with --store-ca");
    }
    why.to_owned()
}

async fn handshake(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Result<SendRequest<Message>, String> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder.timer(TokioTimer::new()).keep_alive_interval(PING_INTERVAL).keep_alive_timeout(PING_TIMEOUT);
    let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(|error| told(&error))?;
    // Not a task of the environment: it ends with the last user of the connection, and requests drain while the process stops.
    TokioExecutor::new().execute(async move {
        if let Err(error) = connection.await {
            tracing::debug!(error = told(&error), "a connection to etcd ended");
        }
    });
    Ok(sender)
}

fn connector(files: Option<&TlsFiles>) -> Result<TlsConnector, String> {
    let files = files.ok_or("https needs the authority of etcd's certificate; name it with --store-ca")?;
    let mut roots = RootCertStore::empty();
    for certificate in certificates(&files.ca)? {
        roots.add(certificate).map_err(|error| format!("{}: {error}", files.ca.display()))?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().map_err(|error| error.to_string())?;
    let builder = builder.with_root_certificates(roots);
    let mut config = match &files.identity {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let pem = PrivateKeyDer::from_pem_file(key).map_err(|error| format!("{}: {error}", key.display()))?;
            builder.with_client_auth_cert(certificates(certificate)?, pem).map_err(|error| format!("{}: {error}", certificate.display()))?
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

fn certificates(path: &std::path::Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let wrong = |why: &dyn std::fmt::Display| format!("{}: {why}", path.display());
    let found: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).map_err(|error| wrong(&error))?.collect();
    let found = found.map_err(|error| wrong(&error))?;
    if found.is_empty() { Err(wrong(&"no certificate in it")) } else { Ok(found) }
}

/// A watch that runs.
pub(crate) struct Watching {
    answers: Answers,
    given_up: CancellationToken,
}

impl Watching {
    /// The next answer, whenever it comes.
    pub(crate) async fn next<A: Decode>(&mut self) -> Result<A, CallError> {
        match self.given_up.run_until_cancelled(self.answers.next()).await {
            None => Err(CallError::Broken("the connection went silent".into())),
            Some(Ok(None)) => Err(CallError::Broken("etcd ended the watch".into())),
            Some(Ok(Some(answer))) => Ok(answer),
            Some(Err(error)) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_urls_of_a_scheme_a_host_and_a_port() {
        let parsed = |text: &str| Endpoint::parse(text).map(|endpoint| (endpoint.authority(), endpoint.is_tls));
        assert_eq!(parsed("https://10.0.0.1:2379"), Ok(("10.0.0.1:2379".into(), true)));
        assert_eq!(parsed("http://[::1]:23790/"), Ok(("[::1]:23790".into(), false)));
        assert_eq!(parsed("https://etcd.example.org"), Ok(("etcd.example.org:2379".into(), true)));
        for wrong in ["10.0.0.1:2379", "ftp://a:1", "https://a:1/x", "", "https://", "https://a:b"] {
            let why = parsed(wrong).unwrap_err();
            assert!(why.contains("write it like https://"), "{why}");
        }
    }
}
