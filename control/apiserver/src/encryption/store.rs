//! A store whose values are encrypted where a configuration says so. Whoever uses it reads and writes documents; what lies below
//! (in memory, in the log, in etcd) is what [`super::Encryption`] makes of them.
//!
//! A value that no provider reads is told as [`StoreError::Unreadable`] by `get`; in ranges and events [`UNREADABLE`] stands for it,
//! which is no document. After a new configuration everybody who may have met one reads anew.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use store::{Committed, Entry, Event, Key, Op, Range, Revision, Store, StoreError, Txn, WatchStream, hole};
use tokio::sync::watch;

use super::Encryption;

/// Stands for a value that cannot be read.
const UNREADABLE: Bytes = Bytes::from_static(b"unreadable");

/// See the module.
pub struct Encrypted {
    below: Arc<dyn Store>,
    shared: Arc<Shared>,
}

struct Shared {
    encryption: ArcSwap<Encryption>,
    /// Something could not be read under this configuration.
    met_unreadable: AtomicBool,
    /// Counts the times that everybody must read anew.
    anew: watch::Sender<u64>,
}

impl Encrypted {
    pub fn new(below: Arc<dyn Store>, encryption: Encryption) -> Arc<Self> {
        let (encryption, met_unreadable, anew) = (ArcSwap::from_pointee(encryption), AtomicBool::new(false), watch::Sender::new(0));
        Arc::new(Self { below, shared: Arc::new(Shared { encryption, met_unreadable, anew }) })
    }

    /// Takes another configuration; what comes now is written by it.
    pub fn exchange(&self, encryption: Encryption) {
        self.shared.encryption.store(Arc::new(encryption));
        if self.shared.met_unreadable.swap(false, Ordering::SeqCst) {
            self.shared.anew.send_modify(|times| *times += 1);
        }
    }
}

impl Shared {
    fn open(&self, key: &Key, value: &Bytes, modified: Revision) -> Result<Bytes, StoreError> {
        let opened = self.encryption.load().open(key, value);
        let opened = opened.inspect_err(|_| self.met_unreadable.store(true, Ordering::SeqCst));
        match opened.map_err(|why| StoreError::Unreadable { key: key.clone(), why })?.plain {
            None => Ok(value.clone()),
            Some(plain) => Ok(hole::disclose(&plain, modified)),
        }
    }

    fn shown(&self, key: &Key, value: &Bytes, modified: Revision) -> Bytes {
        self.open(key, value, modified).unwrap_or(UNREADABLE)
    }

    fn event(&self, event: &Event) -> Event {
        let value = if event.value.is_empty() { Bytes::new() } else { self.shown(&event.key, &event.value, event.revision) };
        let before = event.previous.as_ref().zip(event.previous_at);
        let previous = before.map(|(value, at)| self.shown(&event.key, value, at));
        Event { value, previous, ..event.clone() }
    }

    /// Shared with everybody where no rule speaks of any of them.
    fn events(&self, events: Arc<[Event]>) -> Arc<[Event]> {
        let encryption = self.encryption.load();
        let is_sealed = |value: &Bytes| Encryption::is_sealed(value);
        let concerns =
            |event: &Event| encryption.speaks_of(&event.key) || is_sealed(&event.value) || event.previous.as_ref().is_some_and(is_sealed);
        if events.iter().any(concerns) { events.iter().map(|event| self.event(event)).collect() } else { events }
    }

    fn seal(&self, op: Op) -> Result<Op, StoreError> {
        let Op::Put { key, value, rv_at, ttl_seconds } = op else { return Ok(op) };
        let encryption = self.encryption.load();
        let Some(writer) = encryption.writer(&key) else { return Ok(Op::Put { key, value, rv_at, ttl_seconds }) };
        let too_large = || StoreError::TooLarge(format!("{key} has {} bytes", value.len()));
        let enclosed = hole::enclose(&value, rv_at).ok_or_else(too_large)?;
        let sealed = writer.seal(&key, &enclosed).map_err(|why| StoreError::Unavailable(format!("{key} cannot be encrypted: {why}")))?;
        Ok(Op::Put { key, value: sealed, rv_at: None, ttl_seconds })
    }
}

/// The values of a transaction's puts and their holes.
fn puts(ops: &[Op]) -> Vec<(Bytes, Option<u32>)> {
    let put = |op: &Op| match op {
        Op::Put { value, rv_at, .. } => Some((value.clone(), *rv_at)),
        Op::Delete { .. } => None,
    };
    ops.iter().filter_map(put).collect()
}

#[async_trait]
impl Store for Encrypted {
    fn revision(&self) -> Revision {
        self.below.revision()
    }

    async fn current(&self) -> Result<Revision, StoreError> {
        self.below.current().await
    }

    fn oldest(&self) -> Revision {
        self.below.oldest()
    }

    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        let Some(entry) = self.below.get(key).await? else { return Ok(None) };
        let value = self.shared.open(&entry.key, &entry.value, entry.modified)?;
        Ok(Some(Entry { value, ..entry }))
    }

    async fn range(&self, start: &str, end: &str, at: Option<Revision>, limit: usize) -> Result<Range, StoreError> {
        let mut range = self.below.range(start, end, at, limit).await?;
        for entry in &mut range.entries {
            entry.value = self.shared.shown(&entry.key, &entry.value, entry.modified);
        }
        Ok(range)
    }

    async fn txn(&self, txn: Txn) -> Result<Committed, StoreError> {
        let written = puts(&txn.ops);
        let ops = txn.ops.into_iter().map(|op| self.shared.seal(op)).collect::<Result<_, _>>()?;
        let done = self.below.txn(Txn { guards: txn.guards, ops }).await?;
        let values = written.into_iter().map(|(value, rv_at)| hole::fill(value, rv_at, done.revision)).collect();
        Ok(Committed { values, ..done })
    }

    async fn watch(&self, prefix: &str, from: Revision) -> Result<WatchStream, StoreError> {
        let mut anew = self.shared.anew.subscribe();
        anew.mark_unchanged();
        let (events, shared) = (self.below.watch(prefix, from).await?, Arc::clone(&self.shared));
        let told = futures::stream::unfold(Some((events, anew, shared)), |state| async move {
            let (mut events, mut anew, shared) = state?;
            tokio::select! {
                biased;
                Ok(()) = anew.changed() => Some((Err(StoreError::Lagged), None)),
                next = events.next() => match next? {
                    Ok(batch) => Some((Ok(shared.events(batch)), Some((events, anew, shared)))),
                    Err(error) => Some((Err(error), None)),
                },
            }
        });
        Ok(Box::pin(told))
    }

    async fn compact(&self, revision: Revision) -> Result<(), StoreError> {
        self.below.compact(revision).await
    }

    async fn is_stale(&self, key: &str) -> Result<bool, StoreError> {
        let Some(entry) = self.below.get(key).await? else { return Ok(false) };
        let opened = self.shared.encryption.load().open(&entry.key, &entry.value);
        opened.map(|opened| opened.is_stale).map_err(|why| StoreError::Unreadable { key: entry.key, why })
    }
}
