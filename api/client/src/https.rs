//! The API over TLS: one multiplexed HTTP/2 connection, made when needed and made again when it breaks.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use env::Env;
use futures::StreamExt;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, USER_AGENT, WARNING};
use http_body_util::{BodyExt, BodyStream, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use schema::Status;
use tokio::net::TcpStream;
use tokio::sync::Mutex;

use crate::request::{Answer, Request, Response, Verb};
use crate::{Transport, wire};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// A list of 150,000 pods fits; an endless answer does not.
const ANSWER_MAX: usize = 1 << 30;

/// Where the server is and who we are.
#[derive(Clone)]
pub struct HttpsConfig {
    pub address: SocketAddr,
    /// The name in the server's certificate.
    pub server_name: ServerName<'static>,
    /// CA and, where there is one, the client certificate. ALPN is set here.
    pub tls: Arc<ClientConfig>,
    /// Sent as `Authorization: Bearer …`.
    pub token: Option<String>,
    pub user_agent: String,
}

/// A [`Transport`] over one HTTP/2 connection.
pub struct Https {
    config: HttpsConfig,
    env: Env,
    connector: tokio_rustls::TlsConnector,
    /// An async mutex: one caller connects while the others wait for that connection.
    connection: Mutex<Option<SendRequest<Full<Bytes>>>>,
}

impl Https {
    pub fn new(config: HttpsConfig, env: &Env) -> Arc<Self> {
        let mut tls = ClientConfig::clone(&config.tls);
        tls.alpn_protocols = vec![b"h2".to_vec()];
        Arc::new(Self { connector: Arc::new(tls).into(), config, env: env.clone(), connection: Mutex::new(None) })
    }

    /// GET of any path (health, version, metrics); the body as it came.
    pub async fn get_raw(&self, path: &str) -> Result<Bytes, Status> {
        let request = self.builder(http::Method::GET, path).body(Full::default()).map_err(Status::internal)?;
        let answer = self.send(request).await?;
        let code = answer.status().as_u16();
        let bytes = collect(answer).await?;
        if code < 400 { Ok(bytes) } else { Err(wire::failure(code, &bytes)) }
    }

    /// Leaves the open connection to what still runs on it: what is asked from now on goes over a new one, with the certificate that
    /// `tls` finds then.
    pub async fn renew(&self) {
        self.connection.lock().await.take();
    }

    fn builder(&self, method: http::Method, path: &str) -> http::request::Builder {
        let uri = format!("https://{}{path}", self.config.address);
        let builder =
            http::Request::builder().method(method).uri(uri).header(ACCEPT, "application/json").header(USER_AGENT, &self.config.user_agent);
        match &self.config.token {
            Some(token) => builder.header(AUTHORIZATION, format!("Bearer {token}")),
            None => builder,
        }
    }

    async fn send(&self, request: http::Request<Full<Bytes>>) -> Result<http::Response<Incoming>, Status> {
        let answer = tokio::time::timeout(ANSWER_TIMEOUT, self.exchange(request)).await;
        answer.map_err(|_| Status::timeout(format!("{} did not answer within {} s", self.config.address, ANSWER_TIMEOUT.as_secs())))?
    }

    /// A request that comes back unsent (the server was just closing the connection) goes out once more on another one. One that may
    /// have arrived never does.
    async fn exchange(&self, request: http::Request<Full<Bytes>>) -> Result<http::Response<Incoming>, Status> {
        let failed = |error: hyper::Error| Status::unavailable(format!("request to {}: {error}", self.config.address));
        let unsent = match self.connection().await?.try_send_request(request).await {
            Ok(answer) => return Ok(answer),
            Err(mut error) => error.take_message().ok_or_else(|| failed(error.into_error()))?,
        };
        self.connection().await?.send_request(unsent).await.map_err(failed)
    }

    /// The open connection, or a new one.
    async fn connection(&self) -> Result<SendRequest<Full<Bytes>>, Status> {
        let mut held = self.connection.lock().await;
        if let Some(sender) = held.as_ref().filter(|sender| !sender.is_closed()) {
            return Ok(sender.clone());
        }
        let connect = tokio::time::timeout(CONNECT_TIMEOUT, self.connect()).await;
        let sender = connect.unwrap_or_else(|_| Err(format!("no connection within {} s", CONNECT_TIMEOUT.as_secs())));
        let sender = sender.map_err(|why| Status::unavailable(format!("connect to {}: {why}", self.config.address)))?;
        *held = Some(sender.clone());
        Ok(sender)
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, String> {
        let tcp = TcpStream::connect(self.config.address).await.map_err(|error| error.to_string())?;
        tcp.set_nodelay(true).map_err(|error| error.to_string())?;
        let tls = self.connector.connect(self.config.server_name.clone(), tcp).await.map_err(|error| error.to_string())?;
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder.timer(TokioTimer::new()).keep_alive_interval(Duration::from_secs(20)).keep_alive_timeout(Duration::from_secs(10));
        let (sender, connection) = builder.handshake(TokioIo::new(tls)).await.map_err(|error| error.to_string())?;
        self.env.spawn("https-connection", async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection to the API server ended");
            }
        });
        Ok(sender)
    }
}

#[async_trait]
impl Transport for Https {
    async fn call(&self, request: Request) -> Result<Answer, Status> {
        let builder = self.builder(wire::method(request.verb), &wire::uri(&request));
        let http = match wire::body(&request)? {
            Some((content_type, bytes)) => builder.header(CONTENT_TYPE, content_type).body(Full::new(bytes)),
            None => builder.body(Full::default()),
        };
        let answer = self.send(http.map_err(Status::internal)?).await?;
        let code = answer.status().as_u16();
        let warnings = answer.headers().get_all(WARNING).iter().filter_map(|value| warning(value.to_str().ok()?)).collect();
        if code >= 400 {
            return Err(wire::failure(code, &collect(answer).await?));
        }
        let response = match request.verb {
            Verb::Watch => Response::Watch(wire::watch(stream(answer).boxed())),
            verb => wire::response(verb, code, &collect(answer).await?)?,
        };
        Ok(Answer { response, warnings })
    }
}

async fn collect(answer: http::Response<Incoming>) -> Result<Bytes, Status> {
    let body = Limited::new(answer.into_body(), ANSWER_MAX).collect();
    let body = tokio::time::timeout(ANSWER_TIMEOUT, body).await.map_err(|_| Status::timeout("the answer's body did not end in time"))?;
    Ok(body.map_err(|error| Status::unavailable(format!("reading the answer: {error}")))?.to_bytes())
}

fn stream(answer: http::Response<Incoming>) -> impl futures::Stream<Item = Result<Bytes, Status>> + Send {
    BodyStream::new(answer.into_body()).filter_map(|frame| async move {
        match frame {
            Ok(frame) => frame.into_data().ok().map(Ok),
            Err(error) => Some(Err(Status::unavailable(format!("watch broke off: {error}")))),
        }
    })
}

/// The text of `299 - "text"`.
fn warning(header: &str) -> Option<String> {
    let text = header.split_once('"')?.1.rsplit_once('"')?.0;
    Some(text.replace("\\\"", "\""))
}
