//! Another API server behind an APIService: a few lines that tell who asked, and that can be taken down.

use std::convert::Infallible;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use auth::front_proxy::FrontProxies;
use auth::pki::Live;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures::StreamExt;
use http_body_util::StreamBody;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Frame;
use hyper::service::service_fn;
use hyper_util::server::conn::auto;
use schema::DocExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::aggregation::Trust;

type Sent = UnsyncBoxBody<Bytes, std::io::Error>;

/// The other server.
#[derive(Default)]
struct Extension {
    port: u16,
    /// Answers 500 to everything.
    is_ill: AtomicBool,
    /// Knows aggregated discovery.
    aggregates: AtomicBool,
    connections: AtomicUsize,
    /// Method, path and who asked, of what was proxied.
    asked: Mutex<Vec<String>>,
}

/// A world that aggregates, with another server that answers for `ext.example.com/v1`.
struct Aggregating {
    world: World,
    extension: Arc<Extension>,
    /// Base64 of PEM.
    ca: String,
}

/// Leads the endpoint's address to loopback, where no endpoint may be.
struct ToExtension(u16);

#[async_trait::async_trait]
impl crate::webhook::Dial for ToExtension {
    async fn dial(&self, address: SocketAddr) -> std::io::Result<TcpStream> {
        assert_eq!(address.to_string(), "192.0.2.10:8443");
        TcpStream::connect(("127.0.0.1", self.0)).await
    }
}

impl Aggregating {
    async fn start() -> Self {
        let world = World::start().await;
        let extension = extension(&world).await;
        let aggregation = world.face.aggregation();
        aggregation.set_dial(Arc::new(ToExtension(extension.port)));
        aggregation.set_identity(Live::new(&world.pki.leaf(&Leaf::front_proxy()).unwrap()).unwrap());
        let trust = Trust {
            client_ca: world.pki.ca().to_owned(),
            front_proxy_ca: world.pki.front_proxy_ca().to_owned(),
            front_proxy_name: "front-proxy-client".into(),
        };
        aggregation.start(&world.core, trust);
        let ca = STANDARD.encode(world.pki.ca());
        Self { world, extension, ca }
    }

    fn services(&self) -> Target {
        Target::of("apiregistration.k8s.io/v1", "apiservices", "")
    }

    async fn register(&self) {
        let spec = json!({"group": "ext.example.com", "version": "v1", "groupPriorityMinimum": 2000, "versionPriority": 15,
            "service": {"namespace": "default", "name": "ext"}, "caBundle": self.ca});
        let doc = json!({"metadata": {"name": "v1.ext.example.com"}, "spec": spec});
        self.world.loopback.create(self.services(), doc).await.unwrap();
    }

    async fn service(&self) {
        let service = json!({"metadata": {"name": "ext"}, "spec": {"ports": [{"name": "https", "port": 443, "targetPort": 8443}]}});
        self.world.loopback.create(Target::of("v1", "services", "default"), service).await.unwrap();
    }

    async fn endpoints(&self, is_ready: bool) {
        let slices = Target::of("discovery.k8s.io/v1", "endpointslices", "default");
        let slice = json!({"metadata": {"name": "ext-1", "labels": {"kubernetes.io/service-name": "ext"}}, "addressType": "IPv4",
            "ports": [{"name": "https", "port": 8443}], "endpoints": [{"addresses": ["192.0.2.10"], "conditions": {"ready": is_ready}}]});
        let _ = self.world.loopback.delete(slices.clone().named("ext-1"), client::Options::default()).await;
        self.world.loopback.create(slices, slice).await.unwrap();
    }

    /// Registered, with everything that it needs.
    async fn available() -> Self {
        let this = Self::start().await;
        this.extension.aggregates.store(true, Ordering::SeqCst);
        this.service().await;
        this.endpoints(true).await;
        this.register().await;
        this.condition("Passed").await;
        this.told("Current").await;
        this
    }

