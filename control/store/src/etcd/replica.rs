//! Our picture of etcd: loaded once, kept by one watch, never ahead of what the watch has told.
//!
//! ```text
//!            ┌──────────────── lost ◄─────────────┐
//!            ▼                                    │
//! load ─► watch from seen + 1 ─► commits, in order ─► the shared map and its readers
//!            │
//!            └─ compacted under us ─► read everything again: unchanged? nobody notices
//!                                                            changed?   watchers fall off and list again
//! ```
//! Whoever writes to etcd, the watch tells it. What came before a change is known here, so it is not asked for. Events of
//! one revision are one commit, also when they come in several fragments.
//!
//! Loading starts at the oldest revision that etcd still has and replays the rest, so that watchers resume across a restart.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use env::Env;
use tokio::sync::{Mutex, watch};

use super::channel::{Channel, Watching};
use super::failure;
use super::grpc::CallError;
use super::layout::Layout;
use super::messages::{HeaderOnly, PUT, PutRequest, RANGE, RangeRequest, RangeResponse, WatchCreate, WatchEvent, WatchResponse};
use crate::contract::{Entry, Event, EventKind, StoreError};
use crate::hub::Hub;
use crate::mvcc::{Mvcc, NEVER, Staged};

/// Keys asked for at once.
const PAGE: i64 = 500;
/// Between two attempts to watch again: doubled each time.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));
/// The feed is usually there sooner; if not, nothing of ours may be on its way, and the marker tells.
const MARK_AFTER: Duration = Duration::from_millis(50);
/// A watch that begins in the past waits for etcd's next round of ten in a second.
const MARK_AFTER_LOADING: Duration = Duration::from_secs(1);

pub(crate) struct Replica {
    pub(crate) channel: Channel,
    pub(crate) layout: Layout,
    pub(crate) hub: Arc<Hub>,
    env: Env,
    /// Which etcd this is the picture of.
    cluster_id: u64,
    /// Every event of ours up to this revision of etcd's is in the map.
    seen: watch::Sender<i64>,
    /// Who waits longest for the feed writes the marker, for all.
    marking: Mutex<()>,
    deadline: Duration,
}

/// Why a watch ended.
enum End {
    Lost(String),
    Compacted,
    /// It is no longer the etcd that we know.
    Replaced(String),
}

impl From<CallError> for End {
    fn from(error: CallError) -> Self {
        if failure::is_compacted(&error) { Self::Compacted } else { Self::Lost(error.to_string()) }
    }
}

impl Replica {
    /// Loads what there is.
    pub(crate) async fn load(
        channel: Channel,
        layout: Layout,
        cluster_id: u64,
        env: &Env,
        history_bytes_max: usize,
        deadline: Duration,
    ) -> Result<Self, CallError> {
        let (state, at) = loop {
            let at = oldest_revision(&channel, &layout).await?;
            match read_state(&channel, &layout, at, None).await {
                Err(error) if failure::is_compacted(&error) => {} // just now; history begins later
                outcome => break outcome?,
            }
        };
        let hub = Hub::new(state, history_bytes_max);
        let seen = watch::Sender::new(at);
        Ok(Self { channel, layout, hub, env: env.clone(), cluster_id, seen, marking: Mutex::new(()), deadline })
    }

    /// Follows etcd until the store is closed or the process stops.
    pub(crate) async fn run(self: Arc<Self>) {
        let outcome = tokio::select! {
            () = self.hub.closed.cancelled() => return,
            () = self.env.shutdown().cancelled() => "the process stops".into(),
            replaced = self.keep_following() => replaced,
        };
        self.hub.stop(StoreError::Failed(outcome));
    }

    /// Returns why it cannot go on.
    async fn keep_following(&self) -> String {
        let mut pause = PAUSE.0;
        loop {
            let before = *self.seen.borrow();
            match self.follow().await {
                End::Replaced(why) => {
                    tracing::error!(etcd = self.channel.name(), why, "the store stops");
                    return why;
                }
                End::Compacted => match self.rebuild().await {
                    Ok(()) => continue,
                    Err(error) => tracing::warn!(%error, "etcd could not be read anew, trying again"),
                },
                End::Lost(why) => tracing::warn!(why, "the watch of etcd ended, watching again"),
            }
            let has_moved = *self.seen.borrow() != before;
            pause = if has_moved { PAUSE.0 } else { (pause * 2).min(PAUSE.1) };
            self.env.sleep(pause + Duration::from_millis(self.env.random_below(50))).await;
        }
    }

    /// Watches from where we are until the watch ends.
    async fn follow(&self) -> End {
        match self.try_follow().await {
            Ok(never) => match never {},
            Err(end) => end,
        }
    }

    async fn try_follow(&self) -> Result<std::convert::Infallible, End> {
        self.verify().await?;
        let (key, end) = self.layout.everything();
        let create = WatchCreate { key, end, start_revision: *self.seen.borrow() + 1 };
        let mut watching = self.channel.watch(&create).await?;
        let created = tokio::time::timeout(self.deadline, watching.next::<WatchResponse>()).await;
        let mut answer = created.map_err(|_| End::Lost(format!("no watch within {:?}", self.deadline)))??;
        let mut pending = Vec::new();
        loop {
            self.take(answer, &mut pending)?;
            answer = watching.next().await?;
        }
    }

