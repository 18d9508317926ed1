//! Bound service-account tokens: ES256 JWTs that are good for their audiences, until they expire, and only while the
//! account and the pod, secret or node that they are bound to exist with the same uid.
//!
//! A token's signature is checked once and its claims remembered by digest (bounded); what it is bound to is looked at
//! every time.

pub mod legacy;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use client::{Client, Object, Target};
use env::Env;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use schema::{DocExt, Status, Value, json};
use serde::{Deserialize, Serialize};

use crate::seam::{BoundObject, Issued, TokenIssuer, TokenRequest, TokenReviewer, UserInfo};
use crate::service_account_user;

/// The issuer of every cluster, and the audience of its API server.
pub const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";
/// Seconds for which something deleted still counts as there: upstream's leeway for clocks.
const LEEWAY_SECONDS: i64 = 60;
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

/// Issues and reviews.
pub struct Tokens {
    key: EncodingKey,
    public: DecodingKey,
    public_document: Value,
    key_id: String,
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
    /// `signing_key` is the PEM of a P-256 key (PKCS#8), as [`crate::Pki::signing_key`] gives it.
    pub fn new(signing_key: &str, lookup: Arc<dyn Lookup>, env: &Env) -> Result<Arc<Self>, String> {
        let pair = rcgen::KeyPair::from_pem(signing_key).map_err(|error| format!("the token key cannot be read: {error}"))?;
        let fault = |error: jsonwebtoken::errors::Error| format!("the token key cannot be used: {error}");
        let raw = pair.public_key_raw().to_vec();
        let key_id = key_id(&pair.public_key_pem());
        Ok(Arc::new(Self {
            key: EncodingKey::from_ec_pem(signing_key.as_bytes()).map_err(fault)?,
            public: DecodingKey::from_ec_pem(pair.public_key_pem().as_bytes()).map_err(fault)?,
            public_document: public_document(&raw, &key_id),
            key_id,
            lookup,
            env: env.clone(),
            remembered: Mutex::default(),
        }))
    }

    /// `/openid/v1/jwks`
    pub fn key_set(&self) -> Value {
        json!({"keys": [self.public_document]})
    }

    /// `/.well-known/openid-configuration`; `base` is the URL under which the key set is reached.
    pub fn discovery(&self, base: &str) -> Value {
        json!({
            "issuer": ISSUER,
            "jwks_uri": format!("{base}/openid/v1/jwks"),
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"],
        })
    }

    /// Checks signature and shape: None when the token is not one of ours at all.
    fn claims(&self, token: &str) -> Option<Arc<Claims>> {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, token.as_bytes());
        let digest: [u8; 32] = digest.as_ref().try_into().expect("SHA-256 has 32 bytes");
        let remember = || self.remembered.lock().expect("no holder of the claims panics");
        if let Some(claims) = remember().get(&digest) {
            return Some(Arc::clone(claims));
        }
        let mut validation = Validation::new(Algorithm::ES256);
        // Times are checked by the Env's clock, audiences per caller.
        (validation.validate_exp, validation.validate_nbf, validation.validate_aud) = (false, false, false);
        validation.required_spec_claims.clear();
        validation.set_issuer(&[ISSUER]);
        let claims = Arc::new(jsonwebtoken::decode::<Claims>(token, &self.public, &validation).ok()?.claims);
        let mut remembered = remember();
        if remembered.len() >= REMEMBERED_MAX {
            remembered.clear();
        }
        remembered.insert(digest, Arc::clone(&claims));
        Some(claims)
    }

    async fn check(&self, claims: &Claims) -> Result<UserInfo, String> {
        let now = self.env.now().as_second();
        if claims.exp < now {
            return Err("service account token has expired".into());
        }
        if claims.nbf > now + LEEWAY_SECONDS {
            return Err("service account token is not valid yet".into());
        }
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
        let bound = self.bind(&request).await?;
        let now = self.env.now().as_second();
        let audiences = if request.audiences.is_empty() { vec![ISSUER.to_owned()] } else { request.audiences.clone() };
        let claims = Claims {
            aud: audiences.clone(),
            exp: now + request.expiration_seconds,
            iat: now,
            nbf: now,
            iss: ISSUER.into(),
            jti: self.env.uuid(),
            sub: service_account_user(&request.namespace, &request.service_account, "").name,
            bound,
        };
        let header = Header { alg: Algorithm::ES256, typ: None, kid: Some(self.key_id.clone()), ..Header::default() };
        let token = jsonwebtoken::encode(&header, &claims, &self.key).map_err(Status::internal)?;
        let expires = jiff::Timestamp::from_second(claims.exp).map_err(Status::internal)?;
        Ok(Issued { token, expiration_timestamp: expires.to_string(), audiences })
    }
}

#[async_trait]
impl TokenReviewer for Tokens {
    async fn review(&self, token: &str, audiences: &[String]) -> Result<Option<(Arc<UserInfo>, Vec<String>)>, String> {
        let Some(claims) = self.claims(token) else { return Ok(None) };
        let own = [ISSUER.to_owned()];
        let wanted = if audiences.is_empty() { &own[..] } else { audiences };
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

/// base64url of the SHA-256 of the public key's DER, as upstream's key ids.
fn key_id(public_pem: &str) -> String {
    let der: String = public_pem.lines().filter(|line| !line.starts_with("-----")).collect();
    let der = base64::engine::general_purpose::STANDARD.decode(der.trim()).unwrap_or_default();
    URL_SAFE_NO_PAD.encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &der))
}

/// `raw` is the uncompressed point: 0x04, x, y.
fn public_document(raw: &[u8], key_id: &str) -> Value {
    let (x, y) = (URL_SAFE_NO_PAD.encode(&raw[1..33]), URL_SAFE_NO_PAD.encode(&raw[33..65]));
    json!({"use": "sig", "kty": "EC", "kid": key_id, "crv": "P-256", "alg": "ES256", "x": x, "y": y})
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

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
        let tokens = Tokens::new(Pki::ensure(dir.path(), &env).unwrap().signing_key(), shelf.clone(), &env).unwrap();
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
        tokio::time::advance(Duration::from_secs(3601)).await;
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
