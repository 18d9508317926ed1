//! What happens around a request: flow control, deadlines, the audit log, browsers, metrics.

use std::time::Duration;

use client::Patch;
use http_body_util::Full;
use schema::DocExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::http::Options;
use crate::http::audit::{Audit, LogConfig, Mode, Policy, WebhookConfig};
use crate::http::cors::Cors;

const FLOW: &str = "flowcontrol.apiserver.k8s.io/v1";

#[tokio::test]
async fn an_answer_tells_its_flow_schema_and_its_level() {
    let world = World::start().await;
    let schema = world.get_json("/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas/exempt").await;
    let level = world.get_json("/apis/flowcontrol.apiserver.k8s.io/v1/prioritylevelconfigurations/exempt").await;
    // The objects are followed as they come.
    let mut headers = world.get("/version", &[]).await.1;
    while !headers.contains_key("x-kubernetes-pf-flowschema-uid") {
        tokio::task::yield_now().await;
        headers = world.get("/version", &[]).await.1;
    }
    assert_eq!(headers["x-kubernetes-pf-flowschema-uid"], schema.str_at("metadata.uid"));
    assert_eq!(headers["x-kubernetes-pf-prioritylevel-uid"], level.str_at("metadata.uid"));
    let (_, _, text) = world.get("/metrics", &[]).await;
    let text = String::from_utf8_lossy(&text).into_owned();
    assert!(text.contains(r#"apiserver_flowcontrol_dispatched_requests_total{flow_schema="exempt",priority_level="exempt"}"#), "{text}");
    assert!(text.contains(r#"apiserver_flowcontrol_nominal_limit_seats{priority_level="catch-all"}"#), "{text}");
}

#[tokio::test]
async fn a_flow_without_a_share_is_told_to_come_back() {
    let world = World::start().await;
    let level = json!({"apiVersion": FLOW, "kind": "PriorityLevelConfiguration", "metadata": {"name": "none"}, "spec": {"type": "Limited", "limited": {
        "nominalConcurrencyShares": 0, "borrowingLimitPercent": 0, "limitResponse": {"type": "Reject"}}}});
    world.loopback.create(Target::of(FLOW, "prioritylevelconfigurations", ""), level).await.unwrap();
    let schema = json!({"apiVersion": FLOW, "kind": "FlowSchema", "metadata": {"name": "alice"}, "spec": {
        "priorityLevelConfiguration": {"name": "none"}, "matchingPrecedence": 5, "rules": [{
            "subjects": [{"kind": "User", "user": {"name": "alice"}}], "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}]}]}});
    let schemas = Target::of(FLOW, "flowschemas", "");
    let made = world.loopback.create(schemas.clone(), schema).await.unwrap();
    let ask = async || {
        let request = Request::get("/version").header("host", "x").header("authorization", "Bearer alice").body(Full::default()).unwrap();
        world.http1(None).await.send_request(request).await.unwrap()
    };
    let mut refused = ask().await;
    while refused.status() != 429 {
        refused = ask().await;
    }
    assert_eq!(
        (&refused.headers()["retry-after"], &refused.headers()["x-kubernetes-pf-flowschema-uid"]),
        (&"1".parse().unwrap(), &made.meta.uid.parse().unwrap())
    );
    let text = refused.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(text, "Too many requests, please try again later.\n");
    // Its level exists, and its status says so; administrators get in as ever.
    let told = async || world.loopback.get(schemas.clone().named("alice")).await.unwrap().value();
    while told().await.items_at("status.conditions").is_empty() {
        tokio::task::yield_now().await;
    }
    assert_eq!(told().await["status"]["conditions"][0]["status"], "False");
    assert_eq!(world.get("/version", &[]).await.0, 200);
    let gone = json!({"spec": {"priorityLevelConfiguration": {"name": "global-default"}}});
    world.loopback.patch(schemas.named("alice"), Patch::Merge, &gone).await.unwrap();
    while ask().await.status() != 200 {}
}

#[tokio::test]
async fn a_timeout_is_a_duration() {
    let world = World::start().await;
    let (code, _, body) = world.get("/api/v1/pods?timeout=soon", &[]).await;
    let doc: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(code, 400);
    assert!(doc.str_at("message").starts_with("invalid timeout specified in the request URL"), "{doc}");
    assert_eq!(world.get("/api/v1/pods?timeout=30s", &[]).await.0, 200);
    // A body that never comes.
    let mut connection = world.tls(None, b"http/1.1").await;
    let head = "POST /api/v1/namespaces/default/configmaps?timeout=100ms HTTP/1.1\r\nhost: x\r\nauthorization: Bearer admin\r\ncontent-length: 9\r\n\r\n";
    connection.write_all(head.as_bytes()).await.unwrap();
    let mut answer = vec![0; 4096];
    let length = connection.read(&mut answer).await.unwrap();
    let text = String::from_utf8_lossy(&answer[..length]).into_owned();
    assert!(text.starts_with("HTTP/1.1 504"), "{text}");
    assert!(text.contains(r#""message":"Timeout: request did not complete within the allotted timeout""#), "{text}");
}

const POLICY: &str = "
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: None
  nonResourceURLs: [/version]
- level: RequestResponse
  resources: [{group: '', resources: [configmaps]}]
- level: Metadata
";

async fn audited() -> (World, std::path::PathBuf, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    let log = LogConfig { path: path.clone(), max_bytes: 1 << 20, max_backups: 1, max_age: None };
    let world = World::with_options(Limits::default(), |env| Options {
        audit: Some(Audit::start(env, Policy::parse(POLICY).unwrap(), log).unwrap()),
        cors: Cors::new(vec!["https://a.example".into()]),
    })
    .await;
    (world, path, dir)
}

/// What the log holds once the server has stopped.
async fn lines(world: &World, path: &std::path::Path) -> Vec<Value> {
    world.env.stop(Duration::from_secs(5)).await;
    std::fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn the_log_says_who_asked_what_and_what_came_of_it() {
    let (world, path, _dir) = audited().await;
    let doc = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "one"}, "data": {"k": "v"}}).to_string();
    let headers =
        [("content-type", "application/json"), ("audit-id", "mine"), ("impersonate-user", "root"), ("impersonate-group", "system:masters")];
    let made = world.ask(Method::POST, "/api/v1/namespaces/default/configmaps", &headers, doc).await;
    assert_eq!(made.status(), 201);
    assert_eq!(made.headers()["audit-id"], "mine");
    world.get("/version", &[]).await;
    let denied = Request::get("/api/v1/nodes/x").header("host", "x").header("authorization", "Bearer alice").body(Full::default()).unwrap();
    assert_eq!(world.http1(None).await.send_request(denied).await.unwrap().status(), 403);
    let unknown = Request::get("/api/v1/nodes").header("host", "x").header("authorization", "Bearer nope").body(Full::default()).unwrap();
    assert_eq!(world.http1(None).await.send_request(unknown).await.unwrap().status(), 401);
    world.get("/api/v1/pods?watch=1&timeoutSeconds=1", &[]).await;

    let lines = lines(&world, &path).await;
    let told: Vec<_> =
        lines.iter().map(|line| (line.str_at("verb"), line.str_at("stage"), line.i64_at("responseStatus.code").unwrap())).collect();
    let want = [
        ("create", "ResponseComplete", 201),
        ("get", "ResponseComplete", 403),
        ("list", "ResponseStarted", 401),
        ("watch", "ResponseStarted", 200),
        ("watch", "ResponseComplete", 200),
    ];
    assert_eq!(told, want);
    let made = &lines[0];
    assert_eq!((made.str_at("auditID"), made.str_at("user.username"), made.str_at("impersonatedUser.username")), ("mine", "admin", "root"));
    assert_eq!(
        (made.str_at("objectRef.name"), made.str_at("requestObject.data.k"), made.str_at("responseObject.data.k")),
        ("one", "v", "v")
    );
    assert!(!made.str_at("responseObject.metadata.uid").is_empty());
    assert_eq!(made["sourceIPs"], json!(["127.0.0.1"]));
    assert_eq!(made["annotations"]["authorization.k8s.io/decision"], "allow");
    let denied = &lines[1];
    assert_eq!((denied.str_at("user.username"), &denied["annotations"]["authorization.k8s.io/decision"]), ("alice", &json!("forbid")));
    assert!(denied.str_at("responseStatus.message").contains("cannot get resource \"nodes\""), "{denied}");
    assert_eq!((denied.get("responseObject"), lines[2].get("user")), (None, Some(&json!({}))));
}

#[tokio::test]
async fn the_log_tells_what_admission_says() {
    let (world, path, _dir) = audited().await;
    let post = async |path: &str, doc: Value| {
        let headers = [("content-type", "application/json")];
        world.ask(Method::POST, path, &headers, doc.to_string()).await.status()
    };
    let labels = json!({"pod-security.kubernetes.io/enforce": "baseline", "pod-security.kubernetes.io/audit": "restricted"});
    assert_eq!(post("/api/v1/namespaces", json!({"metadata": {"name": "careful", "labels": labels}})).await, 201);
    assert_eq!(post("/api/v1/namespaces/careful/serviceaccounts", json!({"metadata": {"name": "default"}})).await, 201);
    let policies = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolic";
    let rules = json!([{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["*"], "resources": ["pods"]}]);
    let spec = json!({"matchConstraints": {"resourceRules": rules}, "validations": [{"expression": "false", "message": "none"}]});
    assert_eq!(post(&format!("{policies}ies"), json!({"metadata": {"name": "p"}, "spec": spec})).await, 201);
    let spec = json!({"policyName": "p", "validationActions": ["Audit"]});
    assert_eq!(post(&format!("{policies}ybindings"), json!({"metadata": {"name": "b"}, "spec": spec})).await, 201);
    let pod =
        json!({"metadata": {"name": "x"}, "spec": {"automountServiceAccountToken": false, "containers": [{"name": "c", "image": "i"}]}});
    assert_eq!(post("/api/v1/namespaces/careful/pods", pod.clone()).await, 201);
    let mut wild = pod;
    wild.set_at("spec.hostNetwork", true);
    assert_eq!(post("/api/v1/namespaces/careful/pods", wild).await, 403);

    let lines = lines(&world, &path).await;
    let of_pods: Vec<&Value> = lines.iter().filter(|line| line.str_at("objectRef.resource") == "pods").collect();
    let told = |line: &Value, key: &str| line["annotations"][key].as_str().unwrap_or_default().to_owned();
    for line in &of_pods {
        assert_eq!(told(line, "pod-security.kubernetes.io/enforce-policy"), "baseline:latest", "{line}");
        let violations = told(line, "pod-security.kubernetes.io/audit-violations");
        assert!(violations.starts_with("would violate PodSecurity \"restricted:latest\": "), "{violations}");
    }
    let failure = told(of_pods[0], "validation.policy.admission.k8s.io/validation_failure");
    let failure: Value = serde_json::from_str(&failure).unwrap();
    assert_eq!((failure[0].str_at("message"), failure[0].str_at("binding"), of_pods.len()), ("none", "b", 2));
    assert_eq!(told(of_pods[1], "authorization.k8s.io/decision"), "allow");
}

/// Takes events, or refuses them all.
struct Program {
    refuses: std::sync::atomic::AtomicBool,
    events: std::sync::Mutex<Vec<(String, String)>>,
}

#[async_trait::async_trait]
impl crate::http::audit::Sink for Program {
    async fn post(&self, list: Value) -> Result<(), String> {
        if self.refuses.load(std::sync::atomic::Ordering::SeqCst) {
            return Err("no".into());
        }
        let stage = |event: &Value| (event.str_at("verb").to_owned(), event.str_at("stage").to_owned());
        self.events.lock().unwrap().extend(list.items_at("items").iter().map(stage));
        Ok(())
    }
}

#[tokio::test]
async fn a_request_that_cannot_be_told_of_is_refused_where_the_mode_is_strict() {
    let program = Arc::new(Program { refuses: false.into(), events: std::sync::Mutex::default() });
    let sink = Arc::clone(&program);
    let policy = "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Metadata}]\n";
    let config = WebhookConfig { mode: Mode::BlockingStrict, initial_backoff: Duration::from_millis(1), ..WebhookConfig::default() };
    let world = World::with_options(Limits::default(), |env| Options {
        audit: Some(Arc::new(Audit::new(env, Policy::parse(policy).unwrap()).with_webhook(config, sink))),
        ..Options::default()
    })
    .await;
    program.events.lock().unwrap().clear();
    assert_eq!(world.get("/api/v1/namespaces/default", &[]).await.0, 200);
    let stages: Vec<String> = program.events.lock().unwrap().iter().map(|(verb, stage)| format!("{verb} {stage}")).collect();
    assert_eq!(stages, ["get RequestReceived", "get ResponseComplete"], "they are there when the answer is");
    program.refuses.store(true, std::sync::atomic::Ordering::SeqCst);
    let (code, _, body) = world.get("/api/v1/namespaces/default", &[]).await;
    let want = "Internal Server Error: \"/api/v1/namespaces/default\": failed to store audit event\n";
    assert_eq!((code.as_u16(), std::str::from_utf8(&body).unwrap()), (500, want));
}

#[tokio::test]
async fn browsers_of_other_origins_are_let_in_by_name() {
    let (world, _, _dir) = audited().await;
    let before = world.ask(Method::OPTIONS, "/api/v1/pods", &[("origin", "https://a.example")], "").await;
    assert_eq!(before.status(), 204);
    assert_eq!(before.headers()["access-control-allow-origin"], "https://a.example");
    let (code, headers, _) = world.get("/version", &[("origin", "https://a.example")]).await;
    assert_eq!(code, 200);
    assert_eq!(headers["access-control-allow-credentials"], "true");
    let (_, headers, _) = world.get("/version", &[("origin", "https://b.example")]).await;
    assert!(!headers.contains_key("access-control-allow-origin"));
}

#[tokio::test]
async fn a_server_that_stops_is_not_ready() {
    let world = World::start().await;
    assert_eq!(world.get("/readyz/shutdown", &[]).await.0, 200);
    let mut connection = world.http1(None).await;
    world.env.shutdown().cancel();
    let request =
        Request::get("/readyz?verbose").header("host", "x").header("authorization", "Bearer admin").body(Full::default()).unwrap();
    // An open connection may still be answered once; a closed one says as much.
    if let Ok(answer) = connection.send_request(request).await {
        assert_eq!(answer.status(), 500);
    }
}
