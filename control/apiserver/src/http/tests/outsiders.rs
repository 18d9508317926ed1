//! Issuers and webhooks outside, over real TLS, configured by files that change while the server runs; and what is left of those who are
//! refused.

use std::convert::Infallible;
use std::path::Path;
use std::sync::Mutex;

use auth::jwt::signer::Signer;
use hyper::service::service_fn;
use hyper_util::server::conn::auto;
use schema::DocExt;

use super::*;
use crate::http::audit::{Audit, LogConfig, Policy};

/// A program outside: an issuer, a token webhook and an authorization webhook in one.
struct Program {
    url: String,
    ca: String,
    key: Signer,
    /// The paths that were asked, with the documents.
    asked: Arc<Mutex<Vec<(String, Value)>>>,
    _dir: tempfile::TempDir,
}

impl Program {
    async fn start(env: &Env) -> Arc<Self> {
        let dir = tempfile::tempdir().unwrap();
        let pki = Pki::ensure(dir.path(), env).unwrap();
        let leaf = pki.leaf(&Leaf::api_server(&[])).unwrap();
        let config = rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(leaf.chain(), leaf.private_key()).unwrap();
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}", socket.local_addr().unwrap());
        let key = Signer::from_pem(pki.signing_key()).unwrap();
        let program = Arc::new(Self { url, ca: pki.ca().to_owned(), key, asked: Arc::default(), _dir: dir });
        let (acceptor, task_env, served) = (tokio_rustls::TlsAcceptor::from(Arc::new(config)), env.clone(), Arc::clone(&program));
        env.spawn("program", async move {
            while let Ok((tcp, _)) = socket.accept().await {
                let (acceptor, program) = (acceptor.clone(), Arc::clone(&served));
                task_env.spawn("program-connection", async move {
                    let Ok(tls) = acceptor.accept(tcp).await else { return };
                    let service = service_fn(move |request| Arc::clone(&program).answer(request));
                    let _ = auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(tls), service).await;
                });
            }
        });
        program
    }

    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
        let path = request.uri().path().to_owned();
        let body = request.into_body().collect().await.unwrap().to_bytes();
        let asked: Value = serde_json::from_slice(&body).unwrap_or_default();
        self.asked.lock().unwrap().push((path.clone(), asked.clone()));
        let answer = match path.as_str() {
            "/.well-known/openid-configuration" => json!({"issuer": self.url, "jwks_uri": format!("{}/keys", self.url)}),
            "/keys" => json!({"keys": [self.key.public().jwk()]}),
            "/tokens" => {
                let known = asked.str_at("spec.token") == "hooked";
                json!({"kind": "TokenReview", "status": {"authenticated": known, "user": {"username": "hook-user", "groups": ["hooked"]}}})
            }
            "/access" => {
                let allowed = asked.str_at("spec.resourceAttributes.resource") == "configmaps";
                let denied = asked.str_at("spec.resourceAttributes.resource") == "secrets";
                json!({"kind": "SubjectAccessReview", "status": {"allowed": allowed, "denied": denied, "reason": "the hook says so"}})
            }
            _ => Value::Null,
        };
        Ok(Response::new(Full::new(Bytes::from(answer.to_string()))))
    }

    fn token(&self, name: &str) -> String {
        let exp = Env::real().now().as_second() + 600;
        self.key.sign(&json!({"iss": self.url, "aud": "me", "sub": name, "groups": ["far"], "exp": exp})).unwrap()
    }

    fn kubeconfig(&self, path: &str) -> String {
        use base64::Engine;
        let ca = base64::engine::general_purpose::STANDARD.encode(&self.ca);
        json!({"clusters": [{"name": "c", "cluster": {"server": format!("{}{path}", self.url), "certificate-authority-data": ca}}],
               "contexts": [{"name": "x", "context": {"cluster": "c"}}], "current-context": "x"})
        .to_string()
    }

    fn issuers(&self, prefix: &str) -> String {
        json!({"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthenticationConfiguration",
               "anonymous": {"enabled": true, "conditions": [{"path": "/livez"}]},
               "jwt": [{"issuer": {"url": self.url, "audiences": ["me"], "certificateAuthority": self.ca},
                        "claimMappings": {"username": {"claim": "sub", "prefix": prefix}, "groups": {"expression": "claims.groups"}}}]})
        .to_string()
    }
}

