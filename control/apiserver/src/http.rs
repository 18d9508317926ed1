//! The thin face: TLS, paths, media types, tables, discovery. Everything else is the core's.
//!
//! ```text
//! listen ──► certificate ──► per request: authn ─► audit ─► impersonation ─► flow ─► route ─┬─► resource ──► core ──► shape
//!  (TLS, h2)                                                        (a seat)                ├─► agent (logs, exec, attach, port-forward, node proxy)
//!                                                                                           ├─► proxy (what listens in pods, behind services)
//!                                                                                           └─► path: health, discovery, openapi, metrics, keys
//! ```
//!
//! | file | what |
//! |---|---|
//! | `listen.rs`, `gather.rs` | connections: TLS, HTTP/2 and HTTP/1.1, limits, graceful end; few large writes |
//! | `route.rs`, `query.rs` | what a path and a query ask for |
//! | `negotiate.rs`, `shape.rs`, `answer.rs` | media types; objects, lists, tables; bodies and headers |
//! | `resource.rs`, `watch.rs` | requests to the core |
//! | `connect.rs` | admission of connections, before anything is dialled |
//! | `agent.rs`, `upgrade.rs` | what a node's agent answers |
//! | `proxy.rs` | what listens in a pod answers |
//! | `aggregated.rs` | what other API servers answer |
//! | `audit.rs` | who asked what, and what came of it |
//! | `deadline.rs`, `cors.rs` | how long a request may take; which browsers may ask |
//! | `relief.rs` | when memory is worth giving back |
//! | `paths.rs`, `health.rs`, `discovery.rs`, `openapi.rs`, `metrics.rs` | what is no resource |

pub mod agent;
mod aggregated;
pub mod answer;
pub mod audit;
mod connect;
pub mod cors;
pub mod deadline;
pub mod discovery;
mod gather;
pub mod health;
pub mod listen;
mod message;
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

use std::net::IpAddr;
use std::sync::Arc;

use auth::authn::Connection;
use auth::impersonation::Impersonation;
use auth::{Attributes, Authenticator, UserInfo};
use client::object::Budget;
use env::Env;
use http::HeaderMap;
use http::header::{AUTHORIZATION, HeaderName, HeaderValue, RETRY_AFTER};
use hyper::body::Incoming;
use schema::Status;

pub use self::agent::Agents;
use self::aggregated::Asker;
use self::answer::{Answer, compress, failure};
use self::audit::{Audit, Noted, Record};
use self::cors::Cors;
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
use crate::aggregation::Aggregation;
use crate::flow::{self, Sort};

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
    pub(crate) aggregation: Arc<Aggregation>,
    /// Room for the protobuf messages that cached objects keep.
    pub(crate) encodings: Arc<Budget>,
    pub(crate) relief: Arc<Relief>,
    /// `https://10.0.0.1:6443`, as clients reach us.
    pub(crate) base_url: String,
    options: Options,
}

/// What a cluster may do without.
#[derive(Default)]
pub struct Options {
    /// None: nothing is logged.
    pub audit: Option<Arc<Audit>>,
    pub cors: Cors,
}

/// Who is at the other end of a connection.
pub(crate) struct Caller {
    pub connection: Connection,
    pub ip: IpAddr,
}

/// One request on its way through the face.
struct Journey {
    /// The audit id.
    id: String,
    ip: IpAddr,
    record: Option<Record>,
    /// Where flow control put it.
    sort: Option<Arc<Sort>>,
}

impl Journey {
    /// What another server is told of who asks.
    fn asker<'a>(&'a self, user: &'a UserInfo) -> Asker<'a> {
        Asker { user, ip: Some(self.ip), audit_id: &self.id }
    }
}

