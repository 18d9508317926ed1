//! Groups that other servers answer for (`APIService`): which they are, how they are reached, whether they are well, and what
//! they say of themselves.
//!
//! ```text
//! definitions, built-in groups ─► register ─► APIService objects (local)
//! APIService with a service ─► keeper: is it there? has it endpoints? does it answer? ─► condition Available   (available.rs)
//!                                └► its discovery and OpenAPI, kept as last heard                              (documents.rs)
//! request for its group and version ─► routes ─► remote ─► its own bytes back                        (http/aggregated.rs)
//! ```
//! A group that is answered here needs no object to be served: the objects of local groups tell clients their priorities. One
//! that names a service takes a group and version away from this server. Who asks is told to the other server in headers
//! that it believes because of the certificate that we show (`front-proxy-client`); authorization, fairness and audit come
//! before that. Discovery and OpenAPI stay complete while a server is down: they tell what it last said of itself, and that
//! this is stale.

mod available;
mod documents;
pub mod priority;
mod register;
mod remote;
mod routes;
mod trust;

use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use client::Client;
use rustls::client::ResolvesClientCert;

pub(crate) use self::documents::{Documents, Told};
pub(crate) use self::remote::{Link, Links, Sent, Unreached};
pub(crate) use self::routes::{Remote, Routes};
pub use self::trust::Trust;
use crate::Core;
use crate::webhook::Dial;

pub(crate) const API_VERSION: &str = "apiregistration.k8s.io/v1";
pub(crate) const RESOURCE: &str = "apiservices";
/// Where APIServices stand.
const PREFIX: &str = "/apiregistration.k8s.io/apiservices/";

/// What this server knows of others.
#[derive(Default)]
pub struct Aggregation {
    routes: ArcSwap<Routes>,
    links: Links,
    documents: Documents,
    /// What we show to other servers.
    identity: OnceLock<Arc<dyn ResolvesClientCert>>,
}

impl Aggregation {
    /// Sets what other servers know us by; before the first of them is asked.
    pub fn set_identity(&self, identity: Arc<dyn ResolvesClientCert>) {
        let _ = self.identity.set(identity);
    }

    /// How connections are made; before the first of them.
    pub fn set_dial(&self, dial: Arc<dyn Dial>) {
        self.links.set_dial(dial);
    }

    /// The APIServices as they are now. Costs a look at a revision unless one has changed.
    pub(crate) fn routes(&self, core: &Core) -> Arc<Routes> {
        let Some(services) = core.cache.kind(PREFIX) else { return Arc::default() };
        let known = self.routes.load_full();
        let ring = services.read();
        let revision = ring.revision();
        if known.revision == revision {
            return known;
        }
        let (start, end) = crate::list::bounds(PREFIX, "");
        let objects: Vec<_> = ring.range(&start, &end).map(|(_, item)| Arc::clone(&item.object)).collect();
        drop(ring);
        let fresh = Arc::new(Routes::of(revision, &objects, &self.links, self.identity.get()));
        self.routes.rcu(|held| if held.revision > revision { Arc::clone(held) } else { Arc::clone(&fresh) });
        fresh
    }

    /// The server that answers for a path (`/apis/GROUP/VERSION…`), where it is another one.
    pub(crate) fn remote(&self, core: &Core, path: &str) -> Option<Arc<Remote>> {
        let routes = self.routes(core);
        if routes.remotes.is_empty() {
            return None;
        }
        let mut parts = path.strip_prefix('/')?.split('/');
        let (group, version) = match parts.next()? {
            "api" => ("", parts.next()?),
            "apis" => (parts.next()?, parts.next()?),
            _ => return None,
        };
        routes.remote(group, version)
    }

    /// What other servers say of themselves.
    pub(crate) fn documents(&self) -> &Documents {
        &self.documents
    }

    /// Starts to register groups, to look after other servers, and to tell them whom to believe.
    pub fn start(self: &Arc<Self>, core: &Arc<Core>, trust: Trust) {
        let client = Client::new(core.transport(auth::loopback_user()));
        register::start(core, client.clone());
        available::start(self, core, client.clone());
        trust.keep(core.env(), client);
    }
}
