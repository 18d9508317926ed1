//! Who asks: certificates, tokens, nobody; and what they are told.

use auth::pki::{Leaf, Live, live_client_config};
use auth::{Pki, TokenIssuer, TokenRequest};
use client::https::{Https, HttpsConfig};
use http::{Method, Request};
use http_body_util::Full;
use schema::{DocExt, json};

use super::*;

async fn whoami(world: &World, identity: Option<&Identity>, token: Option<&str>) -> (u16, Value) {
    let body = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}).to_string();
    let mut request =
        Request::post("/apis/authentication.k8s.io/v1/selfsubjectreviews").header("host", "x").header("content-type", "application/json");
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let response = world.http1(identity).await.send_request(request.body(Full::new(body.into())).unwrap()).await.unwrap();
    status_of(response).await
}

#[tokio::test]
async fn certificates_and_tokens_say_who_asks() {
    let world = World::start().await;
    let admin = world.pki.leaf(&Leaf::admin()).unwrap();
    let (code, doc) = whoami(&world, Some(&admin), None).await;
    assert_eq!((code, doc.str_at("status.userInfo.username")), (201, "kubernetes-admin"), "{doc}");
    let (code, doc) = whoami(&world, None, Some("alice")).await;
    assert_eq!((code, doc.str_at("status.userInfo.username")), (201, "alice"), "{doc}");
    let (code, doc) = whoami(&world, None, None).await;
    assert_eq!((code, doc.str_at("reason")), (403, "Forbidden"), "anonymous may not even ask: {doc}");
}

#[tokio::test]
async fn foreign_certificates_and_bad_tokens_are_401_and_never_anonymous() {
    let world = World::start().await;
    let elsewhere = tempfile::tempdir().unwrap();
    let foreign = Pki::ensure(elsewhere.path(), &world.env).unwrap().leaf(&Leaf::admin()).unwrap();
    for (identity, token) in [(Some(&foreign), None), (None, Some("nope")), (None, Some("a.b.c"))] {
        let (code, doc) = whoami(&world, identity, token).await;
        assert_eq!((code, doc.str_at("message"), doc.str_at("reason")), (401, "Unauthorized", "Unauthorized"));
    }
}

#[tokio::test]
async fn a_service_account_lives_and_dies_with_its_object() {
    let world = World::start().await;
    let accounts = Target::of("v1", "serviceaccounts", "default");
    let doc = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "bot"}});
    let account = world.loopback.create(accounts.clone(), doc).await.unwrap();
    let request = |seconds| TokenRequest {
        namespace: "default".into(),
        service_account: "bot".into(),
        service_account_uid: account.meta.uid.clone(),
        audiences: Vec::new(),
        expiration_seconds: seconds,
        bound: None,
    };
    let good = world.tokens.issue(request(600)).await.unwrap().token;
    let expired = world.tokens.issue(request(-61)).await.unwrap().token;
    let (code, doc) = whoami(&world, None, Some(&good)).await;
    assert_eq!((code, doc.str_at("status.userInfo.username")), (201, "system:serviceaccount:default:bot"), "{doc}");
    assert_eq!(whoami(&world, None, Some(&expired)).await.0, 401);
    world.loopback.delete(accounts.named("bot"), client::Options::default()).await.unwrap();
    assert_eq!(whoami(&world, None, Some(&good)).await.0, 401);
}

fn encoded(text: &str) -> Value {
    use base64::Engine;
    json!(base64::engine::general_purpose::STANDARD.encode(text))
}

#[tokio::test]
async fn a_bootstrap_token_is_good_while_its_secret_is_there() {
    let world = World::start().await;
    let token = "abcdef.0123456789abcdef";
    assert_eq!(whoami(&world, None, Some(token)).await.0, 401);
    let secrets = Target::of("v1", "secrets", "kube-system");
    let doc = json!({"apiVersion": "v1", "kind": "Secret", "type": "bootstrap.kubernetes.io/token", "metadata": {"name": "bootstrap-token-abcdef"},
        "data": {"token-id": encoded("abcdef"), "token-secret": encoded("0123456789abcdef"), "usage-bootstrap-authentication": encoded("true")}});
    world.loopback.create(secrets.clone(), doc).await.unwrap();
    let (code, doc) = whoami(&world, None, Some(token)).await;
    assert_eq!((code, doc.str_at("status.userInfo.username")), (201, "system:bootstrap:abcdef"), "{doc}");
    let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}}).to_string();
    let path = "/apis/authentication.k8s.io/v1/tokenreviews";
    let (_, doc) = status_of(world.ask(Method::POST, path, &[("content-type", "application/json")], review).await).await;
    assert_eq!((doc.bool_at("status.authenticated"), doc.str_at("status.user.username")), (true, "system:bootstrap:abcdef"), "{doc}");
    world.loopback.delete(secrets.named("bootstrap-token-abcdef"), client::Options::default()).await.unwrap();
    assert_eq!(whoami(&world, None, Some(token)).await.0, 401);
}

