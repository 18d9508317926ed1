//! An issuer of our own behind a fake network: it can be down, slow to come, change its keys and count who asks.

mod attacks;
mod configuration;
mod mappings;

use std::sync::{LazyLock, Mutex};
use std::time::Duration;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use schema::{Value, json};

use super::config::AuthenticationConfiguration;
use super::*;
use crate::jwt::signer::Signer;
use crate::outside::{Fault, Outside, Question, Reply};

pub(crate) const ISSUER: &str = "https://issuer.example.com";

/// What the network answers, by URL.
#[derive(Default)]
pub(crate) struct Network {
    pub answers: Mutex<Vec<(String, Value)>>,
    pub cache_control: Mutex<String>,
    pub asked: Mutex<Vec<Question>>,
}

impl Network {
    pub(crate) fn put(&self, url: &str, answer: Value) {
        let mut answers = self.answers.lock().unwrap();
        answers.retain(|(own, _)| own != url);
        answers.push((url.to_owned(), answer));
    }

    pub(crate) fn count(&self, url: &str) -> usize {
        self.asked.lock().unwrap().iter().filter(|question| question.url == url).count()
    }
}

#[async_trait]
impl Outside for Arc<Network> {
    async fn ask(&self, question: Question, _timeout: Duration) -> Result<Reply, Fault> {
        let answer = self.answers.lock().unwrap().iter().find(|(url, _)| *url == question.url).map(|(_, answer)| answer.clone());
        self.asked.lock().unwrap().push(question);
        let answer = answer.ok_or_else(|| Fault::new("dial tcp: connect: connection refused"))?;
        let body = answer.as_str().map_or_else(|| answer.to_string(), str::to_owned).into_bytes();
        Ok(Reply { status: 200, cache_control: self.cache_control.lock().unwrap().clone(), body, ..Reply::default() })
    }
}

pub(crate) struct Net(pub Arc<Network>);

impl Dialer for Net {
    fn trusting(&self, _trust: &Trust) -> Result<Arc<dyn Outside>, String> {
        Ok(Arc::new(Arc::clone(&self.0)))
    }
}

/// An RSA key of its own: the sort that most issuers have.
pub(crate) fn key() -> Signer {
    Signer::from_pem(&pem()).unwrap()
}

fn pem() -> String {
    let pair = KeyPair::generate(KeySize::Rsa2048).unwrap();
    let der: Pkcs8V1Der<'_> = pair.as_der().unwrap();
    format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", STANDARD.encode(der.as_ref()))
}

/// The issuer's: made once, because that takes longer than any test.
fn own_key() -> Signer {
    static PEM: LazyLock<String> = LazyLock::new(pem);
    Signer::from_pem(&PEM).unwrap()
}

pub(crate) fn jwks(keys: &[&Signer]) -> Value {
    json!({"keys": keys.iter().map(|key| key.public().jwk()).collect::<Vec<_>>()})
}

pub(crate) fn discovery(issuer: &str) -> Value {
    json!({"issuer": issuer, "jwks_uri": format!("{issuer}/keys")})
}

/// A world with one issuer, whose configuration is `yaml` below `jwt: [`.
pub(super) struct World {
    pub network: Arc<Network>,
    pub env: Env,
    pub key: Signer,
    pub issuers: Arc<Issuers>,
}

pub(super) const PLAIN: &str = r#"{"issuer": {"url": "https://issuer.example.com", "audiences": ["me"]}, "claimMappings": {"username": {"claim": "sub", "prefix": ""}}}"#;

pub(super) fn parsed(jwt: &str) -> AuthenticationConfiguration {
    let text = format!("apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\njwt: [{jwt}]\n");
    AuthenticationConfiguration::parse(&text).unwrap()
}

impl World {
    pub(super) async fn new(jwt: &str) -> Self {
        let world = Self::down(jwt);
        world.comes_up();
        for jwt in world.issuers.jwts.load().iter() {
            jwt.provider.ready().await;
        }
        world
    }

    /// Nobody answers yet.
    pub(super) fn down(jwt: &str) -> Self {
        let (network, env) = (Arc::new(Network::default()), Env::sim(1));
        let jwts = parsed(jwt).jwt.into_iter().map(|one| Jwt::start(one, &[], &Net(Arc::clone(&network)), &env).unwrap()).collect();
        let issuers = Issuers::new(jwts, Arc::from(["api".to_owned()]));
        Self { network, env, key: own_key(), issuers }
    }

