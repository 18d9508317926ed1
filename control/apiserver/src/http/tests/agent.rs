//! Logs, exec and the node's API, against an agent that is a few lines.

use std::convert::Infallible;

use auth::pki::Leaf;
use http::{Method, Request, Response};
use http_body_util::Full;
use hyper::server::conn::http1 as server;
use hyper::service::service_fn;
use rustls::server::WebPkiClientVerifier;
use schema::DocExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

/// Starts an agent on loopback that demands the API server's certificate, and a node that says where it is.
async fn agent(world: &World) {
    let identity = world.pki.leaf(&Leaf::node_server("n1", &["127.0.0.1".into()])).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    use rustls::pki_types::pem::PemObject;
    roots.add(rustls::pki_types::CertificateDer::from_pem_slice(world.pki.ca().as_bytes()).unwrap()).unwrap();
    let verifier = WebPkiClientVerifier::builder(Arc::new(roots)).build().unwrap();
    let config = rustls::ServerConfig::builder()
        .with_client_cert_verifier(verifier)
        .with_single_cert(identity.chain(), identity.private_key())
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = socket.local_addr().unwrap().port();
    let env = world.env.clone();
    world.env.spawn("agent", async move {
        while let Ok((tcp, _)) = socket.accept().await {
            let (acceptor, env2) = (acceptor.clone(), env.clone());
            env.spawn("agent-connection", async move {
                let Ok(tls) = acceptor.accept(tcp).await else { return };
                let service = service_fn(move |request| handle(env2.clone(), request));
                let _ = server::Builder::new().serve_connection(TokioIo::new(tls), service).with_upgrades().await;
            });
        }
    });
    node(world, port).await;
}

async fn node(world: &World, port: u16) {
    let nodes = Target::of("v1", "nodes", "");
    let doc = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}});
    let mut doc = world.loopback.create(nodes.clone(), doc).await.unwrap().value();
    doc["status"] =
        json!({"addresses": [{"type": "InternalIP", "address": "127.0.0.1"}], "daemonEndpoints": {"kubeletEndpoint": {"Port": port}}});
    world.loopback.update(nodes.named("n1").sub("status"), doc).await.unwrap();
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
    world.loopback.create(Target::of("v1", "serviceaccounts", "default"), account).await.unwrap();
    for (name, containers) in
        [("one", json!([{"name": "c", "image": "i"}])), ("two", json!([{"name": "a", "image": "i"}, {"name": "b", "image": "i"}]))]
    {
        let pod =
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {"nodeName": "n1", "containers": containers}});
        world.loopback.create(Target::of("v1", "pods", "default"), pod).await.unwrap();
    }
}

/// Echoes an exec's bytes, refuses an attach, redirects a port-forward, tells what it was asked for everything else.
async fn handle(env: Env, mut request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().to_string();
    assert!(!request.headers().contains_key("authorization"), "the caller's credentials stay with the API server");
    let answer = |code: u16, text: String| Response::builder().status(code).body(Full::new(Bytes::from(text))).unwrap();
    if path.starts_with("/exec/") {
        let upgraded = hyper::upgrade::on(&mut request);
        env.spawn("echo", async move {
            let mut pipe = TokioIo::new(upgraded.await.unwrap());
            let mut bytes = [0; 64];
            while let Ok(count @ 1..) = pipe.read(&mut bytes).await {
                pipe.write_all(&bytes[..count]).await.unwrap();
            }
        });
        let switched =
            Response::builder().status(101).header("connection", "Upgrade").header("upgrade", "websocket").header("x-asked", path);
        return Ok(switched.body(Full::default()).unwrap());
    }
    Ok(match path.split('/').nth(1) {
        Some("attach") => answer(500, "no such container".into()),
        Some(forward) if forward.starts_with("portForward") => {
            Response::builder().status(302).header("location", "https://127.0.0.1:1/").body(Full::default()).unwrap()
        }
        _ => answer(200, format!("{} {path}", request.method())),
    })
}

const UPGRADE: [(&str, &str); 3] = [("connection", "Upgrade"), ("upgrade", "websocket"), ("sec-websocket-protocol", "v5.channel.k8s.io")];

#[tokio::test]
async fn an_exec_becomes_a_pipe_to_the_agent() {
    let world = World::start().await;
    agent(&world).await;
    let path = "/api/v1/namespaces/default/pods/one/exec?command=sh&command=-c&stdin=true&stdout=true&tty=true";
    let mut response = world.ask(Method::GET, path, &UPGRADE, "").await;
    assert_eq!(response.status(), 101);
    assert_eq!(response.headers()["x-asked"], "/exec/default/one/c?input=1&output=1&tty=1&command=sh&command=-c");
    let mut pipe = TokioIo::new(hyper::upgrade::on(&mut response).await.unwrap());
    pipe.write_all(b"hello").await.unwrap();
    let mut echoed = [0; 5];
    tokio::time::timeout(Duration::from_secs(5), pipe.read_exact(&mut echoed)).await.unwrap().unwrap();
    assert_eq!(&echoed, b"hello");
}

