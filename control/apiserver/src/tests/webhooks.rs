//! Admission webhooks, against a program that answers as its path says.

mod chain;
mod conversion;
mod faults;
mod matching;
mod mutating;
mod validating;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use auth::pki::Leaf;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use schema::DocExt;
use tokio::net::{TcpListener, TcpStream};

use super::*;

/// A core and a program that it asks.
struct World {
    cluster: Cluster,
    program: Arc<Program>,
    /// Base64 of PEM.
    ca: String,
    env: Env,
}

/// What the program has seen.
#[derive(Default)]
struct Program {
    port: u16,
    connections: AtomicUsize,
    /// Path with query, and the review's request.
    reviews: Mutex<Vec<(String, Value)>>,
}

impl World {
    async fn start() -> Self {
        Self::speaking(b"http/1.1").await
    }

    /// With a program that speaks one protocol.
    async fn speaking(alpn: &[u8]) -> Self {
        let env = Env::real();
        let dir = tempfile::tempdir().unwrap();
        let pki = auth::Pki::ensure(dir.path(), &env).unwrap();
        let names = ["127.0.0.1".to_owned(), "front.default.svc".to_owned()];
        let identity = pki.leaf(&Leaf::node_server("front", &names)).unwrap();
        let config = rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(identity.chain(), identity.private_key());
        let mut config = config.unwrap();
        config.alpn_protocols = vec![alpn.to_vec()];
        let program = listen(&env, config).await;
        Self { cluster: Cluster::bare().await, program, ca: STANDARD.encode(pki.ca()), env }
    }

    /// A webhook for every write of a config map, answered as `path` says.
    fn hook(&self, name: &str, path: &str) -> Value {
        let rule = json!({"apiGroups": [""], "apiVersions": ["v1"], "operations": ["*"], "resources": ["configmaps"]});
        json!({"name": name, "rules": [rule], "sideEffects": "None", "admissionReviewVersions": ["v1"], "timeoutSeconds": 2,
            "clientConfig": {"url": format!("https://127.0.0.1:{}{path}", self.program.port), "caBundle": self.ca}})
    }

    async fn mutating(&self, name: &str, webhooks: &[Value]) {
        self.configure("Mutating", name, webhooks).await;
    }

    async fn validating(&self, name: &str, webhooks: &[Value]) {
        self.configure("Validating", name, webhooks).await;
    }

    async fn configure(&self, sort: &str, name: &str, webhooks: &[Value]) {
        let doc = json!({"metadata": {"name": name}, "webhooks": webhooks});
        self.cluster.create(configurations(sort), doc).await.unwrap();
    }

    async fn remove(&self, sort: &str, name: &str) {
        self.cluster.delete(configurations(sort).named(name), Options::default()).await.unwrap();
    }

    async fn create(&self, name: &str) -> Result<Value, Status> {
        self.cluster.create(config_maps(), json!({"metadata": {"name": name}, "data": {"k": "v"}})).await
    }

    /// What the program was asked since the last time.
    fn seen(&self) -> Vec<(String, Value)> {
        std::mem::take(&mut *self.program.reviews.lock().unwrap())
    }

    fn paths(&self) -> Vec<String> {
        self.seen().into_iter().map(|(path, _)| path.split('?').next().unwrap_or_default().to_owned()).collect()
    }
}

fn configurations(sort: &str) -> Target {
    Target::of("admissionregistration.k8s.io/v1", &format!("{}webhookconfigurations", sort.to_lowercase()), "")
}

/// `value` with members at paths replaced.
fn with(mut value: Value, members: &[(&str, Value)]) -> Value {
    for (path, member) in members {
        value.set_at(path, member.clone());
    }
    value
}

async fn listen(env: &Env, config: rustls::ServerConfig) -> Arc<Program> {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let program = Arc::new(Program { port: socket.local_addr().unwrap().port(), ..Program::default() });
    let (acceptor, env2, seen) = (tokio_rustls::TlsAcceptor::from(Arc::new(config)), env.clone(), Arc::clone(&program));
    env.spawn("program", async move {
        while let Ok((tcp, _)) = socket.accept().await {
            let (acceptor, program) = (acceptor.clone(), Arc::clone(&seen));
            env2.spawn("program-connection", async move {
                let Ok(tls) = acceptor.accept(tcp).await else { return };
                program.connections.fetch_add(1, Ordering::SeqCst);
                let service = service_fn(move |request| answer(Arc::clone(&program), request));
                let _ = auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(tls), service).await;
            });
        }
    });
    program
}

