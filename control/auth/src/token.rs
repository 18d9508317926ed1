//! Bound service-account tokens: JWTs that are good for their audiences, until they expire, and only while the
//! account and the pod, secret or node that they are bound to exist with the same uid.
//!
//! They are signed by one key and verified by all that [`Settings`] names, so that a key can be exchanged while tokens of the old one
//! live; the same with issuers. A pod's ordinary token (3,607 s for this server) lives for a year and says when it should have been
//! renewed, as upstream's: old clients read their token once.
//!
//! A token's signature is checked once and its claims remembered by digest (bounded); what it is bound to is looked at
//! every time.

pub mod legacy;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use client::{Client, Object, Target};
use env::Env;
use schema::{DocExt, Status, Value, json};
use serde::{Deserialize, Serialize};

use crate::jwt::Jws;
use crate::jwt::keys::Key;
use crate::jwt::signer::Signer;
use crate::seam::{BoundObject, Issued, TokenIssuer, TokenRequest, TokenReviewer, UserInfo};
use crate::service_account_user;

/// The issuer of every cluster, and the audience of its API server.
pub const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";
/// How far clocks may differ; for so long something deleted still counts as there.
const LEEWAY_SECONDS: i64 = 60;
/// The time that kubelets ask for, and what they get instead where tokens are extended.
const RENEWED_SECONDS: i64 = 3_607;
const EXTENDED_SECONDS: i64 = 365 * 24 * 60 * 60;
/// Claims remembered, at ~1 KB each.
const REMEMBERED_MAX: usize = 4096;

/// Finds what tokens are bound to.
#[async_trait]
pub trait Lookup: Send + Sync + 'static {
    /// `resource` is `serviceaccounts`, `pods`, `secrets` or `nodes`; Err is anything but "not there".
    async fn find(&self, resource: &str, namespace: &str, name: &str) -> Result<Option<Arc<Object>>, Status>;
}

#[async_trait]
impl Lookup for Client {
    async fn find(&self, resource: &str, namespace: &str, name: &str) -> Result<Option<Arc<Object>>, Status> {
        match self.get(Target::of("v1", resource, namespace).named(name)).await {
            Err(status) if status.is_not_found() => Ok(None),
            found => found.map(Some),
        }
    }
}

/// What an operator may say of tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The first issues; tokens of the others are good as well.
    pub issuers: Vec<String>,
    /// Those of this server; empty: the first issuer.
    pub audiences: Vec<String>,
    /// Public keys beside the signing key's own.
    pub keys: Vec<Key>,
    /// The longest life of a token, in seconds; 0: no limit.
    pub expiration_seconds_max: i64,
    /// Whether pods' ordinary tokens live longer than they say.
    pub extend: bool,
    /// Where the key set is said to be; None: at this server.
    pub jwks_uri: Option<String>,
}

impl Default for Settings {
    fn default() -> Self {
        let issuers = vec![ISSUER.to_owned()];
        Self { issuers, audiences: Vec::new(), keys: Vec::new(), expiration_seconds_max: 0, extend: true, jwks_uri: None }
    }
}

/// Issues and reviews.
pub struct Tokens {
    signer: Signer,
    /// Whatever one of them signed is ours; the signer's first.
    keys: Vec<Key>,
    settings: Settings,
    audiences: Arc<[String]>,
    lookup: Arc<dyn Lookup>,
    env: Env,
    remembered: Mutex<HashMap<[u8; 32], Arc<Claims>>>,
}

#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
struct Claims {
    #[serde(default, deserialize_with = "one_or_many")]
    aud: Vec<String>,
    exp: i64,
    iat: i64,
    iss: String,
    #[serde(default)]
    jti: String,
    #[serde(default)]
    nbf: i64,
    sub: String,
    #[serde(rename = "kubernetes.io")]
    bound: Bound,
}

