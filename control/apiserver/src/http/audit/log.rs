//! The audit log's file: one JSON document a line, written by a task of its own, rotated by size.
//!
//! Requests never wait for the disk. What they have to say waits in a queue that is bounded in lines and in bytes; what finds it full
//! is not written and is counted (`apiserver_audit_error_total`), as is what the disk refuses.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use env::Env;
use jiff::Timestamp;
use prometheus_client::metrics::counter::Counter;
use tokio::sync::mpsc;

use super::event::Event;

/// Lines that may wait.
const LINES_MAX: usize = 10_000;
/// Bytes of bodies that they may hold on to, all together.
const BYTES_MAX: usize = 64 << 20;
/// Lines written at once.
const BATCH: usize = 256;

/// Where the log is, and how much of it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    pub path: PathBuf,
    /// A file that would grow beyond it is set aside, under a name with the time in it.
    pub max_bytes: u64,
    /// Files set aside that are kept; 0 keeps all.
    pub max_backups: usize,
    /// Older ones are removed; None keeps them.
    pub max_age: Option<Duration>,
}

/// The way into the log.
pub(crate) struct Queue {
    lines: mpsc::Sender<Arc<Event>>,
    bytes: Arc<AtomicUsize>,
}

impl Queue {
    /// Opens the file and starts its task. Err names the path.
    pub(super) fn start(env: &Env, config: LogConfig, lost: Counter) -> Result<Self, String> {
        let file = Rotating::open(config, env)?;
        let (lines, waiting) = mpsc::channel(LINES_MAX);
        let bytes = Arc::new(AtomicUsize::new(0));
        let writer = Writer { env: env.clone(), file: Some(file), waiting, bytes: Arc::clone(&bytes), lost };
        env.spawn("audit-log", writer.run());
        Ok(Self { lines, bytes })
    }

    /// Err where there is no room.
    pub(super) fn push(&self, event: Arc<Event>) -> Result<(), ()> {
        let weight = event.weight();
        if self.bytes.fetch_add(weight, Ordering::Relaxed) + weight > BYTES_MAX || self.lines.try_send(event).is_err() {
            self.bytes.fetch_sub(weight, Ordering::Relaxed);
            return Err(());
        }
        Ok(())
    }
}

struct Writer {
    env: Env,
    /// None while a thread writes.
    file: Option<Rotating>,
    waiting: mpsc::Receiver<Arc<Event>>,
    bytes: Arc<AtomicUsize>,
    lost: Counter,
}

impl Writer {
    /// Until everybody who writes is gone, or the environment stops; what waits by then is still written.
    async fn run(mut self) {
        let stop = self.env.shutdown().clone();
        let mut batch = Vec::with_capacity(BATCH);
        while let Some(1..) = stop.run_until_cancelled(self.waiting.recv_many(&mut batch, BATCH)).await {
            self.write(&mut batch).await;
        }
        while let Ok(event) = self.waiting.try_recv() {
            batch.push(event);
            if batch.len() == BATCH {
                self.write(&mut batch).await;
            }
        }
        self.write(&mut batch).await;
    }

    async fn write(&mut self, batch: &mut Vec<Arc<Event>>) {
        let Some(mut file) = self.file.take().filter(|_| !batch.is_empty()) else { return };
        let (events, now) = (std::mem::take(batch), self.env.now());
        let (count, weight) = (events.len() as u64, events.iter().map(|event| event.weight()).sum::<usize>());
        // Bodies become JSON there, too: that may take as long as the disk.
        let written = tokio::task::spawn_blocking(move || {
            let outcome = events.iter().try_for_each(|event| file.line(&event.to_value(), now)).and_then(|()| file.flush());
            (file, outcome)
        });
        match written.await {
            Ok((file, outcome)) => {
                if let Err(error) = outcome {
                    self.lost.inc_by(count);
                    tracing::error!(path = %file.config.path.display(), %error, "the audit log cannot be written; lines are lost until it can");
                }
                self.file = Some(file);
            }
            Err(error) => tracing::error!(%error, "the audit log's writer broke off"),
        }
        self.bytes.fetch_sub(weight, Ordering::Relaxed);
    }
}

/// A file that is set aside when it is full.
struct Rotating {
    config: LogConfig,
    file: File,
    length: u64,
    buffer: Vec<u8>,
}

impl Rotating {
    fn open(config: LogConfig, _env: &Env) -> Result<Self, String> {
        let file = append(&config.path).map_err(|error| format!("audit log {}: {error}", config.path.display()))?;
        let length = file.metadata().map_or(0, |metadata| metadata.len());
        Ok(Self { config, file, length, buffer: Vec::new() })
    }

