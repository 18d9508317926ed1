//! Connections to other API servers: TLS with our own certificate, kept open and used again, requests and answers with their
//! bodies flowing.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock, Weak};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::client::ResolvesClientCert;

use super::routes::Remote;
use crate::cache::Cache;
use crate::http::answer::BoxError;
use crate::webhook::pool::{self, Failed, Lease, Pool};
use crate::webhook::resolve::{self, Found};
use crate::webhook::tls::Trust;
use crate::webhook::{Dial, Tcp, World, names};

/// A body on its way there.
pub(crate) type Sent = UnsyncBoxBody<Bytes, BoxError>;

/// Addresses tried when connections fail.
const TRIES_MAX: usize = 3;

/// Everything that is open, by whom is believed there; equal configurations share one.
#[derive(Default)]
pub(crate) struct Links {
    dial: OnceLock<Arc<dyn Dial>>,
    known: Mutex<HashMap<String, Weak<Link>>>,
}

/// One server, however many groups it answers for.
pub(crate) struct Link {
    pool: Pool<Sent>,
    upgrades: Trust,
    dial: Arc<dyn Dial>,
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum Unreached {
    /// Nobody knows where it is.
    Unresolved(String),
    /// In Go's words.
    Transport(String),
}

impl Unreached {
    pub(crate) fn why(self) -> String {
        match self {
            Self::Unresolved(why) | Self::Transport(why) => why,
        }
    }
}

impl Links {
    pub(super) fn set_dial(&self, dial: Arc<dyn Dial>) {
        let _ = self.dial.set(dial);
    }

    pub(super) fn of(
        &self,
        server_name: &str,
        bundle: &str,
        is_blind: bool,
        identity: Option<&Arc<dyn ResolvesClientCert>>,
    ) -> Result<Arc<Link>, String> {
        let key = format!("{server_name} {is_blind} {bundle}");
        let mut known = self.known.lock().expect("no holder of the links panics");
        if let Some(link) = known.get(&key).and_then(Weak::upgrade) {
            return Ok(link);
        }
        let trust = || -> Result<Trust, String> {
            let trust = if is_blind { Trust::blind(server_name.to_owned()) } else { believing(bundle, server_name) };
            Ok(trust?.showing(identity.cloned()))
        };
        let dial = Arc::clone(self.dial.get_or_init(|| Arc::new(Tcp)));
        let link = Arc::new(Link { pool: Pool::new(trust()?, Arc::clone(&dial)), upgrades: trust()?.for_upgrades(), dial });
        known.insert(key, Arc::downgrade(&link));
        Ok(link)
    }

    pub(super) fn forget_unused(&self) {
        self.known.lock().expect("no holder of the links panics").retain(|_, link| link.strong_count() > 0);
    }
}

/// `caBundle` is base64 of PEM.
fn believing(bundle: &str, server_name: &str) -> Result<Trust, String> {
    let bytes = STANDARD.decode(bundle).map_err(|error| format!("caBundle is no base64: {error}"))?;
    let pem = String::from_utf8(bytes).map_err(|_| "unable to load root certificates: unable to parse bytes as PEM block".to_owned())?;
    Trust::new(&pem, server_name.to_owned())
}

impl Remote {
    /// Its ready endpoints, in an order of chance.
    pub(crate) async fn addresses(&self, world: World<'_>) -> Result<Vec<SocketAddr>, Unreached> {
        let (service, port) = (&self.service, self.service.port());
        let found = resolve::service(world.cache, &service.namespace, &service.name, port).map_err(Unreached::Unresolved)?;
        let mut addresses = match found {
            Found::Endpoints(addresses) => addresses,
            Found::Name(host) => {
                let deadline = world.env.instant() + names::PATIENCE;
                names::addresses(world.env, &host, port, deadline).await.map_err(Unreached::Unresolved)?
            }
        };
        crate::webhook::shuffle(&mut addresses, world.env);
        addresses.truncate(TRIES_MAX);
        Ok(addresses)
    }

    /// `https://front.default.svc:443/apis/…`
    pub(crate) fn url(&self, path: &str) -> String {
        format!("https://{}:{}{path}", self.service.server_name(), self.service.port())
    }
}

impl Link {
    /// The answer's head. The connection is given back by whoever has read the rest.
    pub(crate) async fn send(
        &self,
        cache: &Cache,
        addresses: &[SocketAddr],
        mut request: Request<Sent>,
    ) -> Result<(Response<Incoming>, Lease<Sent>), Unreached> {
        let mut why = String::from("no address");
        for address in addresses {
            match self.pool.send(cache.env(), *address, request).await {
                Ok(answered) => return Ok(answered),
                Err((Failed::Broken(broken), _)) => return Err(Unreached::Transport(broken)),
                Err((Failed::Unconnected(unconnected), Some(unsent))) => (why, request) = (unconnected, unsent),
                Err((Failed::Unconnected(unconnected), None)) => return Err(Unreached::Transport(unconnected)),
            }
        }
        Err(Unreached::Transport(why))
    }

    /// The same over a connection of its own, which may become a pipe.
    pub(crate) async fn upgrade(
        &self,
        cache: &Cache,
        addresses: &[SocketAddr],
        request: Request<Sent>,
    ) -> Result<Response<Incoming>, Unreached> {
        let mut why = String::from("no address");
        for address in addresses {
            let tls = match pool::connected(&self.upgrades, &*self.dial, *address).await {
                Ok(tls) => tls,
                Err(unconnected) => {
                    why = unconnected;
                    continue;
                }
            };
            let broken = |error: hyper::Error| Unreached::Transport(error.to_string());
            let (mut sender, connection) = http1::handshake(TokioIo::new(tls)).await.map_err(broken)?;
            cache.env().spawn("aggregated-upgrade", async move {
                if let Err(error) = connection.with_upgrades().await {
                    tracing::debug!(%error, "an upgraded connection to another API server ended");
                }
            });
            return sender.send_request(pool::relative(request)).await.map_err(broken);
        }
        Err(Unreached::Transport(why))
    }
}