impl Claims {
    /// Whether its time is now, by a clock that may differ from the issuer's.
    fn check_time(&self, now: i64) -> Result<(), String> {
        if self.exp < now - LEEWAY_SECONDS {
            return Err("service account token has expired".into());
        }
        if self.nbf > now + LEEWAY_SECONDS {
            return Err("service account token is not valid yet".into());
        }
        if self.iat > now + LEEWAY_SECONDS {
            return Err("service account token is issued in the future".into());
        }
        Ok(())
    }
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
#[serde(default)]
struct Bound {
    namespace: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<Reference>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pod: Option<Reference>,
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<Reference>,
    serviceaccount: Reference,
    /// Of an extended token: when it should have been renewed.
    #[serde(skip_serializing_if = "Option::is_none")]
    warnafter: Option<i64>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
#[serde(default)]
struct Reference {
    name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    uid: String,
}

fn one_or_many<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Audience {
        One(String),
        Many(Vec<String>),
    }
    Ok(match Audience::deserialize(deserializer)? {
        Audience::One(one) => vec![one],
        Audience::Many(many) => many,
    })
}

impl Tokens {
    /// `signing_key` is the PEM of an RSA or ECDSA key, as [`crate::Pki::signing_key`] gives one.
    pub fn new(signing_key: &str, settings: Settings, lookup: Arc<dyn Lookup>, env: &Env) -> Result<Arc<Self>, String> {
        let signer = Signer::from_pem(signing_key).map_err(|why| format!("the token key cannot be used: {why}"))?;
        let mut keys = vec![signer.public().clone()];
        keys.extend(settings.keys.iter().filter(|key| *key != signer.public()).cloned());
        let audiences =
            if settings.audiences.is_empty() { settings.issuers.iter().take(1).cloned().collect() } else { settings.audiences.clone() };
        Ok(Arc::new(Self { signer, keys, settings, audiences: audiences.into(), lookup, env: env.clone(), remembered: Mutex::default() }))
    }

    /// The audiences of this server: whatever a token is for that names none.
    pub fn audiences(&self) -> Arc<[String]> {
        Arc::clone(&self.audiences)
    }

    fn issuer(&self) -> &str {
        self.settings.issuers.first().map_or(ISSUER, String::as_str)
    }

    /// `/openid/v1/jwks`
    pub fn key_set(&self) -> Value {
        json!({"keys": self.keys.iter().map(Key::jwk).collect::<Vec<_>>()})
    }

    /// `/.well-known/openid-configuration`; `base` is the URL under which this server's key set is reached.
    pub fn discovery(&self, base: &str) -> Value {
        let mut algorithms: Vec<&str> = self.keys.iter().map(Key::algorithm).collect();
        algorithms.sort_unstable();
        algorithms.dedup();
        let here = format!("{base}/openid/v1/jwks");
        json!({
            "issuer": self.issuer(),
            "jwks_uri": self.settings.jwks_uri.as_ref().unwrap_or(&here),
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": algorithms,
        })
    }

    /// A token with the key's signature.
    fn sign(&self, claims: &impl Serialize) -> Result<String, Status> {
        self.signer.sign(claims).map_err(Status::internal)
    }

    /// The token's claims, if one of our keys signed it and it says that `issuer` did.
    fn verified<T: serde::de::DeserializeOwned>(&self, token: &str, is_issuer: impl Fn(&str) -> bool) -> Option<T> {
        let jws = Jws::parse(token).ok().filter(|jws| is_issuer(jws.issuer()))?;
        let mut named = self.keys.iter().filter(|key| jws.key_id.is_empty() || key.id == jws.key_id).peekable();
        // Upstream's keys in files have no names that tokens of other programs could know.
        let signed =
            if named.peek().is_some() { named.any(|key| jws.is_signed_by(key)) } else { self.keys.iter().any(|key| jws.is_signed_by(key)) };
        signed.then_some(())?;
        serde_json::from_value(Value::Object(jws.claims)).ok()
    }

    /// Checks signature and shape: None when the token is not one of ours at all.
    fn claims(&self, token: &str) -> Option<Arc<Claims>> {
        let digest = crate::authn::digest(token);
        let remember = || self.remembered.lock().expect("no holder of the claims panics");
        if let Some(claims) = remember().get(&digest) {
            return Some(Arc::clone(claims));
        }
        let claims: Claims = self.verified(token, |issuer| self.settings.issuers.iter().any(|own| own == issuer))?;
        let claims = Arc::new(claims);
        let mut remembered = remember();
        if remembered.len() >= REMEMBERED_MAX {
            remembered.clear();
        }
        remembered.insert(digest, Arc::clone(&claims));
        Some(claims)
    }

