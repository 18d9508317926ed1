//! `pods/NAME/proxy/…` and `services/NAME/proxy/…`: a request passed on to what listens in a pod.
//!
//! ```text
//! pods/[scheme:]NAME[:PORT]/proxy       the pod's address, PORT or the first port that a container names
//! services/[scheme:]NAME[:PORT]/proxy   a ready endpoint of the service, by the port's number or name
//! ```
//!
//! The caller's credentials and cookies stay here. An address is dialled only where a node's agent could be, too: never on
//! this machine's loopback or link-local networks. Redirects are the client's to follow; a `Location` without a host leads
//! back through the proxy. Links inside of pages are not rewritten, and backends that speak TLS are refused.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use auth::UserInfo;
use client::{Options, Target};
use http::header::{HOST, HeaderName, HeaderValue, LOCATION};
use http::{Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, BodyStream};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use schema::{DocExt, Status, Value};
use tokio::net::TcpStream;

use super::agent::{CONNECT_TIMEOUT, passed_on, read};
use super::answer::{Answer, Body, BoxError, text, warn};
use super::audit::Notes;
use super::query::Query;
use super::route::Asked;
use super::{Face, Refusal, connect, upgrade};

/// Headers of an answer that concern one hop.
const HOP: [&str; 6] = ["connection", "keep-alive", "proxy-authenticate", "trailer", "transfer-encoding", "upgrade"];

/// Whether a target is answered by what listens in a pod.
pub fn serves(target: &Target) -> bool {
    let known = matches!(target.resource.as_str(), "pods" | "services");
    known && target.group.is_empty() && target.version == "v1" && !target.name.is_empty() && target.subresource == "proxy"
}

/// Answers a request that [`serves`] has recognised.
pub(crate) async fn answer(
    face: &Arc<Face>,
    user: &UserInfo,
    asked: &Asked,
    request: Request<Incoming>,
    notes: &Notes,
) -> Result<Answer, Refusal> {
    face.authorize(user, asked).await?;
    let (_, warnings) = connect::admit(face, user, asked, &Query::default(), notes).await?;
    if let Some(moved) = with_slash(asked, &request) {
        return Ok(moved);
    }
    let backend = Backend::parse(&asked.target)?;
    let address = match asked.target.resource.as_str() {
        "pods" => of_pod(face, &asked.target, &backend).await?,
        _ => of_service(face, &asked.target, &backend).await?,
    };
    if !face.agents.may_dial(address.ip()) {
        return Err(Status::bad_request("address not allowed").into());
    }
    let mut answer = forward(face, asked, address, request).await?;
    warn(&mut answer, &warnings);
    Ok(answer)
}

/// The front page's relative links need the slash.
fn with_slash(asked: &Asked, request: &Request<Incoming>) -> Option<Answer> {
    let path = request.uri().path();
    if !asked.rest.is_empty() || path.ends_with('/') || !matches!(*request.method(), Method::GET | Method::HEAD) {
        return None;
    }
    let query = request.uri().query().map_or_else(String::new, |query| format!("?{query}"));
    let mut answer = text(301, "");
    answer.headers_mut().insert(LOCATION, HeaderValue::from_str(&format!("{path}/{query}")).ok()?);
    Some(answer)
}

/// What the name in the path says.
#[derive(Debug, PartialEq)]
struct Backend {
    name: String,
    /// A number or a name; `""` where none is given.
    port: String,
}

impl Backend {
    fn parse(target: &Target) -> Result<Self, Status> {
        let kind = target.resource.trim_end_matches('s');
        let invalid = || Status::bad_request(format!("invalid {kind} request {:?}", target.name));
        let parts: Vec<&str> = target.name.split(':').collect();
        let (scheme, name, port) = match parts.as_slice() {
            [name] => ("", *name, ""),
            [name, port] => ("", *name, *port),
            [scheme, name, port] => (*scheme, *name, *port),
            _ => return Err(invalid()),
        };
        match scheme {
            "" | "http" if !name.is_empty() => Ok(Self { name: name.into(), port: port.into() }),
            "https" => Err(Status::bad_request(format!(
                "{kind} {name:?}: backends that speak TLS are not proxied; use port-forward, or a port that speaks HTTP"
            ))),
            _ => Err(invalid()),
        }
    }
}

