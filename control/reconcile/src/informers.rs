//! One informer per collection, shared by everybody in the process.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use client::informer::{BY_OWNER, IndexFn, owner_uid};
use client::{Client, Informer, Options, Target};
use env::Env;

/// Index of pods by the node they are bound to.
pub const BY_NODE: &str = "node";
/// Index of services by the first pair of their selector ([`selector_key`]): a pod's labels then find their services without
/// a look at the others.
pub const BY_SELECTOR: &str = "selector";
/// Index of objects that nobody manages, by namespace: what a controller may adopt.
pub const ORPHANS: &str = "orphans";

/// Cheap to clone.
#[derive(Clone)]
pub struct Informers {
    inner: Arc<Inner>,
}

struct Inner {
    env: Env,
    client: Client,
    started: Mutex<HashMap<(String, String), Arc<Informer>>>,
}

impl Informers {
    /// `client` is the identity that lists and watches for all.
    pub fn new(env: &Env, client: Client) -> Self {
        Self { inner: Arc::new(Inner { env: env.clone(), client, started: Mutex::default() }) }
    }

    /// The informer of a whole collection; the first caller starts it. Indexes: namespace, [`BY_OWNER`], [`ORPHANS`], for pods [`BY_NODE`], for services [`BY_SELECTOR`].
    pub fn of(&self, api_version: &str, resource: &str) -> Arc<Informer> {
        let mut started = self.inner.started.lock().expect("no holder of the informers panics");
        let key = (api_version.to_owned(), resource.to_owned());
        Arc::clone(started.entry(key).or_insert_with(|| self.start(api_version, resource)))
    }

    pub fn env(&self) -> &Env {
        &self.inner.env
    }

    /// Ends an informer that nobody shall start again: its collection is gone. Who still holds it reads what it last had.
    pub fn end(&self, api_version: &str, resource: &str) {
        let key = (api_version.to_owned(), resource.to_owned());
        self.inner.started.lock().expect("no holder of the informers panics").remove(&key);
    }

    /// Resolves when every informer started so far has its first list.
    pub async fn synced(&self) {
        let started: Vec<Arc<Informer>> = self.inner.started.lock().expect("no holder of the informers panics").values().cloned().collect();
        for informer in started {
            informer.synced().await;
        }
    }

    fn start(&self, api_version: &str, resource: &str) -> Arc<Informer> {
        let by_owner: (&'static str, IndexFn) = (BY_OWNER, owner_uid);
        let orphans: (&'static str, IndexFn) = (ORPHANS, orphan_namespace);
        let by_node: (&'static str, IndexFn) = (BY_NODE, node_name);
        let by_selector: (&'static str, IndexFn) = (BY_SELECTOR, first_selector_pair);
        let indexes = match resource {
            "pods" => vec![by_owner, orphans, by_node],
            "services" => vec![by_owner, orphans, by_selector],
            _ => vec![by_owner, orphans],
        };
        Informer::start(&self.inner.env, self.inner.client.clone(), Target::of(api_version, resource, ""), Options::default(), &indexes)
    }
}

fn orphan_namespace(object: &client::Object) -> Vec<String> {
    if object.meta.controller().is_none() { vec![object.meta.namespace.clone()] } else { Vec::new() }
}

fn first_selector_pair(object: &client::Object) -> Vec<String> {
    let service = object.lens::<kinds::core::Service>();
    let pair = service
        .ok()
        .and_then(|service| service.spec.selector.first_key_value().map(|(name, value)| selector_key(&object.meta.namespace, name, value)));
    pair.into_iter().collect()
}

/// Key of [`BY_SELECTOR`].
pub fn selector_key(namespace: &str, name: &str, value: &str) -> String {
    format!("{namespace}/{name}={value}")
}

fn node_name(object: &client::Object) -> Vec<String> {
    let pod = object.lens::<kinds::core::Pod>();
    pod.ok().map(|pod| pod.spec.node_name.clone()).filter(|name| !name.is_empty()).into_iter().collect()
}
