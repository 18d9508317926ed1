//! What a node answers and not the API: container logs, exec, attach, port-forward and the node's own API.
//!
//! The request is authorized here, its container chosen, its node found, and then its bytes are passed on to the node's agent
//! over mutual TLS. An upgrade becomes a pipe only when the agent has agreed to it with a 101; any other answer is an
//! ordinary answer and its connection ends. Redirects are never followed, and an agent is only dialled at an address that its
//! own Node object names, on the machine's network: never at a loopback or link-local address that a node could put there
//! to reach what only we can reach (unless this process was told that nodes live on this very machine).

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use auth::UserInfo;
use bytes::Bytes;
use client::{Target, Verb};
use http::header::{AUTHORIZATION, CONNECTION, HOST, HeaderValue, UPGRADE};
use http::{HeaderMap, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, BodyStream, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use schema::{DocExt, Status, Value};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::answer::{Answer, Body, answer as plain_answer, warn};
use super::audit::Notes;
use super::query::Query;
use super::route::Asked;
use super::{Face, Refusal, connect, upgrade};

pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Headers that concern one hop, or say who the caller is.
const NOT_PASSED_ON: [&str; 8] =
    ["authorization", "cookie", "proxy-authorization", "te", "trailer", "keep-alive", "proxy-connection", "transfer-encoding"];
const PODS: [&str; 4] = ["log", "exec", "attach", "portforward"];

/// Dials node agents.
pub struct Agents {
    tls: TlsConnector,
    /// Nodes may live on this machine's loopback (a machine without a network).
    loopback: bool,
}

impl Agents {
    /// `tls` trusts the cluster's authority and holds the API server's client certificate.
    pub fn new(tls: ClientConfig) -> Self {
        let mut tls = tls;
        // Upgrades are HTTP/1.1's.
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        Self { tls: Arc::new(tls).into(), loopback: false }
    }

    /// Allows agents on loopback addresses: tests, and machines without a network.
    #[must_use]
    pub fn on_loopback(mut self) -> Self {
        self.loopback = true;
        self
    }
}

/// Whether a target is answered by a node.
pub fn serves(target: &Target) -> bool {
    let core = target.group.is_empty() && target.version == "v1" && !target.name.is_empty();
    core && match target.resource.as_str() {
        "pods" => PODS.contains(&target.subresource.as_str()),
        "nodes" => target.subresource == "proxy",
        _ => false,
    }
}

/// Answers a request that [`serves`] has recognised.
pub(crate) async fn answer(
    face: &Arc<Face>,
    user: &UserInfo,
    asked: &Asked,
    query: &Query,
    request: Request<Incoming>,
    notes: &Notes,
) -> Result<Answer, Refusal> {
    face.authorize(user, asked).await?;
    if asked.word != "create" && (is_interactive(asked) || runs_something(asked, request.headers())) {
        // A WebSocket handshake is a GET; running a command is none.
        face.authorize_as(user, asked, "create").await?;
    }
    check_method(asked, request.method())?;
    let (query, warnings) = connect::admit(face, user, asked, query, notes).await?;
    let (node, path) = match asked.target.resource.as_str() {
        "nodes" => (NodeName::parse(&asked.target.name)?, node_path(asked, request.uri().query())),
        _ => of_pod(face, asked, &query).await.map(|(node, path)| (NodeName { name: node, port: None }, path))?,
    };
    let agent = find(face, &node.name).await?;
    node.check(&agent)?;
    if is_interactive(asked) && !upgrade::is_wanted(request.headers()) {
        let why = "Upgrade request required";
        return Err(Status::bad_request(why).into());
    }
    let mut answer = forward(face, &agent, &path, request).await?;
    warn(&mut answer, &warnings);
    Ok(answer)
}

/// Paths of the node's own API that run something, however they are asked for; and whatever becomes a pipe.
fn runs_something(asked: &Asked, headers: &HeaderMap) -> bool {
    const RUNNING: [&str; 5] = ["exec", "attach", "run", "portForward", "cri"];
    let first = asked.rest.trim_start_matches('/').split('/').next().unwrap_or_default();
    asked.target.resource == "nodes" && (RUNNING.contains(&first) || first.contains('%') || upgrade::is_wanted(headers))
}

/// Streams of a pod.
fn is_interactive(asked: &Asked) -> bool {
    asked.target.resource == "pods" && asked.target.subresource != "log"
}

fn check_method(asked: &Asked, method: &Method) -> Result<(), Status> {
    let fits = match asked.target.subresource.as_str() {
        "log" => *method == Method::GET,
        "exec" | "attach" | "portforward" => *method == Method::GET || *method == Method::POST,
        _ => true,
    };
    if fits { Ok(()) } else { Err(super::resource::method_not_allowed()) }
}

/// What the path says of a node: `[https:]NAME[:PORT]`.
#[derive(Debug, PartialEq)]
struct NodeName {
    name: String,
    port: Option<u16>,
}

impl NodeName {
    fn parse(text: &str) -> Result<Self, Status> {
        let invalid = || Status::bad_request(format!("invalid node request {text:?}"));
        let parts: Vec<&str> = text.split(':').collect();
        let (name, port) = match parts.as_slice() {
            [name] => (*name, ""),
            [name, port] | ["https", name, port] => (*name, *port),
            _ => return Err(invalid()),
        };
        let port = if port.is_empty() { None } else { Some(port.parse().map_err(|_| invalid())?) };
        if name.is_empty() { Err(invalid()) } else { Ok(Self { name: name.to_owned(), port }) }
    }

    /// Only the agent answers under its node's certificate; whatever else listens there is not reached with ours.
    fn check(&self, agent: &Agent) -> Result<(), Status> {
        let own = agent.address.port();
        match self.port {
            Some(port) if port != own => Err(Status::bad_request(format!(
                "node {:?}: port {port} is not its agent's ({own}), and nothing else of a node is proxied",
                self.name
            ))),
            _ => Ok(()),
        }
    }
}

fn node_path(asked: &Asked, query: Option<&str>) -> String {
    let path = if asked.rest.is_empty() { "/" } else { &asked.rest };
    query.map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"))
}

/// The pod's node, and the agent's path for what is asked of the pod.
async fn of_pod(face: &Face, asked: &Asked, query: &Query) -> Result<(String, String), Status> {
    let Target { namespace, name, subresource, .. } = &asked.target;
    let pod = read(face, Target::of("v1", "pods", namespace).named(name)).await?;
    let container = match subresource.as_str() {
        "portforward" => String::new(),
        _ => container(&pod, query.get("container").unwrap_or_default())?,
    };
    let node = pod.str_at("spec.nodeName").to_owned();
    if node.is_empty() {
        return Err(Status::bad_request(format!("pod {name} does not have a host assigned")));
    }
    let path = match subresource.as_str() {
        "log" => format!("/containerLogs/{namespace}/{name}/{container}{}", log_query(query)?),
        "portforward" => format!("/portForward/{namespace}/{name}{}", port_query(query)),
        verb => format!("/{verb}/{namespace}/{name}/{container}{}", stream_query(query, verb == "exec")),
    };
    Ok((node, path))
}

/// The container asked for, or the only one; 400 with the choice otherwise.
fn container(pod: &Value, wanted: &str) -> Result<String, Status> {
    let names = |list: &str| -> Vec<String> { pod.items_at(list).iter().map(|one| one.str_at("name").to_owned()).collect() };
    let (plain, init, ephemeral) = (names("spec.containers"), names("spec.initContainers"), names("spec.ephemeralContainers"));
    let pod_name = pod.str_at("metadata.name");
    if !wanted.is_empty() {
        let known = [&plain, &init, &ephemeral].iter().any(|list| list.iter().any(|name| name == wanted));
        return if known {
            Ok(wanted.to_owned())
        } else {
            Err(Status::bad_request(format!("container {wanted} is not valid for pod {pod_name}")))
        };
    }
    match plain.as_slice() {
        [one] => Ok(one.clone()),
        [] => Err(Status::bad_request(format!("a container name must be specified for pod {pod_name}"))),
        many => {
            let mut why = format!("a container name must be specified for pod {pod_name}, choose one of: [{}]", many.join(" "));
            if !init.is_empty() {
                why.push_str(&format!(" or one of the init containers: [{}]", init.join(" ")));
            }
            if !ephemeral.is_empty() {
                why.push_str(&format!(" or one of the ephemeral containers: [{}]", ephemeral.join(" ")));
            }
            Err(Status::bad_request(why))
        }
    }
}

/// `?follow=true&tailLines=5…`, checked.
fn log_query(query: &Query) -> Result<String, Status> {
    const FLAGS: [&str; 3] = ["follow", "previous", "timestamps"];
    const NUMBERS: [&str; 3] = ["tailLines", "limitBytes", "sinceSeconds"];
    let mut out: Vec<String> = FLAGS.iter().filter(|name| query.flag(name)).map(|name| format!("{name}=true")).collect();
    let mut errors = schema::FieldErrors::default();
    for name in NUMBERS {
        let Some(text) = query.get(name).filter(|text| !text.is_empty()) else { continue };
        let number: i64 = text.parse().map_err(|_| Status::bad_request(format!("strconv.ParseInt: parsing {text:?}: invalid syntax")))?;
        let least = if name == "tailLines" { 0 } else { 1 };
        if number < least {
            let why = if least == 0 { "must be greater than or equal to 0" } else { "must be greater than 0" };
            errors.invalid(&schema::Path::new(name), number, why);
        }
        out.push(format!("{name}={number}"));
    }
    if query.get("sinceSeconds").is_some() && query.get("sinceTime").is_some() {
        errors.forbidden(&schema::Path::new(""), "at most one of `sinceTime` or `sinceSeconds` may be specified");
    }
    if !errors.is_empty() {
        return Err(Status::invalid("", "PodLogOptions", "", &errors));
    }
    for name in ["sinceTime", "stream"] {
        out.extend(query.get(name).map(|value| format!("{name}={}", escape(value))));
    }
    Ok(join(out))
}

/// The agent's words for the streams: `input`, `output`, `error`, `tty`, `command`.
fn stream_query(query: &Query, exec: bool) -> String {
    let words = [("stdin", "input"), ("stdout", "output"), ("stderr", "error"), ("tty", "tty")];
    let mut out: Vec<String> = words.iter().filter(|(name, _)| query.flag(name)).map(|(_, word)| format!("{word}=1")).collect();
    if exec {
        out.extend(query.all("command").map(|argument| format!("command={}", escape(argument))));
    }
    join(out)
}

fn port_query(query: &Query) -> String {
    join(query.all("ports").map(|ports| format!("port={}", escape(ports))).collect())
}

fn join(pairs: Vec<String>) -> String {
    if pairs.is_empty() { String::new() } else { format!("?{}", pairs.join("&")) }
}

fn escape(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

/// Where an agent listens, and the name in its certificate.
struct Agent {
    address: SocketAddr,
    name: ServerName<'static>,
}

/// The agent of `node`, by its Node object: internal address first, port from the daemon's endpoint.
async fn find(face: &Face, node: &str) -> Result<Agent, Status> {
    let doc = read(face, Target::of("v1", "nodes", "").named(node)).await?;
    let port = doc.i64_at("status.daemonEndpoints.kubeletEndpoint.Port").filter(|port| *port > 0).unwrap_or(10_250);
    let port = u16::try_from(port).map_err(|_| Status::internal(format!("node {node:?} says that its agent listens on port {port}")))?;
    let addresses = doc.items_at("status.addresses");
    let of =
        |ty: &str| addresses.iter().filter(|one| one.str_at("type") == ty).find_map(|one| one.str_at("address").parse::<IpAddr>().ok());
    let ip = of("InternalIP").or_else(|| of("ExternalIP"));
    let ip = ip.ok_or_else(|| Status::unavailable(format!("node {node:?} has no address yet; its agent has not reported one")))?;
    if !face.agents.may_dial(ip) {
        return Err(Status::failure(400, "BadRequest", format!("address not allowed: node {node:?} claims {ip}")));
    }
    Ok(Agent { address: SocketAddr::new(ip, port), name: ServerName::from(ip) })
}

impl Agents {
    /// Not where only this process may go.
    pub(super) fn may_dial(&self, ip: IpAddr) -> bool {
        let link_local = match ip {
            IpAddr::V4(ip) => ip.is_link_local(),
            IpAddr::V6(ip) => ip.is_unicast_link_local(),
        };
        !(link_local || ip.is_unspecified() || ip.is_multicast() || (ip.is_loopback() && !self.loopback))
    }

    async fn dial(&self, agent: &Agent) -> Result<tokio_rustls::client::TlsStream<TcpStream>, Status> {
        let connect = async {
            let tcp = TcpStream::connect(agent.address).await?;
            tcp.set_nodelay(true)?;
            self.tls.connect(agent.name.clone(), tcp).await
        };
        let failed = |why: String| Status::internal(format!("error dialing backend: {why} (the agent at {})", agent.address));
        match tokio::time::timeout(CONNECT_TIMEOUT, connect).await {
            Ok(connected) => connected.map_err(|error| failed(error.to_string())),
            Err(_) => Err(failed("no connection in time".into())),
        }
    }
}

pub(super) async fn read(face: &Face, target: Target) -> Result<Value, Status> {
    let request = client::Request { verb: Verb::Get, target, options: client::Options::default(), body: client::Body::None };
    match face.core.call(&auth::loopback_user(), request).await?.response {
        client::Response::Object { object, .. } => Ok(object.value()),
        _ => Err(Status::internal("a get was answered with something else")),
    }
}

/// Sends the request on and passes the answer back, as a pipe where both sides agree to one.
async fn forward(face: &Arc<Face>, agent: &Agent, path: &str, mut request: Request<Incoming>) -> Result<Answer, Status> {
    let upgraded = upgrade::is_wanted(request.headers()).then(|| hyper::upgrade::on(&mut request));
    let stream = face.agents.dial(agent).await?;
    let failed = |error: hyper::Error| Status::internal(format!("error talking to the agent at {}: {error}", agent.address));
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
    face.env.spawn("agent-connection", async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "connection to an agent ended");
        }
    });
    let outgoing = outgoing(agent, path, request, upgraded.is_some()).await?;
    let response = sender.send_request(outgoing).await.map_err(failed)?;
    match (response.status(), upgraded) {
        (StatusCode::SWITCHING_PROTOCOLS, Some(client)) => Ok(upgrade::join(&face.env, client, response)),
        (StatusCode::SWITCHING_PROTOCOLS, None) => Err(Status::internal("the agent switched protocols without being asked")),
        (status, _) if status.is_redirection() => {
            Err(Status::failure(502, "", "the agent answered with a redirect, which is not followed"))
        }
        _ => Ok(passed_back(response)),
    }
}