async fn of_pod(face: &Face, target: &Target, backend: &Backend) -> Result<SocketAddr, Status> {
    let pod = read(face, Target::of("v1", "pods", &target.namespace).named(&backend.name)).await?;
    let port = match backend.port.as_str() {
        "" => first_port(&pod).unwrap_or(80),
        port => number(port).ok_or_else(|| Status::bad_request(format!("invalid port {port:?} of pod {:?}", backend.name)))?,
    };
    let ip: Option<IpAddr> = pod.str_at("status.podIP").parse().ok();
    let ip = ip.ok_or_else(|| Status::unavailable(format!("pod {:?} has no address yet", backend.name)))?;
    Ok(SocketAddr::new(ip, port))
}

fn first_port(pod: &Value) -> Option<u16> {
    let port = pod.items_at("spec.containers").iter().find_map(|container| container.items_at("ports").first())?;
    port.i64_at("containerPort").and_then(|port| u16::try_from(port).ok())
}

fn number(text: &str) -> Option<u16> {
    text.parse().ok().filter(|port| *port > 0)
}

async fn of_service(face: &Face, target: &Target, backend: &Backend) -> Result<SocketAddr, Status> {
    let service = read(face, Target::of("v1", "services", &target.namespace).named(&backend.name)).await?;
    let name = port_name(&service, backend)?;
    let slices = Target::of("discovery.k8s.io/v1", "endpointslices", &target.namespace);
    let options = Options { label_selector: format!("kubernetes.io/service-name={}", backend.name), ..Options::default() };
    let (_, list) = face.core.list(&auth::loopback_user(), &slices, &options).await?;
    let ready: Vec<SocketAddr> = list.items.iter().flat_map(|slice| addresses(&slice.value(), &name)).collect();
    let Some(last) = u64::try_from(ready.len()).ok().filter(|count| *count > 0) else {
        return Err(Status::unavailable(format!("no endpoints available for service {:?}", backend.name)));
    };
    let pick = usize::try_from(face.env.random_below(last)).unwrap_or_default();
    Ok(ready[pick])
}

/// The name of the port that is asked for; a number is one of the service's own.
fn port_name(service: &Value, backend: &Backend) -> Result<String, Status> {
    let Some(wanted) = number(&backend.port) else { return Ok(backend.port.clone()) };
    let found = service.items_at("spec.ports").iter().find(|port| port.i64_at("port") == Some(wanted.into()));
    let missing = || Status::unavailable(format!("no service port {wanted} found for service {:?}", backend.name));
    Ok(found.ok_or_else(missing)?.str_at("name").to_owned())
}

/// The ready endpoints of a slice, at the port of that name.
fn addresses(slice: &Value, port: &str) -> Vec<SocketAddr> {
    let port = slice.items_at("ports").iter().find(|one| one.str_at("name") == port).and_then(|one| one.i64_at("port"));
    let Some(port) = port.and_then(|port| u16::try_from(port).ok()) else { return Vec::new() };
    let ready = slice.items_at("endpoints").iter().filter(|one| one.at("conditions.ready") != Some(&Value::Bool(false)));
    let ips = ready.filter_map(|one| one.items_at("addresses").first()?.as_str()?.parse::<IpAddr>().ok());
    ips.map(|ip| SocketAddr::new(ip, port)).collect()
}

async fn forward(face: &Arc<Face>, asked: &Asked, address: SocketAddr, mut request: Request<Incoming>) -> Result<Answer, Status> {
    let prefix = proxied_at(asked, request.uri().path());
    let upgraded = upgrade::is_wanted(request.headers()).then(|| hyper::upgrade::on(&mut request));
    let failed = |error: &dyn std::fmt::Display| Status::unavailable(format!("error trying to reach service: {error}"));
    let stream = match tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await {
        Ok(connected) => connected.map_err(|error| failed(&format!("dial tcp {address}: {error}")))?,
        Err(_) => return Err(failed(&format!("dial tcp {address}: no connection in time"))),
    };
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| failed(&error))?;
    face.env.spawn("proxy-connection", async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "a proxied connection ended");
        }
    });
    let outgoing = outgoing(asked, address, request, upgraded.is_some())?;
    let response = sender.send_request(outgoing).await.map_err(|error| failed(&error))?;
    match (response.status(), upgraded) {
        (StatusCode::SWITCHING_PROTOCOLS, Some(client)) => Ok(upgrade::join(&face.env, client, response)),
        (StatusCode::SWITCHING_PROTOCOLS, None) => Err(failed(&"the backend switched protocols without being asked")),
        _ => Ok(passed_back(&prefix, response)),
    }
}

