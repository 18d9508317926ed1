//! Who calls, and whether they may: asked of the API server, remembered for a while.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use client::request::{Body, Request, Response};
use client::{Client, Options, Target, Verb};
use env::Env;
use rustls::pki_types::CertificateDer;
use schema::{DocExt, Status, Value, json};
use tokio::time::Instant;

const TOKEN_KEPT: Duration = Duration::from_secs(120);
const ALLOWED_KEPT: Duration = Duration::from_secs(300);
const DENIED_KEPT: Duration = Duration::from_secs(30);
const KEPT_MAX: usize = 4096;
const ASK_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct User {
    pub name: String,
    pub groups: Vec<String>,
    pub uid: String,
}

/// `verb` on `nodes/<subresource>` of one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Attributes<'a> {
    pub verb: &'a str,
    pub subresource: &'a str,
    pub node: &'a str,
}

/// The API server's judgement.
#[async_trait]
pub trait Review: Send + Sync + 'static {
    /// None: the token is nobody's.
    async fn authenticate(&self, token: &str) -> Result<Option<User>, Status>;
    async fn authorize(&self, user: &User, attributes: &Attributes<'_>) -> Result<bool, Status>;
}

/// Who a client certificate speaks for. The handshake proves only that the caller holds its key: whether an authority of ours
/// issued it, and for what, is decided here.
pub trait Certificates: Send + Sync + 'static {
    /// None: the chain is not by an authority of ours, not for a client, or not valid now.
    fn identify(&self, chain: &[CertificateDer<'_>]) -> Option<Box<dyn Caller>>;
}

/// Who a connection's certificate says that it is; kept for the life of the connection.
pub trait Caller: Send + Sync + 'static {
    /// None: the certificate has expired meanwhile.
    fn user(&self) -> Option<User>;
}

/// TokenReview and SubjectAccessReview over a [`Client`].
pub struct ClientReview {
    env: Env,
    client: Client,
    tokens: Kept<String, Option<User>>,
    decisions: Kept<(User, String), bool>,
}

impl ClientReview {
    pub fn new(env: &Env, client: Client) -> Self {
        Self { env: env.clone(), client, tokens: Kept::default(), decisions: Kept::default() }
    }

    async fn ask(&self, group: &str, resource: &str, doc: Value) -> Result<Value, Status> {
        let target = Target::of(group, resource, "");
        let request = Request { verb: Verb::Create, target, options: Options::default(), body: Body::Value(doc) };
        let timed_out = |_| Status::unavailable("the API server did not answer who may call this node");
        let answer = tokio::time::timeout(ASK_TIMEOUT, self.client.call(request)).await.map_err(timed_out)??;
        match answer.response {
            Response::Value { value, .. } => Ok(value),
            Response::Object { object, .. } => Ok(object.value()),
            _ => Err(Status::internal("a review was answered with something else")),
        }
    }
}

#[async_trait]
impl Review for ClientReview {
    async fn authenticate(&self, token: &str) -> Result<Option<User>, Status> {
        let now = self.env.instant();
        if let Some(known) = self.tokens.get(&token.to_owned(), now) {
            return Ok(known);
        }
        let doc = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}});
        let answer = self.ask("authentication.k8s.io/v1", "tokenreviews", doc).await?;
        let user = answer.bool_at("status.authenticated").then(|| User {
            name: answer.str_at("status.user.username").to_owned(),
            groups: answer.items_at("status.user.groups").iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            uid: answer.str_at("status.user.uid").to_owned(),
        });
        self.tokens.put(token.to_owned(), user.clone(), now, TOKEN_KEPT);
        Ok(user)
    }

    async fn authorize(&self, user: &User, attributes: &Attributes<'_>) -> Result<bool, Status> {
        let Attributes { verb, subresource, node } = attributes;
        let key = (user.clone(), format!("{verb} {subresource} {node}"));
        let now = self.env.instant();
        if let Some(known) = self.decisions.get(&key, now) {
            return Ok(known);
        }
        let what = json!({"verb": verb, "group": "", "version": "v1", "resource": "nodes", "subresource": subresource, "name": node});
        let spec = json!({"user": user.name, "groups": user.groups, "uid": user.uid, "resourceAttributes": what});
        let doc = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec});
        let answer = self.ask("authorization.k8s.io/v1", "subjectaccessreviews", doc).await?;
        let allowed = answer.bool_at("status.allowed");
        self.decisions.put(key, allowed, now, if allowed { ALLOWED_KEPT } else { DENIED_KEPT });
        Ok(allowed)
    }
}

/// Answers with their ends. A std mutex, held for a look-up only.
struct Kept<K, V>(Mutex<HashMap<K, (V, Instant)>>);

impl<K, V> Default for Kept<K, V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Eq + Hash, V: Clone> Kept<K, V> {
    fn get(&self, key: &K, now: Instant) -> Option<V> {
        let kept = self.0.lock().expect("no holder of the answers panics");
        kept.get(key).filter(|(_, until)| *until > now).map(|(value, _)| value.clone())
    }

    fn put(&self, key: K, value: V, now: Instant, life: Duration) {
        let mut kept = self.0.lock().expect("no holder of the answers panics");
        if kept.len() >= KEPT_MAX {
            kept.retain(|_, (_, until)| *until > now);
        }
        if kept.len() >= KEPT_MAX {
            // Somebody tries many tokens: what is known can be asked again.
            kept.clear();
        }
        kept.insert(key, (value, now + life));
    }
}
