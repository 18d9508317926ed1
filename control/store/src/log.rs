//! The embedded default: a segmented append-only log below the in-memory map.
//!
//! ```text
//! txn ─> queue ─> writer: check, encode ─> disk: one write ─> one fdatasync ─> writer: visible ─> answered, watchers woken
//!                                                     │
//!   00000000000000000001.log  00000000000000031337.log (preallocated)      00000000000000029000.snap
//! ```
//!
//! What is promised: an acknowledged write survives a kill and a power cut; nothing unacknowledged is half there; a
//! reader never waits for the disk; a store that may have lost track of its disk stops rather than guesses. An idle store
//! wakes nobody. What is not: space for history is given back only by whole segments.

mod append;
mod disk;
mod format;
mod frames;
mod recover;
mod snapshot;
#[cfg(test)]
mod torn;
mod writer;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use async_trait::async_trait;
use env::Env;
use tokio::sync::{mpsc, oneshot};

use self::append::{Appender, create_segment};
use self::disk::{Disk, Folder};
use self::recover::{Recovered, Tail, UNFINISHED, recover};
use self::snapshot::Snapshots;
use self::writer::{Queued, Writer};
use crate::contract::{Committed, Entry, Range, Revision, Store, StoreError, Txn, WatchStream};
use crate::expiry;
use crate::history::{self, HistoryConfig};
use crate::hub::Hub;
use crate::mvcc::assert_well_formed;

/// The log's sizes. The defaults suit one control plane.
#[derive(Clone, Copy, Debug)]
pub struct LogConfig {
    pub history: HistoryConfig,
    /// Reserved for each segment at once, so that a sync in the steady state writes no file size.
    pub segment_bytes: u64,
    /// A batch takes no further transaction above this.
    pub batch_bytes: usize,
    /// Transactions that may wait for the writer; more wait in their callers.
    pub queue_len: usize,
    /// A snapshot is taken when it would free more of the log than this, and more than the snapshot before it weighs.
    pub snapshot_after_bytes: u64,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            history: HistoryConfig::default(),
            segment_bytes: 32 << 20,
            batch_bytes: 4 << 20,
            queue_len: 1024,
            snapshot_after_bytes: 64 << 20,
        }
    }
}

/// Why a log does not open. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("store file {path}")]
    Io {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(
        "store file {path} is damaged at byte {offset}: {what}; restore the folder from a backup, or move it away to start with an empty cluster"
    )]
    Corrupt { path: PathBuf, offset: u64, what: String },
    #[error("store file {path} has format {found}, this build knows up to {}; start the version that wrote it", format::FORMAT)]
    Newer { path: PathBuf, found: u32 },
    #[error("the store in {dir} is in use by another process; stop that one first")]
    Locked { dir: PathBuf },
}

/// What was cut off the end of the last segment: a batch that a crash tore and nobody was told of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repair {
    pub path: PathBuf,
    pub offset: u64,
    pub why: &'static str,
}

/// A store in a folder. Dropping it closes it: what waits in the queue is still written.
pub struct Log {
    hub: Arc<Hub>,
    env: Env,
    snapshots: Arc<Snapshots>,
    repair: Option<Repair>,
    /// None only while dropping.
    queue: Option<mpsc::Sender<Queued>>,
    writer: Option<JoinHandle<()>>,
    /// Let go last, after the writer has ended.
    _lock: Option<File>,
}

impl Log {
    /// Opens or makes the store in `dir` and starts its writer thread and, as tasks of `env`, the owners of expiry and of
    /// history. Needs a tokio runtime.
    pub fn open(dir: &Path, env: &Env, config: LogConfig) -> Result<Arc<Self>, OpenError> {
        let at_dir = |source| OpenError::Io { path: dir.to_owned(), source };
        let folder = Folder::at(dir).map_err(at_dir)?;
        let Some(lock) = folder.lock().map_err(at_dir)? else {
            return Err(OpenError::Locked { dir: dir.to_owned() });
        };
        Self::open_on(Arc::new(folder), Some(lock), env, config)
    }