    /// Waits for a reason of the condition; its status and message.
    async fn condition(&self, reason: &str) -> (String, String) {
        for _ in 0..1_000 {
            let held = self.world.loopback.get(self.services().named("v1.ext.example.com")).await.unwrap().value();
            let found = held.items_at("status.conditions").iter().find(|one| one.str_at("reason") == reason);
            if let Some(found) = found {
                return (found.str_at("status").to_owned(), found.str_at("message").to_owned());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the condition never said {reason}");
    }

    /// Waits until discovery tells of the group so; its version's entry.
    async fn told(&self, freshness: &str) -> Value {
        for _ in 0..1_000 {
            let entry = self.entry().await;
            if entry.str_at("freshness") == freshness {
                return entry;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("discovery never said {freshness}");
    }

    async fn entry(&self) -> Value {
        let accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
        let (_, _, bytes) = self.world.get("/apis", &[("accept", accept)]).await;
        let list: Value = serde_json::from_slice(&bytes).unwrap();
        let group = list.items_at("items").iter().find(|one| one.str_at("metadata.name") == "ext.example.com").cloned();
        group.map(|group| group.items_at("versions")[0].clone()).unwrap_or_default()
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.extension.asked.lock().unwrap())
    }
}

async fn extension(world: &World) -> Arc<Extension> {
    let identity = world.pki.leaf(&Leaf::node_server("ext", &["ext.default.svc".into()])).unwrap();
    let proxies = Arc::new(FrontProxies::new(world.pki.front_proxy_ca(), vec!["front-proxy-client".into()], &world.env).unwrap());
    let asks = ClientCertificates::new(world.pki.front_proxy_ca(), &world.env).unwrap().handshake_verifier();
    let config = rustls::ServerConfig::builder().with_client_cert_verifier(asks);
    let mut config = config.with_single_cert(identity.chain(), identity.private_key()).unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let extension = Arc::new(Extension { port: socket.local_addr().unwrap().port(), ..Extension::default() });
    let (env, this) = (world.env.clone(), Arc::clone(&extension));
    world.env.spawn("extension", async move {
        while let Ok((tcp, _)) = socket.accept().await {
            let (acceptor, this, proxies, env2) = (acceptor.clone(), Arc::clone(&this), Arc::clone(&proxies), env.clone());
            env.spawn("extension-connection", async move {
                let Ok(tls) = acceptor.accept(tcp).await else { return };
                this.connections.fetch_add(1, Ordering::SeqCst);
                let proxy = proxies.identify(tls.get_ref().1.peer_certificates().unwrap_or_default());
                let service = service_fn(move |request: Request<Incoming>| {
                    let headers = request.headers().clone();
                    let pairs = headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap_or_default()));
                    let user = proxy.as_ref().and_then(|proxy| proxies.user(proxy, pairs));
                    let (this, env) = (Arc::clone(&this), env2.clone());
                    async move { Ok::<_, Infallible>(handle(&this, &env, user, request).await) }
                });
                let _ = auto::Builder::new(TokioExecutor::new()).serve_connection_with_upgrades(TokioIo::new(tls), service).await;
            });
        }
    });
    extension
}

fn whole(code: u16, body: impl Into<Bytes>) -> Response<Sent> {
    let body = Full::new(body.into()).map_err(|never| match never {}).boxed_unsync();
    Response::builder().status(code).header("content-type", "application/json").header("x-ext", "yes").body(body).unwrap()
}

/// A body of these pieces, which ends well or breaks off.
fn pieces(texts: &[&str], is_cut: bool) -> Response<Sent> {
    let frames: Vec<Result<Frame<Bytes>, std::io::Error>> =
        texts.iter().map(|text| Ok(Frame::data(Bytes::from((*text).to_owned())))).collect();
    let paced = futures::stream::iter(frames).then(|frame| async move {
        tokio::time::sleep(Duration::from_millis(20)).await;
        frame
    });
    let end = futures::stream::iter(is_cut.then(|| Err(std::io::Error::other("gone"))));
    Response::builder().header("content-type", "application/json").body(StreamBody::new(paced.chain(end)).boxed_unsync()).unwrap()
}

async fn handle(extension: &Extension, env: &Env, user: Option<Arc<UserInfo>>, mut request: Request<Incoming>) -> Response<Sent> {
    assert!(!request.headers().contains_key("authorization"), "the caller's credentials stay with the API server");
    let Some(user) = user else { return whole(401, "who are you?") };
    let (path, head) = (request.uri().path().to_owned(), format!("{} {}", request.method(), request.uri().path_and_query().unwrap()));
    let is_ill = extension.is_ill.load(Ordering::SeqCst);
    let resource = json!({"resource": "things", "responseKind": {"group": "ext.example.com", "version": "v1", "kind": "Thing"}, "scope": "Namespaced",
        "singularResource": "thing", "verbs": ["get", "list"]});
    match path.as_str() {
        _ if is_ill => return whole(500, "ill"),
        "/apis" if extension.aggregates.load(Ordering::SeqCst) => {
            let version = json!({"version": "v1", "resources": [resource], "freshness": "Current"});
            let group = json!({"metadata": {"name": "ext.example.com"}, "versions": [version]});
            return whole(
                200,
                json!({"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "items": [group]}).to_string(),
            );
        }
        "/apis" => return whole(404, "404 page not found"),
        "/apis/ext.example.com/v1" if user.name == "system:kube-aggregator" => {
            let thing = json!({"name": "things", "singularName": "thing", "namespaced": true, "kind": "Thing", "verbs": ["get", "list"]});
            return whole(200, json!({"kind": "APIResourceList", "groupVersion": "ext.example.com/v1", "resources": [thing]}).to_string());
        }
        "/openapi/v2" => {
            let thing = json!({"get": {"responses": {"200": {"schema": {"$ref": "#/definitions/com.example.ext.v1.Thing"}}}}});
            let definitions = json!({"com.example.ext.v1.Thing": {"type": "object"}, "unused": {}});
            return whole(
                200,
                json!({"swagger": "2.0", "paths": {"/apis/ext.example.com/v1/things": thing, "/other": {}}, "definitions": definitions})
                    .to_string(),
            );
        }
        "/openapi/v3" => {
            let own = json!({"serverRelativeURL": "/openapi/v3/apis/ext.example.com/v1?hash=EXT"});
            return whole(200, json!({"paths": {"apis/ext.example.com/v1": own}}).to_string());
        }
        _ => {}
    }
    extension.asked.lock().unwrap().push(format!("{head} {} {:?} {:?}", user.name, user.groups, user.extra));
    match path.rsplit('/').next().unwrap_or_default() {
        "redirect" => Response::builder().status(302).header("location", "/elsewhere").body(whole(302, "").into_body()).unwrap(),
        "dies" => pieces(&["{\"items\":[", "{},"], true),
        "lasts" => pieces(&["one\n", "two\n", "three\n"], false),
        "pipe" => {
            let upgraded = hyper::upgrade::on(&mut request);
            env.spawn("echo", async move {
                let mut pipe = TokioIo::new(upgraded.await.unwrap());
                let mut bytes = [0; 64];
                while let Ok(count @ 1..) = pipe.read(&mut bytes).await {
                    pipe.write_all(&bytes[..count]).await.unwrap();
                }
            });
            let switched = Response::builder().status(101).header("connection", "Upgrade").header("upgrade", "websocket");
            switched.body(whole(101, "").into_body()).unwrap()
        }
        _ => {
            let body = request.into_body().collect().await.unwrap().to_bytes();
            whole(200, json!({"head": head, "body": String::from_utf8_lossy(&body)}).to_string())
        }
    }
}

#[tokio::test]
async fn requests_reach_the_other_server_in_the_name_of_who_asks() {
    let world = Aggregating::available().await;
    let path = "/apis/ext.example.com/v1/namespaces/default/things?limit=5&fieldSelector=a%3Db";
    let headers = [("x-remote-user", "root"), ("x-remote-group", "system:masters")];
    let response = world.world.ask(Method::POST, path, &headers, "hello").await;
    assert_eq!((response.status().as_u16(), response.headers()["x-ext"].to_str().unwrap()), (200, "yes"));
    let (_, doc) = status_of(response).await;
    assert_eq!(doc, json!({"head": format!("POST {path}"), "body": "hello"}));
    assert_eq!(world.asked(), [format!("POST {path} admin [\"system:masters\", \"system:authenticated\"] {{}}")]);
    let as_bob = [("impersonate-user", "bob"), ("impersonate-extra-example.com%2ftier", "gold")];
    let response = world.world.ask(Method::GET, "/apis/ext.example.com/v1/things", &as_bob, "").await;
    assert_eq!(response.status(), 403, "who may not is not passed on");
    assert!(world.asked().is_empty());
    let rule = json!({"apiGroups": ["ext.example.com"], "resources": ["things"], "verbs": ["list"]});
    let role = json!({"metadata": {"name": "things"}, "rules": [rule]});
    let rbac = |resource: &str| Target::of("rbac.authorization.k8s.io/v1", resource, "");
    world.world.loopback.create(rbac("clusterroles"), role).await.unwrap();
    let binding = json!({"metadata": {"name": "things"}, "subjects": [{"kind": "User", "name": "bob", "apiGroup": "rbac.authorization.k8s.io"}],
        "roleRef": {"kind": "ClusterRole", "name": "things", "apiGroup": "rbac.authorization.k8s.io"}});
    world.world.loopback.create(rbac("clusterrolebindings"), binding).await.unwrap();
    let mut code = 403;
    while code == 403 {
        code = world.world.ask(Method::GET, "/apis/ext.example.com/v1/things", &as_bob, "").await.status().as_u16();
    }
    let want = "GET /apis/ext.example.com/v1/things bob [\"system:authenticated\"] {\"example.com/tier\": [\"gold\"]}";
    assert_eq!((code, world.asked()), (200, vec![want.to_owned()]));
}

#[tokio::test]
async fn answers_flow_break_off_and_lead_nowhere_else() {
    let world = Aggregating::available().await;
    let at = |name: &str| format!("/apis/ext.example.com/v1/namespaces/default/things/{name}");
    let (code, _, bytes) = world.world.get(&at("lasts"), &[]).await;
    assert_eq!((code.as_u16(), &bytes[..]), (200, &b"one\ntwo\nthree\n"[..]));
    let mut dying = world.world.ask(Method::GET, &at("dies"), &[], "").await.into_body();
    assert_eq!(next_bytes(&mut dying).await, "{\"items\":[");
    assert!(dying.collect().await.is_err(), "a part is not taken for the whole");
    let (code, headers, bytes) = world.world.get(&at("redirect"), &[]).await;
    assert_eq!((code.as_u16(), headers.get("location")), (502, None));
    assert_eq!(bytes, "the backend attempted to redirect this request, which is not permitted");
    let before = world.extension.connections.load(Ordering::SeqCst);
    for _ in 0..10 {
        assert_eq!(world.world.get(&at("x"), &[]).await.0, 200);
    }
    let made = world.extension.connections.load(Ordering::SeqCst) - before;
    assert!(made <= 1, "connections are used again: {made}");
}

#[tokio::test]
async fn an_upgrade_becomes_a_pipe() {
    let world = Aggregating::available().await;
    let request = Request::get("/apis/ext.example.com/v1/namespaces/default/things/a/pipe")
        .header("host", "x")
        .header("authorization", "Bearer admin")
        .header("connection", "Upgrade")
        .header("upgrade", "websocket");
    let response = world.world.http1(None).await.send_request(request.body(Full::default()).unwrap()).await.unwrap();
    assert_eq!(response.status(), 101);
    let mut pipe = TokioIo::new(hyper::upgrade::on(response).await.unwrap());
    pipe.write_all(b"ping").await.unwrap();
    let mut bytes = [0; 4];
    pipe.read_exact(&mut bytes).await.unwrap();
    assert_eq!(&bytes, b"ping");
}

#[tokio::test]
async fn availability_follows_service_endpoints_and_answers() {
    let world = Aggregating::start().await;
    world.register().await;
    let told = |(status, message): (String, String)| format!("{status} {message}");
    assert_eq!(told(world.condition("ServiceNotFound").await), "False service/ext in \"default\" is not present");
    let (code, headers, bytes) = world.world.get("/apis/ext.example.com/v1/things", &[]).await;
    assert_eq!((code.as_u16(), &bytes[..]), (503, &b"service unavailable\n"[..]));
    assert_eq!(headers["content-type"], "text/plain; charset=utf-8");
    world.service().await;
    assert_eq!(told(world.condition("EndpointsNotFound").await), "False cannot find endpointslices for service/ext in \"default\"");
    world.endpoints(false).await;
    let want = "False endpointslices for service/ext in \"default\" have no addresses with port name \"https\"";
    assert_eq!(told(world.condition("MissingEndpoints").await), want);
    world.extension.is_ill.store(true, Ordering::SeqCst);
    world.endpoints(true).await;
    let (_, message) = world.condition("FailedDiscoveryCheck").await;
    assert!(message.starts_with("failing or missing response from https://10."), "{message}");
    assert!(message.ends_with(":443/apis/ext.example.com/v1: 500"), "{message}");
    world.extension.is_ill.store(false, Ordering::SeqCst);
    assert_eq!(told(world.condition("Passed").await), "True all checks passed");
    assert_eq!(world.told("Current").await["resources"][0]["resource"], "things", "of plain discovery, too");
    let patch = json!({"spec": {"service": {"port": 444}}});
    world.world.loopback.patch(world.services().named("v1.ext.example.com"), client::Patch::Merge, &patch).await.unwrap();
    assert_eq!(told(world.condition("ServicePortError").await), "False service/ext in \"default\" is not listening on port 444");
}

#[tokio::test]
async fn a_server_that_is_not_believed_gets_no_request() {
    let world = Aggregating::start().await;
    world.service().await;
    world.endpoints(true).await;
    world.register().await;
    let (dir, env) = (tempfile::tempdir().unwrap(), Env::real());
    let stranger = STANDARD.encode(Pki::ensure(dir.path(), &env).unwrap().ca());
    let bundle = |bundle: Value, blind: bool| json!({"spec": {"caBundle": bundle, "insecureSkipTLSVerify": blind}});
    let name = world.services().named("v1.ext.example.com");
    world.condition("Passed").await;
    world.world.loopback.patch(name.clone(), client::Patch::Merge, &bundle(json!(stranger), false)).await.unwrap();
    let (_, message) = world.condition("FailedDiscoveryCheck").await;
    assert!(message.ends_with("x509: certificate signed by unknown authority"), "{message}");
    world.world.loopback.patch(name.clone(), client::Patch::Merge, &bundle(Value::Null, true)).await.unwrap();
    world.condition("Passed").await;
    assert_eq!(world.world.get("/apis/ext.example.com/v1/things", &[]).await.0, 200, "who asks for no verification gets none");
}

#[tokio::test]
async fn documents_are_complete_also_while_a_server_is_down() {
    let world = Aggregating::available().await;
    let groups = world.world.get_json("/apis").await;
    let names: Vec<&str> = groups.items_at("groups").iter().map(|group| group.str_at("name")).collect();
    assert_eq!(&names[..2], ["apiregistration.k8s.io", "apps"]);
    assert!(names.contains(&"ext.example.com"));
    let group = world.world.get_json("/apis/ext.example.com").await;
    assert_eq!(group["preferredVersion"], json!({"groupVersion": "ext.example.com/v1", "version": "v1"}));
    let index = world.world.get_json("/openapi/v3").await;
    assert_eq!(index["paths"]["apis/ext.example.com/v1"]["serverRelativeURL"], "/openapi/v3/apis/ext.example.com/v1?hash=EXT");
    let v3 = world.world.get_json("/openapi/v3/apis/ext.example.com/v1?hash=EXT").await;
    assert_eq!(v3["head"], "GET /openapi/v3/apis/ext.example.com/v1?hash=EXT", "its own words");
    let v2 = world.world.get_json("/openapi/v2").await;
    assert!(v2["paths"].get("/apis/ext.example.com/v1/things").is_some() && v2["paths"].get("/other").is_none());
    assert!(v2["definitions"].get("com.example.ext.v1.Thing").is_some() && v2["definitions"].get("unused").is_none());
    world.extension.is_ill.store(true, Ordering::SeqCst);
    world.endpoints(true).await;
    world.condition("FailedDiscoveryCheck").await;
    let entry = world.told("Stale").await;
    assert_eq!(entry["resources"][0]["resource"], "things", "as it was last heard");
    assert_eq!(world.world.get("/apis/ext.example.com/v1", &[]).await.0, 503);
    assert_eq!(world.world.get("/apis/apps/v1", &[]).await.0, 200);
    world.world.loopback.delete(world.services().named("v1.ext.example.com"), client::Options::default()).await.unwrap();
    assert!(world.entry().await.is_null(), "gone with its APIService");
    assert_eq!(world.world.get("/apis/ext.example.com/v1", &[]).await.0, 404);
}

#[tokio::test]
async fn local_groups_are_registered_with_upstreams_priorities() {
    let world = Aggregating::start().await;
    let get = async |name: &str| {
        for _ in 0..500 {
            if let Ok(found) = world.world.loopback.get(world.services().named(name)).await {
                return found.value();
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{name} was never registered");
    };
    let apps = get("v1.apps").await;
    assert_eq!(apps["spec"], json!({"group": "apps", "version": "v1", "groupPriorityMinimum": 17800, "versionPriority": 15}));
    assert_eq!(apps["metadata"]["labels"]["kube-aggregator.kubernetes.io/automanaged"], "onstart");
    let condition = &apps.items_at("status.conditions")[0];
    assert_eq!((condition.str_at("reason"), condition.str_at("message")), ("Local", "Local APIServices are always available"));
    assert_eq!(get("v1.").await["spec"], json!({"version": "v1", "groupPriorityMinimum": 18000, "versionPriority": 1}));
    let schema = json!({"openAPIV3Schema": {"type": "object"}});
    let definition = json!({"metadata": {"name": "widgets.example.com"}, "spec": {"group": "example.com", "scope": "Namespaced",
        "names": {"plural": "widgets", "kind": "Widget"}, "versions": [{"name": "v1", "served": true, "storage": true, "schema": schema}]}});
    let definitions = Target::of("apiextensions.k8s.io/v1", "customresourcedefinitions", "");
    world.world.loopback.create(definitions.clone(), definition).await.unwrap();
    let custom = get("v1.example.com").await;
    assert_eq!((&custom["spec"]["groupPriorityMinimum"], &custom["spec"]["versionPriority"]), (&json!(1000), &json!(100)));
    world.world.loopback.delete(world.services().named("v1.example.com"), client::Options::default()).await.unwrap();
    assert_ne!(get("v1.example.com").await["metadata"]["uid"], custom["metadata"]["uid"], "made again");
    world.world.loopback.delete(definitions.named("widgets.example.com"), client::Options::default()).await.unwrap();
    while world.world.loopback.get(world.services().named("v1.example.com")).await.is_ok() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(world.world.loopback.get(world.services().named("v1.apiregistration.k8s.io")).await.is_err(), "as upstream");
    let trust = world.world.loopback.get(Target::of("v1", "configmaps", "kube-system").named("extension-apiserver-authentication"));
    let trust = trust.await.unwrap().value();
    assert_eq!(trust["data"]["requestheader-client-ca-file"], world.world.pki.front_proxy_ca());
    assert_eq!(trust["data"]["client-ca-file"], world.world.pki.ca());
}

#[tokio::test]
async fn who_takes_only_the_beta_of_aggregated_discovery_is_told_so() {
    let world = World::start().await;
    let beta = "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList";
    let (code, _, bytes) = world.get("/apis", &[("accept", beta)]).await;
    let status: Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!((code.as_u16(), status.str_at("reason")), (406, "NotAcceptable"));
    let (code, headers, bytes) = world.get("/apis", &[("accept", &format!("{beta},application/json"))]).await;
    let list: Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!((code.as_u16(), headers["content-type"].to_str().unwrap()), (200, "application/json"));
    assert_eq!(list.str_at("kind"), "APIGroupList");
}
