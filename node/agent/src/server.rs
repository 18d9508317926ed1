//! The node's API (10250): logs, exec, attach, port-forward, pods, stats, metrics; TLS, and nobody unknown.
//!
//! A caller is who its client certificate (by the cluster's authority, and not expired) or bearer token (TokenReview) says, and may do what the API server says
//! (SubjectAccessReview on `nodes/<subresource>`); both answers are kept for a while. What runs something asks for the verb
//! `create`, however it is asked for.

mod auth;
mod interactive;
mod port_forward;
mod route;
mod stats;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use schema::{DocExt, Status, Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;

#[cfg(test)]
mod tests;

pub use self::auth::{Attributes, Caller, Certificates, ClientReview, Review, User};
use self::route::Route;
use crate::agent::Agent;
use crate::logs::{self, LogOptions, Source};
use crate::registry::{ContainerEntry, PodEntry};

const CONNECTIONS_MAX: usize = 1024;
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
const HEADERS_TIMEOUT: Duration = Duration::from_secs(30);
const PIECES_MAX: usize = 16;

type Body = UnsyncBoxBody<Bytes, Infallible>;
type Answer = Response<Body>;

/// Cheap to clone.
#[derive(Clone)]
pub struct Server(Arc<Inner>);

struct Inner {
    agent: Arc<Agent>,
    tls: TlsAcceptor,
    certificates: Arc<dyn Certificates>,
    review: Arc<dyn Review>,
    connections: Arc<Semaphore>,
}

impl Server {
    /// `tls` holds the server's certificate and asks callers for theirs without insisting (a token will do as well); `certificates`
    /// says whose they are.
    pub fn new(agent: &Arc<Agent>, tls: Arc<ServerConfig>, certificates: Arc<dyn Certificates>, review: Arc<dyn Review>) -> Self {
        let mut tls = ServerConfig::clone(&tls);
        // Upgrades are HTTP/1.1's.
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        Self(Arc::new(Inner { agent: Arc::clone(agent), tls: Arc::new(tls).into(), certificates, review, connections }))
    }

