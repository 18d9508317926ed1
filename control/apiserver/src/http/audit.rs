//! The audit log: who asked what, and what came of it, as far as a policy wants it told (`audit.k8s.io/v1`).
//!
//! ```text
//! request ─► policy: level ─► RequestReceived ─► … answer ─┬─► ResponseComplete
//!                                                          └─► ResponseStarted ─► (stream ends) ─► ResponseComplete
//! ```
//!
//! | file | what |
//! |---|---|
//! | `policy.rs` | how much is told of a request |
//! | `event.rs` | what is told |
//! | `log.rs`, `webhook.rs` | to whom: a file, a program outside |
//!
//! Every request passes here after it was authenticated, refused ones too. A request whose level is `None` costs the look at the
//! policy and nothing else; any other pays for references to its bodies, and the log's own task makes lines of them.

mod event;
mod log;
mod policy;
mod webhook;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use auth::impersonation::Impersonated;
use auth::{Attributes, Decision};
use bytes::Bytes;
use env::Env;
use http::header::{CONTENT_TYPE, HeaderName, USER_AGENT};
use http::{HeaderMap, Request};
use http_body::{Body as HttpBody, Frame, SizeHint};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use schema::Status;

use self::event::{Asked, Document, Event, ObjectRef, Outcome};
pub use self::log::LogConfig;
use self::log::Queue;
pub use self::policy::{Level, Policy, Stage, Verdict};
use self::webhook::Webhook;
pub use self::webhook::{Mode, Sink, Throttle, Truncate, WebhookConfig};
use super::answer::Answer;
use crate::admission::Annotations;

const DECISION: &str = "authorization.k8s.io/decision";
const REASON: &str = "authorization.k8s.io/reason";

/// One per server that keeps a log.
pub struct Audit {
    env: Env,
    policy: Policy,
    queue: Option<Queue>,
    webhook: Option<Webhook>,
    events: Counter,
    lost: Family<Plugin, Counter>,
    levels: Family<OfLevel, Counter>,
    rejected: Counter,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Plugin {
    plugin: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OfLevel {
    level: &'static str,
}

const LOG: Plugin = Plugin { plugin: "log" };

impl Audit {
    /// Opens the log. Err names what is wrong with it.
    pub fn start(env: &Env, policy: Policy, log: LogConfig) -> Result<Arc<Self>, String> {
        Self::new(env, policy).with_log(log).map(Arc::new)
    }

    /// Tells nobody yet.
    pub fn new(env: &Env, policy: Policy) -> Self {
        Self {
            env: env.clone(),
            policy,
            queue: None,
            webhook: None,
            events: Counter::default(),
            lost: Family::default(),
            levels: Family::default(),
            rejected: Counter::default(),
        }
    }

    /// Opens a log. Err names what is wrong with it.
    pub fn with_log(self, log: LogConfig) -> Result<Self, String> {
        let queue = Queue::start(&self.env, log, self.lost.get_or_create_owned(&LOG))?;
        Ok(Self { queue: Some(queue), ..self })
    }

    /// Tells a program outside, too.
    pub fn with_webhook(self, config: WebhookConfig, sink: Arc<dyn Sink>) -> Self {
        let webhook = Webhook::start(&self.env, config, sink, self.lost.clone());
        Self { webhook: Some(webhook), ..self }
    }

    /// Upstream's names.
    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register("apiserver_audit_event", "Lines given to the audit log", self.events.clone());
        registry.register("apiserver_audit_error", "Lines that the audit log lost", self.lost.clone());
        registry.register("apiserver_audit_level", "Requests by audit level", self.levels.clone());
        registry.register(
            "apiserver_audit_requests_rejected",
            "Requests refused because nobody could be told of them",
            self.rejected.clone(),
        );
    }

    /// Begins the record of a request. None: the policy does not want it.
    pub(crate) fn record<B>(
        self: &Arc<Self>,
        request: &Request<B>,
        peer: Option<IpAddr>,
        id: &str,
        about: &Attributes<'_>,
    ) -> Option<Record> {
        let verdict = self.policy.verdict(about);
        self.levels.get_or_create(&OfLevel { level: word(verdict.level) }).inc();
        if verdict.level == Level::None {
            return None;
        }
        let known = !about.user.name.is_empty();
        let asked = Asked {
            level: verdict.level,
            omit_managed_fields: verdict.omit_managed_fields,
            id: id.to_owned(),
            uri: request.uri().path_and_query().map(ToString::to_string).unwrap_or_default(),
            verb: about.verb.to_owned(),
            user: known.then(|| Arc::new(about.user.clone())),
            source_ips: source_ips(request.headers(), peer),
            user_agent: text(request.headers(), &USER_AGENT),
            object: about.is_resource().then(|| object(about)),
            received: self.env.now(),
        };
        Some(Record {
            audit: Arc::clone(self),
            asked: Arc::new(asked),
            omit: verdict.omit_stages,
            content_type: text(request.headers(), &CONTENT_TYPE),
            sent: Sent::default(),
            impersonated: None,
            decision: None,
            annotations: Arc::default(),
        })
    }

    /// Tells of an event; nobody waits.
    fn push(&self, event: Event) {
        let event = Arc::new(event);
        self.write(&event);
        if let Some(webhook) = &self.webhook {
            webhook.push(event);
        }
    }

    /// Tells of an event and waits where the mode says so. false: the request must not go on.
    async fn tell(&self, event: Event) -> bool {
        let event = Arc::new(event);
        self.write(&event);
        match &self.webhook {
            Some(webhook) => webhook.tell(event).await,
            None => true,
        }
    }

    fn write(&self, event: &Arc<Event>) {
        self.events.inc();
        if self.queue.as_ref().is_some_and(|queue| queue.push(Arc::clone(event)).is_err()) {
            self.lost.get_or_create(&LOG).inc();
            tracing::debug!("the audit log does not keep up; a line is lost");
        }
    }
}

fn word(level: Level) -> &'static str {
    match level {
        Level::None => "None",
        Level::Metadata => "Metadata",
        Level::Request => "Request",
        Level::RequestResponse => "RequestResponse",
    }
}