/// Our request to the agent: method, the caller's harmless headers, the body unless it becomes a pipe.
async fn outgoing(agent: &Agent, path: &str, request: Request<Incoming>, upgrade: bool) -> Result<Request<Full<Bytes>>, Status> {
    let (parts, body) = request.into_parts();
    let uri: Uri = path.parse().map_err(|error| Status::bad_request(format!("path {path:?}: {error}")))?;
    let bytes = if upgrade { Bytes::new() } else { super::resource::read(&parts.headers, body).await? };
    let mut outgoing = Request::new(Full::new(bytes));
    *outgoing.method_mut() = parts.method;
    *outgoing.uri_mut() = uri;
    *outgoing.headers_mut() = passed_on(&parts.headers, upgrade);
    let host = HeaderValue::from_str(&agent.address.to_string()).map_err(Status::internal)?;
    outgoing.headers_mut().insert(HOST, host);
    Ok(outgoing)
}

pub(super) fn passed_on(headers: &HeaderMap, upgrade: bool) -> HeaderMap {
    let mut out = HeaderMap::new();
    for (name, value) in headers {
        let hop = *name == CONNECTION || *name == UPGRADE || *name == HOST || *name == AUTHORIZATION;
        let private =
            NOT_PASSED_ON.contains(&name.as_str()) || name.as_str().starts_with("impersonate-") || *name == http::header::CONTENT_LENGTH;
        if !hop && !private {
            out.append(name.clone(), value.clone());
        }
    }
    if upgrade {
        out.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        out.extend(headers.get_all(UPGRADE).iter().map(|value| (Some(UPGRADE), value.clone())));
        // A token that travels as a WebSocket subprotocol says who the caller is, too.
        strip_token_protocol(&mut out);
    }
    out
}