    fn open_on(disk: Arc<dyn Disk>, lock: Option<File>, env: &Env, config: LogConfig) -> Result<Arc<Self>, OpenError> {
        let Recovered { mvcc, tail, sealed, snapshot_bytes, repair } = recover(&disk, &config, env.now().as_second(), env.instant())?;
        let tail = tail.map_or_else(|| first_segment(&*disk, &config), Ok)?;
        let hub = Hub::new(mvcc, config.history.bytes_max);
        let sealed = Arc::new(Mutex::new(sealed));
        let snapshots = Arc::new(Snapshots {
            hub: hub.clone(),
            disk: disk.clone(),
            sealed: sealed.clone(),
            after_bytes: config.snapshot_after_bytes,
            newest_bytes: AtomicU64::new(snapshot_bytes),
            gate: tokio::sync::Mutex::new(()),
        });
        clean_up(&snapshots);
        let (queue, queued) = mpsc::channel(config.queue_len);
        let appender = Appender { disk, segment_bytes: config.segment_bytes, tail, sealed, full: false };
        let writer = Writer::new(hub.clone(), queued, config.batch_bytes, appender);
        let writer = std::thread::Builder::new().name("store-writer".into()).spawn(move || writer.run());
        let writer = writer.expect("a process that starts can start a thread");
        let log = Self { hub, env: env.clone(), snapshots, repair, queue: Some(queue), writer: Some(writer), _lock: lock };
        let log = Arc::new(log);
        log.start_tasks(config.history);
        Ok(log)
    }

    fn start_tasks(self: &Arc<Self>, config: HistoryConfig) {
        expiry::spawn(&self.env, &self.hub, Arc::downgrade(self));
        let snapshots = self.snapshots.clone();
        let compact = move |to| {
            let snapshots = snapshots.clone();
            async move { snapshots.compact(to).await }
        };
        self.env.spawn("store-history", history::keep_bounded(self.env.clone(), self.hub.clone(), config, compact));
    }

    /// What opening had to cut off.
    pub fn repair(&self) -> Option<&Repair> {
        self.repair.as_ref()
    }

    /// Returns when the store has stopped for good, with the reason: the process should end and be started again.
    pub async fn failed(&self) -> StoreError {
        self.hub.closed.cancelled().await;
        self.stopped()
    }

    fn stopped(&self) -> StoreError {
        self.hub.stopped().cloned().unwrap_or_else(|| StoreError::Failed("its writer is gone".into()))
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        drop(self.queue.take());
        if let Some(writer) = self.writer.take() {
            let _ = writer.join(); // a panic was told to every reader already
        }
    }
}

fn first_segment(disk: &dyn Disk, config: &LogConfig) -> Result<Tail, OpenError> {
    let first = Revision(1);
    create_segment(disk, first, format::HEADER_LEN as u64, config.segment_bytes)
        .map_err(|source| OpenError::Io { path: disk.path(&recover::segment_name(first)), source })
}

/// Removes what a crash left between a snapshot and the removal of what it replaces.
fn clean_up(snapshots: &Snapshots) {
    let _ = snapshots.disk.remove(UNFINISHED); // most often it does not exist
    let newest = recover::newest_snapshot(&*snapshots.disk);
    if let Some(Err(error)) = newest.map(|newest| snapshots.remove_replaced(newest)) {
        tracing::warn!(%error, "files that a snapshot replaced could not be removed");
    }
}

#[async_trait]
impl Store for Log {
    fn revision(&self) -> Revision {
        self.hub.revision()
    }

    fn oldest(&self) -> Revision {
        self.hub.read().oldest()
    }

    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        Ok(self.hub.read().get(key))
    }

    async fn range(&self, start: &str, end: &str, at: Option<Revision>, limit: usize) -> Result<Range, StoreError> {
        self.hub.read().range(start, end, at, limit)
    }

    async fn txn(&self, txn: Txn) -> Result<Committed, StoreError> {
        assert_well_formed(&txn);
        let (reply, answer) = oneshot::channel();
        let queued = Queued { txn, wall: self.env.now().as_second(), at: self.env.instant(), reply };
        let queue = self.queue.as_ref().expect("the queue is there until the log is dropped");
        if queue.send(queued).await.is_err() {
            return Err(self.stopped());
        }
        answer.await.unwrap_or_else(|_| Err(self.stopped()))
    }

    async fn watch(&self, prefix: &str, from: Revision) -> Result<WatchStream, StoreError> {
        self.hub.watch(prefix, from)
    }

    async fn compact(&self, revision: Revision) -> Result<(), StoreError> {
        self.snapshots.compact(revision).await
    }
}

#[cfg(test)]
mod tests;
