//! A shared, indexed, always current copy of one collection.
//!
//! ```text
//! list ──► replace ──► watch ──event──► store ──► changes (old and new)
//!   ▲                    │
//!   ├──── 410: relist ───┤
//!   └── broken stream: watch again from the last revision seen, after a back-off
//! ```
//!
//! Objects are the `Arc`s of whoever answered: in process those of the watch cache itself, so an informer costs its
//! map entries and nothing else. There is no periodic resync; a reader that needs one has a bug.

use std::collections::HashMap;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use env::Env;
use futures::StreamExt;
use schema::Status;
use tokio::sync::{broadcast, watch};

use crate::{Client, List, Object, Options, Target, WatchEvent, WatchKind};

/// Watches refused in a row before the revision that we ask for is doubted and everything is listed again.
const REFUSED_MAX: u32 = 5;
/// A watch that held for so long was healthy, whether or not it brought anything.
const HEALTHY: Duration = Duration::from_secs(30);
const BACKOFF_MIN: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(10);

/// What happened to a key. Handlers get old and new so that they can find the owners of both.
#[derive(Clone, Debug)]
pub enum Change {
    /// `old` is None for an add.
    Upsert {
        old: Option<Arc<Object>>,
        new: Arc<Object>,
    },
    Delete {
        old: Arc<Object>,
    },
}

impl Change {
    /// The newest state known of the object.
    pub fn object(&self) -> &Arc<Object> {
        match self {
            Self::Upsert { new, .. } => new,
            Self::Delete { old } => old,
        }
    }
}

/// What one write to the store is to its readers.
type Changes = [Option<Change>; 2];

/// Makes index keys of an object (node name, owner uid, …).
pub type IndexFn = fn(&Object) -> Vec<String>;

/// Index that every informer has.
pub const BY_NAMESPACE: &str = "namespace";
/// Index by the uid of the managing owner; give it to [`Informer::start`] with [`owner_uid`].
pub const BY_OWNER: &str = "owner";

/// Key of [`BY_OWNER`].
pub fn owner_uid(object: &Object) -> Vec<String> {
    object.meta.controller().map(|owner| owner.uid.clone()).into_iter().collect()
}

/// The readable side: cheap to clone, shared by every user of the collection. Keys are `namespace/name`, or `name`.
#[derive(Clone, Default)]
pub struct Store {
    inner: Arc<RwLock<State>>,
}

#[derive(Default)]
struct State {
    objects: HashMap<String, Arc<Object>>,
    indexes: HashMap<&'static str, Index>,
    revision: u64,
}

struct Index {
    keys_of: IndexFn,
    entries: HashMap<String, HashMap<String, Arc<Object>>>,
}