fn strip_token_protocol(headers: &mut HeaderMap) {
    let name = http::header::SEC_WEBSOCKET_PROTOCOL;
    let kept: Vec<String> = headers
        .get_all(&name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|protocol| protocol.trim().to_owned())
        .filter(|protocol| !protocol.starts_with("base64url.bearer.authorization.k8s.io."))
        .collect();
    if headers.remove(&name).is_some()
        && let Ok(value) = HeaderValue::from_str(&kept.join(", "))
    {
        headers.insert(name, value);
    }
}

/// The agent's ordinary answer, streamed; its connection ends with it.
fn passed_back(response: http::Response<Incoming>) -> Answer {
    use futures::StreamExt;
    let (parts, body) = response.into_parts();
    let frames = BodyStream::new(body.map_err(|error| Box::new(error) as super::answer::BoxError));
    let bytes = frames.filter_map(|frame| async move { frame.map(|frame| frame.into_data().ok()).transpose() });
    let mut answer = plain_answer(parts.status.as_u16(), "text/plain", Body::stream(bytes));
    for name in [http::header::CONTENT_TYPE, http::header::CONTENT_LENGTH, http::header::CONTENT_ENCODING] {
        if let Some(value) = parts.headers.get(&name) {
            answer.headers_mut().insert(name, value.clone());
        }
    }
    answer
}