    async fn check(&self, claims: &Claims) -> Result<UserInfo, String> {
        claims.check_time(self.env.now().as_second())?;
        let (bound, namespace) = (&claims.bound, claims.bound.namespace.as_str());
        let account = self.living("serviceaccounts", namespace, &bound.serviceaccount, "service account").await?;
        if let Some(secret) = &bound.secret {
            self.living("secrets", namespace, secret, "secret").await?;
        }
        let mut user = service_account_user(namespace, &bound.serviceaccount.name, &account.meta.uid);
        if claims.sub != user.name {
            return Err("the subject is not the service account that the token is bound to".into());
        }
        let mut add = |key: &str, value: &str| {
            user.extra.insert(format!("authentication.kubernetes.io/{key}"), vec![value.to_owned()]);
        };
        if !claims.jti.is_empty() {
            add("credential-id", &format!("JTI={}", claims.jti));
        }
        if let Some(pod) = &bound.pod {
            self.living("pods", namespace, pod, "pod").await?;
            add("pod-name", &pod.name);
            add("pod-uid", &pod.uid);
        }
        if let Some(node) = &bound.node {
            // A pod's token names the node only for the record; a token bound to a node dies with it.
            if bound.pod.is_none() {
                self.living("nodes", "", node, "node").await?;
            }
            add("node-name", &node.name);
            if !node.uid.is_empty() {
                add("node-uid", &node.uid);
            }
        }
        Ok(user)
    }

    /// The object that `reference` names, if it is that very one and not long deleted.
    async fn living(&self, resource: &str, namespace: &str, reference: &Reference, what: &str) -> Result<Arc<Object>, String> {
        let found = self.lookup.find(resource, namespace, &reference.name).await.map_err(|status| status.message)?;
        let object = found.ok_or_else(|| format!("{what} {:?} not found", reference.name))?;
        if object.meta.uid != reference.uid {
            return Err(format!("{what} UID ({}) does not match claim ({})", object.meta.uid, reference.uid));
        }
        let limit = self.env.now().as_second() - LEEWAY_SECONDS;
        let deleted = object.meta.deletion_timestamp.as_deref().and_then(|text| text.parse::<jiff::Timestamp>().ok());
        if deleted.is_some_and(|at| at.as_second() < limit) {
            return Err(format!("{what} {:?} has been deleted", reference.name));
        }
        Ok(object)
    }

    async fn bind(&self, request: &TokenRequest) -> Result<Bound, Status> {
        let account = Reference { name: request.service_account.clone(), uid: request.service_account_uid.clone() };
        let mut bound = Bound { namespace: request.namespace.clone(), serviceaccount: account, ..Bound::default() };
        let Some(object) = &request.bound else { return Ok(bound) };
        match object.kind.as_str() {
            "Pod" => {
                let pod = self.bindable("pods", &request.namespace, object).await?.value();
                if pod.str_at("spec.serviceAccountName") != request.service_account {
                    let why = format!(
                        "cannot bind token for serviceaccount {:?} to pod running with different serviceaccount name.",
                        request.service_account
                    );
                    return Err(Status::bad_request(why));
                }
                bound.node = self.node_of(pod.str_at("spec.nodeName")).await;
                bound.pod = Some(Reference { name: object.name.clone(), uid: pod.str_at("metadata.uid").to_owned() });
            }
            "Secret" => {
                let secret = self.bindable("secrets", &request.namespace, object).await?;
                bound.secret = Some(Reference { name: object.name.clone(), uid: secret.meta.uid.clone() });
            }
            "Node" => {
                let node = self.bindable("nodes", "", object).await?;
                bound.node = Some(Reference { name: object.name.clone(), uid: node.meta.uid.clone() });
            }
            other => return Err(Status::bad_request(format!("cannot bind token to object of type {}, Kind={other}", object.api_version))),
        }
        Ok(bound)
    }

    async fn node_of(&self, name: &str) -> Option<Reference> {
        if name.is_empty() {
            return None;
        }
        let uid = self.lookup.find("nodes", "", name).await.ok().flatten().map(|node| node.meta.uid.clone()).unwrap_or_default();
        Some(Reference { name: name.to_owned(), uid })
    }