    fn line(&mut self, value: &schema::Value, now: Timestamp) -> std::io::Result<()> {
        let start = self.buffer.len();
        serde_json::to_writer(&mut self.buffer, value)?;
        self.buffer.push(b'\n');
        let grown = self.length + self.buffer.len() as u64;
        if grown > self.config.max_bytes && self.length + start as u64 > 0 {
            let line = self.buffer.split_off(start);
            self.flush()?;
            self.rotate(now)?;
            self.buffer = line;
        }
        Ok(())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        // A line is written whole or not at all, also after a failure.
        let bytes = std::mem::take(&mut self.buffer);
        self.file.write_all(&bytes)?;
        self.length += bytes.len() as u64;
        Ok(())
    }

    fn rotate(&mut self, now: Timestamp) -> std::io::Result<()> {
        std::fs::rename(&self.config.path, self.backup(now))?;
        self.file = append(&self.config.path)?;
        self.length = 0;
        self.remove_old(now)
    }

    /// `audit-2026-01-02T15-04-05.000.log`
    fn backup(&self, now: Timestamp) -> PathBuf {
        let (stem, extension) = self.names();
        let time = now.strftime("%Y-%m-%dT%H-%M-%S%.3f").to_string();
        let first = self.config.path.with_file_name(format!("{stem}-{time}{extension}"));
        let later = (1..).map(|n| self.config.path.with_file_name(format!("{stem}-{time}-{n}{extension}")));
        std::iter::once(first).chain(later).find(|path| !path.exists()).expect("some number is free")
    }

    fn names(&self) -> (String, String) {
        let text = |part: Option<&std::ffi::OsStr>| part.map(|part| part.to_string_lossy().into_owned()).unwrap_or_default();
        let extension = text(self.config.path.extension());
        (text(self.config.path.file_stem()), if extension.is_empty() { extension } else { format!(".{extension}") })
    }

    fn remove_old(&self, now: Timestamp) -> std::io::Result<()> {
        let mut backups = self.backups()?;
        backups.sort(); // by the time in their names
        let surplus = if self.config.max_backups == 0 { 0 } else { backups.len().saturating_sub(self.config.max_backups) };
        let oldest = self.config.max_age.map(|age| now - jiff::SignedDuration::try_from(age).unwrap_or(jiff::SignedDuration::MAX));
        for (index, path) in backups.iter().enumerate() {
            let modified = || path.metadata().and_then(|metadata| metadata.modified()).ok().and_then(|at| Timestamp::try_from(at).ok());
            let is_old = oldest.is_some_and(|oldest| modified().is_some_and(|at| at < oldest));
            if index < surplus || is_old {
                std::fs::remove_file(path)?;
            }
        }
        Ok(())
    }

    fn backups(&self) -> std::io::Result<Vec<PathBuf>> {
        let (stem, extension) = self.names();
        let folder = self.config.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let is_backup = |path: &PathBuf| {
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            let middle = name.strip_prefix(&format!("{stem}-")).and_then(|rest| rest.strip_suffix(&extension));
            middle.is_some_and(|time| time.starts_with(|c: char| c.is_ascii_digit()))
        };
        let entries = std::fs::read_dir(folder)?.filter_map(|entry| entry.ok().map(|entry| entry.path()));
        Ok(entries.filter(is_backup).collect())
    }
}

/// Audit lines tell secrets' names and more: the file is its owner's alone.
fn append(path: &Path) -> std::io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use schema::json;

    use super::*;

    #[test]
    fn a_full_file_is_set_aside_and_only_so_many_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let config = LogConfig { path: dir.path().join("audit.log"), max_bytes: 40, max_backups: 2, max_age: None };
        let env = Env::sim(1);
        let mut file = Rotating::open(config, &env).unwrap();
        for second in 0..5 {
            let now = Timestamp::from_second(second).unwrap();
            file.line(&json!({"n": second, "pad": "xxxxxxxx"}), now).unwrap();
            file.line(&json!({"n": second}), now).unwrap();
            file.flush().unwrap();
        }
        let mut names: Vec<String> =
            std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        assert_eq!(names, ["audit-1970-01-01T00-00-03.000.log", "audit-1970-01-01T00-00-04.000.log", "audit.log"]);
        let kept = std::fs::read_to_string(dir.path().join(&names[1])).unwrap();
        assert_eq!(kept, "{\"n\":3,\"pad\":\"xxxxxxxx\"}\n{\"n\":3}\n");
        assert_eq!(std::fs::read_to_string(dir.path().join("audit.log")).unwrap().lines().count(), 2);
    }

    #[test]
    fn what_cannot_be_opened_is_named() {
        let config = LogConfig { path: "/nope/audit.log".into(), max_bytes: 1, max_backups: 0, max_age: None };
        assert!(Rotating::open(config, &Env::sim(1)).err().unwrap().starts_with("audit log /nope/audit.log: "));
    }
}
