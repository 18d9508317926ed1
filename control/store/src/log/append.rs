//! Appends batches to the segments, and the thread that waits for the disk meanwhile.
//!
//! No room: the batch is refused and the log is as before. Any other I/O error: the log's state is unknown and nothing
//! may be appended any more.

use std::io;
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;

use super::disk::{Disk, is_full};
use super::format::{HEADER_LEN, SEGMENT, header};
use super::recover::{Sealed, Tail, segment_name};
use crate::contract::Revision;

/// Why a batch is not on disk.
#[derive(Debug)]
pub(crate) enum AppendError {
    /// No room; the log is as before.
    Full(String),
    /// The log's state is unknown.
    Broken(String),
}

/// The end of the log. Whoever holds it writes; there is one.
pub(crate) struct Appender {
    pub(crate) disk: Arc<dyn Disk>,
    /// See [`super::LogConfig::segment_bytes`].
    pub(crate) segment_bytes: u64,
    pub(crate) tail: Tail,
    pub(crate) sealed: Arc<Mutex<Vec<Sealed>>>,
    /// The last batch found no room.
    pub(crate) full: bool,
}

/// A batch for the disk: the appender goes with it and comes back.
pub(crate) struct Job {
    pub(crate) appender: Box<Appender>,
    pub(crate) bytes: Vec<u8>,
    /// The batch's first commit.
    pub(crate) first: Revision,
}

pub(crate) struct Done {
    pub(crate) appender: Box<Appender>,
    /// The batch's, for their capacity.
    pub(crate) bytes: Vec<u8>,
    pub(crate) outcome: Result<(), AppendError>,
}

/// A thread that appends, so that the writer can go on with what comes next. Ends with the value.
pub(crate) struct DiskThread {
    /// writer --Job--> disk thread; none only while dropping.
    jobs_tx: Option<mpsc::Sender<Job>>,
    /// disk thread --Done--> writer. Neither holds more than one: there is one appender.
    done_rx: tokio::sync::mpsc::Receiver<Done>,
    thread: Option<JoinHandle<()>>,
}

impl DiskThread {
    pub(crate) fn start() -> Self {
        let (jobs_tx, jobs_rx) = mpsc::channel::<Job>();
        let (done_tx, done_rx) = tokio::sync::mpsc::channel(1);
        let work = move || {
            for Job { mut appender, bytes, first } in jobs_rx {
                let outcome = appender.append(&bytes, first);
                if done_tx.blocking_send(Done { appender, bytes, outcome }).is_err() {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name("store-disk".into()).spawn(work);
        Self { jobs_tx: Some(jobs_tx), done_rx, thread: Some(thread.expect("a process that starts can start a thread")) }
    }

    pub(crate) fn start_job(&self, job: Job) {
        let jobs_tx = self.jobs_tx.as_ref().expect("the channel is there until the thread is dropped");
        let _ = jobs_tx.send(job); // a thread that panicked is noticed by `done`
    }

    /// The job that was started; None when the thread panicked over it. Losing the wait loses nothing.
    pub(crate) async fn done(&mut self) -> Option<Done> {
        self.done_rx.recv().await
    }
}

impl Drop for DiskThread {
    fn drop(&mut self) {
        self.jobs_tx = None;
        self.done_rx.close();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // its panic ended the writer already
        }
    }
}

impl Appender {
    /// Makes the frames in `bytes` durable, the first of which is the commit `first`.
    pub(crate) fn append(&mut self, bytes: &[u8], first: Revision) -> Result<(), AppendError> {
        let end = self.tail.offset + bytes.len() as u64;
        if end > self.tail.capacity {
            if self.tail.offset == HEADER_LEN as u64 { self.grow(end)? } else { self.rotate(first, bytes.len())? }
        }
        match self.tail.file.write_at(self.tail.offset, bytes) {
            Ok(()) => self.tail.file.sync().map_err(|error| self.broken("sync", &error))?,
            Err(error) if is_full(&error) => return Err(self.take_back(&error)),
            Err(error) => return Err(self.broken("write", &error)),
        }
        self.tail.offset += bytes.len() as u64;
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

    fn rotate(&mut self, first: Revision, bytes_len: usize) -> Result<(), AppendError> {
        let needed = (HEADER_LEN + bytes_len) as u64;
        let next = create_segment(&*self.disk, first, needed, self.segment_bytes).map_err(|error| {
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
