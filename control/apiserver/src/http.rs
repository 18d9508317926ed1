//! The thin face: TLS, paths, media types, tables, discovery. Everything else is the core's.
//!
//! ```text
//! listen ──► certificate ──► per request: authn ─► impersonation ─► route ─┬─► resource ──► core ──► shape
//!  (TLS, h2)                                                              ├─► agent (logs, exec, attach, port-forward, node proxy)
//!                                                                         ├─► proxy (what listens in pods, behind services)
//!                                                                         └─► path: health, discovery, openapi, metrics, keys
//! ```
//!
//! | file | what |
//! |---|---|
//! | `listen.rs`, `gather.rs` | connections: TLS, HTTP/2 and HTTP/1.1, limits, graceful end; few large writes |
//! | `route.rs`, `query.rs` | what a path and a query ask for |
//! | `negotiate.rs`, `shape.rs`, `answer.rs` | media types; objects, lists, tables; bodies and headers |
//! | `resource.rs`, `watch.rs` | requests to the core |
//! | `agent.rs`, `upgrade.rs` | what a node's agent answers |
//! | `proxy.rs` | what listens in a pod answers |
//! | `relief.rs` | when memory is worth giving back |
//! | `paths.rs`, `health.rs`, `discovery.rs`, `openapi.rs`, `metrics.rs` | what is no resource |

pub mod agent;
pub mod answer;
pub mod discovery;
mod gather;
pub mod health;
pub mod listen;
pub mod metrics;
pub mod negotiate;
pub mod openapi;
pub mod paths;
pub mod proxy;
pub mod query;
pub mod relief;
pub mod resource;
pub mod route;
pub mod shape;
#[cfg(test)]
mod tests;
mod upgrade;
pub mod watch;

use std::sync::Arc;

use auth::authn::{Connection, Impersonation};
use auth::{Attributes, Authenticator, UserInfo};
use client::object::Budget;
use env::Env;
use http::HeaderMap;
use http::header::{AUTHORIZATION, HeaderName, HeaderValue};
use hyper::body::Incoming;
use schema::Status;

pub use self::agent::Agents;
use self::answer::{Answer, compress, failure};
use self::discovery::Discovery;
pub use self::health::Health;
pub use self::listen::{Limits, Listener, serve};
use self::metrics::Metrics;
use self::openapi::OpenApi;
use self::query::Query;
use self::relief::Relief;
use self::resource::Exchange;
use self::route::{Asked, Route, route};
use crate::Core;

/// What the HTTP face is made of; shared by all connections.
pub struct Face {
    pub(crate) core: Arc<Core>,
    pub(crate) env: Env,
    pub(crate) authenticator: Authenticator,
    pub(crate) tokens: Arc<auth::token::Tokens>,
    pub(crate) agents: Agents,
    pub(crate) health: Health,
    pub(crate) metrics: Metrics,
    pub(crate) discovery: Discovery,
    pub(crate) openapi: OpenApi,
    /// Room for the protobuf messages that cached objects keep.
    pub(crate) encodings: Arc<Budget>,
    pub(crate) relief: Arc<Relief>,
    /// `https://10.0.0.1:6443`, as clients reach us.
    pub(crate) base_url: String,
}

/// Protobuf messages kept beside cached objects; a busy cluster's pods and endpoint slices fit.
const ENCODINGS_BYTES_MAX: usize = 32 << 20;

impl Face {
    /// `base_url` is how clients reach this server; `agents` dials the nodes.
    pub fn new(
        core: Arc<Core>,
        authenticator: Authenticator,
        tokens: Arc<auth::token::Tokens>,
        agents: Agents,
        base_url: &str,
    ) -> Arc<Self> {
        let env = core.env().clone();
        Arc::new(Self {
            core,
            authenticator,
            tokens,
            agents,
            health: Health::default(),
            metrics: Metrics::new(),
            discovery: Discovery::default(),
            openapi: OpenApi::default(),
            encodings: Budget::new(ENCODINGS_BYTES_MAX),
            relief: Arc::default(),
            base_url: base_url.to_owned(),
            env,
        })
    }

    /// Named checks of `/livez` and `/readyz` can be added at any time.
    pub fn health(&self) -> &Health {
        &self.health
    }

    /// Counters of other parts of this process can be added at any time.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Tells when memory is worth giving back; somebody must [`Relief::run`] it.
    pub fn relief(&self) -> &Arc<Relief> {
        &self.relief
    }

    pub fn authenticator(&self) -> &Authenticator {
        &self.authenticator
    }