fn object(about: &Attributes<'_>) -> ObjectRef {
    ObjectRef {
        group: about.group.to_owned(),
        version: about.version.to_owned(),
        resource: about.resource.to_owned(),
        subresource: about.subresource.to_owned(),
        namespace: about.namespace.to_owned(),
        name: about.name.to_owned(),
    }
}

fn text(headers: &HeaderMap, name: &HeaderName) -> String {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
}

/// What proxies before us say, then who speaks to us.
fn source_ips(headers: &HeaderMap, peer: Option<IpAddr>) -> Vec<String> {
    let forwarded = text(headers, &HeaderName::from_static("x-forwarded-for"));
    let real = text(headers, &HeaderName::from_static("x-real-ip"));
    let told = forwarded.split(',').chain([real.as_str()]).filter_map(|text| text.trim().parse::<IpAddr>().ok());
    let mut ips: Vec<String> = Vec::new();
    for ip in told.chain(peer).map(|ip| ip.to_canonical().to_string()) {
        if !ips.contains(&ip) {
            ips.push(ip);
        }
    }
    ips
}

/// One request on its way into the log.
pub(crate) struct Record {
    audit: Arc<Audit>,
    asked: Arc<Asked>,
    omit: Vec<Stage>,
    content_type: String,
    sent: Sent,
    impersonated: Option<Impersonated>,
    decision: Option<Decision>,
    annotations: Arc<Annotations>,
}

impl Record {
    /// The request is here, and its sender is known. false: nobody could be told of it, so it must not go on.
    pub(crate) async fn received(&self) -> bool {
        let told = self.tell(Stage::RequestReceived, None, None).await;
        if !told {
            self.audit.rejected.inc();
        }
        told
    }

    /// Nobody that we know sent it: the one line that there is.
    pub(crate) async fn unknown_sender(self, status: &Arc<Status>) {
        self.tell(Stage::ResponseStarted, Some(Outcome::Failed(Arc::clone(status))), None).await;
    }

    pub(crate) fn impersonates(&mut self, became: Impersonated) {
        self.impersonated = Some(became);
    }

    pub(crate) fn decided(&mut self, decision: Decision) {
        self.decision = Some(decision);
    }

