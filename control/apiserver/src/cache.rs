//! The watch cache: every object in memory, shared with the store's own bytes, and a ring of recent events per kind.
//!
//! ```text
//! store.watch("/") ──► feeder ──► Ring per storage prefix ──► cursors (cache/cursor.rs)
//!                        └─────► progress: who waits for revision R wakes
//! ```
//! One task follows the store; it parses outside of the locks and applies a batch at once. At start the state is read as
//! it was some thousand revisions ago and the history since then is replayed, so that watchers from before a restart
//! resume without listing again. Writers wait until their own revision shows here, so everybody reads their own writes.

pub mod cursor;
pub mod event;
pub mod item;
mod progress;
pub mod ring;
pub mod signal;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, RwLock};

use env::Env;
use futures::StreamExt;
use kinds::KindRef;
use store::{EventKind, Key, Revision, Store, StoreError};

use self::item::Item;
use self::progress::Progress;
use self::ring::{Change, Ring, Topic};
use crate::allocate::Allocations;

/// History replayed at start.
const REPLAY_REVISIONS_MAX: u64 = 20_000;
/// Entries read at once while loading.
const LOAD_PAGE: usize = 5_000;

/// All kinds.
pub struct Cache {
    store: Arc<dyn Store>,
    env: Env,
    kinds: HashMap<String, Arc<KindCache>>,
    progress: Progress,
    /// The process stops; watchers look here, which costs them less than the environment's own signal.
    stopping: AtomicBool,
    /// The allocated addresses and ports, which live beside the objects.
    pub allocations: Allocations,
}

/// One storage prefix.
pub struct KindCache {
    /// At the stored version.
    pub kind: KindRef,
    ring: RwLock<Ring>,
    /// Pods are indexed by node.
    on_node: bool,
}

impl Cache {
    /// An empty cache of these kinds; [`Cache::load`] fills it.
    pub fn new(store: Arc<dyn Store>, env: Env, kinds: Vec<KindRef>, ring_bytes_max: usize) -> Self {
        let kinds = kinds.into_iter().map(|kind| {
            let on_node = kind.group.is_empty() && kind.resource == "pods";
            let ring = RwLock::new(Ring::new(ring_bytes_max));
            (kind.storage_prefix.to_string(), Arc::new(KindCache { kind, ring, on_node }))
        });
        Self {
            store,
            env,
            kinds: kinds.collect(),
            progress: Progress::default(),
            stopping: AtomicBool::new(false),
            allocations: Allocations::default(),
        }
    }

    /// The kind's cache, by storage prefix.
    pub fn kind(&self, prefix: &str) -> Option<&Arc<KindCache>> {
        self.kinds.get(prefix)
    }

    /// Everything up to this revision shows.
    pub fn applied(&self) -> u64 {
        self.progress.applied()
    }

    /// Resolves when everything up to `revision` shows.
    pub async fn wait(&self, revision: u64) -> Result<(), StoreError> {
        self.progress.wait(revision).await
    }

    /// Resolves when everything that is committed now shows.
    pub async fn catch_up(&self) -> Result<(), StoreError> {
        self.wait(self.store.current().await?.0).await
    }

    /// Reads the state and starts to follow the store; resolves when the newest revision shows.
    pub async fn load(self: &Arc<Self>) -> Result<(), StoreError> {
        let newest = self.store.revision();
        let mut from = self.start_revision(newest);
        while let Err(error) = self.read_state(from).await {
            match error {
                StoreError::Compacted { .. } => from = self.start_revision(newest), // history ended while it was read
                error => return Err(error),
            }
        }
        let cache = Arc::clone(self);
        drop(self.env.spawn("watch cache", async move {
            let stopped = cache.env.shutdown().clone();
            stopped.run_until_cancelled(cache.follow(from)).await;
            stopped.cancelled().await; // also when the store is lost: watchers live on until then
            cache.stop();
        }));
        self.wait(newest.0).await
    }

    fn start_revision(&self, newest: Revision) -> Revision {
        let replayed = Revision(newest.0.saturating_sub(REPLAY_REVISIONS_MAX));
        replayed.max(self.store.oldest())
    }

    /// Sets every kind to its state at `at`.
    async fn read_state(&self, at: Revision) -> Result<(), StoreError> {
        let mut found: HashMap<&str, Vec<(Key, Arc<Item>)>> = HashMap::new();
        self.allocations.clear();
        let mut start = (at.0 > 0).then(|| String::from("/")); // before the first commit there is nothing
        while let Some(from) = start.take() {
            let page = self.store.range(&from, "0", Some(at), LOAD_PAGE).await?;
            start = page.entries.last().filter(|_| page.remaining > 0).map(|entry| format!("{}\0", entry.key));
            for entry in page.entries {
                self.allocations.note(&entry.key, Some(&entry.value));
                if let Some((prefix, kind)) = self.route(&entry.key)
                    && let Some(item) = kind.parse(&entry.key, entry.value)
                {
                    found.entry(prefix).or_default().push((entry.key, item));
                }
            }
        }
        for (prefix, kind) in &self.kinds {
            let wake = kind.ring.write().expect("ring").reset(at.0, found.remove(prefix.as_str()).unwrap_or_default());
            wake.iter().for_each(|signal| signal.ring());
        }
        Ok(())
    }