impl Store {
    /// An empty store with these indexes beside [`BY_NAMESPACE`].
    pub fn with_indexes(indexes: &[(&'static str, IndexFn)]) -> Self {
        let by_namespace: (&'static str, IndexFn) = (BY_NAMESPACE, |object| vec![object.meta.namespace.clone()]);
        let all = indexes.iter().copied().chain([by_namespace]);
        let indexes = all.map(|(name, keys_of)| (name, Index { keys_of, entries: HashMap::new() })).collect();
        Self { inner: Arc::new(RwLock::new(State { objects: HashMap::new(), indexes, revision: 0 })) }
    }

    pub fn get(&self, key: &str) -> Option<Arc<Object>> {
        self.read().objects.get(key).cloned()
    }

    /// All objects, in no order.
    pub fn all(&self) -> Vec<Arc<Object>> {
        self.read().objects.values().cloned().collect()
    }

    /// The newest revision among everything that the store has been told, deletes and bookmarks included.
    pub fn revision(&self) -> u64 {
        self.read().revision
    }

    pub fn len(&self) -> usize {
        self.read().objects.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Objects under `key` in the index `name`, in no order. An index that was not asked for at the start is a bug: it panics.
    pub fn by(&self, name: &'static str, key: &str) -> Vec<Arc<Object>> {
        let state = self.read();
        let index = state.indexes.get(name).unwrap_or_else(|| panic!("no index {name:?} on this informer"));
        index.entries.get(key).map(|entries| entries.values().cloned().collect()).unwrap_or_default()
    }

    /// As [`Store::by`], those that satisfy `is` alone: for a few out of many.
    pub fn select(&self, name: &'static str, key: &str, is: impl Fn(&Object) -> bool) -> Vec<Arc<Object>> {
        let state = self.read();
        let index = state.indexes.get(name).unwrap_or_else(|| panic!("no index {name:?} on this informer"));
        index.entries.get(key).into_iter().flat_map(HashMap::values).filter(|object| is(object)).cloned().collect()
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, State> {
        self.inner.read().expect("no writer of the store panics")
    }

    /// Puts a newer object; an older revision than the one held is ignored. Nothing: nothing changed.
    fn upsert(&self, new: Arc<Object>) -> Changes {
        let held = self.get(&new.meta.key());
        if held.is_some_and(|held| held.revision() >= new.revision() && new.revision() > 0) {
            return Changes::default();
        }
        self.put(new)
    }

    /// Puts an object whatever is held. Another object of the same name is a delete and an add: readers know objects by uid.
    fn put(&self, new: Arc<Object>) -> Changes {
        let mut state = self.inner.write().expect("no writer of the store panics");
        let key = new.meta.key();
        let old = state.objects.insert(key.clone(), Arc::clone(&new));
        state.reindex(&key, old.as_deref(), Some(&new));
        match old {
            Some(other) if other.meta.uid != new.meta.uid => [Some(Change::Delete { old: other }), Some(Change::Upsert { old: None, new })],
            old => [Some(Change::Upsert { old, new }), None],
        }
    }

    /// `last` is the state that the delete carried, where there is one.
    fn delete(&self, key: &str, last: Option<Arc<Object>>) -> Option<Change> {
        let mut state = self.inner.write().expect("no writer of the store panics");
        let held = state.objects.remove(key)?;
        state.reindex(key, Some(&held), None);
        Some(Change::Delete { old: last.unwrap_or(held) })
    }

    fn reached(&self, revision: &str) {
        let mut state = self.inner.write().expect("no writer of the store panics");
        state.revision = state.revision.max(revision.parse().unwrap_or_default());
    }

    /// Makes the content exactly `items`, at exactly this revision; returns what changed. A list is the truth even where it is
    /// older than what is held: then the server has lost history, and everything newer with it.
    fn replace(&self, items: Vec<Arc<Object>>, revision: &str) -> Vec<Change> {
        let fresh: std::collections::HashSet<String> = items.iter().map(|item| item.meta.key()).collect();
        let gone: Vec<String> = self.read().objects.keys().filter(|key| !fresh.contains(*key)).cloned().collect();
        let deletes = gone.iter().filter_map(|key| self.delete(key, None)).collect::<Vec<_>>();
        let same = |item: &Arc<Object>| {
            self.get(&item.meta.key())
                .is_some_and(|held| held.meta.uid == item.meta.uid && held.revision() == item.revision() && item.revision() > 0)
        };
        let puts = items.into_iter().filter(|item| !same(item)).flat_map(|item| self.put(item)).flatten();
        let changes = deletes.into_iter().chain(puts).collect();
        self.inner.write().expect("no writer of the store panics").revision = revision.parse().unwrap_or_default();
        changes
    }
}

impl State {
    fn reindex(&mut self, key: &str, old: Option<&Object>, new: Option<&Arc<Object>>) {
        for index in self.indexes.values_mut() {
            for value in old.map(index.keys_of).unwrap_or_default() {
                index.remove(&value, key);
            }
            for value in new.map(|new| (index.keys_of)(new)).unwrap_or_default() {
                let new = Arc::clone(new.expect("it has just made the value"));
                index.entries.entry(value).or_default().insert(key.to_owned(), new);
            }
        }
    }
}

impl Index {
    fn remove(&mut self, value: &str, key: &str) {
        let Some(entries) = self.entries.get_mut(value) else { return };
        entries.remove(key);
        if entries.is_empty() {
            self.entries.remove(value);
        }
    }
}

/// One collection's list+watch loop. It ends with the environment's shutdown, or when the informer is dropped.
pub struct Informer {
    pub store: Store,
    changes: broadcast::Sender<Change>,
    synced: watch::Receiver<bool>,
    _stop: tokio_util::sync::DropGuard,
}

impl Informer {
    /// Starts the loop as a task of `env`. `options` may carry selectors.
    pub fn start(env: &Env, client: Client, target: Target, options: Options, indexes: &[(&'static str, IndexFn)]) -> Arc<Self> {
        let store = Store::with_indexes(indexes);
        let (changes, _) = broadcast::channel(changes_max(&target.resource));
        let (synced_tx, synced) = watch::channel(false);
        let stop = env.shutdown().child_token();
        let reflector =
            Reflector { env: env.clone(), client, target, options, store: store.clone(), changes: changes.clone(), synced: synced_tx };
        let stopped = stop.clone();
        env.spawn("informer", async move {
            stopped.run_until_cancelled(reflector.run()).await;
        });
        Arc::new(Self { store, changes, synced, _stop: stop.drop_guard() })
    }

    /// Resolves when the first list is in the store.
    pub async fn synced(&self) {
        let mut synced = self.synced.clone();
        let _ = synced.wait_for(|done| *done).await;
    }

    pub fn is_synced(&self) -> bool {
        *self.synced.borrow()
    }

    /// Every change from now on. A reader that lags gets `RecvError::Lagged` and must look at the whole store again.
    pub fn changes(&self) -> broadcast::Receiver<Change> {
        self.changes.subscribe()
    }
}

/// Changes that a reader may be behind before it must look at the whole store again. Every place costs memory in every
/// informer from the start, so only collections that come in thousands get thousands.
fn changes_max(resource: &str) -> usize {
    match resource {
        "pods" => 8192,
        "nodes" | "endpointslices" | "events" | "leases" | "replicasets" => 1024,
        _ => 128,
    }
}

/// What the loop owns.
struct Reflector {
    env: Env,
    client: Client,
    target: Target,
    options: Options,
    store: Store,
    changes: broadcast::Sender<Change>,
    synced: watch::Sender<bool>,
}

/// Why a watch ended.
enum Ended {
    /// Watch again from the revision reached.
    Resume,
    /// As [`Ended::Resume`], but if the server keeps saying so the fault may be in what we ask for.
    Refused,
    /// History is gone, or the server's words cannot be trusted: list again.
    Relist,
}

impl Reflector {
    async fn run(self) {
        let mut backoff = Backoff::default();
        loop {
            let mut revision = match self.list().await {
                Ok(revision) => revision,
                Err(error) => {
                    tracing::warn!(target = %self.target.path(), %error, "list failed");
                    backoff.wait(&self.env).await;
                    continue;
                }
            };
            self.synced.send_replace(true);
            let mut refused = 0;
            loop {
                let (before, since) = (revision.clone(), self.env.instant());
                let ended = self.watch(&mut revision).await;
                if revision != before || since.elapsed() >= HEALTHY {
                    (backoff, refused) = (Backoff::default(), 0);
                }
                refused += u32::from(matches!(ended, Ended::Refused));
                // Also before a list: a server that refuses every watch would be asked for everything without end.
                backoff.wait(&self.env).await;
                if matches!(ended, Ended::Relist) || refused > REFUSED_MAX {
                    break;
                }
            }
        }
    }

    /// Lists all pages of one revision and replaces the store's content.
    async fn list(&self) -> Result<String, Status> {
        let mut items = Vec::new();
        let mut options = self.options.clone();
        loop {
            let List { items: page, resource_version, continue_token, .. } = self.client.list(self.target.clone(), options.clone()).await?;
            items.extend(page);
            if continue_token.is_empty() {
                let changes = self.store.replace(items, &resource_version);
                changes.into_iter().for_each(|change| self.announce(change));
                return Ok(resource_version);
            }
            options.continue_token = continue_token;
        }
    }

    async fn watch(&self, revision: &mut String) -> Ended {
        let options = Options { resource_version: Some(revision.clone()), allow_watch_bookmarks: true, ..self.options.clone() };
        let mut events = match self.client.watch(self.target.clone(), options).await {
            Ok(events) => events,
            Err(status) => return self.ended(status),
        };
        while let Some(event) = events.next().await {
            match event {
                Ok(event) => self.take(event, revision),
                Err(status) => return self.ended(status),
            }
        }
        Ended::Resume
    }

    fn ended(&self, status: Status) -> Ended {
        // A revision from the future means that the server lost history that we have seen: start anew.
        if status.is_expired() || status.message.contains("Too large resource version") {
            return Ended::Relist;
        }
        tracing::debug!(target = %self.target.path(), error = %status, "watch broke off");
        // A server that is away or busy says nothing about our revision: a long outage must not end in lists by everybody.
        if matches!(status.code, 429 | 502..=504) { Ended::Resume } else { Ended::Refused }
    }

    fn take(&self, event: WatchEvent, revision: &mut String) {
        revision.clone_from(&event.object.meta.resource_version);
        let change = match event.kind {
            WatchKind::Bookmark => Changes::default(),
            WatchKind::Added | WatchKind::Modified => self.store.upsert(event.object),
            WatchKind::Deleted => [self.store.delete(&event.object.meta.key(), Some(event.object)), None],
        };
        self.store.reached(revision);
        change.into_iter().flatten().for_each(|change| self.announce(change));
    }

    fn announce(&self, change: Change) {
        // An error only says that nobody listens right now.
        let _ = self.changes.send(change);
    }
}

/// Doubles from 0.1 s to 10 s, with jitter so that many informers do not knock together.
#[derive(Default)]
struct Backoff(u32);

impl Backoff {
    async fn wait(&mut self, env: &Env) {
        let base = BACKOFF_MIN.saturating_mul(1 << self.0.min(7)).min(BACKOFF_MAX);
        self.0 += 1;
        env.sleep(base.mul_f64(0.5 + env.random_below(1000) as f64 / 1000.0)).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use async_trait::async_trait;
    use schema::json;

    use super::*;
    use crate::{Answer, Request, Response, Transport, Verb};

    /// Answers lists and watches from a script; a watch without script stays open.
    #[derive(Default)]
    struct Script {
        lists: Mutex<Vec<Vec<Arc<Object>>>>,
        watches: Mutex<Vec<Vec<Result<WatchEvent, Status>>>>,
        asked: Mutex<Vec<(Verb, Option<String>)>>,
    }

    #[async_trait]
    impl Transport for Script {
        async fn call(&self, request: Request) -> Result<Answer, Status> {
            self.asked.lock().unwrap().push((request.verb, request.options.resource_version.clone()));
            let response = match request.verb {
                Verb::List => {
                    let items = self.lists.lock().unwrap().remove(0);
                    Response::List(List { items, resource_version: "10".into(), continue_token: String::new(), remaining: None })
                }
                _ => {
                    let mut watches = self.watches.lock().unwrap();
                    if watches.is_empty() {
                        Response::Watch(Box::pin(futures::stream::pending()))
                    } else {
                        Response::Watch(Box::pin(futures::stream::iter(watches.remove(0))))
                    }
                }
            };
            Ok(Answer { response, warnings: Vec::new() })
        }
    }

    fn pod(name: &str, rv: u64, node: &str) -> Arc<Object> {
        Object::from_value(
            &json!({"metadata": {"name": name, "namespace": "d", "resourceVersion": rv.to_string(), "labels": {"node": node}}}),
        )
        .unwrap()
    }

    fn by_node(object: &Object) -> Vec<String> {
        object.meta.labels.get("node").cloned().into_iter().collect()
    }

    fn event(kind: WatchKind, object: Arc<Object>) -> Result<WatchEvent, Status> {
        Ok(WatchEvent { kind, object })
    }

    #[tokio::test(start_paused = true)]
    async fn a_broken_watch_resumes_and_an_expired_one_relists() {
        let script = Arc::new(Script::default());
        *script.lists.lock().unwrap() = vec![vec![pod("a", 5, "n1")], vec![pod("b", 20, "n2")]];
        *script.watches.lock().unwrap() = vec![vec![event(WatchKind::Modified, pod("a", 12, "n2"))], vec![Err(Status::expired("too old"))]];
        let env = Env::sim(1);
        let informer =
            Informer::start(&env, Client::new(script.clone()), Target::of("v1", "pods", ""), Options::default(), &[("node", by_node)]);
        let mut changes = informer.changes();
        informer.synced().await;
        let mut seen = Vec::new();
        while seen.len() < 4 {
            let change = changes.recv().await.unwrap();
            seen.push((matches!(change, Change::Delete { .. }), change.object().meta.name.clone(), change.object().revision()));
        }
        assert_eq!(seen[1..], [(false, "a".into(), 12), (true, "a".into(), 12), (false, "b".into(), 20)]);
        let asked = script.asked.lock().unwrap().clone();
        assert_eq!(asked[1..3], [(Verb::Watch, Some("10".into())), (Verb::Watch, Some("12".into()))], "it resumes where it broke off");
        assert_eq!(asked[3].0, Verb::List);
        assert!(informer.store.by("node", "n1").is_empty() && informer.store.by("node", "n2").len() == 1);
    }

    fn with_uid(name: &str, rv: u64, uid: &str) -> Arc<Object> {
        Object::from_value(&json!({"metadata": {"name": name, "namespace": "d", "uid": uid, "resourceVersion": rv.to_string()}})).unwrap()
    }

    #[test]
    fn another_object_of_the_same_name_is_a_delete_and_an_add() {
        let store = Store::with_indexes(&[]);
        store.replace(vec![with_uid("a", 5, "one")], "5");
        let changes = store.replace(vec![with_uid("a", 9, "two")], "9");
        let texts: Vec<_> =
            changes.iter().map(|change| (matches!(change, Change::Delete { .. }), change.object().meta.uid.as_str())).collect();
        assert_eq!(texts, [(true, "one"), (false, "two")]);
    }

    #[test]
    fn a_list_is_believed_even_when_the_server_lost_history() {
        let store = Store::with_indexes(&[]);
        store.replace(vec![pod("a", 50, "x")], "60");
        let changes = store.replace(vec![pod("a", 7, "y")], "8");
        assert_eq!((changes.len(), store.get("d/a").unwrap().revision(), store.revision()), (1, 7, 8));
        assert!(store.replace(vec![pod("a", 7, "y")], "9").is_empty(), "the same again is no change");
    }

    /// Refuses every watch with these words and counts the lists.
    struct Refusing(Status, std::sync::atomic::AtomicU32);

    #[async_trait]
    impl Transport for Refusing {
        async fn call(&self, request: Request) -> Result<Answer, Status> {
            if request.verb != Verb::List {
                return Err(self.0.clone());
            }
            self.1.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let response =
                Response::List(List { items: Vec::new(), resource_version: "10".into(), continue_token: String::new(), remaining: None });
            Ok(Answer { response, warnings: Vec::new() })
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_refuses_every_watch_is_listed_rarely_but_again() {
        for refusal in [Status::expired("too old"), Status::internal("cannot decode")] {
            let env = Env::sim(1);
            let server = Arc::new(Refusing(refusal, Default::default()));
            let informer = Informer::start(&env, Client::new(server.clone()), Target::of("v1", "pods", ""), Options::default(), &[]);
            informer.synced().await;
            env.sleep(Duration::from_secs(120)).await;
            let lists = server.1.load(std::sync::atomic::Ordering::Relaxed);
            assert!((2..60).contains(&lists), "{lists} lists in two minutes");
        }
    }

    #[test]
    fn an_older_revision_never_replaces_a_newer_one() {
        let store = Store::with_indexes(&[]);
        assert!(store.upsert(pod("a", 7, "x"))[0].is_some());
        assert!(store.upsert(pod("a", 6, "y"))[0].is_none());
        assert_eq!(store.get("d/a").unwrap().revision(), 7);
    }
}
