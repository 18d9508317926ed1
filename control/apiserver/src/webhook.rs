//! HTTPS calls to programs outside that the API asks: admission webhooks, and whatever else has a `clientConfig`.
//!
//! ```text
//! clientConfig ─► Endpoint ─► addresses (URL, or the service's ready endpoints) ─► pool of connections ─► POST ─► bytes
//! ```
//! What this promises: a call ends at its deadline, whatever the other side does; an answer has a bound; redirects are not
//! followed; connections are used again and there are only so many of them. A service is asked at its ready endpoints, so one
//! that is gone or has none fails at once instead of at the deadline. The certificate must be for `NAME.NAMESPACE.svc` and by
//! the configuration's own authorities; where it names none, by those that the machine trusts.
//! Errors speak upstream's (that is Go's) sentences, because people and tests search for them.

mod config;
mod dial;
mod ending;
pub(crate) mod names;
pub mod outside;
pub(crate) mod pool;
pub(crate) mod resolve;
pub(crate) mod tls;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use bytes::Bytes;
use env::Env;
use http::header::{ACCEPT, CONTENT_TYPE, HOST, USER_AGENT};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use schema::Value;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use self::config::{ClientConfig, Place};
pub use self::dial::{Dial, Tcp};
use self::pool::Pool;
use self::tls::Trust;
use crate::cache::Cache;

/// Bytes of an answer: a patch that rewrites the largest object fits, base64 and all.
pub const ANSWER_BYTES_MAX: usize = 8 << 20;
/// Calls of one endpoint at the same time; the others wait for their turn within their own deadline.
const CALLS_MAX: usize = 64;
/// Addresses tried when connections fail.
const TRIES_MAX: usize = 3;
/// What a host's name means is asked again after this.
const NAME_FRESH: Duration = Duration::from_secs(5);

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct CallError {
    pub message: String,
    /// The HTTP status that it comes to.
    pub code: u16,
}

impl CallError {
    fn unavailable(message: impl Into<String>) -> Self {
        Self { message: message.into(), code: 503 }
    }
}

/// What a call needs to know of the world.
#[derive(Clone, Copy)]
pub struct World<'a> {
    pub env: &'a Env,
    /// Services and endpoint slices.
    pub cache: &'a Cache,
}

/// Every endpoint that a configuration names; equal configurations share one.
pub struct Endpoints {
    dial: Arc<dyn Dial>,
    known: Mutex<HashMap<String, Weak<Endpoint>>>,
}

impl Default for Endpoints {
    fn default() -> Self {
        Self::new(Arc::new(Tcp))
    }
}

impl Endpoints {
    pub fn new(dial: Arc<dyn Dial>) -> Self {
        Self { dial, known: Mutex::default() }
    }

    /// The endpoint of a `clientConfig`. It lives as long as somebody holds it; its connections end with it.
    pub fn of(&self, client_config: &Value) -> Arc<Endpoint> {
        let key = client_config.to_string();
        let mut known = self.known.lock().expect("no holder of the endpoints panics");
        known.retain(|_, endpoint| endpoint.strong_count() > 0);
        if let Some(endpoint) = known.get(&key).and_then(Weak::upgrade) {
            return endpoint;
        }
        let endpoint = Arc::new(Endpoint::new(client_config, Arc::clone(&self.dial)));
        known.insert(key, Arc::downgrade(&endpoint));
        endpoint
    }
}

/// A program outside, with its open connections.
pub struct Endpoint {
    /// What is wrong with the configuration is told by every call.
    ready: Result<Ready, String>,
    calls: Semaphore,
}

struct Ready {
    config: ClientConfig,
    pool: Pool<Full<Bytes>>,
    /// The addresses of a host outside, and when they were found.
    named: Mutex<Option<(Instant, Vec<SocketAddr>)>>,
}

impl Endpoint {
    fn new(client_config: &Value, dial: Arc<dyn Dial>) -> Self {
        let ready = ClientConfig::parse(client_config).and_then(|config| {
            let trust = Trust::new(&config.ca, config.server_name())?;
            Ok(Ready { pool: Pool::new(trust, dial), config, named: Mutex::default() })
        });
        Self { ready, calls: Semaphore::new(CALLS_MAX) }
    }

    /// POSTs `body` as JSON; the body of a 2xx answer. Ends within `timeout`, which the URL tells, too.
    pub async fn post(&self, world: World<'_>, body: Bytes, timeout: Duration) -> Result<Bytes, CallError> {
        let ready = self.ready.as_ref().map_err(|why| CallError { message: why.clone(), code: 500 })?;
        let deadline = world.env.instant() + timeout;
        let path = ready.config.path(timeout);
        let about = |why: String| CallError::unavailable(format!("Post {:?}: {why}", ready.config.url(&path)));
        let call = async {
            let _turn = self.calls.acquire().await.map_err(|error| about(error.to_string()))?;
            ready.exchange(world, &path, body, deadline).await
        };
        match tokio::time::timeout_at(deadline, call).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(Failure::Transport(why))) => Err(about(why)),
            Ok(Err(Failure::Answer(error))) => Err(error),
            Err(_) => Err(about("context deadline exceeded".into())),
        }
    }
}

/// What can go wrong once the configuration is right.
enum Failure {
    /// No answer, or only a part of it.
    Transport(String),
    /// An answer that is none.
    Answer(CallError),
}

impl From<CallError> for Failure {
    fn from(error: CallError) -> Self {
        Self::Answer(error)
    }
}