#[cfg(test)]
mod tests {
    use schema::json;

    use super::*;

    #[test]
    fn a_container_is_chosen_in_upstreams_words() {
        let pod =
            json!({"metadata": {"name": "x"}, "spec": {"containers": [{"name": "a"}, {"name": "b"}], "initContainers": [{"name": "i"}]}});
        assert_eq!(container(&pod, "i").unwrap(), "i");
        assert_eq!(container(&pod, "z").unwrap_err().message, "container z is not valid for pod x");
        let many = container(&pod, "").unwrap_err().message;
        assert_eq!(many, "a container name must be specified for pod x, choose one of: [a b] or one of the init containers: [i]");
        let one = json!({"metadata": {"name": "x"}, "spec": {"containers": [{"name": "a"}]}});
        assert_eq!(container(&one, "").unwrap(), "a");
    }

    #[test]
    fn queries_are_told_in_the_agents_words() {
        let query = Query::parse("container=c&command=sh&command=-c&command=echo%20%26&stdin=true&stdout=1&stderr=false&tty=true");
        assert_eq!(stream_query(&query, true), "?input=1&output=1&tty=1&command=sh&command=-c&command=echo%20%26");
        assert_eq!(log_query(&Query::parse("follow=true&tailLines=5&x=y")).unwrap(), "?follow=true&tailLines=5");
        assert_eq!(log_query(&Query::parse("tailLines=-1")).unwrap_err().code, 422);
        assert_eq!(port_query(&Query::parse("ports=80&ports=443")), "?port=80&port=443");
    }