const AUDIT_ID: HeaderName = HeaderName::from_static("audit-id");
const SCHEMA_UID: HeaderName = HeaderName::from_static("x-kubernetes-pf-flowschema-uid");
const LEVEL_UID: HeaderName = HeaderName::from_static("x-kubernetes-pf-prioritylevel-uid");

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
        Self::with_options(core, authenticator, tokens, agents, base_url, Options::default())
    }

    pub fn with_options(
        core: Arc<Core>,
        authenticator: Authenticator,
        tokens: Arc<auth::token::Tokens>,
        agents: Agents,
        base_url: &str,
        options: Options,
    ) -> Arc<Self> {
        let env = core.env().clone();
        let metrics = Metrics::new();
        metrics.extend(|registry| {
            core.admission().webhooks().register(registry);
            core.admission().policies().register(registry);
            core.flow().register(registry);
            if let Some(audit) = &options.audit {
                audit.register(registry);
            }
        });
        let (health, stop) = (Health::default(), env.shutdown().clone());
        health.store(&core.store);
        // First of all: nobody new is to be sent here.
        health.ready("shutdown", move || if stop.is_cancelled() { Err("process is shutting down".into()) } else { Ok(()) });
        Arc::new(Self {
            core,
            authenticator,
            tokens,
            agents,
            health,
            metrics,
            discovery: Discovery::default(),
            openapi: OpenApi::default(),
            aggregation: Arc::default(),
            encodings: Budget::new(ENCODINGS_BYTES_MAX),
            relief: Arc::default(),
            base_url: base_url.to_owned(),
            options,
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

    /// Groups that other servers answer for; somebody must [`Aggregation::start`] it.
    pub fn aggregation(&self) -> &Arc<Aggregation> {
        &self.aggregation
    }

    pub fn authenticator(&self) -> &Authenticator {
        &self.authenticator
    }

    /// Answers one request; never fails.
    pub(crate) async fn answer(self: &Arc<Self>, caller: &Caller, request: http::Request<Incoming>) -> Answer {
        if let Some(answer) = self.options.cors.preflight(request.method(), request.headers()) {
            return answer;
        }
        let started = self.env.instant();
        let (query, headers) = (Query::parse(request.uri().query().unwrap_or_default()), request.headers().clone());
        let route = route(request.method(), request.uri().path(), &query);
        let mut label = self.metrics.label(&self.core, request.method(), &route);
        let _in_flight = self.metrics.enter(&label);
        let mut journey = Journey { id: self.audit_id(&headers), ip: caller.ip, record: None, sort: None };
        let (answer, failed) = match self.handle(&mut journey, &caller.connection, request, &query, &headers, route).await {
            Ok(answer) => (answer, None),
            Err(Refusal::Status(status, warnings)) => {
                let mut answer = failure(&status, negotiate::error(&headers, &query));
                answer::warn(&mut answer, &warnings);
                (answer, Some(Arc::new(status)))
            }
            Err(Refusal::Answer(answer)) => (answer, None),
        };
        let mut answer = match journey.record.take() {
            Some(record) => record.answered(answer, failed.as_ref()).await,
            None => answer,
        };
        self.finish(&mut answer, &journey, &headers);
        label.code = answer.status().as_u16();
        self.metrics.done(label, started.elapsed());
        self.relief.note(answer.body().length().unwrap_or(relief::STREAM_BYTES));
        compress(answer, &headers)
    }

    async fn handle(
        self: &Arc<Self>,
        journey: &mut Journey,
        connection: &Connection,
        request: http::Request<Incoming>,
        query: &Query,
        headers: &HeaderMap,
        route: Route,
    ) -> Result<Answer, Refusal> {
        let caller = match self.caller(connection, headers, request.uri().path()).await {
            Ok(caller) => caller,
            Err(status) => return Err(self.unknown(journey, &request, &route, status).await),
        };
        self.begin(journey, &request, &route, &caller).await?;
        let user = self.impersonated(journey, &caller, headers, &request, &route).await?;
        let lasts = deadline::lasts(&route);
        let _place = {
            let (word, path) = (request.method().as_str().to_ascii_lowercase(), request.uri().path());
            let asked = attributes(&user, &route, &word, path);
            let place = self.core.flow().enter(&asked, lasts).await.map_err(|sort| full(journey, sort))?;
            journey.sort = Some(Arc::clone(&place.sort));
            if let Some(record) = &mut journey.record {
                record.decided(self.core.authorizer().authorize(&asked).await);
            }
            place
        };
        let notes = journey.record.as_ref().map(Record::notes).unwrap_or_default();
        let answered = self.dispatch(journey, &user, request, query, headers, route, notes);
        if lasts {
            return answered.await;
        }
        match tokio::time::timeout(deadline::of(query)?, answered).await {
            Ok(answered) => answered,
            Err(_) => Err(deadline::passed().into()),
        }
    }

    #[expect(clippy::too_many_arguments, reason = "a request in its parts")]
    async fn dispatch(
        self: &Arc<Self>,
        journey: &Journey,
        user: &Arc<UserInfo>,
        request: http::Request<Incoming>,
        query: &Query,
        headers: &HeaderMap,
        route: Route,
        notes: audit::Notes,
    ) -> Result<Answer, Refusal> {
        let path = request.uri().path();
        if let Some(remote) = self.aggregation.remote(&self.core, path) {
            let word = request.method().as_str().to_ascii_lowercase();
            self.core.authorize(&attributes(user, &route, &word, path)).await?;
            return Ok(aggregated::answer(self, &remote, &journey.asker(user), request).await);
        }
        match route {
            Route::Resource(asked) if agent::serves(&asked.target) => agent::answer(self, user, &asked, query, request, &notes).await,
            Route::Resource(asked) if proxy::serves(&asked.target) => proxy::answer(self, user, &asked, request, &notes).await,
            Route::Resource(asked) if !self.serves_group(&asked) => {
                self.authorize(user, &asked).await?;
                Ok(answer::not_found())
            }
            Route::Resource(asked) => {
                let audit::Notes { sent, annotations } = notes;
                let body = Noted { body: request.into_body(), sent };
                let exchange = Exchange { face: self, user, asked, query, headers, annotations, body };
                exchange.answer().await.map_err(|(status, warnings)| Refusal::Status(status, warnings))
            }
            Route::Path => paths::answer(self, &journey.asker(user), query, &request).await,
        }
    }

    /// Who asks.
    async fn caller(&self, connection: &Connection, headers: &HeaderMap, path: &str) -> Result<Arc<UserInfo>, Status> {
        let pairs = headers.iter().filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)));
        if let Some(user) = self.authenticator.proxied(connection, pairs) {
            return Ok(user);
        }
        let authorization = headers.get(AUTHORIZATION).map(|value| value.to_str().unwrap_or("Bearer \u{fffd}"));
        let user = self.authenticator.authenticate(connection, authorization).await?;
        self.authenticator.lets_in(&user, path)?;
        Ok(user)
    }

    /// Whom the caller wants to be, and may.
    async fn impersonated(
        &self,
        journey: &mut Journey,
        caller: &Arc<UserInfo>,
        headers: &HeaderMap,
        request: &http::Request<Incoming>,
        route: &Route,
    ) -> Result<Arc<UserInfo>, Refusal> {
        let pairs = headers.iter().filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)));
        match Impersonation::from_headers(pairs) {
            Ok(None) => Ok(Arc::clone(caller)),
            Ok(Some(wanted)) => {
                let word = request.method().as_str().to_ascii_lowercase();
                let asked = attributes(caller, route, &word, request.uri().path());
                let became = wanted.apply(&asked, &**self.core.authorizer()).await?;
                let user = Arc::clone(&became.user);
                if let Some(record) = &mut journey.record {
                    record.impersonates(became);
                }
                Ok(user)
            }
            Err(why) => Err(Refusal::Answer(answer::text(500, format!("Internal Server Error: {:?}: {why}\n", request.uri().path())))),
        }
    }

    /// Begins the audit record of a request, where there is a log and its policy wants it.
    /// Refused where nobody can be told of it and somebody must be.
    async fn begin(
        &self,
        journey: &mut Journey,
        request: &http::Request<Incoming>,
        route: &Route,
        caller: &UserInfo,
    ) -> Result<(), Refusal> {
        let Some(audit) = &self.options.audit else { return Ok(()) };
        let word = request.method().as_str().to_ascii_lowercase();
        let asked = attributes(caller, route, &word, request.uri().path());
        let Some(record) = audit.record(request, Some(journey.ip), &journey.id, &asked) else { return Ok(()) };
        if !record.received().await {
            let path = request.uri().path();
            return Err(Refusal::Answer(answer::text(500, format!("Internal Server Error: {path:?}: failed to store audit event\n"))));
        }
        journey.record = Some(record);
        Ok(())
    }

    /// A request of nobody that we know leaves a line, too.
    async fn unknown(&self, journey: &Journey, request: &http::Request<Incoming>, route: &Route, status: Status) -> Refusal {
        if let Some(audit) = &self.options.audit {
            let (nobody, word) = (UserInfo::default(), request.method().as_str().to_ascii_lowercase());
            let asked = attributes(&nobody, route, &word, request.uri().path());
            if let Some(record) = audit.record(request, Some(journey.ip), &journey.id, &asked) {
                record.unknown_sender(&Arc::new(status.clone())).await;
            }
        }
        status.into()
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
        self.core.authorize(&about(user, asked, verb)).await
    }

    /// The id that an answer carries: the request's own, or one of ours.
    fn audit_id(&self, asked: &HeaderMap) -> String {
        let given = asked.get(AUDIT_ID).filter(|id| id.len() <= 64).and_then(|id| id.to_str().ok());
        given.map_or_else(|| self.env.uuid(), str::to_owned)
    }

    /// The headers of every answer.
    fn finish(&self, answer: &mut Answer, journey: &Journey, asked: &HeaderMap) {
        let sort = journey.sort.as_deref();
        let uids = [(SCHEMA_UID, sort.map_or("", Sort::schema_uid)), (LEVEL_UID, sort.map_or("", Sort::level_uid))];
        for (name, text) in uids.into_iter().filter(|(_, uid)| !uid.is_empty()).chain([(AUDIT_ID, journey.id.as_str())]) {
            if let Ok(value) = HeaderValue::from_str(text) {
                answer.headers_mut().insert(name, value);
            }
        }
        if let Some(origin) = self.options.cors.origin(asked) {
            cors::allow(answer, origin);
        }
    }
}