/// A server whose folder has these files.
async fn settled(folder: &Path, files: &[(&str, String)]) -> World {
    for (name, text) in files {
        std::fs::write(folder.join(name), text).unwrap();
    }
    World::with_settings(Limits::default(), |_| Options::default(), &Settings::load(folder).unwrap()).await
}

async fn get(world: &World, path: &str, token: &str) -> (u16, Value) {
    let request = Request::get(path).header("host", "x").header("authorization", format!("Bearer {token}"));
    status_of(world.http1(None).await.send_request(request.body(Full::default()).unwrap()).await.unwrap()).await
}

async fn name_of(world: &World, token: &str) -> (u16, String) {
    let body = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}).to_string();
    let request =
        Request::post("/apis/authentication.k8s.io/v1/selfsubjectreviews").header("host", "x").header("content-type", "application/json");
    let request = request.header("authorization", format!("Bearer {token}")).body(Full::new(body.into())).unwrap();
    let (code, doc) = status_of(world.http1(None).await.send_request(request).await.unwrap()).await;
    (code, format!("{} {}", doc.str_at("status.userInfo.username"), doc["status"]["userInfo"]["groups"]))
}

/// Asks until it is so; the test's own time limit is the only one.
async fn until(mut is_so: impl AsyncFnMut() -> bool) {
    let soon = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), soon).await.expect("it becomes so");
}