    /// Where those who answer the request put down what the log should tell.
    pub(crate) fn notes(&self) -> Notes {
        let creates = self.asked.verb == "create" && self.asked.object.is_some();
        let sent = (creates || self.asked.level >= Level::Request).then(|| self.sent.clone());
        Notes { sent, annotations: Arc::clone(&self.annotations) }
    }

    fn told(&self) -> BTreeMap<String, String> {
        let mut all: BTreeMap<String, String> = self.annotations.all().into_iter().collect();
        if let Some(decision) = &self.decision {
            all.insert(DECISION.to_owned(), if decision.is_allowed() { "allow" } else { "forbid" }.to_owned());
            all.insert(REASON.to_owned(), decision.reason().to_owned());
        }
        all
    }

    /// The answer is made. One that lasts is told of again when it ends.
    pub(crate) async fn answered(self, answer: Answer, failed: Option<&Arc<Status>>) -> Answer {
        let outcome = match failed {
            Some(status) => Outcome::Failed(Arc::clone(status)),
            None => Outcome::Code(answer.status().as_u16()),
        };
        if !answer.body().is_stream() {
            let wants_body = self.asked.level == Level::RequestResponse;
            let content_type = text(answer.headers(), &CONTENT_TYPE);
            let response =
                answer.body().whole().filter(|bytes| wants_body && !bytes.is_empty()).map(|bytes| Document { content_type, bytes });
            self.tell(Stage::ResponseComplete, Some(outcome), response).await;
            return answer;
        }
        self.tell(Stage::ResponseStarted, Some(outcome.clone()), None).await;
        let (parts, body) = answer.into_parts();
        Answer::from_parts(parts, body.until_end(Ending { record: self, outcome }))
    }

    async fn tell(&self, stage: Stage, outcome: Option<Outcome>, response: Option<Document>) -> bool {
        match self.event(stage, outcome, response) {
            Some(event) => self.audit.tell(event).await,
            None => true,
        }
    }

    /// None: the policy does not want to hear of this stage.
    fn event(&self, stage: Stage, outcome: Option<Outcome>, response: Option<Document>) -> Option<Event> {
        if self.omit.contains(&stage) {
            return None;
        }
        let request = (stage != Stage::RequestReceived).then(|| self.sent.document(&self.content_type)).flatten();
        Some(Event {
            asked: Arc::clone(&self.asked),
            stage,
            at: self.audit.env.now(),
            impersonated: self.impersonated.clone(),
            outcome,
            request,
            response,
            annotations: self.told(),
        })
    }
}

/// Tells of the end of an answer that lasts, when it is dropped.
pub(crate) struct Ending {
    record: Record,
    outcome: Outcome,
}

impl Drop for Ending {
    fn drop(&mut self) {
        if let Some(event) = self.record.event(Stage::ResponseComplete, Some(self.outcome.clone()), None) {
            self.record.audit.push(event);
        }
    }
}

/// What is noted of a request while it is answered. Without a record it leads nowhere.
#[derive(Clone, Default)]
pub(crate) struct Notes {
    pub sent: Option<Sent>,
    pub annotations: Arc<Annotations>,
}

/// The pieces of a request's body that have been read so far.
#[derive(Clone, Default)]
pub(crate) struct Sent(Arc<Mutex<Vec<Bytes>>>);

impl Sent {
    fn note(&self, bytes: &Bytes) {
        self.0.lock().expect("no holder of the pieces panics").push(bytes.clone());
    }

    fn document(&self, content_type: &str) -> Option<Document> {
        let pieces = self.0.lock().expect("no holder of the pieces panics");
        let bytes = match pieces.as_slice() {
            [] => return None,
            [one] => one.clone(),
            many => many.concat().into(),
        };
        Some(Document { content_type: content_type.to_owned(), bytes })
    }
}

/// A request's body that is noted while it is read.
pub(crate) struct Noted<B> {
    pub body: B,
    pub sent: Option<Sent>,
}

impl<B: HttpBody<Data = Bytes> + Unpin> HttpBody for Noted<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if let (Some(sent), Poll::Ready(Some(Ok(frame)))) = (&self.sent, &polled)
            && let Some(bytes) = frame.data_ref()
        {
            sent.note(bytes);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
