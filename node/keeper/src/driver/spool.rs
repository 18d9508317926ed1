//! What keeps a container's log whole when the node is killed between reading output and writing it.
//!
//! Output moves from the pipe into a spool within the kernel, so at no moment this process alone has it. Then its complete
//! lines are appended to the log, and one small write, the mark, says how far both have come. A node that was killed left at
//! most one such step undone: its successor cuts the log back to the mark and takes the step again.
//!
//! ```text
//! pipe ──splice──► spool ──complete lines──► log ──► mark: the log's length, and how much of each spool it holds
//! ```
//!
//! The files lie in the container's run folder and go with it. The first output makes them: a silent container has none.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use rustix::pipe::{SpliceFlags, splice};

use super::logs::Stream;

const MARK_FILE: &str = "mark";
const SPOOL_FILES: [&str; 2] = ["stdout.spool", "stderr.spool"];
/// Bytes taken from the pipe at once.
const CHUNK: usize = 16 * 1024;
/// A spool that is longer is cut to what its last line has so far.
const SPOOL_MAX: u64 = 64 * 1024;

/// How far the log and the spools have come together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Mark {
    /// Which file the log is; another one after rotation.
    pub(super) inode: u64,
    pub(super) log_bytes: u64,
    /// Bytes of each spool whose text is in the log.
    done: [u64; 2],
}

pub(super) struct Spool {
    folder: PathBuf,
    mark: File,
    files: [File; 2],
    bytes: [u64; 2],
    done: [u64; 2],
}

impl Spool {
    /// Makes the files.
    pub(super) fn create(folder: &Path) -> io::Result<Self> {
        let open = |name: &str| OpenOptions::new().read(true).write(true).create(true).truncate(false).open(folder.join(name));
        let files = [open(SPOOL_FILES[0])?, open(SPOOL_FILES[1])?];
        let bytes = [files[0].metadata()?.len(), files[1].metadata()?.len()];
        Ok(Self { folder: folder.to_owned(), mark: open(MARK_FILE)?, files, bytes, done: [0; 2] })
    }

    /// What an earlier node left, with its last mark; None where it left nothing.
    pub(super) fn resume(folder: &Path) -> io::Result<Option<(Self, Mark)>> {
        if !folder.join(MARK_FILE).exists() {
            return Ok(None);
        }
        let mut spool = Self::create(folder)?;
        let mut bytes = [0; 32];
        let mark = match spool.mark.read_exact_at(&mut bytes, 0) {
            Ok(()) => Mark::of(&bytes),
            // It died before the first one: nothing has been logged.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Mark::default(),
            Err(error) => return Err(error),
        };
        for stream in 0..2 {
            // A spool that is shorter has been cut since the mark.
            spool.done[stream] = if mark.done[stream] > spool.bytes[stream] { 0 } else { mark.done[stream] };
        }
        Ok(Some((spool, mark)))
    }

    /// Moves what waits in the pipe here, and shows it. Empty at the end of the stream.
    pub(super) fn pull(&mut self, stream: Stream, pipe: &OwnedFd) -> io::Result<Bytes> {
        let index = stream as usize;
        let mut offset = self.bytes[index];
        let count = splice(pipe, None, &self.files[index], Some(&mut offset), CHUNK, SpliceFlags::NONBLOCK)?;
        let mut chunk = vec![0; count];
        self.files[index].read_exact_at(&mut chunk, self.bytes[index])?;
        self.bytes[index] = offset;
        Ok(chunk.into())
    }

    /// What is here and was not in the log at the mark.
    pub(super) fn rest(&self, stream: Stream) -> io::Result<Vec<u8>> {
        let index = stream as usize;
        let mut rest = vec![0; (self.bytes[index] - self.done[index]) as usize];
        self.files[index].read_exact_at(&mut rest, self.done[index])?;
        Ok(rest)
    }

    /// Says that the log, of this length, holds all but `open`: the lines that have no end yet.
    pub(super) fn commit(&mut self, inode: u64, log_bytes: u64, open: &[Vec<u8>; 2]) -> io::Result<()> {
        for (index, open) in open.iter().enumerate() {
            self.done[index] = self.bytes[index] - open.len() as u64;
        }
        self.write_mark(inode, log_bytes)?;
        for (index, open) in open.iter().enumerate() {
            if self.bytes[index] > SPOOL_MAX {
                // The old place of these bytes stays valid until the file is cut, the new one counts from then on.
                self.files[index].write_all_at(open, 0)?;
                self.files[index].set_len(open.len() as u64)?;
                (self.bytes[index], self.done[index]) = (open.len() as u64, 0);
                self.write_mark(inode, log_bytes)?;
            }
        }
        Ok(())
    }

    /// Without a mark, a later node does not cut the log.
    pub(super) fn give_up(self) {
        let _ = std::fs::remove_file(self.folder.join(MARK_FILE));
    }

    fn write_mark(&self, inode: u64, log_bytes: u64) -> io::Result<()> {
        self.mark.write_all_at(&Mark { inode, log_bytes, done: self.done }.bytes(), 0)
    }
}

impl Mark {
    fn of(bytes: &[u8; 32]) -> Self {
        let number = |index: usize| u64::from_le_bytes(std::array::from_fn(|byte| bytes[index * 8 + byte]));
        Self { inode: number(0), log_bytes: number(1), done: [number(2), number(3)] }
    }

    fn bytes(self) -> [u8; 32] {
        let numbers = [self.inode, self.log_bytes, self.done[0], self.done[1]].map(u64::to_le_bytes);
        std::array::from_fn(|byte| numbers[byte / 8][byte % 8])
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_mark_reads_back() {
        let mark = Mark { inode: 7, log_bytes: u64::MAX - 1, done: [3, 1 << 40] };
        assert_eq!(Mark::of(&mark.bytes()), mark);
    }

    #[test]
    fn what_no_mark_covers_is_found_again_also_after_the_spool_was_cut() {
        let folder = tempfile::tempdir().unwrap();
        let (reader, writer) = io::pipe().unwrap();
        let (reader, mut writer) = (OwnedFd::from(reader), writer);
        let mut spool = Spool::create(folder.path()).unwrap();
        for _ in 0..8 {
            writer.write_all(&[b'x'; CHUNK]).unwrap();
            spool.pull(Stream::Stdout, &reader).unwrap();
            spool.commit(1, 10, &[b"xx".to_vec(), Vec::new()]).unwrap();
        }
        assert!(spool.bytes[0] <= SPOOL_MAX + CHUNK as u64, "{:?}", spool.bytes);
        writer.write_all(b"more").unwrap();
        spool.pull(Stream::Stdout, &reader).unwrap();
        drop(spool);
        let (spool, mark) = Spool::resume(folder.path()).unwrap().unwrap();
        assert_eq!((mark.inode, mark.log_bytes), (1, 10));
        assert_eq!((spool.rest(Stream::Stdout).unwrap(), spool.rest(Stream::Stderr).unwrap()), (b"xxmore".to_vec(), Vec::new()));
        spool.give_up();
        assert!(Spool::resume(folder.path()).unwrap().is_none());
    }
}