    /// Serves until the environment shuts down.
    pub async fn serve(&self, listener: TcpListener) {
        let env = self.0.agent.context().env.clone();
        let shutdown = env.shutdown().clone();
        loop {
            let permit = Arc::clone(&self.0.connections).acquire_owned().await.expect("the semaphore is never closed");
            let Some(accepted) = shutdown.run_until_cancelled(listener.accept()).await else { return };
            match accepted {
                Ok((stream, _)) => {
                    let (server, shutdown) = (self.clone(), shutdown.clone());
                    env.spawn("node API connection", async move {
                        let _permit = permit;
                        shutdown.run_until_cancelled(server.connection(stream)).await;
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "connection to the node API not accepted");
                    env.sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    async fn connection(&self, stream: TcpStream) {
        let _ = stream.set_nodelay(true);
        let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE_TIMEOUT, self.0.tls.accept(stream)).await else { return };
        let caller = stream.get_ref().1.peer_certificates().and_then(|chain| self.0.certificates.identify(chain));
        let service = service_fn(|request| {
            let (server, user) = (self.clone(), caller.as_ref().and_then(|caller| caller.user()));
            async move { Ok::<_, Infallible>(server.answer(user, request).await) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADERS_TIMEOUT)
            .serve_connection(TokioIo::new(stream), service);
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "connection to the node API ends");
        }
    }

    async fn answer(&self, user: Option<User>, request: Request<Incoming>) -> Answer {
        match self.try_answer(user, request).await {
            Ok(answer) => answer,
            Err(status) => failure(&status),
        }
    }

    async fn try_answer(&self, user: Option<User>, request: Request<Incoming>) -> Result<Answer, Status> {
        let user = self.authenticate(user, &request).await?;
        let route = Route::of(request.method(), request.uri())?;
        self.authorize(&user, request.method(), &route).await?;
        let cx = self.0.agent.context();
        match route {
            Route::Health => Ok(text(StatusCode::OK, "ok")),
            Route::Pods => Ok(value(&self.pods())),
            Route::Summary => Ok(value(&stats::summary(cx).await)),
            Route::Metrics => Ok(text(StatusCode::OK, &stats::metrics(cx))),
            Route::ResourceMetrics => Ok(text(StatusCode::OK, &stats::resource_metrics(cx).await)),
            Route::Logs { pod, container, options, previous } => self.logs(&pod.find(cx)?, &container, options, previous),
            Route::Exec { pod, container, exec, wants } => interactive::exec(cx, pod.find(cx)?.as_ref(), &container, exec, wants, request),
            Route::Attach { pod, container, wants } => interactive::attach(cx, pod.find(cx)?.as_ref(), &container, wants, request),
            Route::PortForward { pod, ports } => port_forward::answer(cx, pod.find(cx)?.as_ref(), &ports, request),
        }
    }

    async fn authenticate(&self, user: Option<User>, request: &Request<Incoming>) -> Result<User, Status> {
        if let Some(user) = user {
            return Ok(user);
        }
        let header = request.headers().get(http::header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = header.and_then(|value| value.strip_prefix("Bearer ")).map(str::trim).filter(|token| !token.is_empty());
        match token {
            Some(token) => self.0.review.authenticate(token).await?.ok_or_else(Status::unauthorized),
            None => Err(Status::unauthorized()),
        }
    }

    async fn authorize(&self, user: &User, method: &Method, route: &Route) -> Result<(), Status> {
        let node = &self.0.agent.context().config.node_name;
        let verb = route.verb(method);
        // The coarse permission covers everything, as it did before there were finer ones.
        for subresource in [route.subresource(), "proxy"] {
            let attributes = Attributes { verb, subresource, node };
            if self.0.review.authorize(user, &attributes).await? {
                return Ok(());
            }
        }
        let why =
            format!("User {:?} cannot {verb} resource \"nodes/{}\" in API group \"\" at the cluster scope", user.name, route.subresource());
        Err(Status::forbidden("", "nodes", node, &why))
    }

    fn pods(&self) -> Value {
        let items: Vec<Value> = self.0.agent.pods().iter().map(|object| object.value()).collect();
        json!({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items})
    }

    fn logs(&self, pod: &Arc<PodEntry>, name: &str, options: LogOptions, previous: bool) -> Result<Answer, Status> {
        let cx = Arc::clone(self.0.agent.context());
        let meta = &pod.pod.metadata;
        let container = pod.container(name).ok_or_else(|| unknown_container(pod, name))?;
        let restarts = which_run(pod, container, previous)?;
        if options.follow && cx.inotify.is_none() && cx.config.write_files {
            return Err(Status::internal("this kernel gave no inotify, so logs cannot be followed"));
        }
        let ago = options.since_seconds.map(|seconds| cx.env.now() - Duration::from_secs(seconds));
        let options = LogOptions { since: options.since.or(ago), ..options };
        let running = container.running_id.clone().filter(|_| !previous);
        let updates = cx.registry.subscribe(&meta.uid);
        let name = name.to_owned();
        let ended = async move {
            let (Some(mut updates), Some(id)) = (updates, running) else { return };
            let runs = |entry: &Arc<PodEntry>| entry.container(&name).is_some_and(|container| container.running_id.as_ref() == Some(&id));
            let _ = updates.wait_for(|entry| !runs(entry)).await;
        };
        let (dir, file) = match &pod.plain_log {
            Some(path) => (path.parent().unwrap_or(path).to_owned(), path.file_name().unwrap_or_default().to_string_lossy().into_owned()),
            None => (cx.config.log_dir(&meta.namespace, &meta.name, &meta.uid).join(&container.name), format!("{restarts}.log")),
        };
        let source = Source { dir, name: file, is_plain: pod.plain_log.is_some(), ended };
        let (tx, rx) = mpsc::channel(PIECES_MAX);
        let (inotify, shutdown) = (cx.inotify.clone(), cx.env.shutdown().clone());
        cx.env.spawn("log reader", async move {
            if let Some(Err(error)) = shutdown.run_until_cancelled(logs::stream(source, options, inotify, tx)).await {
                tracing::warn!(%error, "log not read to its end");
            }
        });
        Ok(streamed(rx))
    }
}

/// The number of the run whose log is asked for.
fn which_run(pod: &PodEntry, container: &ContainerEntry, previous: bool) -> Result<u32, Status> {
    let (name, pod_name) = (&container.name, &pod.pod.metadata.name);
    if previous {
        return match container.restarts.checked_sub(1).filter(|_| container.has_previous) {
            Some(restarts) => Ok(restarts),
            None => Err(Status::bad_request(format!("previous terminated container {name:?} in pod {pod_name:?} not found"))),
        };
    }
    if container.has_run {
        return Ok(container.restarts);
    }
    let status = &pod.status;
    let all = status.container_statuses.iter().chain(&status.init_container_statuses).chain(&status.ephemeral_container_statuses);
    let waiting = all.into_iter().find(|status| status.name == *name).and_then(|status| status.state.waiting.clone()).unwrap_or_default();
    let why = match waiting.reason.as_str() {
        "ErrImagePull" | "ImagePullBackOff" | "ErrImageNeverPull" | "InvalidImageName" => "trying and failing to pull image".to_owned(),
        "" => "ContainerCreating".to_owned(),
        reason => reason.to_owned(),
    };
    Err(Status::bad_request(format!("container {name:?} in pod {pod_name:?} is waiting to start: {why}")))
}

fn unknown_container(pod: &PodEntry, name: &str) -> Status {
    Status::failure(
        404,
        "NotFound",
        format!("container {name:?} not found in pod \"{}_{}\"", pod.pod.metadata.name, pod.pod.metadata.namespace),
    )
}

/// The id of what runs under that name.
fn running_id(pod: &PodEntry, name: &str) -> Result<String, Status> {
    let container = pod.container(name).ok_or_else(|| unknown_container(pod, name))?;
    if pod.plain_log.is_some() {
        return Err(Status::bad_request(format!("{name:?} is a part of the system and runs in no container: only its logs can be read")));
    }
    let gone =
        || Status::failure(404, "NotFound", format!("unable to upgrade connection: container not found ({name:?}): it is not running"));
    container.running_id.clone().ok_or_else(gone)
}

fn text(code: StatusCode, text: &str) -> Answer {
    let mut response = Response::new(Full::from(text.to_owned()).boxed_unsync());
    *response.status_mut() = code;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

fn value(value: &Value) -> Answer {
    let mut response = Response::new(Full::from(value.to_string()).boxed_unsync());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn failure(status: &Status) -> Answer {
    let mut doc = status.to_value();
    doc.default_at("metadata", json!({}));
    let mut response = value(&doc);
    *response.status_mut() = StatusCode::from_u16(status.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response
}

/// A body that ends when the sender does.
fn streamed(rx: mpsc::Receiver<Bytes>) -> Answer {
    let pieces = futures::stream::unfold(rx, async |mut rx| rx.recv().await.map(|piece| (piece, rx)));
    let body = StreamBody::new(pieces.map(|piece| Ok::<_, Infallible>(Frame::data(piece))));
    let mut response = Response::new(body.boxed_unsync());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    response
}