#[tokio::test]
async fn the_secret_of_an_account_is_filled_with_a_token() {
    use base64::Engine;
    let world = World::start().await;
    let (accounts, secrets) = (Target::of("v1", "serviceaccounts", "default"), Target::of("v1", "secrets", "default"));
    let doc = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "bot"}});
    world.loopback.create(accounts.clone(), doc).await.unwrap();
    let doc = json!({"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/service-account-token",
        "metadata": {"name": "bot-token", "annotations": {"kubernetes.io/service-account.name": "bot"}}});
    world.loopback.create(secrets.clone(), doc).await.unwrap();
    let held = async || world.loopback.get(secrets.clone().named("bot-token")).await.map(|object| object.value());
    let mut secret = held().await.unwrap();
    while secret.str_at("data.token").is_empty() {
        tokio::task::yield_now().await;
        secret = held().await.unwrap();
    }
    let token = base64::engine::general_purpose::STANDARD.decode(secret.str_at("data.token")).unwrap();
    let token = String::from_utf8(token).unwrap();
    let (code, doc) = whoami(&world, None, Some(&token)).await;
    assert_eq!((code, doc.str_at("status.userInfo.username")), (201, "system:serviceaccount:default:bot"), "{doc}");
    world.loopback.delete(accounts.named("bot"), client::Options::default()).await.unwrap();
    while held().await.is_ok() {
        tokio::task::yield_now().await;
    }
    assert_eq!(whoami(&world, None, Some(&token)).await.0, 401);
}

#[tokio::test]
async fn refusals_speak_upstreams_sentences() {
    let world = World::start().await;
    for (method, path, want) in [
        (
            Method::GET,
            "/api/v1/namespaces/default/pods",
            r#"pods is forbidden: User "alice" cannot list resource "pods" in API group "" in the namespace "default""#,
        ),
        (
            Method::GET,
            "/api/v1/nodes",
            r#"nodes is forbidden: User "alice" cannot list resource "nodes" in API group "" at the cluster scope"#,
        ),
        (
            Method::GET,
            "/api/v1/namespaces/default",
            r#"namespaces "default" is forbidden: User "alice" cannot get resource "namespaces" in API group "" in the namespace "default""#,
        ),
        (
            Method::POST,
            "/api/v1/namespaces/default/pods/x/exec",
            r#"pods "x" is forbidden: User "alice" cannot create resource "pods/exec" in API group "" in the namespace "default""#,
        ),
        (Method::GET, "/metrics", r#"forbidden: User "alice" cannot get path "/metrics""#),
    ] {
        let request = Request::builder().method(method).uri(path).header("host", "x");
        let request = request.header("authorization", "Bearer alice").body(Full::default()).unwrap();
        let (code, doc) = status_of(world.http1(None).await.send_request(request).await.unwrap()).await;
        assert_eq!((code, doc.str_at("message")), (403, want));
    }
}

#[tokio::test]
async fn impersonation_needs_a_user() {
    let world = World::start().await;
    let response = world.ask(Method::GET, "/api/v1/pods", &[("impersonate-group", "system:masters")], "").await;
    assert_eq!(response.status(), 500);
    let text = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(text, "Internal Server Error: \"/api/v1/pods\": requested [{Group  system:masters    }] without impersonating a user\n");
    let response = world.ask(Method::GET, "/api/v1/pods", &[("impersonate-user", "bob")], "").await;
    let (code, doc) = status_of(response).await;
    assert_eq!(code, 403, "{doc}");
    assert!(doc.str_at("message").contains("User \"bob\" cannot list"), "{doc}");
}

/// Open connections keep the certificate they began with; after [`Https::renew`] the next request shows the new one.
#[tokio::test]
async fn a_client_shows_its_new_certificate_on_the_next_connection() {
    let world = World::start().await;
    let leaf = |node: &str| world.pki.leaf(&Leaf::node_client(node)).unwrap();
    let live = Live::new(&leaf("n1")).unwrap();
    let config = HttpsConfig {
        address: world.address,
        server_name: "localhost".try_into().unwrap(),
        tls: Arc::new(live_client_config(world.pki.ca(), &live)),
        token: None,
        user_agent: "test".into(),
    };
    let https = Https::new(config, &world.env);
    let client = Client::new(Arc::clone(&https) as _);
    let who = async || {
        let refused = client.get(Target::of("v1", "nodes", "").named("other")).await.unwrap_err();
        refused.message.split('"').find(|word| word.starts_with("system:node:")).unwrap_or_default().to_owned()
    };
    assert_eq!(who().await, "system:node:n1");
    live.exchange(&leaf("n2")).unwrap();
    assert_eq!(who().await, "system:node:n1");
    https.renew().await;
    assert_eq!(who().await, "system:node:n2");
}
