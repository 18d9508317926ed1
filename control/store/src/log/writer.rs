//! The one writer: a thread that turns whatever waits in its queue into one batch, one write and one sync.
//!
//! A transaction is checked against the guards in the order of the queue, written, synced, and only then visible and
//! answered; so is a conflict with one that is not durable yet. No room: the whole batch is refused and nothing has
//! changed. Any other I/O error: the store stops for good, since nobody knows what the disk holds after it.

use std::io;
use std::sync::{Arc, Mutex};

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::LogConfig;
use super::disk::{Disk, is_full};
use super::format::{HEADER_LEN, SEGMENT, encode_commit, header};
use super::recover::{Sealed, Tail, segment_name};
use crate::contract::{Committed, Op, Revision, StoreError, Txn};
use crate::hub::Hub;
use crate::mvcc::{Stage, Staged};

/// A transaction on its way. The times are the caller's, so that a simulated clock is asked on its own thread.
pub(crate) struct Queued {
    pub(crate) txn: Txn,
    /// Wall seconds.
    pub(crate) wall: i64,
    pub(crate) at: Instant,
    pub(crate) reply: oneshot::Sender<Result<Committed, StoreError>>,
}

type Reply = (oneshot::Sender<Result<Committed, StoreError>>, Result<Committed, StoreError>);

/// Why a batch is not on disk.
#[derive(Debug)]
pub(crate) enum AppendError {
    /// No room; the log is as before.
    Full(String),
    /// The log's state is unknown.
    Broken(String),
}

pub(crate) struct Writer {
    pub(crate) hub: Arc<Hub>,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) config: LogConfig,
    pub(crate) queue: mpsc::Receiver<Queued>,
    pub(crate) tail: Tail,
    pub(crate) sealed: Arc<Mutex<Vec<Sealed>>>,
    /// The batch's bytes; kept for its capacity.
    pub(crate) bytes: Vec<u8>,
    pub(crate) full: bool,
}

/// Ends every reader when the thread ends, also when it panics.
struct Farewell(Arc<Hub>);

impl Drop for Farewell {
    fn drop(&mut self) {
        let why = if std::thread::panicking() { "its writer panicked" } else { "it was closed" };
        self.0.stop(StoreError::Failed(why.into()));
    }
}

/// Answers what is still in the queue, or on its way into it: dropping the queue would forget a transaction that has a
/// place but is not there yet, and its caller would wait for ever.
impl Drop for Writer {
    fn drop(&mut self) {
        self.queue.close();
        while let Some(queued) = self.queue.blocking_recv() {
            let why = self.hub.stopped().cloned().unwrap_or_else(|| StoreError::Failed("it was closed".into()));
            let _ = queued.reply.send(Err(why)); // a caller that went away needs no answer
        }
    }
}

impl Writer {
    /// Until the queue is closed or the disk fails.
    pub(crate) fn run(mut self) {
        let _farewell = Farewell(self.hub.clone());
        while let Some(first) = self.queue.blocking_recv() {
            let batch = self.gather(first);
            if let Err(failed) = self.commit(batch) {
                tracing::error!(error = %failed, "the store stops");
                self.hub.stop(failed);
                return;
            }
        }
    }

    fn gather(&mut self, first: Queued) -> Vec<Queued> {
        let mut bytes = size(&first.txn);
        let mut batch = vec![first];
        while bytes < self.config.batch_bytes {
            let Ok(next) = self.queue.try_recv() else { break };
            bytes += size(&next.txn);
            batch.push(next);
        }
        batch
    }

    fn commit(&mut self, batch: Vec<Queued>) -> Result<(), StoreError> {
        let (staged, replies) = self.stage(batch);
        match self.append() {
            Ok(()) => {
                self.hub.publish(&staged);
                for (reply, outcome) in replies {
                    let _ = reply.send(outcome); // a caller that went away needs no answer
                }
                Ok(())
            }
            Err(AppendError::Full(why)) => {
                self.note_full(Some(&why));
                refuse(replies, &StoreError::ReadOnly(why));
                Ok(())
            }
            Err(AppendError::Broken(why)) => {
                let failed = StoreError::Failed(why);
                self.hub.stop(failed.clone());
                refuse(replies, &failed);
                Err(failed)
            }
        }
    }

    /// Checks and numbers the batch and encodes it into `self.bytes`.
    fn stage(&mut self, batch: Vec<Queued>) -> (Vec<Staged>, Vec<Reply>) {
        self.bytes.clear();
        let mvcc = self.hub.read();
        let durable = mvcc.revision();
        let mut stage = Stage::on(&mvcc);
        let mut commits = Vec::with_capacity(batch.len());
        let mut replies = Vec::with_capacity(batch.len());
        for Queued { txn, wall, at, reply } in batch {
            let outcome = match stage.push(&mvcc, txn, wall, at) {
                Ok(Some(mut staged)) => {
                    encode_commit(&mut self.bytes, &staged, durable, wall);
                    let values = std::mem::take(&mut staged.values);
                    commits.push(staged);
                    Ok(Committed { revision: stage.revision(), values })
                }
                Ok(None) => Ok(Committed { revision: stage.revision(), values: Vec::new() }),
                Err(conflict) => Err(conflict),
            };
            replies.push((reply, outcome));
        }
        (commits, replies)
    }