/// What is asked, in the words of authorization. `method` is that of a path, in lower case.
fn attributes<'a>(user: &'a UserInfo, route: &'a Route, method: &'a str, path: &'a str) -> Attributes<'a> {
    match route {
        Route::Path => Attributes::path(user, method, path),
        Route::Resource(asked) => about(user, asked, asked.word),
    }
}

fn about<'a>(user: &'a UserInfo, asked: &'a Asked, verb: &'a str) -> Attributes<'a> {
    let target = &asked.target;
    let is_namespace = target.group.is_empty() && target.resource == "namespaces";
    Attributes {
        subresource: &target.subresource,
        namespace: if is_namespace { &target.name } else { &target.namespace },
        name: &target.name,
        ..Attributes::resource(user, verb, &target.group, &target.version, &target.resource)
    }
}

/// 429, as upstream says it.
fn full(journey: &mut Journey, sort: Arc<Sort>) -> Refusal {
    journey.sort = Some(sort);
    let mut answer = answer::text(429, "Too many requests, please try again later.\n");
    answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from(flow::RETRY_AFTER));
    Refusal::Answer(answer)
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
    /// And what the caller is warned of all the same.
    Status(Status, Vec<String>),
    Answer(Answer),
}

impl From<Status> for Refusal {
    fn from(status: Status) -> Self {
        Self::Status(status, Vec::new())
    }
}