#[tokio::test]
async fn an_issuers_tokens_are_good_as_its_file_says_and_the_file_may_change() {
    let (dir, env) = (tempfile::tempdir().unwrap(), Env::real());
    let program = Program::start(&env).await;
    let files = [("apiserver.yaml", "authentication-config: authn.yaml\n".to_owned()), ("authn.yaml", program.issuers("a:"))];
    let world = settled(dir.path(), &files).await;
    let token = program.token("ann");
    until(async || name_of(&world, &token).await.0 == 201).await;
    assert_eq!(name_of(&world, &token).await, (201, r#"a:ann ["far","system:authenticated"]"#.into()));
    let bare = |path: &'static str| Request::get(path).header("host", "x").body(Full::default()).unwrap();
    assert_eq!(world.http1(None).await.send_request(bare("/livez")).await.unwrap().status(), 200);
    assert_eq!(world.http1(None).await.send_request(bare("/version")).await.unwrap().status(), 401, "anonymous where the file says");

    std::fs::write(dir.path().join("authn.yaml"), program.issuers("b:")).unwrap();
    until(async || name_of(&world, &token).await.1.starts_with("b:ann")).await;
    std::fs::write(dir.path().join("authn.yaml"), program.issuers("c:").replace("audiences", "audience")).unwrap();
    let next = dir.path().join("next.yaml");
    std::fs::write(&next, program.issuers("d:").replace("\"jwt\"", "\"jwts\"")).unwrap();
    assert!(name_of(&world, &token).await.1.starts_with("b:ann"), "what is wrong changes nothing");
    std::fs::write(&next, program.issuers("e:")).unwrap();
    std::fs::rename(&next, dir.path().join("authn.yaml")).unwrap();
    until(async || name_of(&world, &token).await.1.starts_with("e:ann")).await;
    assert_eq!(get(&world, "/api/v1/pods", "x.y.z").await.0, 401);
}

#[tokio::test]
async fn webhooks_say_who_and_whether() {
    let (dir, env) = (tempfile::tempdir().unwrap(), Env::real());
    let program = Program::start(&env).await;
    let settings = "authentication-token-webhook-config-file: tokens.kubeconfig\nauthentication-token-webhook-version: v1\nauthorization-config: authz.yaml\n";
    let access = dir.path().join("access.kubeconfig");
    let hook = json!({"type": "Webhook", "name": "hook", "webhook": {"timeout": "3s", "subjectAccessReviewVersion": "v1", "failurePolicy": "Deny",
        "matchConditionSubjectAccessReviewVersion": "v1", "matchConditions": [{"expression": "!request.user.startsWith('system:')"}],
        "connectionInfo": {"type": "KubeConfigFile", "kubeConfigFile": access.to_str().unwrap()}}});
    let order = |authorizers: Value| {
        json!({"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthorizationConfiguration", "authorizers": authorizers}).to_string()
    };
    let rbac = json!({"type": "RBAC", "name": "rbac"});
    std::fs::write(&access, program.kubeconfig("/access")).unwrap();
    let files = [
        ("apiserver.yaml", settings.to_owned()),
        ("tokens.kubeconfig", program.kubeconfig("/tokens")),
        ("authz.yaml", order(json!([{"type": "Node", "name": "node"}, hook, rbac]))),
    ];
    let world = settled(dir.path(), &files).await;
    let (code, list) = get(&world, "/api/v1/namespaces/default/configmaps", "hooked").await;
    assert_eq!((code, list.str_at("kind")), (200, "ConfigMapList"), "{list}");
    let (code, refused) = get(&world, "/api/v1/namespaces/default/secrets", "hooked").await;
    assert_eq!(code, 403);
    assert!(
        refused
            .str_at("message")
            .ends_with(r#"User "hook-user" cannot list resource "secrets" in API group "" in the namespace "default": the hook says so"#),
        "{refused}"
    );
    assert_eq!(get(&world, "/api/v1/namespaces/default/pods", "hooked").await.0, 403, "no opinion, and RBAC has none either");
    assert_eq!(get(&world, "/api/v1/namespaces/default/pods", "unknown").await.0, 401);
    let asked = program.asked.lock().unwrap().iter().filter(|(path, _)| path == "/tokens").count();
    assert_eq!(asked, 2, "one question a token");

    std::fs::write(dir.path().join("authz.yaml"), order(json!([rbac]))).unwrap();
    until(async || get(&world, "/api/v1/namespaces/default/configmaps", "hooked").await.0 == 403).await;
    std::fs::write(dir.path().join("authz.yaml"), order(json!([{"type": "AlwaysAllow", "name": "all"}]))).unwrap();
    until(async || get(&world, "/api/v1/namespaces/default/secrets", "hooked").await.0 == 200).await;
    std::fs::write(dir.path().join("authz.yaml"), order(json!([]))).unwrap();
    assert_eq!(get(&world, "/api/v1/namespaces/default/secrets", "hooked").await.0, 200, "what is wrong changes nothing");
}

#[test]
fn settings_that_contradict_themselves_are_told() {
    let dir = tempfile::tempdir().unwrap();
    for (text, want) in [
        ("authentication-config: a\noidc-issuer-url: https://x\n", "mutually exclusive"),
        ("authorization-config: a\nauthorization-mode: [RBAC]\n", "can not be specified when authorization-mode"),
        ("authorization-mode: [Webhook]\n", "must be set together"),
    ] {
        std::fs::write(dir.path().join("apiserver.yaml"), text).unwrap();
        assert!(Settings::load(dir.path()).is_err_and(|why| why.contains(want)), "{text}");
    }
    for (text, want) in [
        ("service-account-max-token-expiration: 10m\n", "between 1 hour and 2^32 seconds"),
        ("service-account-key-file: [none.pub]\n", "none.pub: No such file"),
        ("service-account-issuer: ['http://a b']\n", "was not a valid URL"),
    ] {
        std::fs::write(dir.path().join("apiserver.yaml"), text).unwrap();
        let why = Settings::load(dir.path()).unwrap().configure(Config::default()).unwrap_err();
        assert!(why.contains(want), "{why}");
    }
}

#[tokio::test]
async fn tokens_are_issued_and_published_as_the_settings_say() {
    let (dir, env) = (tempfile::tempdir().unwrap(), Env::real());
    let old = Pki::ensure(&dir.path().join("old"), &env).unwrap();
    std::fs::write(dir.path().join("old.key"), old.signing_key()).unwrap();
    let settings = "service-account-issuer: [https://new.example.com, https://kubernetes.default.svc.cluster.local]\napi-audiences: [api, other]\nservice-account-key-file: [old.key]\nservice-account-max-token-expiration: 1h\nservice-account-jwks-uri: https://new.example.com/keys\n";
    let world = settled(dir.path(), &[("apiserver.yaml", settings.to_owned())]).await;
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "bot"}});
    let account = world.loopback.create(Target::of("v1", "serviceaccounts", "default"), account).await.unwrap();
    let discovery = world.get_json("/.well-known/openid-configuration").await;
    assert_eq!((discovery.str_at("issuer"), discovery.str_at("jwks_uri")), ("https://new.example.com", "https://new.example.com/keys"));
    assert_eq!(world.get_json("/openid/v1/jwks").await.items_at("keys").len(), 2);
    let path = "/api/v1/namespaces/default/serviceaccounts/bot/token";
    let ask = async |doc: Value| {
        let doc =
            json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "metadata": doc["metadata"], "spec": doc["spec"]});
        let answer = world.ask(Method::POST, path, &[("content-type", "application/json")], doc.to_string()).await;
        let warning = answer.headers().get("warning").map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default();
        (status_of(answer).await, warning)
    };
    let ((code, made), warning) = ask(json!({"metadata": {"uid": account.meta.uid}, "spec": {"expirationSeconds": 7200}})).await;
    assert_eq!((code, made["spec"]["audiences"].clone()), (201, json!(["api", "other"])), "{made}");
    assert!(warning.contains("requested expiration of 7200 seconds shortened to 3600 seconds"), "{warning}");
    assert_eq!(name_of(&world, made.str_at("status.token")).await.0, 201);
    let ((code, refused), _) = ask(json!({"metadata": {"uid": "another"}, "spec": {}})).await;
    assert_eq!(code, 409);
    assert!(
        refused.str_at("message").contains("the UID in the token request (another) does not match the UID of the service account"),
        "{refused}"
    );
    let key = Signer::from_pem(old.signing_key()).unwrap();
    let claims = json!({"iss": auth::token::ISSUER, "aud": ["api"], "sub": "system:serviceaccount:default:bot", "exp": env.now().as_second() + 60, "iat": 0,
        "kubernetes.io": {"namespace": "default", "serviceaccount": {"name": "bot", "uid": account.meta.uid}}});
    assert_eq!(name_of(&world, &key.sign(&claims).unwrap()).await.0, 201, "a key that was exchanged, an issuer that was renamed");
}