    fn append(&mut self) -> Result<(), AppendError> {
        if self.bytes.is_empty() {
            return Ok(());
        }
        let end = self.tail.offset + self.bytes.len() as u64;
        if end > self.tail.capacity {
            if self.tail.offset == HEADER_LEN as u64 { self.grow(end)? } else { self.rotate()? }
        }
        let bytes = std::mem::take(&mut self.bytes);
        let written = self.tail.file.write_at(self.tail.offset, &bytes);
        self.bytes = bytes;
        match written {
            Ok(()) => self.tail.file.sync().map_err(|error| self.broken("sync", &error))?,
            Err(error) if is_full(&error) => return Err(self.take_back(&error)),
            Err(error) => return Err(self.broken("write", &error)),
        }
        self.tail.offset += self.bytes.len() as u64;
        self.bytes.shrink_to(2 * self.config.batch_bytes);
        self.note_full(None);
        Ok(())
    }

    /// Removes a half-written batch for good: its records are whole and would be believed after a crash.
    fn take_back(&mut self, error: &io::Error) -> AppendError {
        let offset = self.tail.offset;
        match self.tail.file.truncate(offset).and_then(|()| self.tail.file.sync()) {
            Ok(()) => {
                self.tail.capacity = offset;
                AppendError::Full(self.describe("write", error))
            }
            Err(error) => self.broken("truncate", &error),
        }
    }

    /// Makes room in a segment that holds nothing yet: a new one would get the same name.
    fn grow(&mut self, end: u64) -> Result<(), AppendError> {
        match self.tail.file.allocate(end) {
            Ok(()) => self.tail.capacity = end,
            Err(error) if is_full(&error) => return Err(AppendError::Full(self.describe("extend", &error))),
            Err(error) => return Err(self.broken("extend", &error)),
        }
        Ok(())
    }

    fn rotate(&mut self) -> Result<(), AppendError> {
        let first = Revision(self.hub.revision().0 + 1);
        let needed = (HEADER_LEN + self.bytes.len()) as u64;
        let next = create_segment(&*self.disk, first, needed, self.config.segment_bytes).map_err(|error| {
            let what = format!("{}: {error}", self.disk.path(&segment_name(first)).display());
            if is_full(&error) { AppendError::Full(what) } else { AppendError::Broken(what) }
        })?;
        let mut old = std::mem::replace(&mut self.tail, next);
        // Only gives unused room back. Should it be lost in a crash, the zeros that stay read as the end too.
        if let Err(error) = old.file.truncate(old.offset) {
            return Err(AppendError::Broken(format!("truncate {}: {error}", self.disk.path(&old.name).display())));
        }
        let sealed = Sealed { name: old.name, last: Revision(first.0 - 1), bytes: old.offset };
        self.sealed.lock().expect("no holder of the list panics").push(sealed);
        Ok(())
    }

    fn note_full(&mut self, why: Option<&str>) {
        match why {
            Some(why) if !self.full => tracing::error!(why, "the store is read-only until there is room"),
            None if self.full => tracing::info!("the store has room again"),
            _ => {}
        }
        self.full = why.is_some();
    }

    fn broken(&self, action: &str, error: &io::Error) -> AppendError {
        AppendError::Broken(self.describe(action, error))
    }

    fn describe(&self, action: &str, error: &io::Error) -> String {
        format!("{action} {} at {}: {error}", self.disk.path(&self.tail.name).display(), self.tail.offset)
    }
}

/// A new segment with its header on disk. Where there is no room for a whole one, a smaller one that holds `needed`.
pub(crate) fn create_segment(disk: &dyn Disk, first: Revision, needed: u64, wanted: u64) -> io::Result<Tail> {
    let name = segment_name(first);
    let made = fill_segment(disk, &name, first, needed, wanted);
    if made.is_err() {
        let _ = disk.remove(&name); // it holds nothing yet; the first error is the one to tell
    }
    made
}

fn fill_segment(disk: &dyn Disk, name: &str, first: Revision, needed: u64, wanted: u64) -> io::Result<Tail> {
    let mut file = disk.create(name)?;
    let mut capacity = wanted.max(needed);
    while let Err(error) = file.allocate(capacity) {
        if !is_full(&error) || capacity == needed {
            return Err(error);
        }
        file.truncate(0)?;
        capacity = (capacity / 4).max(needed);
    }
    file.write_at(0, &header(SEGMENT, first))?;
    file.sync()?;
    disk.sync_dir()?;
    Ok(Tail { name: name.to_owned(), file, offset: HEADER_LEN as u64, capacity })
}

fn refuse(replies: Vec<Reply>, error: &StoreError) {
    for (reply, _) in replies {
        let _ = reply.send(Err(error.clone()));
    }
}

fn size(txn: &Txn) -> usize {
    let op_size = |op: &Op| match op {
        Op::Put { key, value, .. } => key.len() + value.len(),
        Op::Delete { key } => key.len(),
    };
    txn.ops.iter().map(op_size).sum()
}