/// The path at which the backend's root shows, without its slash.
fn proxied_at(asked: &Asked, path: &str) -> String {
    path.strip_suffix(asked.rest.as_str()).unwrap_or(path).trim_end_matches('/').to_owned()
}

/// The request with its body still flowing, as the backend gets it.
fn outgoing(asked: &Asked, address: SocketAddr, request: Request<Incoming>, upgrade: bool) -> Result<Request<Incoming>, Status> {
    let (parts, body) = request.into_parts();
    let path = if asked.rest.is_empty() { "/" } else { &asked.rest };
    let path = parts.uri.query().map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"));
    let uri: Uri = path.parse().map_err(|error| Status::bad_request(format!("path {path:?}: {error}")))?;
    let mut outgoing = Request::new(body);
    *outgoing.method_mut() = parts.method;
    *outgoing.uri_mut() = uri;
    *outgoing.headers_mut() = passed_on(&parts.headers, upgrade);
    outgoing.headers_mut().insert(HOST, HeaderValue::from_str(&address.to_string()).map_err(Status::internal)?);
    Ok(outgoing)
}

fn passed_back(prefix: &str, response: http::Response<Incoming>) -> Answer {
    use futures::StreamExt;
    let (parts, body) = response.into_parts();
    let frames = BodyStream::new(body.map_err(|error| Box::new(error) as BoxError));
    let bytes = frames.filter_map(|frame| async move { frame.map(|frame| frame.into_data().ok()).transpose() });
    let mut answer = http::Response::new(Body::stream(bytes));
    *answer.status_mut() = parts.status;
    for (name, value) in parts.headers.iter().filter(|(name, _)| !HOP.contains(&name.as_str())) {
        answer.headers_mut().append(name.clone(), through(prefix, name, value));
    }
    answer
}

/// A header as it means the same outside: a `Location` on the backend itself is one below the proxy.
fn through(prefix: &str, name: &HeaderName, value: &HeaderValue) -> HeaderValue {
    let local = value.to_str().ok().filter(|text| *name == LOCATION && text.starts_with('/') && !text.starts_with("//"));
    local.and_then(|path| HeaderValue::from_str(&format!("{prefix}{path}")).ok()).unwrap_or_else(|| value.clone())
}

#[cfg(test)]
mod tests {
    use schema::json;

    use super::*;

    #[test]
    fn a_name_may_say_scheme_and_port() {
        let parse = |name: &str| Backend::parse(&Target::of("v1", "services", "d").named(name));
        let of = |name: &str, port: &str| Backend { name: name.into(), port: port.into() };
        assert_eq!(parse("web").unwrap(), of("web", ""));
        assert_eq!(parse("web:80").unwrap(), of("web", "80"));
        assert_eq!(parse("http:web:").unwrap(), of("web", ""));
        for refused in ["a:b:c:d", "gopher:web:70", ":80", "https:web:443"] {
            assert_eq!(parse(refused).unwrap_err().code, 400, "{refused}");
        }
    }

    #[test]
    fn only_ready_endpoints_at_the_named_port_are_asked() {
        let slice = json!({"ports": [{"name": "http", "port": 8080}, {"port": 9000}], "endpoints": [
            {"addresses": ["10.0.0.1"], "conditions": {"ready": true}}, {"addresses": ["10.0.0.2"], "conditions": {"ready": false}}, {"addresses": ["10.0.0.3"]}]});
        let at = |port: &str| addresses(&slice, port).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(at("http"), ["10.0.0.1:8080", "10.0.0.3:8080"]);
        assert_eq!(at(""), ["10.0.0.1:9000", "10.0.0.3:9000"]);
        assert!(at("none").is_empty());
    }

    #[test]
    fn a_location_on_the_backend_is_one_below_the_proxy() {
        let of = |value: &'static str| through("/p", &LOCATION, &HeaderValue::from_static(value));
        assert_eq!(of("/login"), "/p/login");
        assert_eq!(of("//other/x"), "//other/x");
        assert_eq!(of("https://other/x"), "https://other/x");
    }
}
