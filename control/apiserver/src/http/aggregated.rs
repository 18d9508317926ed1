//! Requests that another API server answers: authorized here, then passed on as they are, with who asks in headers that the
//! other server believes because of our certificate. What comes back flows through; an answer that breaks off breaks off
//! here, too, so that nobody takes a part for the whole. Upgrades become pipes. Redirects are refused: who follows one
//! would leave with the caller's request for where another server says.

use std::net::IpAddr;
use std::sync::Arc;

use auth::UserInfo;
use bytes::Bytes;
use futures::StreamExt;
use http::header::{CONTENT_LENGTH, HOST, HeaderMap, HeaderName, HeaderValue, LOCATION};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, BodyStream, Empty};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;

use super::agent::passed_on;
use super::answer::{Answer, Body, BoxError, text};
use super::{AUDIT_ID, Face, upgrade};
use crate::aggregation::{Link, Remote, Sent, Unreached};
use crate::webhook::World;
use crate::webhook::pool::Lease;

/// Headers of an answer that concern one hop.
const HOP: [&str; 7] = ["connection", "keep-alive", "proxy-authenticate", "proxy-connection", "trailer", "transfer-encoding", "upgrade"];

/// Who asks, and what the other server is to know of it.
pub(super) struct Asker<'a> {
    pub user: &'a UserInfo,
    pub ip: Option<IpAddr>,
    pub audit_id: &'a str,
}

/// Passes `request` on. The caller has authorized it.
pub(super) async fn answer(face: &Arc<Face>, remote: &Remote, asker: &Asker<'_>, mut request: Request<Incoming>) -> Answer {
    let upgraded = upgrade::is_wanted(request.headers()).then(|| hyper::upgrade::on(&mut request));
    let (parts, body) = request.into_parts();
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
    let body = if upgraded.is_some() { empty() } else { body.map_err(|error| Box::new(error) as BoxError).boxed_unsync() };
    let mut outgoing = Request::new(body);
    *outgoing.method_mut() = parts.method;
    *outgoing.headers_mut() = headers(&parts.headers, upgraded.is_some(), asker);
    pass(face, remote, &path, outgoing, upgraded).await
}

/// A GET of ours in the name of the asker.
pub(super) async fn get(face: &Arc<Face>, remote: &Remote, path: &str, asker: &Asker<'_>, asked: &HeaderMap) -> Answer {
    let mut outgoing = Request::new(empty());
    *outgoing.headers_mut() = headers(asked, false, asker);
    pass(face, remote, path, outgoing, None).await
}

async fn pass(face: &Arc<Face>, remote: &Remote, path: &str, mut outgoing: Request<Sent>, upgraded: Option<OnUpgrade>) -> Answer {
    if !remote.is_available {
        return text(503, "service unavailable\n");
    }
    let link = match &remote.link {
        Ok(link) => link,
        Err(why) => return text(500, format!("{why}\n")),
    };
    let url = remote.url(path);
    match url.parse() {
        Ok(uri) => *outgoing.uri_mut() = uri,
        Err(error) => return text(400, format!("{path}: {error}\n")),
    }
    let host = format!("{}:{}", remote.service.server_name(), remote.service.port());
    outgoing.headers_mut().extend(HeaderValue::from_str(&host).ok().map(|host| (HOST, host)));
    match send(face, remote, link, outgoing, upgraded).await {
        Ok(answer) => answer,
        Err(Unreached::Unresolved(why)) => {
            tracing::warn!(name = remote.name, why, "an API server cannot be found");
            text(503, "service unavailable\n")
        }
        Err(Unreached::Transport(why)) => text(503, format!("{why}\n")),
    }
}

async fn send(
    face: &Arc<Face>,
    remote: &Remote,
    link: &Link,
    outgoing: Request<Sent>,
    upgraded: Option<OnUpgrade>,
) -> Result<Answer, Unreached> {
    let cache = &face.core.cache;
    let addresses = remote.addresses(World { env: &face.env, cache }).await?;
    let Some(client) = upgraded else {
        let (response, lease) = link.send(cache, &addresses, outgoing).await?;
        return Ok(passed_back(face, response, Some(lease)));
    };
    let response = link.upgrade(cache, &addresses, outgoing).await?;
    Ok(match response.status() {
        StatusCode::SWITCHING_PROTOCOLS => upgrade::join(&face.env, client, response),
        _ => passed_back(face, response, None),
    })
}

