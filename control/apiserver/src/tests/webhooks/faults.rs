//! Webhooks that hang, lie, or are not there.

use tokio::time::Instant;

use super::*;

/// What a failing webhook does to a request under both policies.
async fn check(world: &World, what: &str, hook: Value, want: &str) {
    let started = Instant::now();
    world.validating("closed", std::slice::from_ref(&hook)).await;
    let (code, message) = message(world.create("a").await);
    assert_eq!(code, 500, "{what}: {message}");
    assert!(message.starts_with("Internal error occurred: failed calling webhook \"x.example.com\": "), "{what}: {message}");
    assert!(message.contains(want), "{what}: {message}");
    world.remove("Validating", "closed").await;
    world.validating("open", &[with(hook, &[("failurePolicy", json!("Ignore"))])]).await;
    world.create("a").await.unwrap_or_else(|status| panic!("{what}: {status}"));
    world.remove("Validating", "open").await;
    world.cluster.delete(config_maps().named("a"), Options::default()).await.unwrap();
    assert!(started.elapsed() < Duration::from_secs(5), "{what} is bounded: {:?}", started.elapsed());
}

#[tokio::test]
async fn whatever_a_webhook_answers_the_failure_policy_decides() {
    let world = World::start().await;
    for (path, want) in [
        ("/nojson", "failed to call webhook: couldn't get version/kind; json parse error: "),
        ("/500", "failed to call webhook: an error on the server (\"boom\") has prevented the request from succeeding"),
        ("/redirect", "failed to call webhook: the server responded with the status code 307 but did not return more information"),
        ("/big", "the answer is too large: at most 8388608 bytes are read"),
        ("/nothing", "received invalid webhook response: webhook response was absent"),
        ("/uid", "received invalid webhook response: expected response.uid="),
        ("/label-x", "received invalid webhook response: validating webhook may not return response.patch"),
    ] {
        check(&world, path, world.hook("x.example.com", path), want).await;
    }
    let paths = world.paths();
    assert!(!paths.contains(&"/allow".to_owned()), "nobody followed the redirect: {paths:?}");
}

#[tokio::test]
async fn a_webhook_that_hangs_or_is_late_costs_its_timeout_and_no_more() {
    let world = World::start().await;
    for path in ["/hang", "/late"] {
        let hook = with(world.hook("x.example.com", path), &[("timeoutSeconds", json!(1))]);
        let want = format!(
            "failed to call webhook: Post \"https://127.0.0.1:{}{path}?timeout=1s\": context deadline exceeded",
            world.program.port
        );
        check(&world, path, hook, &want).await;
    }
    assert!(world.seen().iter().all(|(path, _)| path.ends_with("?timeout=1s")));
}

#[tokio::test]
async fn a_webhook_that_cannot_be_reached_or_believed_is_told_with_its_cause() {
    let world = World::start().await;
    let hook = world.hook("x.example.com", "/allow");
    let (other, dir) = (Env::real(), tempfile::tempdir().unwrap());
    let stranger = STANDARD.encode(auth::Pki::ensure(dir.path(), &other).unwrap().ca());
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let service = json!({"namespace": "default", "name": "none", "port": 443});
    for (what, members, want) in [
        (
            "wrong CA",
            vec![("clientConfig.caBundle", json!(stranger))],
            "tls: failed to verify certificate: x509: certificate signed by unknown authority",
        ),
        (
            "no PEM",
            vec![("clientConfig.caBundle", json!(STANDARD.encode("x")))],
            "unable to load root certificates: unable to parse bytes as PEM block",
        ),
        (
            "wrong name",
            vec![("clientConfig.url", json!(format!("https://localhost:{}/", world.program.port)))],
            "x509: certificate is not valid for localhost",
        ),
        (
            "refused",
            vec![("clientConfig.url", json!(format!("https://{closed}/")))],
            &*format!("dial tcp {closed}: connect: connection refused"),
        ),
        (
            "no service",
            vec![("clientConfig", json!({"service": service, "caBundle": world.ca}))],
            "Post \"https://none.default.svc:443/?timeout=2s\": service \"none\" not found",
        ),
    ] {
        check(&world, what, with(hook.clone(), &members), want).await;
    }
    assert!(world.seen().is_empty());
}

#[tokio::test]
async fn a_bad_patch_is_a_failed_call_or_an_error_of_its_own() {
    let world = World::start().await;
    for (path, code, want) in [
        ("/nopatch", 500, "failed calling webhook \"x.example.com\": received undecodable patch in webhook response: "),
        ("/badpatch", 500, "remove operation does not apply"),
        ("/kind", 500, "apiVersion and kind may not be changed"),
        ("/spoil", 422, "ConfigMap \"a\" is invalid: data[no such key!]: Invalid value: "),
    ] {
        world.mutating("m", &[world.hook("x.example.com", path)]).await;
        let (found, message) = message(world.create("a").await);
        assert_eq!(found, code, "{path}: {message}");
        assert!(message.contains(want), "{path}: {message}");
        world.remove("Mutating", "m").await;
    }
    let open = with(world.hook("x.example.com", "/nopatch"), &[("failurePolicy", json!("Ignore"))]);
    world.mutating("m", &[open]).await;
    world.create("a").await.unwrap();
}

