//! Log files in the CRI's format: `<RFC 3339 time> stdout|stderr F|P <text>`, a line per line of output.
//!
//! A line longer than [`LINE_MAX`] is cut into pieces marked `P`, its last `F`. What has no line end yet waits here and
//! is written as `P` when the stream ends or the node stops, so that the next reader goes on where this one left off. What a
//! node that was killed had taken and not written, its [`Spool`] has.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use env::Env;

use super::spool::{Mark, Spool};
use super::streams::read_chunk;

/// Bytes of text in one record, as upstream's runtimes cut.
const LINE_MAX: usize = 16 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stream {
    Stdout,
    Stderr,
}

/// One container's log, both streams.
pub(super) struct Log {
    path: PathBuf,
    file: Option<File>,
    inode: u64,
    bytes: u64,
    spooled: Spooled,
    /// Text without a line end yet, per stream.
    open: [Vec<u8>; 2],
    /// Said once, not once per line.
    failing: bool,
}

enum Spooled {
    /// From the first output on, in this folder.
    Later(PathBuf),
    Now(Spool),
    /// Not at all: terminals, and where it failed.
    Never,
}

/// RFC 3339 with nine digits: the wall clock belongs to the caller.
pub(super) struct Stamp(pub(super) String);

impl Stamp {
    pub(super) fn now(env: &Env) -> Self {
        Self(format!("{:.9}", env.now()))
    }
}

impl Log {
    /// Appends to `path`; its folder is made when missing. An empty path logs nowhere.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let open = [Vec::new(), Vec::new()];
        let mut log = Self { path: path.to_owned(), file: None, inode: 0, bytes: 0, spooled: Spooled::Never, open, failing: false };
        log.reopen()?;
        Ok(log)
    }

    /// As [`Log::open`], for output that must outlive this process: spooled in the container's folder. Takes up what an
    /// earlier node left there.
    pub(super) fn open_spooled(path: &Path, folder: &Path, now: &Stamp) -> io::Result<Self> {
        let mut log = Self::open(path)?;
        log.spooled = Spooled::Later(folder.to_owned());
        if let Some((spool, mark)) = Spool::resume(folder)? {
            log.cut_back(mark)?;
            let rests = [spool.rest(Stream::Stdout)?, spool.rest(Stream::Stderr)?];
            log.spooled = Spooled::Now(spool);
            log.write(Stream::Stdout, &rests[0], now);
            log.write(Stream::Stderr, &rests[1], now);
            log.commit();
        }
        Ok(log)
    }

    /// Takes what waits in the pipe and writes the lines that it completes; shows what it took. Empty at the stream's end.
    pub(super) fn take(&mut self, stream: Stream, pipe: &OwnedFd, now: &Stamp) -> io::Result<Bytes> {
        let chunk = match self.spool().map(|spool| spool.pull(stream, pipe)) {
            Some(Err(error)) if !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                self.give_up(&error);
                read_chunk(pipe)?
            }
            Some(pulled) => pulled?,
            None => read_chunk(pipe)?,
        };
        self.write(stream, &chunk, now);
        self.commit();
        Ok(chunk)
    }

    /// None where output is not spooled.
    fn spool(&mut self) -> Option<&mut Spool> {
        if let Spooled::Later(folder) = &self.spooled {
            match Spool::create(folder) {
                Ok(spool) => {
                    self.spooled = Spooled::Now(spool);
                    // What the first step writes must be beyond a mark too.
                    self.commit();
                }
                Err(error) => self.give_up(&error),
            }
        }
        match &mut self.spooled {
            Spooled::Now(spool) => Some(spool),
            _ => None,
        }
    }

    /// Removes what the step that was cut off had written already: it is taken again. After rotation that is elsewhere, and
    /// may then be there twice.
    fn cut_back(&mut self, mark: Mark) -> io::Result<()> {
        if let Some(file) = self.file.as_mut().filter(|_| mark.inode == self.inode && mark.log_bytes < self.bytes) {
            file.set_len(mark.log_bytes)?;
            self.bytes = mark.log_bytes;
        }
        Ok(())
    }

    fn commit(&mut self) {
        let (inode, bytes) = (self.inode, self.bytes);
        if let Spooled::Now(spool) = &mut self.spooled
            && let Err(error) = spool.commit(inode, bytes, &self.open)
        {
            self.give_up(&error);
        }
    }

    fn give_up(&mut self, error: &io::Error) {
        tracing::warn!(path = %self.path.display(), %error, "output is not spooled: some may be lost if the node is killed");
        if let Spooled::Now(spool) = std::mem::replace(&mut self.spooled, Spooled::Never) {
            spool.give_up();
        }
    }

    /// Opens the file at the path anew: whoever rotates has moved the old one away.
    pub(super) fn reopen(&mut self) -> io::Result<()> {
        if self.path.as_os_str().is_empty() {
            return Ok(());
        }
        if let Some(folder) = self.path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let file = OpenOptions::new().append(true).create(true).open(&self.path)?;
        let metadata = file.metadata()?;
        (self.inode, self.bytes, self.file) = (metadata.ino(), metadata.len(), Some(file));
        self.commit();
        Ok(())
    }

    /// Writes the lines that `bytes` completes.
    pub(super) fn write(&mut self, stream: Stream, bytes: &[u8], now: &Stamp) {
        let mut records = Vec::with_capacity(bytes.len() + 64);
        let open = &mut self.open[stream as usize];
        for piece in bytes.split_inclusive(|&byte| byte == b'\n') {
            open.extend_from_slice(piece);
            flush_long(open, stream, now, &mut records);
            if open.last() == Some(&b'\n') {
                record(&mut records, stream, 'F', &open[..open.len() - 1], now);
                open.clear();
            }
        }
        self.append(&records);
    }

    /// The stream ends, or its reader does: what is left goes out without a line end.
    pub(super) fn finish(&mut self, stream: Stream, now: &Stamp) {
        let open = std::mem::take(&mut self.open[stream as usize]);
        if !open.is_empty() {
            let mut records = Vec::new();
            record(&mut records, stream, 'P', &open, now);
            self.append(&records);
            self.commit();
        }
    }

    /// A full disk must not stop the container: its output is dropped, and said once.
    fn append(&mut self, records: &[u8]) {
        let Some(file) = self.file.as_mut().filter(|_| !records.is_empty()) else { return };
        let done = file.write_all(records);
        self.bytes = match &done {
            Ok(()) => self.bytes + records.len() as u64,
            Err(_) => file.metadata().map_or(self.bytes, |metadata| metadata.len()),
        };
        if let (Err(error), false) = (&done, self.failing) {
            tracing::warn!(path = %self.path.display(), %error, "output of the container is lost: its log cannot be written");
        }
        self.failing = done.is_err();
    }
}

