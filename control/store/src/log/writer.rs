//! The one writer: a thread that turns whatever waits in its queue into one batch, one write and one sync.
//!
//! ```text
//! writer      gather 2 ──────────> │ publish and answer 1, gather 3 ──> │ publish and answer 2, gather 4
//! disk        write and sync 1 ──> │ write and sync 2 ────────────────> │ write and sync 3
//! ```
//!
//! While one batch is on its way to the disk the next is gathered, checked against it and encoded; nothing of it is
//! written before the batch in front is durable. A transaction is checked against the guards in the order of the queue,
//! written, synced, and only then visible and answered; so is a conflict with one that is not durable yet. No room: the
//! batch is refused with the one that was gathered behind it, and nothing has changed. Any other I/O error: the store
//! stops for good, since nobody knows what the disk holds after it.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::append::{AppendError, Appender, DiskThread, Done, Job};
use super::format::encode_commit;
use crate::contract::{Committed, Revision, StoreError, Txn};
use crate::hub::Hub;
use crate::mvcc::{Ground, Stage, Staged};

/// A transaction on its way. The times are the caller's, so that a simulated clock is asked on its own thread.
pub(crate) struct Queued {
    pub(crate) txn: Txn,
    /// Wall seconds.
    pub(crate) wall: i64,
    pub(crate) at: Instant,
    pub(crate) reply: oneshot::Sender<Result<Committed, StoreError>>,
}

type Reply = (oneshot::Sender<Result<Committed, StoreError>>, Result<Committed, StoreError>);

pub(crate) struct Writer {
    hub: Arc<Hub>,
    queue: mpsc::Receiver<Queued>,
    /// See [`super::LogConfig::batch_bytes`].
    batch_bytes: usize,
    disk: DiskThread,
    /// None while a batch is in flight.
    appender: Option<Box<Appender>>,
    /// On its way to the disk.
    flying: Option<Batch>,
    /// Gathered behind it.
    next: Batch,
    /// Emptied bytes of a batch; kept for their capacity.
    buffer: Vec<u8>,
}

/// Transactions that go to the disk together.
struct Batch {
    /// The revision before its first commit, durable before it is written.
    base: Revision,
    stage: Stage,
    /// The commits, encoded.
    bytes: Vec<u8>,
    commits: Vec<Staged>,
    replies: Vec<Reply>,
}

impl Batch {
    fn after(base: Revision, bytes: Vec<u8>) -> Self {
        Self { base, stage: Stage::after(base), bytes, commits: Vec::new(), replies: Vec::new() }
    }

    /// Checks and numbers a transaction and encodes it.
    fn push(&mut self, ground: Ground<'_>, Queued { txn, wall, at, reply }: Queued) {
        let outcome = match self.stage.push(ground, txn, wall, at) {
            Ok(Some(mut staged)) => {
                encode_commit(&mut self.bytes, &staged, self.base, wall);
                let values = std::mem::take(&mut staged.values);
                self.commits.push(staged);
                Ok(Committed { revision: self.stage.revision(), values })
            }
            Ok(None) => Ok(Committed { revision: self.stage.revision(), values: Vec::new() }),
            Err(conflict) => Err(conflict),
        };
        self.replies.push((reply, outcome));
    }

    /// Makes it visible and answers it, once it is durable.
    fn publish(self, hub: &Hub) {
        hub.publish(&self.commits);
        for (reply, outcome) in self.replies {
            let _ = reply.send(outcome); // a caller that went away needs no answer
        }
    }

    fn refuse(self, error: &StoreError) {
        for (reply, _) in self.replies {
            let _ = reply.send(Err(error.clone()));
        }
    }
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
    pub(crate) fn new(hub: Arc<Hub>, queue: mpsc::Receiver<Queued>, batch_bytes: usize, appender: Appender) -> Self {
        let next = Batch::after(hub.revision(), Vec::new());
        let (disk, appender) = (DiskThread::start(), Some(Box::new(appender)));
        Self { hub, queue, batch_bytes, disk, appender, flying: None, next, buffer: Vec::new() }
    }

    /// Until the queue is closed or the disk fails.
    pub(crate) fn run(mut self) {
        let _farewell = Farewell(self.hub.clone());
        // A runtime without drivers: it waits for two channels and nothing else.
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime without drivers can be made");
        if let Err(failed) = runtime.block_on(self.work()) {
            tracing::error!(error = %failed, "the store stops");
        }
    }

