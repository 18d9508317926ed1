//! The ConfigMaps and Secrets that pods of this node refer to: one watch an object, shared by all pods that need it, gone
//! with the last of them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use client::{Client, Informer, Object, Options, Target};
use env::Env;
use tokio::sync::Notify;

use crate::environment::{Objects, RefKind};

/// A first answer that takes longer is an error of the pod, which then retries.
const FIRST_ANSWER: Duration = Duration::from_secs(10);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    kind: RefKind,
    namespace: String,
    name: String,
}

struct Watched {
    informer: Arc<Informer>,
    users: HashMap<String, User>,
}

struct User {
    changed: Arc<Notify>,
    /// Revision that it was given; 0 for none.
    seen: u64,
}

/// Cheap to clone.
#[derive(Clone)]
pub(crate) struct References(Arc<Inner>);

struct Inner {
    env: Env,
    client: Client,
    /// A std mutex: held for look-ups only, never across an await.
    watched: Mutex<HashMap<Key, Watched>>,
}

impl References {
    pub(crate) fn new(env: &Env, client: Client) -> Self {
        Self(Arc::new(Inner { env: env.clone(), client, watched: Mutex::default() }))
    }

    /// One pod's view; `changed` fires when something that it was given has changed. Dropping it ends its watches.
    pub(crate) fn of_pod(&self, uid: &str, changed: Arc<Notify>) -> PodObjects {
        PodObjects { references: self.clone(), uid: uid.into(), changed }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Watched>> {
        self.0.watched.lock().expect("no holder of the watches panics")
    }

    fn use_by(&self, key: &Key, uid: &str, changed: &Arc<Notify>) -> Arc<Informer> {
        let mut watched = self.lock();
        let entry = watched.entry(key.clone()).or_insert_with(|| self.start(key));
        entry.users.entry(uid.to_owned()).or_insert_with(|| User { changed: Arc::clone(changed), seen: 0 });
        Arc::clone(&entry.informer)
    }

    fn start(&self, key: &Key) -> Watched {
        let resource = if key.kind == RefKind::ConfigMap { "configmaps" } else { "secrets" };
        let options = Options { field_selector: format!("metadata.name={}", key.name), ..Options::default() };
        let informer = Informer::start(&self.0.env, self.0.client.clone(), Target::of("v1", resource, &key.namespace), options, &[]);
        let mut changes = informer.changes();
        let (references, key) = (self.clone(), key.clone());
        self.0.env.spawn("reference", async move {
            use tokio::sync::broadcast::error::RecvError;
            // Ends when the informer is dropped.
            while !matches!(changes.recv().await, Err(RecvError::Closed)) {
                references.announce(&key);
            }
        });
        Watched { informer, users: HashMap::new() }
    }

    fn announce(&self, key: &Key) {
        let watched = self.lock();
        let Some(entry) = watched.get(key) else { return };
        let revision = revision(&entry.informer, key);
        entry.users.values().filter(|user| user.seen != revision).for_each(|user| user.changed.notify_one());
    }
}

fn revision(informer: &Informer, key: &Key) -> u64 {
    informer.store.get(&format!("{}/{}", key.namespace, key.name)).map_or(0, |object| object.revision())
}

/// What one pod refers to.
pub(crate) struct PodObjects {
    references: References,
    uid: String,
    changed: Arc<Notify>,
}

#[async_trait]
impl Objects for PodObjects {
    async fn get(&self, kind: RefKind, namespace: &str, name: &str) -> Result<Option<Arc<Object>>, String> {
        let key = Key { kind, namespace: namespace.into(), name: name.into() };
        let informer = self.references.use_by(&key, &self.uid, &self.changed);
        if tokio::time::timeout(FIRST_ANSWER, informer.synced()).await.is_err() {
            let seconds = FIRST_ANSWER.as_secs();
            return Err(format!("the API server did not answer for {} {namespace}/{name} within {seconds} s", kind.noun()));
        }
        let found = informer.store.get(&format!("{namespace}/{name}"));
        if let Some(user) = self.references.lock().get_mut(&key).and_then(|entry| entry.users.get_mut(&self.uid)) {
            user.seen = found.as_ref().map_or(0, |object| object.revision());
        }
        Ok(found)
    }
}

impl Drop for PodObjects {
    fn drop(&mut self) {
        let mut watched = self.references.lock();
        watched.retain(|_, entry| {
            entry.users.remove(&self.uid);
            !entry.users.is_empty()
        });
    }
}
