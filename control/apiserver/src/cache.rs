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
pub mod unreadable;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, RwLock};

use env::Env;
use futures::StreamExt;
use kinds::{KindRef, custom};
use schema::Value;
use store::{EventKind, Key, Revision, Store, StoreError};

use self::item::Item;
use self::progress::Progress;
use self::ring::{Change, Ring, Topic};
use self::unreadable::Unreadable;
use crate::allocate::Allocations;
use crate::conversion::Conversions;
use crate::quota::Fences;
use crate::registry::Registry;

/// History replayed at start.
const REPLAY_REVISIONS_MAX: u64 = 20_000;
/// Where definitions of custom kinds stand.
pub const DEFINITIONS: &str = "/apiextensions.k8s.io/customresourcedefinitions/";
/// Entries read at once while loading.
const LOAD_PAGE: usize = 5_000;

/// All kinds.
pub struct Cache {
    store: Arc<dyn Store>,
    env: Env,
    ring_bytes_max: usize,
    /// Built-in kinds, by storage prefix.
    kinds: HashMap<String, Arc<KindCache>>,
    /// Custom kinds, which come and go with their definitions.
    custom: RwLock<HashMap<String, Arc<KindCache>>>,
    /// Told of definitions in the order of the store, before anybody else sees them.
    registry: Arc<Registry>,
    progress: Progress,
    /// The process stops; watchers look here, which costs them less than the environment's own signal.
    stopping: AtomicBool,
    /// The allocated addresses and ports, which live beside the objects.
    pub allocations: Allocations,
    /// Where quotas came into force, which live beside the objects as well.
    pub fences: Fences,
    conversions: Conversions,
}

/// One storage prefix.
pub struct KindCache {
    /// At the stored version.
    pub kind: KindRef,
    ring: RwLock<Ring>,
    /// Pods are indexed by node.
    on_node: bool,
    /// What is in the store and not in the ring.
    pub unreadable: Unreadable,
}

impl Cache {
    /// An empty cache of the registry's kinds; [`Cache::load`] fills it.
    pub fn new(store: Arc<dyn Store>, env: Env, registry: Arc<Registry>, ring_bytes_max: usize) -> Self {
        let table = registry.table();
        let kinds =
            table.stored().map(|kind| (kind.storage_prefix.to_string(), Arc::new(KindCache::new(Arc::clone(kind), ring_bytes_max))));
        Self {
            store,
            env,
            ring_bytes_max,
            kinds: kinds.collect(),
            custom: RwLock::default(),
            registry,
            progress: Progress::default(),
            stopping: AtomicBool::new(false),
            allocations: Allocations::default(),
            fences: Fences::default(),
            conversions: Conversions::default(),
        }
    }

    pub fn env(&self) -> &Env {
        &self.env
    }

    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Who makes objects of custom kinds in versions that are not stored.
    pub fn conversions(&self) -> &Conversions {
        &self.conversions
    }

    /// A built-in kind's cache, by storage prefix.
    pub fn kind(&self, prefix: &str) -> Option<&Arc<KindCache>> {
        self.kinds.get(prefix)
    }

    /// The cache of any kind.
    pub fn of(&self, kind: &KindRef) -> Option<Arc<KindCache>> {
        match &kind.custom {
            None => self.kinds.get(kind.storage_prefix.as_ref()).cloned(),
            Some(_) => self.custom().get(kind.storage_prefix.as_ref()).cloned(),
        }
    }

