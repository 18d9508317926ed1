//! A shared, indexed, always current copy of one collection.
//!
//! ```text
//! list ──► replace ──► watch ──event──► store ──► handlers (keys only)
//!   ▲                    │ 410, broken stream
//!   └──── back-off ──────┘
//! ```

use std::collections::HashMap;
use std::sync::{Arc, RwLock};

use env::Env;
use tokio::sync::{broadcast, watch};

use crate::{Client, Object, Options, Target};

/// What happened to a key. Handlers get old and new so that they can find the owners of both.
#[derive(Clone, Debug)]
pub enum Change {
    /// `old` is None for an add.
    Upsert { old: Option<Arc<Object>>, new: Arc<Object> },
    Delete { old: Arc<Object> },
}

/// Makes index keys of an object (node name, owner uid, …).
pub type IndexFn = fn(&Object) -> Vec<String>;

/// The readable side: cheap to clone, shared by every user of the collection.
#[derive(Clone)]
pub struct Store {
    inner: Arc<RwLock<State>>,
}

struct State {
    objects: HashMap<String, Arc<Object>>,
    indexes: HashMap<&'static str, (IndexFn, HashMap<String, HashMap<String, Arc<Object>>>)>,
}

impl Store {
    pub fn get(&self, _key: &str) -> Option<Arc<Object>> {
        unimplemented!()
    }

    /// All objects, in no order.
    pub fn all(&self) -> Vec<Arc<Object>> {
        unimplemented!()
    }

    /// Objects under `key` in the index `name`. Every informer has the index `namespace`.
    pub fn by(&self, _name: &'static str, _key: &str) -> Vec<Arc<Object>> {
        unimplemented!()
    }
}

/// One collection's list+watch loop.
pub struct Informer {
    pub store: Store,
    changes: broadcast::Sender<Change>,
    synced: watch::Receiver<bool>,
}

impl Informer {
    /// Starts the loop as a task of `env`. `options` may carry selectors.
    pub fn start(_env: &Env, _client: Client, _target: Target, _options: Options, _indexes: &[(&'static str, IndexFn)]) -> Arc<Self> {
        unimplemented!()
    }

    /// Resolves when the first list is in the store.
    pub async fn synced(&self) {
        let mut synced = self.synced.clone();
        let _ = synced.wait_for(|done| *done).await;
    }

    /// Every change from now on. A reader that lags gets `RecvError::Lagged` and must look at the whole store again.
    pub fn changes(&self) -> broadcast::Receiver<Change> {
        self.changes.subscribe()
    }
}
