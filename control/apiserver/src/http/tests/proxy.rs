//! Requests passed on to pods and services, against a backend that is a few lines.

use std::convert::Infallible;

use http::{Method, Request, Response};
use http_body_util::Full;
use hyper::server::conn::http1 as server;
use hyper::service::service_fn;
use schema::DocExt;

use super::*;

/// Tells what it was asked for; `/moved` leads to `/there`.
async fn handle(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    for private in ["authorization", "cookie"] {
        assert!(!request.headers().contains_key(private), "{private} stays with the API server");
    }
    if request.uri().path() == "/moved" {
        return Ok(Response::builder().status(302).header("location", "/there").body(Full::default()).unwrap());
    }
    let head = format!("{} {}", request.method(), request.uri());
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let text = format!("{head} {}", String::from_utf8_lossy(&body));
    Ok(Response::builder().header("x-app", "yes").body(Full::new(Bytes::from(text))).unwrap())
}

/// A pod, a service and a slice that lead to a backend on loopback.
async fn backend(world: &World) -> u16 {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = socket.local_addr().unwrap().port();
    let env = world.env.clone();
    world.env.spawn("backend", async move {
        while let Ok((tcp, _)) = socket.accept().await {
            env.spawn("backend-connection", async move {
                let _ = server::Builder::new().serve_connection(TokioIo::new(tcp), service_fn(handle)).await;
            });
        }
    });
    let create = async |api: &str, plural: &str, doc: Value| world.loopback.create(Target::of(api, plural, "default"), doc).await.unwrap();
    create("v1", "serviceaccounts", json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}})).await;
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"},
        "spec": {"nodeName": "n1", "containers": [{"name": "c", "image": "i", "ports": [{"containerPort": port}]}]}});
    let mut pod = create("v1", "pods", pod).await.value();
    pod["status"] = json!({"phase": "Running", "podIP": "127.0.0.1", "podIPs": [{"ip": "127.0.0.1"}]});
    world.loopback.update(Target::of("v1", "pods", "default").named("web").sub("status"), pod).await.unwrap();
    let service =
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "front"}, "spec": {"ports": [{"name": "http", "port": 80}]}});
    create("v1", "services", service).await;
    world.slice(port).await;
    port
}

impl World {
    /// The endpoints of `front`. They may not be on loopback, and the server refuses to dial there as well.
    async fn slice(&self, port: u16) {
        let slice = json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"name": "front-1", "labels": {"kubernetes.io/service-name": "front"}},
            "ports": [{"name": "http", "port": port}], "endpoints": [{"addresses": ["192.0.2.1"], "conditions": {"ready": false}}]});
        self.loopback.create(Target::of("discovery.k8s.io/v1", "endpointslices", "default"), slice).await.unwrap();
    }
}

#[tokio::test]
async fn a_request_reaches_what_listens_in_a_pod() {
    let world = World::start().await;
    let port = backend(&world).await;
    let pods = "/api/v1/namespaces/default/pods";
    for name in ["web".to_owned(), format!("web:{port}"), format!("http:web:{port}")] {
        let headers = [("cookie", "a=b")];
        let response = world.ask(Method::POST, &format!("{pods}/{name}/proxy/a/b%20c?x=y"), &headers, "hello").await;
        assert_eq!((response.status().as_u16(), response.headers()["x-app"].to_str().unwrap()), (200, "yes"));
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "POST /a/b%20c?x=y hello");
    }
    let (status, headers, _) = world.get(&format!("{pods}/web/proxy?q=1"), &[]).await;
    assert_eq!((status.as_u16(), headers["location"].to_str().unwrap()), (301, "/api/v1/namespaces/default/pods/web/proxy/?q=1"));
    let (status, headers, _) = world.get(&format!("{pods}/web/proxy/moved"), &[]).await;
    assert_eq!((status.as_u16(), headers["location"].to_str().unwrap()), (302, "/api/v1/namespaces/default/pods/web/proxy/there"));
    let (_, _, bytes) = world.get(&format!("{pods}/web/proxy/"), &[]).await;
    assert_eq!(bytes, "GET / ");
}

#[tokio::test]
async fn what_cannot_be_reached_is_told() {
    let world = World::start().await;
    backend(&world).await;
    let base = "/api/v1/namespaces/default";
    for (path, code, message) in [
        ("pods/none/proxy/", 404, "pods \"none\" not found"),
        ("pods/web:1/proxy/", 503, "error trying to reach service: dial tcp 127.0.0.1:1: Connection refused (os error 111)"),
        ("services/front:http/proxy/", 503, "no endpoints available for service \"front\""),
        ("services/front:80/proxy/", 503, "no endpoints available for service \"front\""),
        ("services/front:81/proxy/", 503, "no service port 81 found for service \"front\""),
        ("services/a:b:c:d/proxy/", 400, "invalid service request \"a:b:c:d\""),
    ] {
        let (status, _, bytes) = world.get(&format!("{base}/{path}"), &[]).await;
        let doc: Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!((status.as_u16(), doc.str_at("message")), (code, message), "{path}");
    }
    let denied = Request::get(format!("{base}/pods/web/proxy/")).header("host", "x").header("authorization", "Bearer alice");
    let (code, _) = status_of(world.http1(None).await.send_request(denied.body(Full::default()).unwrap()).await.unwrap()).await;
    assert_eq!(code, 403);
}
