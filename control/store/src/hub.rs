//! The part of a backend that readers share: the map behind a lock that is never held over I/O, and the cursors of
//! watchers on its ring.
//!
//! A watcher owns a position and nothing else; a commit wakes all of them with one notification. One that falls off the
//! end of the ring gets [`StoreError::Lagged`].

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock, RwLock, RwLockReadGuard, RwLockWriteGuard};

use futures::stream;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::contract::{Event, Revision, StoreError, WatchStream};
use crate::mvcc::{Mvcc, Staged};

/// Commits that a cursor takes per look at the ring: bounds how long it holds the lock.
const COMMITS_PER_LOOK: usize = 512;

/// Commits freed per hold of the write lock.
const COMMITS_PER_TRIM: usize = 1000;

pub(crate) struct Hub {
    // A std lock: held for moves in memory only, never across an await.
    mvcc: RwLock<Mvcc>,
    head: watch::Sender<Revision>,
    stopped: OnceLock<StoreError>,
    /// Fires when the store has stopped, for good.
    pub(crate) closed: CancellationToken,
    /// History went from none to some, or above its byte bound.
    pub(crate) history_grew: Notify,
    /// A deadline came in that is earlier than all before.
    pub(crate) deadline_moved: Notify,
    history_bytes_max: usize,
}

impl Hub {
    pub(crate) fn new(mvcc: Mvcc, history_bytes_max: usize) -> Arc<Self> {
        let head = watch::Sender::new(mvcc.revision());
        Arc::new(Self {
            mvcc: RwLock::new(mvcc),
            head,
            stopped: OnceLock::new(),
            closed: CancellationToken::new(),
            history_grew: Notify::new(),
            deadline_moved: Notify::new(),
            history_bytes_max,
        })
    }

    pub(crate) fn read(&self) -> RwLockReadGuard<'_, Mvcc> {
        self.mvcc.read().expect("no holder of the map panics")
    }

    fn write(&self) -> RwLockWriteGuard<'_, Mvcc> {
        self.mvcc.write().expect("no holder of the map panics")
    }

    pub(crate) fn revision(&self) -> Revision {
        *self.head.borrow()
    }

    /// Makes the commits visible and wakes the watchers.
    pub(crate) fn publish(&self, batch: &[Staged]) {
        if batch.is_empty() {
            return;
        }
        let mut mvcc = self.write();
        let (had_history, deadline_before) = (mvcc.history_since().is_some(), mvcc.next_deadline());
        let bytes_before = mvcc.history_bytes();
        for staged in batch {
            mvcc.apply(staged);
        }
        let revision = mvcc.revision();
        let full = bytes_before <= self.history_bytes_max && mvcc.history_bytes() > self.history_bytes_max;
        let deadline = mvcc.next_deadline();
        drop(mvcc);
        self.head.send_replace(revision);
        if full || !had_history {
            self.history_grew.notify_one();
        }
        if deadline.is_some_and(|deadline| deadline_before.is_none_or(|before| deadline < before)) {
            self.deadline_moved.notify_one();
        }
    }

    /// Forgets history before `to`, a slice at a time so that writers get in between.
    pub(crate) async fn compact(&self, to: Revision) -> Result<(), StoreError> {
        self.write().compact(to)?;
        while self.write().trim(COMMITS_PER_TRIM) {
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    /// Puts another state in the place of this one, as of a later revision whose history nobody knows: watchers fall off.
    pub(crate) fn reset(&self, state: Mvcc) {
        let revision = state.revision();
        let replaced = std::mem::replace(&mut *self.write(), state);
        self.head.send_replace(revision);
        drop(replaced); // outside of the lock
    }

    /// Ends every watcher and every later write with `why`. The first reason stays.
    pub(crate) fn stop(&self, why: StoreError) {
        if self.stopped.set(why).is_ok() {
            self.closed.cancel();
            self.head.send_modify(|_| ());
        }
    }

    pub(crate) fn stopped(&self) -> Option<&StoreError> {
        self.stopped.get()
    }

    /// See [`crate::Store::watch`].
    pub(crate) fn watch(self: &Arc<Self>, prefix: &str, from: Revision) -> Result<WatchStream, StoreError> {
        let mut head = self.head.subscribe();
        self.read().commits_after(from, 0).map(drop)?;
        head.mark_changed(); // what was committed before the subscription is looked at too
        let cursor = Cursor { hub: self.clone(), head, at: from, prefix: prefix.into(), ready: VecDeque::new(), over: false };
        Ok(Box::pin(stream::unfold(cursor, |mut cursor| async move {
            let item = cursor.next().await?;
            Some((item, cursor))
        })))
    }
}

/// A watcher's position.
struct Cursor {
    hub: Arc<Hub>,
    head: watch::Receiver<Revision>,
    /// Everything up to here was looked at.
    at: Revision,
    prefix: Box<str>,
    ready: VecDeque<Arc<[Event]>>,
    over: bool,
}

impl Cursor {
    async fn next(&mut self) -> Option<Result<Arc<[Event]>, StoreError>> {
        loop {
            if let Some(events) = self.ready.pop_front() {
                return Some(Ok(events));
            }
            if self.over {
                return None;
            }
            // Asked before the look: a store that stops publishes first, so what it published is still delivered.
            let stopped = self.hub.stopped().cloned();
            match self.look() {
                Err(lagged) => return self.end(lagged),
                Ok(true) => {}
                Ok(false) => {
                    if let Some(why) = stopped {
                        return self.end(why);
                    }
                    if self.head.changed().await.is_err() {
                        return None; // unreachable while we hold the hub
                    }
                }
            }
        }
    }

    fn end(&mut self, why: StoreError) -> Option<Result<Arc<[Event]>, StoreError>> {
        self.over = true;
        Some(Err(why))
    }

    /// Takes the next commits from the ring; false when there are none.
    fn look(&mut self) -> Result<bool, StoreError> {
        let mvcc = self.hub.read();
        let commits = mvcc.commits_after(self.at, COMMITS_PER_LOOK).map_err(|_| StoreError::Lagged)?;
        let before = self.at;
        for events in commits {
            self.at = events[0].revision;
            self.ready.extend(matching(events, &self.prefix));
        }
        Ok(self.at != before)
    }
}

/// The events of a commit that a watcher of `prefix` sees, shared where it sees all of them.
fn matching(events: &Arc<[Event]>, prefix: &str) -> Option<Arc<[Event]>> {
    let matches = |event: &&Event| event.key.starts_with(prefix);
    match events.iter().filter(matches).count() {
        0 => None,
        all if all == events.len() => Some(events.clone()),
        _ => Some(events.iter().filter(matches).cloned().collect()),
    }
}
