//! Log files in the CRI's format: `<RFC 3339 time> stdout|stderr F|P <text>`, a line per line of output.
//!
//! A line longer than [`LINE_MAX`] is cut into pieces marked `P`, its last `F`. What has no line end yet waits here and
//! is written as `P` when the stream ends or the node stops, so that the next reader goes on where this one left off.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

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
    /// Text without a line end yet, per stream.
    open: [Vec<u8>; 2],
    /// Said once, not once per line.
    failing: bool,
}

/// RFC 3339 with nine digits: the wall clock belongs to the caller.
pub(super) struct Stamp(pub(super) String);

impl Log {
    /// Appends to `path`; its folder is made when missing. An empty path logs nowhere.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let mut log = Self { path: path.to_owned(), file: None, open: [Vec::new(), Vec::new()], failing: false };
        log.reopen()?;
        Ok(log)
    }

    /// Opens the file at the path anew: whoever rotates has moved the old one away.
    pub(super) fn reopen(&mut self) -> io::Result<()> {
        if self.path.as_os_str().is_empty() {
            return Ok(());
        }
        if let Some(folder) = self.path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        self.file = Some(OpenOptions::new().append(true).create(true).open(&self.path)?);
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
        }
    }

    /// A full disk must not stop the container: its output is dropped, and said once.
    fn append(&mut self, records: &[u8]) {
        let Some(file) = self.file.as_mut().filter(|_| !records.is_empty()) else { return };
        let done = file.write_all(records);
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