    pub(super) fn comes_up(&self) {
        self.network.put(&format!("{ISSUER}/.well-known/openid-configuration"), discovery(ISSUER));
        self.network.put(&format!("{ISSUER}/keys"), jwks(&[&self.key]));
    }

    /// Good claims with `more`.
    pub(super) fn claims(&self, more: Value) -> Value {
        let mut claims = json!({"iss": ISSUER, "aud": "me", "sub": "ann", "exp": self.env.now().as_second() + 600});
        for (name, value) in more.as_object().unwrap() {
            match value {
                Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
                value => claims[name] = value.clone(),
            }
        }
        claims
    }

    pub(super) async fn ask(&self, token: &str) -> Result<Option<UserInfo>, String> {
        Ok(self.issuers.review(token, &[]).await?.map(|(user, _)| UserInfo::clone(&user)))
    }

    /// The user of good claims with `more`.
    pub(super) async fn user(&self, more: Value) -> Result<UserInfo, String> {
        self.ask(&self.key.sign(&self.claims(more)).unwrap()).await.map(|user| user.expect("the issuer is known"))
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_of_a_known_issuer_is_a_user() {
    let world = World::new(PLAIN).await;
    let user = world.user(json!({"jti": "7"})).await.unwrap();
    assert_eq!((user.name.as_str(), user.groups.join(",").as_str(), user.uid.as_str()), ("ann", "system:authenticated", ""));
    assert_eq!(user.extra["authentication.kubernetes.io/credential-id"], ["JTI=7"]);
    let token = world.key.sign(&world.claims(json!({}))).unwrap();
    assert_eq!(world.issuers.review(&token, &["api".into(), "x".into()]).await.unwrap().unwrap().1, ["api"]);
    assert!(world.issuers.review(&token, &["vault".into()]).await.unwrap().is_none(), "a review for somebody else");
    let foreign = world.key.sign(&world.claims(json!({"iss": "https://other.example.com"}))).unwrap();
    assert_eq!(world.ask(&foreign).await, Ok(None));
    assert_eq!(world.ask("abcdef.0123456789abcdef").await, Ok(None));
}

#[tokio::test(start_paused = true)]
async fn time_audience_and_key_are_checked_in_upstreams_words() {
    let world = World::new(PLAIN).await;
    for (more, want) in [
        (json!({"exp": 1_767_225_599}), "oidc: verify token: oidc: token is expired (Token Expiry: 2025-12-31 23:59:59 +0000 UTC)"),
        (json!({"exp": null}), "oidc: verify token: oidc: token is expired (Token Expiry: 0001-01-01 00:00:00 +0000 UTC)"),
        (
            json!({"nbf": 1_767_225_661}),
            "oidc: verify token: oidc: current time 2026-01-01 00:00:00 +0000 UTC before the nbf (not before) time: 2026-01-01 00:01:01 +0000 UTC",
        ),
        (json!({"aud": "you"}), "oidc: verify token: oidc: expected audience \"me\" got [\"you\"]"),
        (json!({"aud": null}), "oidc: verify token: oidc: expected audience \"me\" got []"),
        (json!({"sub": null}), "oidc: parse username claims \"sub\": claim not present"),
        (json!({"sub": 7}), "oidc: parse username claims \"sub\": json: cannot unmarshal number into Go value of type string"),
    ] {
        assert_eq!(world.user(more).await.unwrap_err(), want);
    }
    assert!(world.user(json!({"nbf": 1_767_225_659})).await.is_ok(), "clocks may differ by a minute");
    assert!(world.user(json!({"aud": ["x", "me"]})).await.is_ok());
    let stranger = key().sign(&world.claims(json!({}))).unwrap();
    assert_eq!(
        world.ask(&stranger).await.unwrap_err(),
        "oidc: verify token: failed to verify signature: failed to verify id token signature"
    );
}

#[tokio::test(start_paused = true)]
async fn one_of_several_audiences_is_enough() {
    let jwt = r#"{"issuer": {"url": "https://issuer.example.com", "audiences": ["b", "a"], "audienceMatchPolicy": "MatchAny"}, "claimMappings": {"username": {"claim": "sub", "prefix": "x:"}}}"#;
    let world = World::new(jwt).await;
    assert_eq!(world.user(json!({"aud": ["a", "c"]})).await.unwrap().name, "x:ann");
    let want = "oidc: verify token: oidc: expected audience in [\"a\" \"b\"] got [\"c\"]";
    assert_eq!(world.user(json!({"aud": "c"})).await.unwrap_err(), want);
}

#[tokio::test(start_paused = true)]
async fn an_issuer_that_is_down_at_the_start_is_found_when_it_comes() {
    let world = World::down(PLAIN);
    assert_eq!(world.user(json!({})).await.unwrap_err(), "oidc: authenticator not initialized");
    tokio::time::sleep(Duration::from_secs(25)).await;
    assert_eq!(world.network.asked.lock().unwrap().len(), 3, "one question each ten seconds");
    assert_eq!(
        world.issuers.unhealthy(),
        [r#"oidc: authenticator for issuer "https://issuer.example.com" is not healthy: dial tcp: connect: connection refused"#]
    );
    world.network.put(&format!("{ISSUER}/.well-known/openid-configuration"), discovery("https://evil.example.com"));
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(world.issuers.unhealthy()[0].contains("issuer did not match the issuer returned by provider"));
    world.comes_up();
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(world.issuers.unhealthy().is_empty());
    assert_eq!(world.user(json!({})).await.unwrap().name, "ann");
}

#[tokio::test(start_paused = true)]
async fn a_new_key_is_fetched_and_an_issuer_that_goes_keeps_its_old_ones() {
    let world = World::new(PLAIN).await;
    world.user(json!({})).await.unwrap();
    let new = key();
    world.network.put(&format!("{ISSUER}/keys"), jwks(&[&world.key, &new]));
    let token = new.sign(&world.claims(json!({}))).unwrap();
    assert_eq!(world.ask(&token).await.unwrap().unwrap().name, "ann");
    world.network.answers.lock().unwrap().clear();
    assert!(world.ask(&token).await.is_ok() && world.user(json!({})).await.is_ok());
    let stranger = key().sign(&world.claims(json!({}))).unwrap();
    let why = world.ask(&stranger).await.unwrap_err();
    assert_eq!(
        why,
        "oidc: verify token: failed to verify signature: fetching keys oidc: get keys failed dial tcp: connect: connection refused"
    );
}

#[tokio::test(start_paused = true)]
async fn keys_that_are_fresh_are_not_asked_for_again() {
    let world = World::new(PLAIN).await;
    *world.network.cache_control.lock().unwrap() = "max-age=3600".into();
    world.user(json!({})).await.unwrap();
    let new = key();
    world.network.put(&format!("{ISSUER}/keys"), jwks(&[&new]));
    let claims = world.claims(json!({"exp": world.env.now().as_second() + 9_999}));
    let token = new.sign(&claims).unwrap();
    assert!(world.ask(&token).await.is_err());
    assert_eq!(world.network.count(&format!("{ISSUER}/keys")), 1);
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    assert!(world.ask(&token).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_discovery_url_is_asked_in_place_of_the_issuers() {
    let jwt = r#"{"issuer": {"url": "https://issuer.example.com", "discoveryURL": "https://inside.example.com/d", "audiences": ["me"]}, "claimMappings": {"username": {"claim": "sub", "prefix": ""}}}"#;
    let world = World::down(jwt);
    world.network.put("https://inside.example.com/d", discovery(ISSUER));
    world.network.put(&format!("{ISSUER}/keys"), jwks(&[&world.key]));
    tokio::time::sleep(Duration::from_secs(11)).await;
    assert!(world.user(json!({})).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn issuers_are_exchanged_once_the_new_ones_answer() {
    let world = World::new(PLAIN).await;
    let other = PLAIN.replace("issuer.example", "other.example");
    let start = |jwt: &str| -> Vec<Arc<Jwt>> {
        let start = |one| Jwt::start(one, &[], &Net(Arc::clone(&world.network)), &world.env).unwrap();
        parsed(jwt).jwt.into_iter().map(start).collect()
    };
    let why = world.issuers.exchange(start(&other)).await.unwrap_err();
    assert!(why.contains("connection refused"), "{why}");
    assert!(world.user(json!({})).await.is_ok(), "the old one stays");
    world.network.put("https://other.example.com/.well-known/openid-configuration", discovery("https://other.example.com"));
    world.network.put("https://other.example.com/keys", jwks(&[&world.key]));
    world.issuers.exchange(start(&other)).await.unwrap();
    let token = world.key.sign(&world.claims(json!({"iss": "https://other.example.com"}))).unwrap();
    assert!(world.ask(&token).await.unwrap().is_some());
    let old = world.key.sign(&world.claims(json!({}))).unwrap();
    assert_eq!(world.ask(&old).await, Ok(None));
}