/// Text beyond the longest line goes out in pieces.
fn flush_long(open: &mut Vec<u8>, stream: Stream, now: &Stamp, records: &mut Vec<u8>) {
    while open.len() > LINE_MAX + 1 || open.len() > LINE_MAX && open.last() != Some(&b'\n') {
        record(records, stream, 'P', &open[..LINE_MAX], now);
        open.drain(..LINE_MAX);
    }
}

fn record(records: &mut Vec<u8>, stream: Stream, tag: char, text: &[u8], now: &Stamp) {
    let name = match stream {
        Stream::Stdout => "stdout",
        Stream::Stderr => "stderr",
    };
    records.extend_from_slice(format!("{} {name} {tag} ", now.0).as_bytes());
    records.extend_from_slice(text);
    records.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(steps: impl FnOnce(&mut Log)) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/0.log");
        steps(&mut Log::open(&path).unwrap());
        std::fs::read_to_string(path).unwrap()
    }

    fn now() -> Stamp {
        Stamp("T".into())
    }

    #[test]
    fn lines_are_records_whatever_the_reads_were() {
        let text = written(|log| {
            log.write(Stream::Stdout, b"one\ntw", &now());
            log.write(Stream::Stderr, b"oops\n", &now());
            log.write(Stream::Stdout, b"o\n\nrest", &now());
            log.finish(Stream::Stdout, &now());
            log.finish(Stream::Stderr, &now());
        });
        assert_eq!(text, "T stdout F one\nT stderr F oops\nT stdout F two\nT stdout F \nT stdout P rest\n");
    }

    #[test]
    fn a_long_line_is_cut_and_its_last_piece_is_full() {
        let text = written(|log| {
            log.write(Stream::Stdout, &vec![b'x'; LINE_MAX + 3], &now());
            log.write(Stream::Stdout, b"\n", &now());
            log.write(Stream::Stdout, &[vec![b'y'; LINE_MAX], vec![b'\n']].concat(), &now());
        });
        let tags: Vec<_> = text.lines().map(|line| (&line[9..10], line.len() - 11)).collect();
        assert_eq!(tags, [("P", LINE_MAX), ("F", 3), ("F", LINE_MAX)]);
    }

    #[test]
    fn a_node_that_was_killed_at_any_step_loses_and_doubles_nothing() {
        use std::io::Write as _;
        // What the next node does with the step that was cut off: the log written and not marked, or not even written.
        for written in [true, false] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("0.log");
            let (pipe, mut container) = io::pipe().unwrap();
            let pipe = OwnedFd::from(pipe);
            let mut log = Log::open_spooled(&path, folder.path(), &now()).unwrap();
            container.write_all(b"one\ntw").unwrap();
            log.take(Stream::Stdout, &pipe, &now()).unwrap();
            container.write_all(b"o\nthr").unwrap();
            let Spooled::Now(spool) = &mut log.spooled else { panic!("the first output begins a spool") };
            let chunk = spool.pull(Stream::Stdout, &pipe).unwrap();
            if written {
                log.write(Stream::Stdout, &chunk, &now());
            }
            drop(log);
            container.write_all(b"ee\n").unwrap();
            let mut next = Log::open_spooled(&path, folder.path(), &now()).unwrap();
            next.take(Stream::Stdout, &pipe, &now()).unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), "T stdout F one\nT stdout F two\nT stdout F three\n", "{written}");
        }
    }

    #[test]
    fn after_rotation_the_new_file_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("0.log");
        let mut log = Log::open(&path).unwrap();
        log.write(Stream::Stdout, b"old\n", &now());
        std::fs::rename(&path, folder.path().join("0.log.1")).unwrap();
        log.write(Stream::Stdout, b"still old\n", &now());
        log.reopen().unwrap();
        log.write(Stream::Stdout, b"new\n", &now());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "T stdout F new\n");
        assert_eq!(std::fs::read_to_string(folder.path().join("0.log.1")).unwrap().lines().count(), 2);
    }
}
