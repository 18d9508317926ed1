//! What every store backend promises.

use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::Stream;

/// A point in the store's history; 0 is before everything, the first commit is 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub u64);

/// `/pods/default/web`; shared, because events, caches and indexes all hold it.
pub type Key = Arc<str>;

/// A live value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub key: Key,
    /// The document; its hole is already filled with `modified`.
    pub value: Bytes,
    /// Revision of the create.
    pub created: Revision,
    /// Revision of the last write: the object's resourceVersion.
    pub modified: Revision,
}

/// A condition that must hold at commit.
#[derive(Clone, Debug)]
pub enum Guard {
    /// The key does not exist.
    Absent(Key),
    /// The key's `modified` is exactly this.
    At(Key, Revision),
    /// The key exists, at any revision.
    Present(Key),
}

/// One write of a transaction. A key occurs at most once.
#[derive(Clone, Debug)]
pub enum Op {
    Put {
        key: Key,
        /// The document without its resourceVersion.
        value: Bytes,
        /// Byte offset in `value` at which the store inserts the commit's revision in decimal; None: stored as it is.
        rv_at: Option<u32>,
        /// Seconds until the expiry owner deletes the key (Events); None: never.
        ttl_seconds: Option<u32>,
    },
    Delete {
        key: Key,
    },
}

#[derive(Clone, Debug, Default)]
pub struct Txn {
    pub guards: Vec<Guard>,
    pub ops: Vec<Op>,
}

/// The outcome of a transaction, after it is durable and visible to every later read.
#[derive(Clone, Debug)]
pub struct Committed {
    pub revision: Revision,
    /// The values written, hole filled, in the order of the puts.
    pub values: Vec<Bytes>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    Create,
    Update,
    Delete,
}

/// One write, as watchers see it.
#[derive(Clone, Debug)]
pub struct Event {
    pub kind: EventKind,
    pub key: Key,
    pub revision: Revision,
    /// The new value; for a delete empty.
    pub value: Bytes,
    /// The value before, where there was one: selectors need it to tell ADDED from MODIFIED, deletes to tell the last state.
    pub previous: Option<Bytes>,
    /// The revision that wrote `previous`.
    pub previous_at: Option<Revision>,
    /// Revision of the create of this incarnation.
    pub created: Revision,
}

/// A page of live entries in key order.
#[derive(Clone, Debug)]
pub struct Range {
    pub entries: Vec<Entry>,
    /// The revision that the page shows.
    pub revision: Revision,
    /// How many more keys follow within the range.
    pub remaining: u64,
}

/// Events in commit order, all events of a revision together. Ends with an error when the reader is too slow
/// ([`StoreError::Lagged`]) or the store stops; never drops silently.
pub type WatchStream = Pin<Box<dyn Stream<Item = Result<Arc<[Event]>, StoreError>> + Send>>;

#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// A guard did not hold; nothing was written. `current` is the key's revision now, None if it does not exist.
    #[error("{key} is at {current:?}, not as the transaction requires")]
    Conflict { key: Key, current: Option<Revision> },
    /// The revision asked for is compacted away.
    #[error("revision {asked:?} is compacted, the oldest one kept is {oldest:?}")]
    Compacted { asked: Revision, oldest: Revision },
    /// The revision asked for does not exist yet.
    #[error("revision {asked:?} is in the future, the store is at {current:?}")]
    Future { asked: Revision, current: Revision },
    /// The watcher fell off the history.
    #[error("the watcher is too slow")]
    Lagged,
    /// No space: reads go on, writes fail until there is room again.
    #[error("the store's disk is full: {0}")]
    ReadOnly(String),
    /// No space at a store that other machines keep: reads and deletes go on, its owner must make room.
    #[error("etcd is out of space: {0}; compact and defragment it, then end the alarm with `etcdctl alarm disarm`")]
    NoSpace(String),
    /// The value is there and cannot be read: no key of ours fits, or somebody changed it.
    #[error("unable to transform key {key:?}: {why}")]
    Unreadable { key: Key, why: String },
    /// The transaction is larger than the store takes; nothing was written.
    #[error("the transaction is too large: {0}")]
    TooLarge(String),
    /// The store does not answer; nothing was written.
    #[error("the store cannot be reached: {0}")]
    Unavailable(String),
    /// The store did not answer in time: the transaction may have happened, now or later.
    #[error("whether the write happened is not known: {0}")]
    Uncertain(String),
    /// The store has stopped after an I/O error; only a restart helps.
    #[error("the store has failed: {0}")]
    Failed(String),
}

/// A revisioned key-value store. Reads never wait for a write in progress.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// The newest committed revision that shows here: where every write through this store and what came before it is.
    fn revision(&self) -> Revision;
    /// The same after everything that anybody was told of by now: a store that others write to asks, and waits until it shows.
    async fn current(&self) -> Result<Revision, StoreError> {
        Ok(self.revision())
    }
    /// The oldest revision that [`Store::range`] and [`Store::watch`] still serve.
    fn oldest(&self) -> Revision;
    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError>;
    /// Keys in `[start, end)` in order, at `at` (None: now), at most `limit` (0: all).
    async fn range(&self, start: &str, end: &str, at: Option<Revision>, limit: usize) -> Result<Range, StoreError>;
    /// All or nothing; returns when durable.
    async fn txn(&self, txn: Txn) -> Result<Committed, StoreError>;
    /// Everything after `from` whose key starts with `prefix`.
    async fn watch(&self, prefix: &str, from: Revision) -> Result<WatchStream, StoreError>;
    /// Forgets history before `revision`.
    async fn compact(&self, revision: Revision) -> Result<(), StoreError>;
    /// Whether what is stored under `key` would be stored otherwise today (under another encryption key), so that a write is due
    /// although the document stays the same.
    async fn is_stale(&self, key: &str) -> Result<bool, StoreError> {
        let _ = key;
        Ok(false)
    }
}