    /// That etcd is the one that we know and has not gone back, as when it was put back from a backup.
    async fn verify(&self) -> Result<(), End> {
        let answer = format_entry(&self.channel, &self.layout).await?;
        let seen = *self.seen.borrow();
        let why = if answer.header.cluster_id != self.cluster_id {
            format!("it is another cluster ({:x}, not {:x})", answer.header.cluster_id, self.cluster_id)
        } else if answer.header.revision < seen {
            format!("it is at revision {}, but was at {seen} before: it was put back from a backup", answer.header.revision)
        } else if answer.kvs.first().is_none_or(|kv| kv.create_revision != self.layout.origin()) {
            "its format key was deleted: somebody emptied it".to_owned()
        } else {
            return Ok(());
        };
        Err(End::Replaced(format!("etcd at {}: {why}", self.channel.name())))
    }

    /// Takes one answer of the watch. `pending` has the events of a revision that may not be whole.
    fn take(&self, answer: WatchResponse, pending: &mut Vec<WatchEvent>) -> Result<(), End> {
        if answer.compact_revision != 0 {
            return Err(End::Compacted);
        }
        if answer.canceled {
            return Err(End::Lost(answer.cancel_reason));
        }
        for event in answer.events {
            if pending.first().is_some_and(|first| first.kv.mod_revision < event.kv.mod_revision) {
                self.commit(pending)?;
            }
            pending.push(event);
        }
        if !answer.fragment {
            self.commit(pending)?;
        }
        Ok(())
    }

    /// Makes the events of one revision visible.
    fn commit(&self, pending: &mut Vec<WatchEvent>) -> Result<(), End> {
        let Some(revision) = pending.first().map(|first| first.kv.mod_revision) else { return Ok(()) };
        let format_key = self.layout.format_key();
        if pending.iter().any(|event| event.is_delete && event.kv.key == format_key) {
            return Err(End::Replaced(format!("etcd at {}: its format key was deleted: somebody emptied it", self.channel.name())));
        }
        if revision > *self.seen.borrow() {
            let events: Arc<[Event]> = pending.drain(..).filter_map(|event| self.event(event)).collect();
            if !events.is_empty() {
                let deadlines = vec![NEVER; events.len()]; // etcd's leases see to it
                let revision = self.layout.revision(revision);
                self.hub.publish(&[Staged { revision, events, values: Vec::new(), deadlines, at: self.env.instant() }]);
            }
            self.seen.send_replace(revision);
        }
        pending.clear();
        Ok(())
    }

    /// None: not a document.
    fn event(&self, WatchEvent { is_delete, kv }: WatchEvent) -> Option<Event> {
        let key = self.layout.key(&kv.key)?;
        let before = self.hub.read().get(&key);
        let previous_at = before.as_ref().map(|before| before.modified);
        let revision = self.layout.revision(kv.mod_revision);
        if is_delete {
            let before = before?;
            let (value, previous) = (Bytes::new(), Some(before.value));
            return Some(Event { kind: EventKind::Delete, key, revision, value, previous, previous_at, created: before.created });
        }
        let kind = if before.is_some() { EventKind::Update } else { EventKind::Create };
        let value = self.layout.document(&kv.value, kv.mod_revision);
        let created = self.layout.revision(kv.create_revision);
        Some(Event { kind, key, revision, value, previous: before.map(|before| before.value), previous_at, created })
    }

    /// After history went away between what we have seen and now: takes the state of now. Watchers notice only if it differs.
    async fn rebuild(&self) -> Result<(), CallError> {
        let newest = format_entry(&self.channel, &self.layout).await?.header.revision;
        let (state, at) = read_state(&self.channel, &self.layout, newest, Some(&self.hub)).await?;
        if state.is_same(&self.hub.read()) {
            tracing::info!(revision = at, "etcd was compacted while we did not watch; nothing of ours has changed");
        } else {
            tracing::warn!(
                revision = at,
                "etcd was compacted beyond what the watch has told; everything is read anew and watchers list again"
            );
            self.hub.reset(state);
        }
        self.seen.send_replace(at);
        Ok(())
    }

    /// As [`Replica::reach`], for as long as the history that is replayed comes in.
    pub(crate) async fn catch_up(&self, revision: i64) -> Result<(), StoreError> {
        loop {
            let before = *self.seen.borrow();
            match self.reach_or_mark(revision, MARK_AFTER_LOADING).await {
                Err(StoreError::Unavailable(_)) if *self.seen.borrow() > before => {}
                outcome => return outcome,
            }
        }
    }

    /// Resolves when everything up to etcd's `revision` is in the map. `is_ours`: an event of ours has that revision.
    pub(crate) async fn reach(&self, revision: i64, is_ours: bool) -> Result<(), StoreError> {
        if !is_ours {
            return self.reach_or_mark(revision, MARK_AFTER).await;
        }
        if self.comes(revision, self.deadline).await? { Ok(()) } else { Err(self.late(revision)) }
    }

