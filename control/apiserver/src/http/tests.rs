//! The face over real TLS on loopback: real rustls clients, HTTP/1.1 and HTTP/2.

mod agent;
mod aggregated;
mod bombs;
mod documents;
mod identity;
mod outsiders;
mod proxy;
mod reading;
mod serving;
mod transport;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use auth::certificate::ClientCertificates;
use auth::pki::{Identity, Leaf};
use auth::{Authenticator, MASTERS, Pki, UserInfo};
use bytes::Bytes;
use client::{Client, Target};
use env::Env;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use schema::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::client::TlsStream;

use super::{Agents, Face, Limits, Listener, Options, serve};
use crate::assemble::{Assembled, assemble};
use crate::settings::Settings;
use crate::{Config, Core};

/// A server of its own, with its own authority.
pub(super) struct World {
    pub env: Env,
    pub pki: Pki,
    pub core: Arc<Core>,
    pub face: Arc<Face>,
    pub tokens: Arc<auth::token::Tokens>,
    pub address: SocketAddr,
    /// Speaks to the core as the API server itself.
    pub loopback: Client,
    _dir: tempfile::TempDir,
}

impl World {
    pub(super) async fn start() -> Self {
        Self::with(Limits::default()).await
    }

    pub(super) async fn with(limits: Limits) -> Self {
        Self::with_options(limits, |_| Options::default()).await
    }

    pub(super) async fn with_options(limits: Limits, options: impl FnOnce(&Env) -> Options) -> Self {
        Self::with_settings(limits, options, &Settings::default()).await
    }

    pub(super) async fn with_settings(limits: Limits, options: impl FnOnce(&Env) -> Options, settings: &Settings) -> Self {
        let (dir, env) = (tempfile::tempdir().unwrap(), Env::real());
        let pki = Pki::ensure(dir.path(), &env).unwrap();
        let config = Config { api_address: ("192.0.2.1".parse().unwrap(), 6443), ..Config::default() };
        let store = crate::tests::on_etcd::fresh_store().await;
        let assembled = assemble(store, &env, settings.configure(config).unwrap(), pki.signing_key()).await.unwrap();
        settings.authorize(&assembled.authority, &env).unwrap();
        let certificates = ClientCertificates::new(pki.ca(), &env).unwrap();
        let authenticator = Authenticator::new(certificates, Arc::clone(&assembled.reviewers) as _, &env)
            .with_static_token("admin", UserInfo::new("admin", &[MASTERS]))
            .with_static_token("alice", UserInfo::new("alice", &["dev"]));
        let authenticator = settings.authenticator(authenticator, &assembled, &env).unwrap();
        let Assembled { core, tokens, legacy, .. } = assembled;
        let agents = Agents::new(pki.client_config(Some(&pki.leaf(&Leaf::api_server_to_agent()).unwrap()))).on_loopback();
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let url = format!("https://{address}");
        let face = Face::with_options(Arc::clone(&core), authenticator, tokens.clone(), agents, &url, options(&env));
        let listener = Listener::new(&pki.leaf(&Leaf::api_server(&[])).unwrap(), limits).unwrap();
        env.spawn("serve", serve(Arc::clone(&face), listener, socket));
        let loopback = Client::new(core.transport(auth::loopback_user()));
        legacy.keep_filled(&env, loopback.clone(), pki.ca());
        Self { env, pki, core, face, tokens, address, loopback, _dir: dir }
    }

    /// A TLS connection that offers `alpn`.
    pub(super) async fn tls(&self, identity: Option<&Identity>, alpn: &[u8]) -> TlsStream<TcpStream> {
        let mut config = self.pki.client_config(identity);
        config.alpn_protocols = vec![alpn.to_vec()];
        let tcp = TcpStream::connect(self.address).await.unwrap();
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        connector.connect(ServerName::try_from("127.0.0.1").unwrap(), tcp).await.unwrap()
    }

    /// An HTTP/1.1 connection.
    pub(super) async fn http1(&self, identity: Option<&Identity>) -> http1::SendRequest<Full<Bytes>> {
        let (sender, connection) = http1::handshake(TokioIo::new(self.tls(identity, b"http/1.1").await)).await.unwrap();
        self.env.spawn("client", async move {
            let _ = connection.with_upgrades().await;
        });
        sender
    }

    /// An HTTP/2 connection.
    pub(super) async fn http2(&self) -> http2::SendRequest<Full<Bytes>> {
        let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(self.tls(None, b"h2").await)).await.unwrap();
        self.env.spawn("client", async move {
            let _ = connection.await;
        });
        sender
    }

    /// One request as admin over a connection of its own.
    pub(super) async fn ask(&self, method: Method, path: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Response<Incoming> {
        let mut request = Request::builder().method(method).uri(path).header("host", "x").header("authorization", "Bearer admin");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.http1(None).await.send_request(request.body(Full::new(body.into())).unwrap()).await.unwrap()
    }

    /// GET as admin: status, headers, body.
    pub(super) async fn get(&self, path: &str, headers: &[(&str, &str)]) -> (StatusCode, HeaderMap, Bytes) {
        let response = self.ask(Method::GET, path, headers, "").await;
        let (parts, body) = response.into_parts();
        (parts.status, parts.headers, body.collect().await.unwrap().to_bytes())
    }

    pub(super) async fn get_json(&self, path: &str) -> Value {
        let (status, _, bytes) = self.get(path, &[]).await;
        assert_eq!(status, 200, "{path}: {}", String::from_utf8_lossy(&bytes));
        serde_json::from_slice(&bytes).unwrap()
    }

    pub(super) async fn config_map(&self, name: &str, data: &str) {
        let doc = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"k": data}});
        self.loopback.create(Target::of("v1", "configmaps", "default"), doc).await.unwrap();
    }
}

/// The next bytes of a body; fails where none come soon.
pub(super) async fn next_bytes(body: &mut Incoming) -> Bytes {
    loop {
        let frame = tokio::time::timeout(Duration::from_secs(5), body.frame()).await.expect("bytes come soon");
        let frame = frame.expect("the body goes on").unwrap();
        if let Ok(bytes) = frame.into_data()
            && !bytes.is_empty()
        {
            return bytes;
        }
    }
}

/// The document of an answer, and its code.
pub(super) async fn status_of(response: Response<Incoming>) -> (u16, Value) {
    let code = response.status().as_u16();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    (code, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
}