#[tokio::test]
async fn a_failed_upgrade_is_an_answer_and_a_redirect_is_not_followed() {
    let world = World::start().await;
    agent(&world).await;
    let attach = world.ask(Method::GET, "/api/v1/namespaces/default/pods/one/attach?stdout=true", &UPGRADE, "").await;
    assert_eq!(attach.status(), 500);
    assert_eq!(attach.into_body().collect().await.unwrap().to_bytes(), "no such container");
    let forward = world.ask(Method::POST, "/api/v1/namespaces/default/pods/one/portforward", &UPGRADE, "").await;
    assert_eq!(forward.status(), 502);
    let plain = world.ask(Method::POST, "/api/v1/namespaces/default/pods/one/exec?command=id", &[], "").await;
    let (code, doc) = status_of(plain).await;
    assert_eq!((code, doc.str_at("message")), (400, "Upgrade request required"));
}

#[tokio::test]
async fn running_something_over_a_get_needs_the_verb_create() {
    let world = World::start().await;
    agent(&world).await;
    let group = "rbac.authorization.k8s.io/v1";
    let role = json!({"apiVersion": group, "kind": "ClusterRole", "metadata": {"name": "peek"}, "rules": [{"apiGroups": [""], "resources": ["pods/exec", "pods/log", "nodes/proxy"], "verbs": ["get"]}]});
    world.loopback.create(Target::of(group, "clusterroles", ""), role).await.unwrap();
    let binding = json!({"apiVersion": group, "kind": "ClusterRoleBinding", "metadata": {"name": "peek"}, "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "alice"}],
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "peek"}});
    world.loopback.create(Target::of(group, "clusterrolebindings", ""), binding).await.unwrap();
    let ask = |path: &'static str| {
        let mut request = Request::get(path).header("host", "x").header("authorization", "Bearer alice");
        for (name, value) in UPGRADE {
            request = request.header(name, value);
        }
        let request = request.body(Full::default()).unwrap();
        async { status_of(world.http1(None).await.send_request(request).await.unwrap()).await }
    };
    // The binding is in force when its event has come; the log shows that it has.
    while ask("/api/v1/namespaces/default/pods/one/log").await.0 == 403 {
        tokio::task::yield_now().await;
    }
    for (path, resource) in [
        ("/api/v1/namespaces/default/pods/one/exec?command=id", "pods/exec"),
        ("/api/v1/nodes/n1/proxy/exec/default/one/c?command=id", "nodes/proxy"),
    ] {
        let (code, doc) = ask(path).await;
        assert_eq!(code, 403);
        assert!(doc.str_at("message").contains(&format!("cannot create resource {resource:?}")), "{doc}");
    }
}

#[tokio::test]
async fn logs_and_the_nodes_own_api_are_passed_on() {
    let world = World::start().await;
    agent(&world).await;
    for (path, want) in [
        ("/api/v1/namespaces/default/pods/one/log?follow=true&tailLines=3", "GET /containerLogs/default/one/c?follow=true&tailLines=3"),
        ("/api/v1/namespaces/default/pods/two/log?container=b", "GET /containerLogs/default/two/b"),
        ("/api/v1/nodes/n1/proxy/metrics?x=y", "GET /metrics?x=y"),
    ] {
        let (status, _, bytes) = world.get(path, &[]).await;
        assert_eq!((status.as_u16(), String::from_utf8_lossy(&bytes).as_ref()), (200, want));
    }
    let (status, _, bytes) = world.get("/api/v1/namespaces/default/pods/two/log", &[]).await;
    let doc: Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!((status.as_u16(), doc.str_at("message")), (400, "a container name must be specified for pod two, choose one of: [a b]"));
    let (status, _, _) = world.get("/api/v1/namespaces/default/pods/none/log", &[]).await;
    assert_eq!(status, 404);
}

#[tokio::test]
async fn a_webhook_is_asked_before_anything_is_dialled() {
    let world = World::start().await;
    agent(&world).await;
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let rule = json!({"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CONNECT"], "resources": ["pods/*", "nodes/proxy", "services/proxy"]});
    let hook = json!({"name": "x.example.com", "rules": [rule], "sideEffects": "None", "admissionReviewVersions": ["v1"],
        "clientConfig": {"url": format!("https://{closed}/")}});
    let group = "admissionregistration.k8s.io/v1";
    let doc = json!({"apiVersion": group, "kind": "ValidatingWebhookConfiguration", "metadata": {"name": "v"}, "webhooks": [hook]});
    world.loopback.create(Target::of(group, "validatingwebhookconfigurations", ""), doc).await.unwrap();
    for path in [
        "/api/v1/namespaces/default/pods/one/exec?command=id&stdout=true",
        "/api/v1/namespaces/default/pods/none/attach?stdout=true",
        "/api/v1/namespaces/default/pods/one/portforward?ports=80",
        "/api/v1/namespaces/default/pods/one/proxy/",
        "/api/v1/namespaces/default/services/none/proxy/",
        "/api/v1/nodes/n1/proxy/metrics",
    ] {
        let (code, doc) = status_of(world.ask(Method::GET, path, &UPGRADE, "").await).await;
        assert_eq!(code, 500, "{path}: {doc}");
        assert!(doc.str_at("message").contains("failed calling webhook \"x.example.com\""), "{path}: {doc}");
    }
    let (status, _, bytes) = world.get("/api/v1/namespaces/default/pods/one/log", &[]).await;
    assert_eq!((status.as_u16(), bytes.starts_with(b"GET /containerLogs")), (200, true), "logs are read, not connected to");
    let (_, _, text) = world.get("/metrics", &[]).await;
    let text = String::from_utf8_lossy(&text);
    assert!(
        text.contains("apiserver_admission_webhook_rejection_count{name=\"x.example.com\",type=\"validating\",operation=\"CONNECT\""),
        "{text}"
    );
}
