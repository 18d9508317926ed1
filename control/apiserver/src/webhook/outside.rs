//! What [`auth`] asks programs outside: issuers of tokens, webhooks of authentication and authorization. The same connections, names and
//! authorities as admission webhooks have, for addresses that an operator's files name.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use auth::outside::{Dialer, Fault, Outside, Question, Reply, Trust};
use bytes::Bytes;
use env::Env;
use http::header::{ACCEPT, AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, HOST, LOCATION, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, Request, Response, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::dial::{Dial, Tcp};
use super::pool::{Failed, Lease, Pool};
use super::{NAME_FRESH, TRIES_MAX, names, shuffle, tls};

/// Questions to the programs of one trust at the same time.
const QUESTIONS_MAX: usize = 64;
/// Hosts whose connections are kept.
const HOSTS_MAX: usize = 32;
const REDIRECTS_MAX: usize = 10;

/// Makes connections for [`auth`].
pub struct Dialled {
    dial: Arc<dyn Dial>,
    env: Env,
}

impl Dialled {
    pub fn new(env: &Env) -> Self {
        Self { dial: Arc::new(Tcp), env: env.clone() }
    }
}

impl Dialer for Dialled {
    fn trusting(&self, trust: &Trust) -> Result<Arc<dyn Outside>, String> {
        let identity = trust.identity.as_ref().map(|(certificate, key)| (certificate.as_str(), key.as_str()));
        // What is wrong with the trust is told now, not with the first question.
        tls::Trust::identified(trust.ca.as_deref().unwrap_or_default(), "localhost".into(), identity)?;
        let hosts = Mutex::default();
        Ok(Arc::new(Connections {
            trust: trust.clone(),
            dial: Arc::clone(&self.dial),
            env: self.env.clone(),
            hosts,
            turns: Semaphore::new(QUESTIONS_MAX),
        }))
    }
}

struct Connections {
    trust: Trust,
    dial: Arc<dyn Dial>,
    env: Env,
    hosts: Mutex<HashMap<String, Arc<Host>>>,
    turns: Semaphore,
}

/// One host: its connections, and its addresses while they are fresh.
struct Host {
    pool: Pool<Full<Bytes>>,
    named: Mutex<Option<(Instant, Vec<SocketAddr>)>>,
}

#[async_trait]
impl Outside for Connections {
    async fn ask(&self, question: Question, timeout: Duration) -> Result<Reply, Fault> {
        let deadline = self.env.instant() + timeout;
        let verb = if question.body.is_some() { "Post" } else { "Get" };
        let about = |url: &str, fault: Fault| Fault { message: format!("{verb} {url:?}: {}", fault.message), ..fault };
        let mut url = question.url.clone();
        let exchange = async {
            let _turn = self.turns.acquire().await.map_err(|error| Fault::new(error.to_string()))?;
            for _ in 0..=REDIRECTS_MAX {
                let (response, lease) = self.exchange(&url, &question, deadline).await?;
                if let Some(next) = redirect(&url, &response).filter(|_| question.follows) {
                    url = next?;
                    continue;
                }
                let reply = reply(response, question.bytes_max).await?;
                lease.give_back(&self.env);
                return Ok(reply);
            }
            Err(Fault::new(format!("stopped after {REDIRECTS_MAX} redirects")))
        };
        match tokio::time::timeout_at(deadline, exchange).await {
            Ok(answered) => answered.map_err(|fault| about(&question.url, fault)),
            Err(_) => Err(about(&question.url, Fault { timed_out: true, ..Fault::new("context deadline exceeded") })),
        }
    }
}

impl Connections {
    async fn exchange(&self, url: &str, question: &Question, deadline: Instant) -> Result<(Response<Incoming>, Lease<Full<Bytes>>), Fault> {
        let uri: Uri = url.parse().map_err(|error| Fault::new(format!("the address is none: {error}")))?;
        if uri.scheme_str() != Some("https") {
            return Err(Fault::new("only https:// is spoken"));
        }
        let name = uri.host().ok_or_else(|| Fault::new("the address names no host"))?.to_owned();
        let host = self.host(&name).map_err(Fault::new)?;
        let mut addresses = self.addresses(&host, &name, uri.port_u16().unwrap_or(443), deadline).await.map_err(Fault::new)?;
        shuffle(&mut addresses, &self.env);
        let mut refused = Fault::new("no address");
        for address in addresses.into_iter().take(TRIES_MAX) {
            match host.pool.send(&self.env, address, request(&uri, question)?).await {
                Ok(answered) => return Ok(answered),
                Err((Failed::Unconnected(why), _)) => refused = Fault::new(why),
                Err((Failed::Broken(why), _)) => return Err(Fault { broken: true, ..Fault::new(why) }),
            }
        }
        Err(refused)
    }

    fn host(&self, name: &str) -> Result<Arc<Host>, String> {
        let mut hosts = self.hosts.lock().expect("no holder of the hosts panics");
        if let Some(host) = hosts.get(name) {
            return Ok(Arc::clone(host));
        }
        if hosts.len() >= HOSTS_MAX {
            hosts.clear();
        }
        let shown = self.trust.server_name.clone().unwrap_or_else(|| name.trim_start_matches('[').trim_end_matches(']').to_owned());
        let identity = self.trust.identity.as_ref().map(|(certificate, key)| (certificate.as_str(), key.as_str()));
        let trust = tls::Trust::identified(self.trust.ca.as_deref().unwrap_or_default(), shown, identity)?;
        let host = Arc::new(Host { pool: Pool::new(trust, Arc::clone(&self.dial)), named: Mutex::default() });
        hosts.insert(name.to_owned(), Arc::clone(&host));
        Ok(host)
    }

    async fn addresses(&self, host: &Host, name: &str, port: u16, deadline: Instant) -> Result<Vec<SocketAddr>, String> {
        let held = host.named.lock().expect("no holder of addresses panics").clone();
        if let Some((_, addresses)) = held.filter(|(found, _)| self.env.instant().duration_since(*found) < NAME_FRESH) {
            return Ok(addresses.into_iter().map(|address| SocketAddr::new(address.ip(), port)).collect());
        }
        let addresses = names::addresses(&self.env, name, port, deadline).await?;
        *host.named.lock().expect("no holder of addresses panics") = Some((self.env.instant(), addresses.clone()));
        Ok(addresses)
    }
}

fn request(uri: &Uri, question: &Question) -> Result<Request<Full<Bytes>>, Fault> {
    let method = if question.body.is_some() { http::Method::POST } else { http::Method::GET };
    let authority = uri.authority().map(ToString::to_string).unwrap_or_default();
    let mut builder = Request::builder().method(method).uri(uri.clone());
    builder = builder.header(HOST, authority).header(ACCEPT, "application/json, */*").header(USER_AGENT, "kube-apiserver");
    if let Some(token) = &question.bearer {
        builder = builder.header(AUTHORIZATION, format!("Bearer {token}"));
    }
    let body = match &question.body {
        Some(document) => {
            builder = builder.header(CONTENT_TYPE, "application/json");
            Bytes::from(document.to_string())
        }
        None => Bytes::new(),
    };
    builder.body(Full::new(body)).map_err(|error| Fault::new(error.to_string()))
}

/// Where an answer sends us; Err: nowhere that is believed.
fn redirect(from: &str, response: &Response<Incoming>) -> Option<Result<String, Fault>> {
    if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
        return None;
    }
    let target = header(response.headers(), LOCATION);
    let place = from.find("://").and_then(|at| from[at + 3..].find('/').map(|slash| at + 3 + slash)).unwrap_or(from.len());
    match target.as_str() {
        "" => None,
        path if path.starts_with('/') && !path.starts_with("//") => Some(Ok(format!("{}{path}", &from[..place]))),
        url if url.starts_with("https://") => Some(Ok(url.to_owned())),
        url => Some(Err(Fault::new(format!("a redirect to {url:?} is not followed: it is not https://")))),
    }
}

fn header(headers: &HeaderMap, name: http::HeaderName) -> String {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
}

async fn reply(response: Response<Incoming>, bytes_max: usize) -> Result<Reply, Fault> {
    let (head, body) = response.into_parts();
    let body = Limited::new(body, bytes_max).collect().await;
    let body = body.map_err(|error| Fault {
        broken: !error.is::<http_body_util::LengthLimitError>(),
        ..Fault::new(format!("the answer cannot be read ({bytes_max} bytes at most): {error}"))
    })?;
    Ok(Reply {
        status: head.status.as_u16(),
        cache_control: header(&head.headers, CACHE_CONTROL),
        retry_after: head.headers.contains_key(RETRY_AFTER),
        body: body.to_bytes().to_vec(),
    })
}