async fn answer(program: Arc<Program>, request: http::Request<Incoming>) -> Result<http::Response<Full<Bytes>>, Infallible> {
    let path = request.uri().path_and_query().unwrap().to_string();
    let review: Value = serde_json::from_slice(&request.into_body().collect().await.unwrap().to_bytes()).unwrap();
    if review.str_at("kind") == "ConversionReview" {
        program.reviews.lock().unwrap().push((path.clone(), review["request"].clone()));
        return Ok(conversion::answer(&path, &review).await);
    }
    assert_eq!((review.str_at("kind"), review.at("request").is_some()), ("AdmissionReview", true));
    program.reviews.lock().unwrap().push((path.clone(), review["request"].clone()));
    let whole = |code: u16, body: String| http::Response::builder().status(code).body(Full::new(Bytes::from(body))).unwrap();
    let word = path.split('?').next().unwrap_or_default().trim_start_matches('/').split('/').next().unwrap_or_default().to_owned();
    Ok(match word.as_str() {
        "hang" => std::future::pending().await,
        "slow" => {
            tokio::time::sleep(Duration::from_millis(300)).await;
            whole(200, respond(&review, json!({"allowed": true})))
        }
        "late" => {
            tokio::time::sleep(Duration::from_millis(1_300)).await;
            whole(200, respond(&review, json!({"allowed": true})))
        }
        "nojson" => whole(200, "<html>".into()),
        "500" => whole(500, "boom".into()),
        "redirect" => http::Response::builder().status(307).header("location", "/allow").body(Full::default()).unwrap(),
        "big" => whole(200, "x".repeat(10 << 20)),
        "nothing" => whole(200, json!({"apiVersion": review["apiVersion"], "kind": "AdmissionReview"}).to_string()),
        word => whole(200, respond(&review, said(word, &review["request"]))),
    })
}

/// The `response` of one that behaves.
fn said(word: &str, request: &Value) -> Value {
    let patch = |operations: Value| json!({"allowed": true, "patchType": "JSONPatch", "patch": STANDARD.encode(operations.to_string())});
    let label = |name: &str| {
        let labels = request.at("object.metadata.labels").is_some_and(Value::is_object);
        let mut operations = if labels { Vec::new() } else { vec![json!({"op": "add", "path": "/metadata/labels", "value": {}})] };
        operations.push(json!({"op": "add", "path": format!("/metadata/labels/{name}"), "value": "yes"}));
        patch(Value::Array(operations))
    };
    match word.split_once('-').unwrap_or((word, "")) {
        ("deny", _) => json!({"allowed": false, "status": {"code": 403, "reason": "Forbidden", "message": "no such luck"}}),
        ("mute", _) => json!({"allowed": false}),
        ("uid", _) => json!({"allowed": true, "uid": "other"}),
        ("badpatch", _) => patch(json!([{"op": "remove", "path": "/none/there"}])),
        ("nopatch", _) => json!({"allowed": true, "patchType": "JSONPatch", "patch": STANDARD.encode("{")}),
        ("label", name) => label(name),
        ("rename", name) => patch(json!([{"op": "add", "path": "/metadata/name", "value": name}])),
        ("replicas", number) => patch(json!([{"op": "replace", "path": "/spec/replicas", "value": number.parse::<i64>().unwrap()}])),
        ("forge", _) => {
            patch(json!([{"op": "add", "path": "/metadata/uid", "value": "forged"}, {"op": "add", "path": "/none", "value": 1}]))
        }
        ("kind", _) => patch(json!([{"op": "replace", "path": "/kind", "value": "Secret"}])),
        ("spoil", _) => patch(json!([{"op": "replace", "path": "/data", "value": {"no such key!": "v"}}])),
        ("sidecar", _) => patch(json!([{"op": "add", "path": "/spec/containers/-", "value": {"name": "side", "image": "side"}}])),
        ("disown", _) => patch(json!([{"op": "replace", "path": "/metadata/managedFields/0/operation", "value": "Own"}])),
        ("warn", _) => json!({"allowed": true, "warnings": ["mind the gap"], "auditAnnotations": {"seen": "yes"}}),
        _ => json!({"allowed": true}),
    }
}

fn respond(review: &Value, mut response: Value) -> String {
    response.default_at("uid", review.at("request.uid").cloned().unwrap());
    json!({"apiVersion": review["apiVersion"], "kind": "AdmissionReview", "response": response}).to_string()
}

fn labels(doc: &Value) -> BTreeMap<String, String> {
    let labels = doc.map_at("metadata.labels").cloned().unwrap_or_default();
    labels.into_iter().map(|(key, value)| (key, value.as_str().unwrap_or_default().to_owned())).collect()
}

fn message(answer: Result<Value, Status>) -> (u16, String) {
    answer.map_or_else(|status| (status.code, status.message), |doc| (200, doc.str_at("metadata.name").to_owned()))
}
