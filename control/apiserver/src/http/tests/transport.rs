//! Connections, limits and bodies.

use http::{Method, Request};
use http_body_util::Full;
use schema::DocExt;
use tokio::io::AsyncReadExt;

use super::*;

#[tokio::test]
async fn both_versions_of_http_answer() {
    let world = World::start().await;
    let (status, headers, body) = world.get("/version", &[]).await;
    assert_eq!(status, 200);
    assert!(headers.contains_key("audit-id") && headers["cache-control"] == "no-cache, private");
    assert!(String::from_utf8_lossy(&body).contains("v1.37.0+corten"));
    let mut h2 = world.http2().await;
    let asks = (0..50).map(|_| {
        let request = Request::get(format!("https://{}/version", world.address)).header("authorization", "Bearer admin");
        h2.send_request(request.body(Full::default()).unwrap())
    });
    for answer in futures::future::join_all(asks).await {
        assert_eq!(answer.unwrap().status(), 200);
    }
}

#[tokio::test]
async fn a_silent_client_is_dropped_at_the_handshakes_deadline() {
    let world = World::with(Limits { handshake: Duration::from_millis(100), ..Limits::default() }).await;
    let mut tcp = TcpStream::connect(world.address).await.unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(5), tcp.read(&mut [0; 16])).await.expect("the server hangs up");
    assert_eq!(ended.unwrap_or(0), 0);
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_for_a_place() {
    let world = World::with(Limits { connections: 1, ..Limits::default() }).await;
    let first = world.http1(None).await;
    let second = tokio::time::timeout(Duration::from_millis(300), world.tls(None, b"http/1.1")).await;
    assert!(second.is_err(), "there is no place for a second one");
    drop(first);
    tokio::time::timeout(Duration::from_secs(5), world.tls(None, b"http/1.1")).await.expect("the place is free again");
}

#[tokio::test]
async fn bodies_end_at_three_megabytes() {
    let world = World::start().await;
    let body = vec![b' '; (3 << 20) + 1];
    let response = world.ask(Method::POST, "/api/v1/namespaces/default/configmaps", &[("content-type", "application/json")], body).await;
    let (code, doc) = status_of(response).await;
    assert_eq!((code, doc.str_at("message")), (413, "Request entity too large: limit is 3145728"));
}

#[tokio::test]
async fn what_cannot_be_read_or_made_is_said_so() {
    let world = World::start().await;
    for (method, path, headers, body, want) in [
        (Method::POST, "/api/v1/namespaces/default/configmaps", vec![("content-type", "text/plain")], "x", 415),
        (Method::PATCH, "/api/v1/namespaces/default/configmaps/x", vec![("content-type", "application/json")], "{}", 415),
        (Method::GET, "/api/v1/namespaces/default/configmaps", vec![("accept", "text/html")], "", 406),
        (Method::POST, "/api/v1/namespaces/default/configmaps", vec![("content-type", "application/json")], "{", 400),
        (
            Method::POST,
            "/api/v1/namespaces/default/configmaps",
            vec![("content-type", "application/vnd.kubernetes.protobuf")],
            "k8s\0\u{7f}",
            400,
        ),
        (Method::PUT, "/api/v1/namespaces/default/configmaps", vec![], "", 405),
        (Method::HEAD, "/api/v1/namespaces/default/configmaps", vec![], "", 405),
        (Method::GET, "/api/v1/nopes", vec![], "", 404),
        (Method::GET, "/nope", vec![], "", 404),
        (Method::GET, "/apis/nope.example.com/v1/things", vec![], "", 404),
    ] {
        let response = world.ask(method.clone(), path, &headers, body).await;
        assert_eq!(response.status().as_u16(), want, "{method} {path}");
    }
}

#[tokio::test]
async fn the_end_is_graceful() {
    let world = World::start().await;
    let watch = world.ask(Method::GET, "/api/v1/configmaps?watch=1", &[], "").await;
    assert_eq!(watch.status(), 200);
    let started = world.env.instant();
    world.env.stop(Duration::from_secs(5)).await;
    assert!(started.elapsed() < Duration::from_secs(4), "watches end with the server");
}