#[tokio::test]
async fn reviews_take_selectors() {
    let world = World::start().await;
    let review = async |attributes: Value, user: &str| {
        let doc = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": {"user": user, "groups": ["system:nodes"], "resourceAttributes": attributes}});
        let path = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
        status_of(world.ask(Method::POST, path, &[("content-type", "application/json")], doc.to_string()).await).await.1
    };
    let pods = |selector: Value| json!({"verb": "list", "resource": "pods", "fieldSelector": selector});
    let own = json!({"requirements": [{"key": "spec.nodeName", "operator": "In", "values": ["n1"]}]});
    assert!(review(pods(own.clone()), "system:node:n1").await.bool_at("status.allowed"));
    assert!(!review(pods(own), "system:node:n2").await.bool_at("status.allowed"));
    assert!(review(pods(json!({"rawSelector": "spec.nodeName=n1"})), "system:node:n1").await.bool_at("status.allowed"));
    let unread =
        review(pods(json!({"requirements": [{"key": "spec.nodeName", "operator": "Near", "values": ["n1"]}]})), "system:node:n1").await;
    assert_eq!(
        (unread.bool_at("status.allowed"), unread.str_at("status.evaluationError")),
        (false, "spec.resourceAttributes.fieldSelector ignored due to parse error")
    );
    for (selector, want) in [
        (
            json!({}),
            "spec.resourceAttributes.fieldSelector.requirements: Required value: when spec.resourceAttributes.fieldSelector is specified, requirements or rawSelector is required",
        ),
        (
            json!({"rawSelector": "a=b", "requirements": [{"key": "a", "operator": "Exists"}]}),
            "may not specified at the same time as requirements",
        ),
        (
            json!({"requirements": [{"operator": "In", "key": "a"}]}),
            "requirements[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'",
        ),
    ] {
        let refused = review(pods(selector), "system:node:n1").await;
        assert!(refused.str_at("message").contains(want), "{refused}");
    }
}