    /// Applies what the store commits, until the process stops. A feeder that fell behind the store's history starts afresh.
    async fn follow(&self, mut from: Revision) {
        loop {
            match self.follow_from(from).await {
                Err(StoreError::Lagged | StoreError::Compacted { .. }) => {
                    from = self.store.revision();
                    tracing::warn!(revision = from.0, "the watch cache fell behind the store and starts afresh; watchers must list again");
                    if let Err(error) = self.read_state(from).await {
                        return self.progress.fail(error);
                    }
                    self.progress.reach(from.0);
                }
                Err(error) => {
                    tracing::error!(%error, "the watch cache lost the store");
                    return self.progress.fail(error);
                }
                Ok(()) => return self.progress.fail(StoreError::Failed("the store closed its event stream".into())),
            }
        }
    }

    /// Ends every watch.
    fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        let signals = self.kinds.values().flat_map(|kind| kind.read().signals());
        signals.for_each(|signal| signal.ring());
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    async fn follow_from(&self, from: Revision) -> Result<(), StoreError> {
        let mut events = self.store.watch("/", from).await?;
        self.progress.reach(from.0);
        while let Some(batch) = events.next().await {
            self.apply(&batch?);
        }
        Ok(())
    }

    fn apply(&self, batch: &[store::Event]) {
        let mut changes: BTreeMap<&str, Vec<Change>> = BTreeMap::new();
        for event in batch {
            let value = (event.kind != EventKind::Delete).then(|| event.value.clone());
            self.allocations.note(&event.key, value.as_ref());
            let Some((prefix, kind)) = self.route(&event.key) else { continue };
            let item = value.and_then(|value| kind.parse(&event.key, value));
            changes.entry(prefix).or_default().push(Change { key: Arc::clone(&event.key), revision: event.revision.0, item });
        }
        for (prefix, changes) in changes {
            self.kinds[prefix].apply(changes, &self.env);
        }
        if let Some(last) = batch.last() {
            self.progress.reach(last.revision.0);
        }
    }

    /// The kind that a key belongs to: its prefix has one segment (core) or two (`/apps/deployments/`).
    fn route<'a>(&'a self, key: &str) -> Option<(&'a str, &'a Arc<KindCache>)> {
        let slashes = key.match_indices('/').skip(1).take(2);
        slashes.filter_map(|(at, _)| self.kinds.get_key_value(&key[..=at])).next().map(|(prefix, kind)| (prefix.as_str(), kind))
    }
}

/// Ends a subscription that no cursor owns.
struct Subscribed<'a> {
    kind: &'a KindCache,
    topic: Topic,
}

impl Drop for Subscribed<'_> {
    fn drop(&mut self) {
        self.kind.write().unsubscribe(&self.topic);
    }
}

impl KindCache {
    /// One object, by key.
    pub fn get(&self, key: &str) -> Option<Arc<Item>> {
        self.read().get(key).cloned()
    }

    /// Resolves when there is an object under `key`, now or later.
    pub async fn appears(&self, key: &str) -> Arc<Item> {
        let topic = Topic::Object(key.into());
        let signal = {
            let mut ring = self.write();
            let revision = ring.revision();
            ring.subscribe(&topic, revision).1
        };
        let _subscribed = Subscribed { kind: self, topic };
        loop {
            let mut woken = std::pin::pin!(signal.bell().notified());
            woken.as_mut().enable(); // before looking, so that nothing falls between
            if let Some(item) = self.get(key) {
                return item;
            }
            woken.await;
        }
    }

    /// Whether pods' `spec.nodeName` is indexed here.
    pub fn on_node(&self) -> bool {
        self.on_node
    }

    pub(crate) fn read(&self) -> std::sync::RwLockReadGuard<'_, Ring> {
        self.ring.read().expect("nobody panics while holding a ring")
    }

    pub(crate) fn write(&self) -> std::sync::RwLockWriteGuard<'_, Ring> {
        self.ring.write().expect("nobody panics while holding a ring")
    }

    /// What is not an object (damaged, or of a newer version's making) is left out and said so.
    fn parse(&self, key: &str, value: bytes::Bytes) -> Option<Arc<Item>> {
        Item::parse(value, self.on_node).inspect_err(|status| tracing::error!(key, %status, "unreadable object in the store")).ok()
    }

    fn apply(&self, changes: Vec<Change>, env: &Env) {
        let wake = self.write().apply(changes, env.instant());
        wake.iter().for_each(|signal| signal.ring_paced(env));
    }
}