impl Ready {
    async fn exchange(&self, world: World<'_>, path: &str, body: Bytes, deadline: Instant) -> Result<Bytes, Failure> {
        let mut addresses = self.addresses(world, deadline).await.map_err(Failure::Transport)?;
        shuffle(&mut addresses, world.env);
        let mut refused = String::from("no address");
        for address in addresses.into_iter().take(TRIES_MAX) {
            let request = self.request(path, body.clone());
            match self.pool.send(world.env, address, request).await {
                Ok((response, lease)) => {
                    let bytes = answer(response).await?;
                    lease.give_back(world.env);
                    return Ok(bytes);
                }
                Err((pool::Failed::Unconnected(why), _)) => refused = why, // another address may do
                Err((pool::Failed::Broken(why), _)) => return Err(Failure::Transport(why)),
            }
        }
        Err(Failure::Transport(refused))
    }

    async fn addresses(&self, world: World<'_>, deadline: Instant) -> Result<Vec<SocketAddr>, String> {
        match &self.config.place {
            Place::Url { host, port, .. } => self.named(world.env, host, *port, deadline).await,
            Place::Service { namespace, name, port, .. } => match resolve::service(world.cache, namespace, name, *port)? {
                resolve::Found::Endpoints(addresses) => Ok(addresses),
                resolve::Found::Name(host) => self.named(world.env, &host, *port, deadline).await,
            },
        }
    }

    async fn named(&self, env: &Env, host: &str, port: u16, deadline: Instant) -> Result<Vec<SocketAddr>, String> {
        let is_fresh = |found: &Instant| env.instant().duration_since(*found) < NAME_FRESH;
        let known = self.named.lock().expect("no holder of addresses panics").clone();
        if let Some((_, addresses)) = known.filter(|(found, _)| is_fresh(found)) {
            return Ok(addresses);
        }
        let addresses = names::addresses(env, host, port, deadline).await?;
        *self.named.lock().expect("no holder of addresses panics") = Some((env.instant(), addresses.clone()));
        Ok(addresses)
    }

    /// For HTTP/2; HTTP/1.1 takes the path alone.
    fn request(&self, path: &str, body: Bytes) -> http::Request<Full<Bytes>> {
        http::Request::post(self.config.url(path))
            .header(HOST, self.config.authority())
            .header(CONTENT_TYPE, "application/json")
            .header(ACCEPT, "application/json, */*")
            .header(USER_AGENT, "kube-apiserver-admission")
            .body(Full::new(body))
            .expect("a configuration's URL was parsed when it was compiled")
    }
}

/// Requests spread over a service's endpoints.
pub(crate) fn shuffle(addresses: &mut [SocketAddr], env: &Env) {
    for last in (1..addresses.len()).rev() {
        let pick = usize::try_from(env.random_below(last as u64 + 1)).unwrap_or_default();
        addresses.swap(last, pick);
    }
}

async fn answer(response: http::Response<Incoming>) -> Result<Bytes, Failure> {
    let code = response.status().as_u16();
    let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
    let bytes = body.map_err(|error| Failure::Transport(unread(&*error)))?.to_bytes();
    if (200..=206).contains(&code) { Ok(bytes) } else { Err(refusal(code, &bytes).into()) }
}

fn unread(error: &(dyn std::error::Error + 'static)) -> String {
    if error.is::<LengthLimitError>() {
        return format!("the answer is too large: at most {ANSWER_BYTES_MAX} bytes are read");
    }
    format!("unexpected EOF: {error}")
}

/// What a client of Go's makes of an answer that is no success. A redirect is one of them.
fn refusal(code: u16, body: &[u8]) -> CallError {
    const SHOWN: usize = 2_048;
    let text = String::from_utf8_lossy(&body[..body.len().min(SHOWN)]);
    let text = if text.trim().is_empty() { "unknown" } else { text.trim() };
    let message = match code {
        400 => "the server rejected our request for an unknown reason".into(),
        401 => "the server has asked for the client to provide credentials".into(),
        403 | 415 => text.to_owned(),
        404 => "the server could not find the requested resource".into(),
        405 => "the server does not allow this method on the requested resource".into(),
        409 => "the server reported a conflict".into(),
        422 => "the server rejected our request due to an error in our request".into(),
        429 => "the server has received too many requests and has asked us to try again later".into(),
        503 => "the server is currently unable to handle the request".into(),
        504 => "the server was unable to return a response in the time allotted, but may still be processing the request".into(),
        500.. => format!("an error on the server ({text:?}) has prevented the request from succeeding"),
        _ => format!("the server responded with the status code {code} but did not return more information"),
    };
    CallError { message, code }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_is_no_success_is_told_in_gos_words() {
        for (code, body, want) in [
            (500, "boom\n", "an error on the server (\"boom\") has prevented the request from succeeding"),
            (302, "", "the server responded with the status code 302 but did not return more information"),
            (404, "x", "the server could not find the requested resource"),
            (503, "", "the server is currently unable to handle the request"),
        ] {
            assert_eq!(refusal(code, body.as_bytes()), CallError { message: want.into(), code });
        }
    }

    #[test]
    fn equal_configurations_share_an_endpoint_while_somebody_holds_it() {
        let endpoints = Endpoints::default();
        let config = schema::json!({"service": {"namespace": "a", "name": "b"}});
        let (one, two) = (endpoints.of(&config), endpoints.of(&config));
        assert!(Arc::ptr_eq(&one, &two));
        drop((one, two));
        let _other = endpoints.of(&schema::json!({"url": "https://192.0.2.1/"}));
        assert_eq!(endpoints.known.lock().unwrap().len(), 1);
    }
}