    async fn bindable(&self, resource: &str, namespace: &str, wanted: &BoundObject) -> Result<Arc<Object>, Status> {
        let found = self.lookup.find(resource, namespace, &wanted.name).await?;
        let object = found.ok_or_else(|| Status::not_found("", resource, &wanted.name))?;
        if !wanted.uid.is_empty() && wanted.uid != object.meta.uid {
            let why = format!(
                "the UID in the bound object reference ({}) does not match the UID in record. The object might have been deleted and then recreated",
                wanted.uid
            );
            return Err(Status::conflict("", &wanted.kind, &wanted.name, &why));
        }
        Ok(object)
    }
}

#[async_trait]
impl TokenIssuer for Tokens {
    async fn issue(&self, request: TokenRequest) -> Result<Issued, Status> {
        let mut bound = self.bind(&request).await?;
        let now = self.env.now().as_second();
        let audiences = if request.audiences.is_empty() { self.audiences.to_vec() } else { request.audiences.clone() };
        let (seconds, shortened) = self.allowed(request.expiration_seconds);
        let own = audiences.iter().all(|audience| self.audiences.contains(audience));
        let extended = self.settings.extend && own && bound.pod.is_some() && seconds == RENEWED_SECONDS;
        let life = if extended { self.allowed(EXTENDED_SECONDS).0 } else { seconds };
        bound.warnafter = extended.then_some(now + seconds);
        let claims = Claims {
            aud: audiences.clone(),
            exp: now + life,
            iat: now,
            nbf: now,
            iss: self.issuer().to_owned(),
            jti: self.env.uuid(),
            sub: service_account_user(&request.namespace, &request.service_account, "").name,
            bound,
        };
        let token = self.sign(&claims)?;
        let expires = jiff::Timestamp::from_second(now + seconds).map_err(Status::internal)?;
        Ok(Issued { token, expiration_timestamp: expires.to_string(), audiences, shortened })
    }
}

impl Tokens {
    /// `seconds` within the limit, and what to warn of where that is less.
    fn allowed(&self, seconds: i64) -> (i64, Option<String>) {
        let max = self.settings.expiration_seconds_max;
        if max == 0 || seconds <= max {
            return (seconds, None);
        }
        (max, Some(format!("requested expiration of {seconds} seconds shortened to {max} seconds")))
    }
}

#[async_trait]
impl TokenReviewer for Tokens {
    async fn review(&self, token: &str, audiences: &[String]) -> Result<Option<(Arc<UserInfo>, Vec<String>)>, String> {
        let Some(claims) = self.claims(token) else { return Ok(None) };
        let wanted = if audiences.is_empty() { &self.audiences[..] } else { audiences };
        let shared: Vec<String> = wanted.iter().filter(|audience| claims.aud.contains(audience)).cloned().collect();
        if shared.is_empty() {
            return Err(format!("token audiences {} is invalid for the target audiences {}", go_list(&claims.aud), go_list(wanted)));
        }
        let user = self.check(&claims).await?;
        Ok(Some((Arc::new(user), shared)))
    }
}

fn go_list(texts: &[String]) -> String {
    crate::rbac::rules::quoted(texts)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::*;
    use crate::Pki;

    #[derive(Default)]
    struct Shelf(Mutex<HashMap<String, Value>>);

    impl Shelf {
        fn put(&self, resource: &str, name: &str, uid: &str, spec: Value) {
            let doc = json!({"metadata": {"name": name, "uid": uid}, "spec": spec});
            self.0.lock().unwrap().insert(format!("{resource}/{name}"), doc);
        }
    }

    #[async_trait]
    impl Lookup for Shelf {
        async fn find(&self, resource: &str, _namespace: &str, name: &str) -> Result<Option<Arc<Object>>, Status> {
            self.0.lock().unwrap().get(&format!("{resource}/{name}")).map(Object::from_value).transpose()
        }
    }

    fn world() -> (Arc<Shelf>, Arc<Tokens>, Env) {
        let (dir, env) = (tempfile::tempdir().unwrap(), Env::sim(1));
        let shelf = Arc::new(Shelf::default());
        shelf.put("serviceaccounts", "bot", "sa-uid", json!({}));
        shelf.put("pods", "web", "pod-uid", json!({"serviceAccountName": "bot", "nodeName": "n1"}));
        shelf.put("nodes", "n1", "node-uid", json!({}));
        let tokens = Tokens::new(Pki::ensure(dir.path(), &env).unwrap().signing_key(), Settings::default(), shelf.clone(), &env).unwrap();
        (shelf, tokens, env)
    }

    fn request(bound: Option<(&str, &str, &str)>) -> TokenRequest {
        let bound =
            bound.map(|(kind, name, uid)| BoundObject { kind: kind.into(), api_version: "v1".into(), name: name.into(), uid: uid.into() });
        TokenRequest {
            namespace: "d".into(),
            service_account: "bot".into(),
            service_account_uid: "sa-uid".into(),
            audiences: Vec::new(),
            expiration_seconds: 3600,
            bound,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_pods_token_lives_as_long_as_the_pod() {
        let (shelf, tokens, _env) = world();
        let issued = tokens.issue(request(Some(("Pod", "web", "pod-uid")))).await.unwrap();
        let (user, audiences) = tokens.review(&issued.token, &[]).await.unwrap().unwrap();
        assert_eq!((user.name.as_str(), user.uid.as_str()), ("system:serviceaccount:d:bot", "sa-uid"));
        assert_eq!(user.groups, ["system:serviceaccounts", "system:serviceaccounts:d", "system:authenticated"]);
        assert_eq!(user.extra["authentication.kubernetes.io/pod-name"], ["web"]);
        assert_eq!(user.extra["authentication.kubernetes.io/node-uid"], ["node-uid"]);
        assert_eq!(audiences, [ISSUER]);
        shelf.put("pods", "web", "another", json!({"serviceAccountName": "bot"}));
        assert!(tokens.review(&issued.token, &[]).await.unwrap_err().contains("does not match"));
        shelf.0.lock().unwrap().remove("serviceaccounts/bot");
        assert!(tokens.review(&issued.token, &[]).await.unwrap_err().contains("not found"));
    }

    #[tokio::test(start_paused = true)]
    async fn tokens_expire_and_keep_to_their_audience() {
        let (_shelf, tokens, _env) = world();
        let other = tokens.issue(TokenRequest { audiences: vec!["vault".into()], ..request(None) }).await.unwrap();
        assert!(tokens.review(&other.token, &[]).await.unwrap_err().contains("audiences"));
        assert!(tokens.review(&other.token, &["vault".into()]).await.unwrap().is_some());
        let issued = tokens.issue(request(None)).await.unwrap();
        assert_eq!(issued.expiration_timestamp, "2026-01-01T01:00:00Z");
        tokio::time::advance(Duration::from_secs(3_659)).await;
        assert!(tokens.review(&issued.token, &[]).await.is_ok(), "clocks may differ by a minute");
        tokio::time::advance(Duration::from_secs(2)).await;
        assert!(tokens.review(&issued.token, &[]).await.unwrap_err().contains("expired"));
    }

    #[tokio::test(start_paused = true)]
    async fn what_we_did_not_sign_is_not_ours() {
        let (_shelf, tokens, _env) = world();
        let (_, foreign, _) = world();
        let issued = foreign.issue(request(None)).await.unwrap();
        assert_eq!(tokens.review(&issued.token, &[]).await, Ok(None));
        assert_eq!(tokens.review("nope", &[]).await, Ok(None));
        let own = tokens.issue(request(None)).await.unwrap().token;
        let (head, _) = own.rsplit_once('.').unwrap();
        assert_eq!(tokens.review(&format!("{head}.AAAA"), &[]).await, Ok(None));
        let none = format!("{}.{}.", URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#), own.split('.').nth(1).unwrap());
        assert_eq!(tokens.review(&none, &[]).await, Ok(None), "an unsigned token is nobody's");
    }

    #[tokio::test(start_paused = true)]
    async fn binding_is_refused_in_upstreams_words() {
        let (shelf, tokens, _env) = world();
        shelf.put("pods", "alien", "u", json!({"serviceAccountName": "other"}));
        let mut answers = Vec::new();
        for bound in [("Pod", "gone", ""), ("Pod", "web", "old"), ("Pod", "alien", ""), ("Lease", "x", "")] {
            let status = tokens.issue(request(Some(bound))).await.unwrap_err();
            answers.push((status.code, status.message));
        }
        assert_eq!(answers.iter().map(|answer| answer.0).collect::<Vec<_>>(), [404, 409, 400, 400]);
        assert!(answers[2].1.starts_with("cannot bind token for serviceaccount \"bot\" to pod"), "{answers:?}");
    }
}