#[tokio::test]
async fn connections_are_used_again() {
    for alpn in [&b"http/1.1"[..], b"h2"] {
        let world = World::speaking(alpn).await;
        world.validating("v", &[world.hook("x.example.com", "/allow")]).await;
        for n in 0..10 {
            world.create(&format!("a{n}")).await.unwrap();
        }
        assert_eq!((world.seen().len(), world.program.connections.load(Ordering::SeqCst)), (10, 1), "{}", String::from_utf8_lossy(alpn));
    }
}

/// A server that neither says how long its answer is nor that it ends.
async fn curt(world: &World) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let dir = tempfile::tempdir().unwrap();
    let pki = auth::Pki::ensure(dir.path(), &world.env).unwrap();
    let identity = pki.leaf(&Leaf::node_server("curt", &["127.0.0.1".to_owned()])).unwrap();
    let config = rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(identity.chain(), identity.private_key());
    let (acceptor, socket) = (tokio_rustls::TlsAcceptor::from(Arc::new(config.unwrap())), TcpListener::bind("127.0.0.1:0").await.unwrap());
    let port = socket.local_addr().unwrap().port();
    let hook = json!({"url": format!("https://127.0.0.1:{port}/"), "caBundle": STANDARD.encode(pki.ca())});
    let beta = json!(["v1beta1"]);
    world
        .validating("curt", &[with(world.hook("curt.example.com", "/"), &[("clientConfig", hook), ("admissionReviewVersions", beta)])])
        .await;
    world.env.spawn("curt", async move {
        while let Ok((tcp, _)) = socket.accept().await {
            let mut tls = acceptor.accept(tcp).await.unwrap();
            let _ = tls.read(&mut [0; 65_536]).await;
            let answer = br#"HTTP/1.0 200 OK

{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1beta1","response":{"allowed":true}}"#;
            tls.write_all(answer).await.unwrap();
            tls.flush().await.unwrap();
        }
    });
}

#[tokio::test]
async fn a_server_that_just_closes_has_answered() {
    let world = World::start().await;
    curt(&world).await;
    for name in ["a", "b"] {
        world.create(name).await.unwrap();
    }
}

/// Leads every address to the program.
pub(super) struct ToProgram(pub u16);

#[async_trait::async_trait]
impl crate::webhook::Dial for ToProgram {
    async fn dial(&self, address: SocketAddr) -> std::io::Result<TcpStream> {
        assert_eq!(address.to_string(), "192.0.2.10:8443");
        TcpStream::connect(("127.0.0.1", self.0)).await
    }
}

#[tokio::test]
async fn a_service_is_asked_at_its_ready_endpoints_by_its_own_name() {
    let world = World::start().await;
    world.cluster.core.admission().webhooks().set_dial(Arc::new(ToProgram(world.program.port)));
    let service = json!({"metadata": {"name": "front"}, "spec": {"selector": {"app": "front"}, "ports": [{"name": "tls", "port": 443, "targetPort": 8443}]}});
    world.cluster.create(Target::of("v1", "services", "default"), service).await.unwrap();
    let config = json!({"service": {"namespace": "default", "name": "front", "path": "/allow"}, "caBundle": world.ca});
    world.validating("v", &[with(world.hook("x.example.com", "/"), &[("clientConfig", config)])]).await;
    let started = Instant::now();
    let (code, message) = message(world.create("a").await);
    assert_eq!(code, 500);
    assert!(
        message.ends_with("Post \"https://front.default.svc:443/allow?timeout=2s\": no endpoints available for service \"front\""),
        "{message}"
    );
    assert!(started.elapsed() < Duration::from_secs(1), "a service without endpoints fails at once");
    let slice = json!({"metadata": {"name": "front-1", "labels": {"kubernetes.io/service-name": "front"}}, "addressType": "IPv4",
        "ports": [{"name": "tls", "port": 8443}], "endpoints": [{"addresses": ["192.0.2.9"], "conditions": {"ready": false}}, {"addresses": ["192.0.2.10"]}]});
    world.cluster.create(Target::of("discovery.k8s.io/v1", "endpointslices", "default"), slice).await.unwrap();
    world.create("a").await.unwrap();
    assert_eq!(world.paths(), ["/allow"]);
}

#[tokio::test]
async fn failures_are_counted_under_upstreams_names() {
    let world = World::start().await;
    let open = with(world.hook("open.example.com", "/500"), &[("failurePolicy", json!("Ignore"))]);
    world.validating("v", &[world.hook("deny.example.com", "/deny"), open]).await;
    world.create("a").await.unwrap_err();
    let mut registry = prometheus_client::registry::Registry::default();
    world.cluster.core.admission().webhooks().register(&mut registry);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    for line in [
        "apiserver_admission_webhook_rejection_count{name=\"deny.example.com\",type=\"validating\",operation=\"CREATE\",error_type=\"no_error\",rejection_code=\"403\"} 1",
        "apiserver_admission_webhook_fail_open_count{name=\"open.example.com\",type=\"validating\"} 1",
        "apiserver_admission_webhook_request_total{name=\"open.example.com\",type=\"validating\",operation=\"CREATE\",code=\"500\",rejected=\"false\"} 1",
        "apiserver_admission_webhook_admission_duration_seconds_count{name=\"deny.example.com\",type=\"validating\",operation=\"CREATE\",rejected=\"true\"} 1",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    drop(world.env);
}