    fn custom(&self) -> std::sync::RwLockReadGuard<'_, HashMap<String, Arc<KindCache>>> {
        self.custom.read().expect("nobody panics while holding the custom kinds")
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
        self.read_definitions(at).await?;
        let mut found: HashMap<String, Vec<(Key, Arc<Item>)>> = HashMap::new();
        self.allocations.clear();
        self.fences.clear();
        self.kinds.values().chain(self.custom().values()).for_each(|kind| kind.unreadable.clear());
        let mut start = (at.0 > 0).then(|| String::from("/")); // before the first commit there is nothing
        while let Some(from) = start.take() {
            let page = self.store.range(&from, "0", Some(at), LOAD_PAGE).await?;
            start = page.entries.last().filter(|_| page.remaining > 0).map(|entry| format!("{}\0", entry.key));
            for entry in page.entries {
                self.allocations.note(&entry.key, Some(&entry.value));
                self.fences.note(&entry.key, Some(entry.modified));
                if let Some((prefix, kind)) = self.route(&entry.key)
                    && let Some(item) = kind.parse(&entry.key, entry.value)
                {
                    found.entry(prefix).or_default().push((entry.key, item));
                }
            }
        }
        for (prefix, kind) in self.kinds.iter().chain(&*self.custom()) {
            kind.reset(at.0, found.remove(prefix).unwrap_or_default());
        }
        Ok(())
    }

    /// Serves exactly the definitions that there are at `at`.
    async fn read_definitions(&self, at: Revision) -> Result<(), StoreError> {
        let mut held: Vec<String> = self.registry.table().families().map(|family| family.name.to_string()).collect();
        if at.0 > 0 {
            let (start, end) = crate::list::bounds(DEFINITIONS, "");
            for entry in self.store.range(&start, &end, Some(at), 0).await?.entries {
                self.define(&entry.key, entry.modified.0, Some(&entry.value));
                held.retain(|name| **name != entry.key[DEFINITIONS.len()..]);
            }
        }
        held.iter().for_each(|name| self.forget(name));
        Ok(())
    }

    /// Takes in a definition. Returns the prefix of a kind that is new here, whose objects must be read.
    fn define(&self, key: &str, revision: u64, value: Option<&bytes::Bytes>) -> Option<String> {
        let name = &key[DEFINITIONS.len()..];
        let established = |raw: &&bytes::Bytes| serde_json::from_slice::<Value>(raw).is_ok_and(|doc| custom::is_established(&doc));
        let before = self.registry.family(name);
        let family = value.filter(established).and_then(|raw| custom::Family::new(raw, revision, before.as_deref()));
        let Some(family) = family else {
            self.forget(name);
            return None;
        };
        let prefix = family.stored.storage_prefix.to_string();
        let fresh = !self.custom().contains_key(&prefix);
        if fresh {
            let cache = Arc::new(KindCache::new(Arc::clone(&family.stored), self.ring_bytes_max));
            self.custom.write().expect("nobody panics while holding the custom kinds").insert(prefix.clone(), cache);
        }
        self.registry.serve(family);
        fresh.then_some(prefix)
    }

    /// A definition is gone: its kinds are not served any more, and their watches end.
    fn forget(&self, name: &str) {
        let Some(family) = self.registry.withdraw(name) else { return };
        let mut kinds = self.custom.write().expect("nobody panics while holding the custom kinds");
        if let Some(cache) = kinds.remove(family.stored.storage_prefix.as_ref()) {
            cache.reset(self.progress.applied(), Vec::new());
        }
    }

    /// Reads what is stored of a kind that is new here; almost always that is nothing.
    async fn fill(&self, prefix: &str, at: Revision) -> Result<(), StoreError> {
        let Some(kind) = self.custom().get(prefix).cloned() else { return Ok(()) };
        let (start, end) = crate::list::bounds(prefix, "");
        let entries = self.store.range(&start, &end, Some(at), 0).await?.entries;
        let items = entries.into_iter().filter_map(|entry| Some((Arc::clone(&entry.key), kind.parse(&entry.key, entry.value)?)));
        kind.reset(at.0, items.collect());
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
        let custom = self.custom();
        let signals = self.kinds.values().chain(custom.values()).flat_map(|kind| kind.read().signals());
        signals.for_each(|signal| signal.ring());
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    async fn follow_from(&self, from: Revision) -> Result<(), StoreError> {
        let mut events = self.store.watch("/", from).await?;
        self.progress.reach(from.0);
        while let Some(batch) = events.next().await {
            let batch = batch?;
            let opened = self.apply(&batch);
            let Some(last) = batch.last() else { continue };
            for prefix in opened {
                self.fill(&prefix, last.revision).await?;
            }
            self.progress.reach(last.revision.0);
        }
        Ok(())
    }

    /// Returns the prefixes of kinds that are new here.
    fn apply(&self, batch: &[store::Event]) -> Vec<String> {
        let mut opened = Vec::new();
        let mut changes: BTreeMap<String, (Arc<KindCache>, Vec<Change>)> = BTreeMap::new();
        for event in batch {
            let value = (event.kind != EventKind::Delete).then(|| event.value.clone());
            self.allocations.note(&event.key, value.as_ref());
            self.fences.note(&event.key, value.is_some().then_some(event.revision));
            if event.key.starts_with(DEFINITIONS) {
                opened.extend(self.define(&event.key, event.revision.0, value.as_ref()));
            }
            let Some((prefix, kind)) = self.route(&event.key) else { continue };
            let item = kind.item(&event.key, value);
            let change = Change { key: Arc::clone(&event.key), revision: event.revision.0, item };
            changes.entry(prefix).or_insert_with(|| (kind, Vec::new())).1.push(change);
        }
        for (kind, changes) in changes.into_values() {
            kind.apply(changes, &self.env);
        }
        opened
    }

    /// The kind that a key belongs to: its prefix has one segment (core) or two (`/apps/deployments/`).
    fn route(&self, key: &str) -> Option<(String, Arc<KindCache>)> {
        let prefixes = || key.match_indices('/').skip(1).take(2).map(|(at, _)| &key[..=at]);
        let built_in = prefixes().find_map(|prefix| Some((prefix, self.kinds.get(prefix)?)));
        if let Some((prefix, kind)) = built_in {
            return Some((prefix.to_owned(), Arc::clone(kind)));
        }
        let custom = self.custom();
        prefixes().find_map(|prefix| Some((prefix.to_owned(), Arc::clone(custom.get(prefix)?))))
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
    fn new(kind: KindRef, ring_bytes_max: usize) -> Self {
        let on_node = kind.group.is_empty() && kind.resource == "pods";
        Self { kind, ring: RwLock::new(Ring::new(ring_bytes_max)), on_node, unreadable: Unreadable::default() }
    }

    /// Starts afresh; every cursor is void.
    fn reset(&self, revision: u64, items: Vec<(Key, Arc<Item>)>) {
        let wake = self.write().reset(revision, items);
        wake.iter().for_each(|signal| signal.ring());
    }

    /// Resolves when there are no objects, now or later.
    pub async fn empties(&self) {
        let topic = Topic::All;
        let signal = {
            let mut ring = self.write();
            let revision = ring.revision();
            ring.subscribe(&topic, revision).1
        };
        let _subscribed = Subscribed { kind: self, topic };
        loop {
            let mut woken = std::pin::pin!(signal.bell().notified());
            woken.as_mut().enable(); // before looking, so that nothing falls between
            if self.is_empty() {
                return;
            }
            woken.await;
        }
    }

    pub fn is_empty(&self) -> bool {
        let (start, end) = crate::list::bounds(&self.kind.storage_prefix, "");
        self.read().range(&start, &end).next().is_none()
    }

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

    /// What is under a key now; None: nothing that could be shown.
    fn item(&self, key: &str, value: Option<bytes::Bytes>) -> Option<Arc<Item>> {
        if value.is_none() {
            self.unreadable.remove(key);
        }
        self.parse(key, value?)
    }

    /// What is not an object (encrypted under a key that we lack, damaged) is left out and said so.
    fn parse(&self, key: &str, value: bytes::Bytes) -> Option<Arc<Item>> {
        match Item::parse(value, self.on_node) {
            Ok(item) => {
                self.unreadable.remove(key);
                Some(item)
            }
            Err(status) => {
                tracing::error!(key, %status, "unreadable object in the store");
                self.unreadable.add(key);
                None
            }
        }
    }

    fn apply(&self, changes: Vec<Change>, env: &Env) {
        let wake = self.write().apply(changes, env.instant());
        wake.iter().for_each(|signal| signal.ring_paced(env));
    }
}
