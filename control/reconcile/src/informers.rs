//! One informer per collection, shared by everybody in the process.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use client::informer::{BY_OWNER, IndexFn, owner_uid};
use client::{Client, Informer, Options, Target};
use env::Env;

/// Index of pods by the node they are bound to.
pub const BY_NODE: &str = "node";

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

    /// The informer of a whole collection; the first caller starts it. Indexes: namespace, [`BY_OWNER`], and for pods [`BY_NODE`].
    pub fn of(&self, api_version: &str, resource: &str) -> Arc<Informer> {
        let mut started = self.inner.started.lock().expect("no holder of the informers panics");
        let key = (api_version.to_owned(), resource.to_owned());
        Arc::clone(started.entry(key).or_insert_with(|| self.start(api_version, resource)))
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
        let by_node: (&'static str, IndexFn) = (BY_NODE, node_name);
        let indexes = if resource == "pods" { vec![by_owner, by_node] } else { vec![by_owner] };
        Informer::start(&self.inner.env, self.inner.client.clone(), Target::of(api_version, resource, ""), Options::default(), &indexes)
    }
}

fn node_name(object: &client::Object) -> Vec<String> {
    let pod = object.lens::<kinds::core::Pod>();
    pod.ok().map(|pod| pod.spec.node_name.clone()).filter(|name| !name.is_empty()).into_iter().collect()
}