fn passed_back(face: &Arc<Face>, response: Response<Incoming>, lease: Option<Lease<Sent>>) -> Answer {
    let (parts, body) = response.into_parts();
    if parts.status.is_redirection() && parts.headers.contains_key(LOCATION) {
        return text(502, "the backend attempted to redirect this request, which is not permitted");
    }
    let mut answer = Response::new(Body::stream(flowing(face, body, lease)));
    *answer.status_mut() = parts.status;
    for (name, value) in parts.headers.iter().filter(|(name, _)| !HOP.contains(&name.as_str()) && **name != AUDIT_ID) {
        answer.headers_mut().append(name.clone(), value.clone());
    }
    answer
}

/// The body as it comes; read to its end, its connection is free for others.
fn flowing(
    face: &Arc<Face>,
    body: Incoming,
    lease: Option<Lease<Sent>>,
) -> impl futures::Stream<Item = Result<Bytes, BoxError>> + Send + use<> {
    let frames = BodyStream::new(body.map_err(|error| Box::new(error) as BoxError));
    let bytes = frames.filter_map(|frame| async move { frame.map(|frame| frame.into_data().ok()).transpose() });
    let env = face.env.clone();
    futures::stream::unfold((Box::pin(bytes), lease), move |(mut bytes, mut lease)| {
        let env = env.clone();
        async move {
            let next = bytes.next().await;
            if next.is_none()
                && let Some(lease) = lease.take()
            {
                lease.give_back(&env);
            }
            next.map(|next| (next, (bytes, lease)))
        }
    })
}

fn empty() -> Sent {
    Empty::<Bytes>::new().map_err(|never| match never {}).boxed_unsync()
}

/// The caller's headers without what is between us, and who the caller is.
fn headers(asked: &HeaderMap, upgrade: bool, asker: &Asker<'_>) -> HeaderMap {
    let mut headers = passed_on(asked, upgrade);
    let told: Vec<HeaderName> = headers.keys().filter(|name| name.as_str().starts_with("x-remote-")).cloned().collect();
    told.iter().for_each(|name| drop(headers.remove(name)));
    if !upgrade && let Some(length) = asked.get(CONTENT_LENGTH) {
        headers.insert(CONTENT_LENGTH, length.clone());
    }
    let mut add = |name: &str, value: &str| {
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value)) {
            headers.append(name, value);
        }
    };
    add("x-remote-user", &asker.user.name);
    if !asker.user.uid.is_empty() {
        add("x-remote-uid", &asker.user.uid);
    }
    asker.user.groups.iter().for_each(|group| add("x-remote-group", group));
    for (key, values) in &asker.user.extra {
        values.iter().for_each(|value| add(&format!("x-remote-extra-{}", escaped(key)), value));
    }
    if let Some(ip) = asker.ip {
        add("x-forwarded-for", &ip.to_string());
    }
    headers.extend(HeaderValue::from_str(asker.audit_id).ok().map(|id| (AUDIT_ID, id)));
    headers
}

/// A key as a part of a header's name: what may not stand there is percent-encoded.
fn escaped(key: &str) -> String {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$&'*+-.^_`|~".contains(&byte);
    key.bytes().map(|byte| if legal(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_other_server_hears_of_the_caller_from_us_alone() {
        let mut asked = HeaderMap::new();
        for (name, value) in [
            ("authorization", "Bearer x"),
            ("x-remote-user", "root"),
            ("x-remote-extra-a", "b"),
            ("impersonate-user", "root"),
            ("accept", "application/json"),
            ("content-length", "5"),
        ] {
            asked.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        let mut user = UserInfo::new("ann", &["dev", "ops"]);
        user.extra.insert("example.com/Tier%".into(), vec!["gold".into()]);
        let asker = Asker { user: &user, ip: Some("192.0.2.7".parse().unwrap()), audit_id: "id" };
        let sent = headers(&asked, false, &asker);
        let mut pairs: Vec<String> = sent.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
        pairs.sort();
        let want = [
            "accept: application/json",
            "audit-id: id",
            "content-length: 5",
            "x-forwarded-for: 192.0.2.7",
            "x-remote-extra-example.com%2ftier%25: gold",
            "x-remote-group: dev",
            "x-remote-group: ops",
            "x-remote-user: ann",
        ];
        assert_eq!(pairs, want);
    }
}