    async fn reach_or_mark(&self, revision: i64, patience: Duration) -> Result<(), StoreError> {
        if self.comes(revision, patience).await? {
            return Ok(());
        }
        self.mark(revision).await?;
        if *self.seen.borrow() >= revision { Ok(()) } else { Err(self.late(revision)) }
    }

    /// Whether the feed reaches `revision` in time.
    async fn comes(&self, revision: i64, patience: Duration) -> Result<bool, StoreError> {
        if *self.seen.borrow() >= revision {
            return Ok(true);
        }
        tokio::select! {
            () = self.hub.closed.cancelled() => Err(self.stopped()),
            () = self.wait(revision) => Ok(true),
            () = self.env.sleep(patience) => Ok(false),
        }
    }

    fn late(&self, revision: i64) -> StoreError {
        StoreError::Unavailable(format!("{}: revision {revision} did not come within {:?}", self.channel.name(), self.deadline))
    }

    async fn wait(&self, revision: i64) {
        let mut seen = self.seen.subscribe();
        let _ = seen.wait_for(|&seen| seen >= revision).await; // the sender lives as long as we do
    }

    /// Writes the marker and waits until the feed shows it: everything before it shows then too.
    async fn mark(&self, revision: i64) -> Result<(), StoreError> {
        let marking = async {
            let _one_at_a_time = self.marking.lock().await;
            if *self.seen.borrow() >= revision {
                return Ok(());
            }
            let put = PutRequest { key: self.layout.marker_key(), value: Bytes::from_static(b"here"), lease: 0 };
            let marked = self.channel.call::<HeaderOnly>(PUT, &put).await.map_err(failure::of_read);
            let at = match marked {
                Ok(marked) => marked.header.revision,
                Err(StoreError::NoSpace(_)) => revision, // nobody else writes either: it is one of ours
                Err(error) => return Err(error),
            };
            self.wait(at).await;
            Ok(())
        };
        tokio::select! {
            () = self.hub.closed.cancelled() => Err(self.stopped()),
            marked = tokio::time::timeout(self.deadline, marking) => marked.unwrap_or(Ok(())),
        }
    }

    pub(crate) fn stopped(&self) -> StoreError {
        self.hub.stopped().cloned().unwrap_or_else(|| StoreError::Failed("it was closed".into()))
    }
}

/// The format key, by a read that every member agrees on: its header has a revision that includes every acknowledged write.
pub(crate) async fn format_entry(channel: &Channel, layout: &Layout) -> Result<RangeResponse, CallError> {
    channel.call(RANGE, &RangeRequest { key: layout.format_key(), ..RangeRequest::default() }).await
}

/// The oldest revision that etcd still has, not before our own beginning.
async fn oldest_revision(channel: &Channel, layout: &Layout) -> Result<i64, CallError> {
    let at_start = RangeRequest { key: layout.format_key(), revision: layout.origin(), keys_only: true, ..RangeRequest::default() };
    match channel.call::<RangeResponse>(RANGE, &at_start).await {
        Ok(_) => return Ok(layout.origin()),
        Err(error) if failure::is_compacted(&error) => {}
        Err(error) => return Err(error),
    }
    // Only a watch that begins too early is told where history begins.
    let create = WatchCreate { key: layout.format_key(), end: Bytes::new(), start_revision: layout.origin() };
    let mut watching: Watching = channel.watch(&create).await?;
    loop {
        let answer: WatchResponse = watching.next().await?;
        if answer.compact_revision != 0 {
            return Ok(answer.compact_revision);
        }
        if answer.canceled {
            return Err(CallError::Broken(answer.cancel_reason));
        }
    }
}

/// Everything as it was at etcd's revision `at`, and that revision. What `known` has at the same revision is shared with it.
async fn read_state(channel: &Channel, layout: &Layout, at: i64, known: Option<&Hub>) -> Result<(Mvcc, i64), CallError> {
    let (mut key, end) = layout.documents();
    let mut state = Mvcc::starting_at(layout.revision(at));
    loop {
        let request = RangeRequest { key, end: end.clone(), limit: PAGE, revision: at, keys_only: false };
        let page: RangeResponse = channel.call(RANGE, &request).await?;
        let next = page.kvs.last().filter(|_| page.more).map(|last| [&last.key[..], b"\0"].concat().into());
        for kv in page.kvs {
            let Some(key) = layout.key(&kv.key) else { continue };
            let modified = layout.revision(kv.mod_revision);
            let shared = known.and_then(|hub| hub.read().get(&key)).filter(|entry| entry.modified == modified);
            let fresh = || Entry {
                key,
                value: layout.document(&kv.value, kv.mod_revision),
                created: layout.revision(kv.create_revision),
                modified,
            };
            state.restore(shared.unwrap_or_else(fresh), NEVER);
        }
        match next {
            Some(next) => key = next,
            None => return Ok((state, at)),
        }
    }
}