/// Everything that somebody without rights may try: each leaves a line, and nothing else.
#[tokio::test]
async fn refused_requests_leave_a_line_and_change_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    let log = LogConfig { path: path.clone(), max_bytes: 1 << 20, max_backups: 1, max_age: None };
    let policy = "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\nrules: [{level: Metadata}]\n";
    let options =
        |env: &Env| Options { audit: Some(Audit::start(env, Policy::parse(policy).unwrap(), log).unwrap()), ..Options::default() };
    let world = World::with_options(Limits::default(), options).await;
    world.config_map("one", "v").await;
    let (before, revision) = (world.get_json("/api/v1/configmaps").await, world.core.revision());
    let one = "/api/v1/namespaces/default/configmaps/one";
    let all = "/api/v1/namespaces/default/configmaps";
    let doc = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "one"}}).to_string();
    let tries: Vec<(Method, &str, &str, Vec<(&str, &str)>, u16)> = [(Some("alice"), 403), (Some("nope"), 401), (None, 403)]
        .into_iter()
        .flat_map(|(token, code)| {
            let header: Vec<(&str, &str)> = match token {
                Some("alice") => vec![("authorization", "Bearer alice")],
                Some(_) => vec![("authorization", "Bearer a.b.c")],
                None => Vec::new(),
            };
            let apply = "application/apply-patch+yaml";
            [
                (Method::GET, one, ""),
                (Method::GET, all, ""),
                (Method::POST, all, "application/json"),
                (Method::PUT, one, "application/json"),
                (Method::PATCH, one, "application/json-patch+json"),
                (Method::PATCH, one, "application/merge-patch+json"),
                (Method::PATCH, one, "application/strategic-merge-patch+json"),
                (Method::PATCH, "/api/v1/namespaces/default/configmaps/one?fieldManager=m", apply),
                (Method::DELETE, one, ""),
                (Method::DELETE, all, ""),
                (Method::POST, "/api/v1/namespaces/default/pods/p/exec", ""),
                (Method::POST, "/api/v1/namespaces/default/serviceaccounts/default/token", "application/json"),
                (Method::POST, "/apis/rbac.authorization.k8s.io/v1/clusterroles", "application/json"),
                (Method::GET, "/metrics", ""),
            ]
            .map(|(method, path, content)| {
                let mut headers = header.clone();
                if !content.is_empty() {
                    headers.push(("content-type", content));
                }
                (method, path, content, headers, code)
            })
        })
        .collect();
    for (method, path, _, headers, code) in &tries {
        let mut request = Request::builder().method(method).uri(*path).header("host", "x");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = world.http1(None).await.send_request(request.body(Full::from(doc.clone())).unwrap()).await.unwrap();
        assert_eq!(answer.status(), *code, "{method} {path} {headers:?}");
    }
    for (headers, code) in
        [(vec![("impersonate-user", "root")], 403), (vec![("impersonate-user", "alice"), ("impersonate-group", "system:masters")], 403)]
    {
        let mut request = Request::delete(one).header("host", "x").header("authorization", "Bearer alice");
        for (name, value) in headers {
            request = request.header(name, value);
        }
        assert_eq!(world.http1(None).await.send_request(request.body(Full::default()).unwrap()).await.unwrap().status(), code);
    }
    assert_eq!((world.get_json("/api/v1/configmaps").await["items"].clone(), world.core.revision()), (before["items"].clone(), revision));
    world.env.stop(Duration::from_secs(5)).await;
    let lines: Vec<Value> = std::fs::read_to_string(&path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let refused: Vec<&Value> = lines.iter().filter(|line| matches!(line.i64_at("responseStatus.code"), Some(401 | 403))).collect();
    assert_eq!(refused.len(), tries.len() + 2, "one line each");
    let decided = |line: &&&Value| line["annotations"]["authorization.k8s.io/decision"] == "forbid";
    assert_eq!(
        refused.iter().filter(decided).count(),
        2 * tries.len() / 3,
        "those who are known, or nobody, were refused by the authorizer"
    );
}