    #[test]
    fn who_the_caller_is_stays_here() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("authorization", "Bearer x"),
            ("cookie", "a=b"),
            ("impersonate-user", "root"),
            ("connection", "Upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-key", "k"),
            ("sec-websocket-protocol", "v5.channel.k8s.io, base64url.bearer.authorization.k8s.io.abc"),
        ] {
            headers.insert(http::HeaderName::from_static(name), value.parse().unwrap());
        }
        let passed = passed_on(&headers, true);
        let mut names: Vec<&str> = passed.keys().map(http::HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["connection", "sec-websocket-key", "sec-websocket-protocol", "upgrade"]);
        assert_eq!(passed["sec-websocket-protocol"], "v5.channel.k8s.io");
    }

    #[test]
    fn a_node_may_be_named_with_scheme_and_port() {
        let of = |name: &str, port| NodeName { name: name.into(), port };
        assert_eq!(NodeName::parse("n1").unwrap(), of("n1", None));
        assert_eq!(NodeName::parse("n1:10250").unwrap(), of("n1", Some(10250)));
        assert_eq!(NodeName::parse("https:n1:").unwrap(), of("n1", None));
        assert_eq!(NodeName::parse("https:n1:10250").unwrap(), of("n1", Some(10250)));
        for refused in ["", "http:n1:80", "n1:x", ":1", "a:b:c:d"] {
            assert_eq!(NodeName::parse(refused).unwrap_err().code, 400, "{refused}");
        }
    }

    #[test]
    fn only_the_nodes_network_is_dialled() {
        let agents = Agents::new(auth::pki::client_config("", None));
        for (ip, want) in
            [("10.0.0.5", true), ("127.0.0.1", false), ("169.254.169.254", false), ("0.0.0.0", false), ("::1", false), ("fe80::1", false)]
        {
            assert_eq!(agents.may_dial(ip.parse().unwrap()), want, "{ip}");
        }
        assert!(agents.on_loopback().may_dial("127.0.0.1".parse().unwrap()));
    }
}