    async fn work(&mut self) -> Result<(), StoreError> {
        let mut open = true;
        while open || self.flying.is_some() {
            tokio::select! {
                biased;
                done = self.disk.done(), if self.flying.is_some() => self.land(done)?,
                queued = self.queue.recv(), if open && self.next.bytes.len() < self.batch_bytes => match queued {
                    Some(first) => {
                        self.gather(first);
                        self.start_if_idle()?;
                    }
                    None => open = false,
                },
            }
        }
        Ok(())
    }

    /// Takes what waits in the queue into the next batch.
    fn gather(&mut self, first: Queued) {
        let mvcc = self.hub.read();
        let ground = Ground { mvcc: &mvcc, above: self.flying.as_ref().map(|batch| &batch.stage) };
        self.next.push(ground, first);
        while self.next.bytes.len() < self.batch_bytes {
            let Ok(queued) = self.queue.try_recv() else { break };
            self.next.push(ground, queued);
        }
    }

    fn start_if_idle(&mut self) -> Result<(), StoreError> {
        if self.flying.is_some() {
            return Ok(());
        }
        match self.next.replies.len() {
            // A lone caller pays no change of threads, and there is nobody to go on for.
            1 if !self.next.bytes.is_empty() => self.write_here(),
            _ => {
                self.start();
                self.publish_unwritten();
                Ok(())
            }
        }
    }

    fn write_here(&mut self) -> Result<(), StoreError> {
        let mut batch = self.take_next();
        let appender = self.appender.as_mut().expect("nothing is in flight");
        let outcome = appender.append(&batch.bytes, Revision(batch.base.0 + 1));
        self.keep_buffer(std::mem::take(&mut batch.bytes));
        self.settle(batch, outcome)
    }

    /// Sends the next batch to the disk if it has something for it.
    fn start(&mut self) {
        if self.next.bytes.is_empty() {
            return;
        }
        let appender = self.appender.take().expect("nothing is in flight");
        let mut batch = self.take_next();
        let bytes = std::mem::take(&mut batch.bytes);
        self.disk.start_job(Job { appender, bytes, first: Revision(batch.base.0 + 1) });
        self.flying = Some(batch);
    }

    fn take_next(&mut self) -> Batch {
        let following = Batch::after(self.next.stage.revision(), std::mem::take(&mut self.buffer));
        std::mem::replace(&mut self.next, following)
    }

    /// The batch in flight has come to the disk, or not. What was gathered behind it leaves before anything else is done.
    fn land(&mut self, done: Option<Done>) -> Result<(), StoreError> {
        let batch = self.flying.take().expect("a job was started for it");
        let Some(Done { appender, bytes, outcome }) = done else {
            return self.settle(batch, Err(AppendError::Broken("the thread that writes to the disk panicked".into())));
        };
        self.appender = Some(appender);
        self.keep_buffer(bytes);
        if outcome.is_ok() {
            self.start();
        }
        self.settle(batch, outcome)?;
        self.publish_unwritten();
        Ok(())
    }

    fn settle(&mut self, batch: Batch, outcome: Result<(), AppendError>) -> Result<(), StoreError> {
        match outcome {
            Ok(()) => {
                batch.publish(&self.hub);
                Ok(())
            }
            Err(AppendError::Full(why)) => {
                self.refuse_with_next(batch, &StoreError::ReadOnly(why));
                Ok(())
            }
            Err(AppendError::Broken(why)) => {
                let failed = StoreError::Failed(why);
                self.hub.stop(failed.clone());
                self.refuse_with_next(batch, &failed);
                Err(failed)
            }
        }
    }

    /// What was gathered behind a batch was checked against it and has its numbers after it: it goes the same way.
    fn refuse_with_next(&mut self, batch: Batch, error: &StoreError) {
        let fresh = Batch::after(self.hub.revision(), Vec::new());
        batch.refuse(error);
        std::mem::replace(&mut self.next, fresh).refuse(error);
    }

    /// Answers a batch that writes nothing, once what it was checked against is visible.
    fn publish_unwritten(&mut self) {
        if self.flying.is_none() && !self.next.replies.is_empty() {
            self.take_next().publish(&self.hub);
        }
    }

    fn keep_buffer(&mut self, mut bytes: Vec<u8>) {
        bytes.clear();
        bytes.shrink_to(2 * self.batch_bytes);
        self.buffer = bytes;
    }
}