    /// Answers one request; never fails.
    pub(crate) async fn answer(self: &Arc<Self>, connection: &Connection, request: http::Request<Incoming>) -> Answer {
        let started = self.env.instant();
        let (query, headers) = (Query::parse(request.uri().query().unwrap_or_default()), request.headers().clone());
        let route = route(request.method(), request.uri().path(), &query);
        let mut label = self.metrics.label(&self.core, request.method(), &route);
        let _in_flight = self.metrics.enter(&label);
        let mut answer = match self.handle(connection, request, &query, &headers, route).await {
            Ok(answer) => answer,
            Err(Refusal::Status(status)) => failure(&status, negotiate::error(&headers, &query)),
            Err(Refusal::Answer(answer)) => answer,
        };
        self.finish(&mut answer, &headers);
        label.code = answer.status().as_u16();
        self.metrics.done(label, started.elapsed());
        self.relief.note(answer.body().length().unwrap_or(relief::STREAM_BYTES));
        compress(answer, &headers)
    }

    async fn handle(
        self: &Arc<Self>,
        connection: &Connection,
        request: http::Request<Incoming>,
        query: &Query,
        headers: &HeaderMap,
        route: Route,
    ) -> Result<Answer, Refusal> {
        let user = self.user(connection, headers, request.uri().path()).await?;
        match route {
            Route::Resource(asked) if agent::serves(&asked.target) => agent::answer(self, &user, &asked, query, request).await,
            Route::Resource(asked) if proxy::serves(&asked.target) => proxy::answer(self, &user, &asked, request).await,
            Route::Resource(asked) if !self.serves_group(&asked) => {
                self.authorize(&user, &asked).await?;
                Ok(answer::not_found())
            }
            Route::Resource(asked) => {
                let exchange = Exchange { face: self, user: &user, asked, query, headers, body: request.into_body() };
                exchange.answer().await.map_err(Refusal::Status)
            }
            Route::Path => paths::answer(self, &user, query, &request).await,
        }
    }

    /// Who asks, after impersonation.
    async fn user(&self, connection: &Connection, headers: &HeaderMap, path: &str) -> Result<Arc<UserInfo>, Refusal> {
        let authorization = headers.get(AUTHORIZATION).map(|value| value.to_str().unwrap_or("Bearer \u{fffd}"));
        let caller = self.authenticator.authenticate(connection, authorization).await?;
        let pairs = headers.iter().filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)));
        match Impersonation::from_headers(pairs) {
            Ok(None) => Ok(caller),
            Ok(Some(wanted)) => Ok(wanted.apply(&caller, &**self.core.authorizer()).await?),
            Err(why) => Err(Refusal::Answer(answer::text(500, format!("Internal Server Error: {path:?}: {why}\n")))),
        }
    }

    /// Of a built-in group and version only resources can be unknown; in others a path that leads to no custom kind in its
    /// scope leads nowhere.
    fn serves_group(&self, asked: &Asked) -> bool {
        let target = &asked.target;
        let table = self.core.registry().table();
        match table.resource(&target.group, &target.version, &target.resource) {
            Some(kind) if kind.custom.is_some() => custom_path_exists(&kind, asked),
            Some(_) => true,
            None => table.is_built_in(&target.group, &target.version),
        }
    }

    /// 403 unless `user` may do what is asked.
    pub(crate) async fn authorize(&self, user: &UserInfo, asked: &Asked) -> Result<(), Status> {
        self.authorize_as(user, asked, asked.word).await
    }

    pub(crate) async fn authorize_as(&self, user: &UserInfo, asked: &Asked, verb: &str) -> Result<(), Status> {
        let target = &asked.target;
        let is_namespace = target.group.is_empty() && target.resource == "namespaces";
        let attributes = Attributes {
            subresource: &target.subresource,
            namespace: if is_namespace { &target.name } else { &target.namespace },
            name: &target.name,
            ..Attributes::resource(user, verb, &target.group, &target.version, &target.resource)
        };
        self.core.authorize(&attributes).await
    }

    /// The headers of every answer.
    fn finish(&self, answer: &mut Answer, asked: &HeaderMap) {
        const AUDIT_ID: HeaderName = HeaderName::from_static("audit-id");
        let given = asked.get(AUDIT_ID).filter(|id| id.len() <= 64).cloned();
        let id = given.or_else(|| HeaderValue::from_str(&self.env.uuid()).ok());
        if let Some(id) = id {
            answer.headers_mut().insert(AUDIT_ID, id);
        }
    }
}

/// Whether a path of a custom kind exists: in its scope, and for all namespaces only to read.
fn custom_path_exists(kind: &kinds::Descriptor, asked: &Asked) -> bool {
    let target = &asked.target;
    match (kind.is_namespaced(), target.namespace.is_empty()) {
        (true, true) => target.name.is_empty() && !matches!(asked.verb, Some(client::Verb::DeleteCollection | client::Verb::Create)),
        (false, false) => false,
        _ => true,
    }
}

/// Why there is no ordinary answer.
pub(crate) enum Refusal {
    Status(Status),
    Answer(Answer),
}

impl From<Status> for Refusal {
    fn from(status: Status) -> Self {
        Self::Status(status)
    }
}
