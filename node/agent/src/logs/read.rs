//! Reading a container's log as `kubectl logs` asks for it: from where, how much, and whether to wait for more.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio::sync::mpsc;

use super::{Line, files_of, parse};
use crate::inotify::{Inotify, Watch};

const PIECE: usize = 64 << 10;
/// A record is at most 16 KiB of text and its head.
const LINE_MAX: usize = 64 << 10;
/// A writer that has not closed its file this long after the container's end is not going to.
const LAST_WORDS: Duration = Duration::from_secs(1);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogOptions {
    pub follow: bool,
    pub timestamps: bool,
    pub tail_lines: Option<u64>,
    pub since: Option<Timestamp>,
    /// Before now, where no `since` is given.
    pub since_seconds: Option<u64>,
    pub limit_bytes: Option<u64>,
    /// None: both.
    pub stderr_only: Option<bool>,
}

/// Which run's log, and how to learn that it is over.
pub struct Source<E> {
    pub dir: PathBuf,
    /// File in `dir`; rotated copies have its name and a time.
    pub name: String,
    /// Lines of text instead of CRI records.
    pub is_plain: bool,
    /// Resolves when the run has ended. Only asked with `follow`.
    pub ended: E,
}

/// Sends pieces until the end; a receiver that is dropped ends it.
pub async fn stream<E: Future<Output = ()>>(
    source: Source<E>,
    options: LogOptions,
    inotify: Option<Inotify>,
    tx: mpsc::Sender<Bytes>,
) -> std::io::Result<()> {
    let Source { dir, name, is_plain, ended } = source;
    // The watch stands before the first read: nothing written between the two is missed.
    let mut watch = match (&inotify, options.follow) {
        (Some(inotify), true) => Some(inotify.watch(&dir)?),
        _ => None,
    };
    let mut files: VecDeque<PathBuf> = files_of(&dir, &name).await.into();
    let filter = Filter { stderr_only: options.stderr_only, is_plain };
    let mut skip = match options.tail_lines {
        Some(lines) => tail_start(&mut files, lines, filter).await?,
        None => 0,
    };
    let mut printer = Printer { filter, left: options.limit_bytes, options, tx, out: Vec::with_capacity(PIECE), is_done: false };
    let mut current = None;
    while let Some(path) = files.pop_front() {
        let Some(mut file) = open(&path).await? else { continue };
        file.seek(std::io::SeekFrom::Start(std::mem::take(&mut skip))).await?;
        let mut reader = LineReader { file, held: Vec::new() };
        reader.drain(&mut printer).await?;
        current = Some(reader);
    }
    printer.flush().await;
    if let Some(watch) = watch.as_mut()
        && !printer.is_done
    {
        follow(watch, &dir.join(&name), current, &mut printer, ended).await?;
    }
    Ok(())
}

/// Reads on at every write; a file that was rotated is read to its end before the new one.
async fn follow<E: Future<Output = ()>>(
    watch: &mut Watch,
    path: &Path,
    reader: Option<LineReader>,
    printer: &mut Printer,
    ended: E,
) -> std::io::Result<()> {
    let mut reader = reader;
    let mut is_over = false;
    let closes = watch.seen().closes;
    tokio::pin!(ended);
    loop {
        // Taken before reading: what comes while we read wakes us again.
        let seen = watch.seen();
        if let Some(reader) = &mut reader {
            reader.drain(printer).await?;
        }
        if let Some(mut fresh) = rotated(path, reader.as_ref()).await? {
            // The old file's last lines may have come between its drain and the look at the path; with the new one there, it is whole.
            if let Some(old) = &mut reader {
                old.drain(printer).await?;
            }
            fresh.drain(printer).await?;
            reader = Some(fresh);
        }
        printer.flush().await;
        if printer.is_done || (is_over && seen.closes > closes) {
            return Ok(());
        }
        let last_words = async { if is_over { tokio::time::sleep(LAST_WORDS).await } else { std::future::pending().await } };
        tokio::select! {
            () = watch.changed() => {}
            () = &mut ended, if !is_over => is_over = true,
            () = printer.tx.closed() => return Ok(()),
            () = last_words => return Ok(()),
        }
    }
}

/// The file at the path, if it is another one than `reader` has.
async fn rotated(path: &Path, reader: Option<&LineReader>) -> std::io::Result<Option<LineReader>> {
    use std::os::unix::fs::MetadataExt;
    let Ok(now) = tokio::fs::metadata(path).await else { return Ok(None) };
    let held = match reader {
        Some(reader) => Some(reader.file.metadata().await?.ino()),
        None => None,
    };
    if held == Some(now.ino()) {
        return Ok(None);
    }
    Ok(open(path).await?.map(|file| LineReader { file, held: Vec::new() }))
}

async fn open(path: &Path) -> std::io::Result<Option<File>> {
    match File::open(path).await {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Where the last `lines` lines begin: drops the files before it and returns the offset in the first that stays.
async fn tail_start(files: &mut VecDeque<PathBuf>, lines: u64, filter: Filter) -> std::io::Result<u64> {
    let mut missing = lines;
    for index in (0..files.len()).rev() {
        let Some(mut file) = open(&files[index]).await? else { continue };
        if let Some(offset) = count_back(&mut file, &mut missing, filter).await? {
            files.drain(..index);
            return Ok(offset);
        }
    }
    Ok(0)
}

/// The offset at which the last `missing` lines of the file begin; None where it has fewer (`missing` is then what is left).
/// Pieces of a cut line (tag P) belong to the line that ends after them.
async fn count_back(file: &mut File, missing: &mut u64, filter: Filter) -> std::io::Result<Option<u64>> {
    let mut end = file.metadata().await?.len();
    if *missing == 0 {
        return Ok(Some(end));
    }
    let mut rest: Vec<u8> = Vec::new();
    while end > 0 {
        let start = end.saturating_sub(PIECE as u64);
        let mut piece = vec![0; usize::try_from(end - start).expect("a piece is small")];
        file.seek(std::io::SeekFrom::Start(start)).await?;
        file.read_exact(&mut piece).await?;
        piece.extend_from_slice(&rest);
        // Lines that begin within this piece; the first may have begun before it.
        let mut line_end = piece.len();
        while line_end > 0 {
            let before = piece[..line_end - 1].iter().rposition(|byte| *byte == b'\n');
            let line_start = match before {
                Some(at) => at + 1,
                None if start == 0 => 0,
                None => break,
            };
            let counts = filter.parse(&piece[line_start..line_end]).is_some_and(|line| line.is_whole);
            if counts {
                if *missing == 0 {
                    return Ok(Some(start + line_end as u64));
                }
                *missing -= 1;
            }
            line_end = line_start;
        }
        rest = piece[..line_end].to_vec();
        end = start;
    }
    Ok((*missing == 0).then_some(0))
}

/// Whole lines of a file that may still grow.
struct LineReader {
    file: File,
    held: Vec<u8>,
}

impl LineReader {
    /// Prints all that is there.
    async fn drain(&mut self, printer: &mut Printer) -> std::io::Result<()> {
        let mut piece = vec![0; PIECE];
        while !printer.is_done {
            let read = self.file.read(&mut piece).await?;
            if read == 0 {
                return Ok(());
            }
            self.held.extend_from_slice(&piece[..read]);
            let whole = self.held.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
            for line in self.held[..whole].split_inclusive(|byte| *byte == b'\n') {
                printer.print(line).await;
            }
            self.held.drain(..whole);
            if self.held.len() > LINE_MAX {
                // No record is that long: this is not our file any more.
                self.held.clear();
            }
        }
        Ok(())
    }
}

/// Which lines are meant, and how they are written.
#[derive(Clone, Copy)]
struct Filter {
    stderr_only: Option<bool>,
    is_plain: bool,
}

impl Filter {
    fn parse(self, record: &[u8]) -> Option<Line<'_>> {
        if self.is_plain {
            let text = record.strip_suffix(b"\n").unwrap_or(record);
            return Some(Line { time: b"", is_stderr: false, is_whole: true, text });
        }
        parse(record).filter(|line| self.stderr_only.is_none_or(|only| only == line.is_stderr))
    }
}

/// Filters, cuts and sends.
struct Printer {
    filter: Filter,
    options: LogOptions,
    left: Option<u64>,
    tx: mpsc::Sender<Bytes>,
    out: Vec<u8>,
    /// The limit is reached or nobody listens.
    is_done: bool,
}

impl Printer {
    async fn print(&mut self, record: &[u8]) {
        let Some(line) = self.filter.parse(record).filter(|_| !self.is_done) else { return };
        if let Some(since) = self.options.since {
            let time = std::str::from_utf8(line.time).ok().and_then(|text| text.parse::<Timestamp>().ok());
            if time.is_some_and(|time| time < since) {
                return;
            }
            // The file is in order: from here on everything is younger.
            self.options.since = None;
        }
        let from = self.out.len();
        if self.options.timestamps && !line.time.is_empty() {
            self.out.extend_from_slice(line.time);
            self.out.push(b' ');
        }
        self.out.extend_from_slice(line.text);
        if line.is_whole {
            self.out.push(b'\n');
        }
        self.cut(from);
        if self.out.len() >= PIECE || self.is_done {
            self.flush().await;
        }
    }

    /// Keeps within the limit.
    fn cut(&mut self, from: usize) {
        let Some(left) = &mut self.left else { return };
        let new = (self.out.len() - from) as u64;
        if new >= *left {
            self.out.truncate(from + usize::try_from(*left).unwrap_or(usize::MAX));
            self.is_done = true;
        }
        *left = left.saturating_sub(new);
    }

    async fn flush(&mut self) {
        if !self.out.is_empty() && self.tx.send(std::mem::take(&mut self.out).into()).await.is_err() {
            self.is_done = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use env::Env;

    use super::*;

    fn line(second: u32, text: &str) -> String {
        format!("2026-01-01T00:00:{second:02}.000000000Z stdout F {text}\n")
    }

    async fn read(dir: &Path, restarts: u32, options: LogOptions) -> String {
        let (tx, mut rx) = mpsc::channel(100);
        let source = Source { dir: dir.into(), name: format!("{restarts}.log"), is_plain: false, ended: std::future::ready(()) };
        stream(source, options, None, tx).await.unwrap();
        let mut text = Vec::new();
        while let Some(piece) = rx.recv().await {
            text.extend_from_slice(&piece);
        }
        String::from_utf8(text).unwrap()
    }

    #[tokio::test]
    async fn whole_tails_limits_and_times() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: String| std::fs::write(dir.path().join(name), text).unwrap();
        write("1.log.20260101-000000.000000000", line(1, "a") + &line(2, "b"));
        write("1.log", line(3, "c") + "2026-01-01T00:00:04.000000000Z stderr P d1\n2026-01-01T00:00:04.000000000Z stderr F d2\n");
        write("10.log", line(9, "another run"));
        let plain = LogOptions::default();
        let run = async |options: LogOptions| read(dir.path(), 1, options).await;
        assert_eq!(run(plain.clone()).await, "a\nb\nc\nd1d2\n");
        for (lines, want) in [(0, ""), (1, "d1d2\n"), (2, "c\nd1d2\n"), (3, "b\nc\nd1d2\n"), (9, "a\nb\nc\nd1d2\n")] {
            assert_eq!(run(LogOptions { tail_lines: Some(lines), ..plain.clone() }).await, want, "tail {lines}");
        }
        assert_eq!(run(LogOptions { limit_bytes: Some(3), ..plain.clone() }).await, "a\nb");
        let since = Some("2026-01-01T00:00:03Z".parse().unwrap());
        assert_eq!(run(LogOptions { since, ..plain.clone() }).await, "c\nd1d2\n");
        assert_eq!(
            run(LogOptions { timestamps: true, tail_lines: Some(2), ..plain.clone() }).await.lines().next(),
            Some("2026-01-01T00:00:03.000000000Z c")
        );
        assert_eq!(run(LogOptions { stderr_only: Some(true), ..plain.clone() }).await, "d1d2\n");
        assert_eq!(read(dir.path(), 7, plain).await, "", "a run without a file has no log");
    }

    #[tokio::test]
    async fn tails_of_large_files_begin_at_a_line() {
        let dir = tempfile::tempdir().unwrap();
        let text: String = (0..5000).map(|index| line(index % 60, &format!("{index:05} {}", "x".repeat((index % 97) as usize)))).collect();
        std::fs::write(dir.path().join("0.log"), text).unwrap();
        for lines in [1, 700, 4999, 5000, 6000] {
            let got = read(dir.path(), 0, LogOptions { tail_lines: Some(lines), ..LogOptions::default() }).await;
            assert_eq!(got.lines().count() as u64, lines.min(5000));
            assert!(got.starts_with(&format!("{:05} ", 5000_u64.saturating_sub(lines))));
        }
    }

    #[tokio::test]
    async fn following_crosses_a_rotation_and_ends_with_the_container() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("0.log");
        let mut file = std::fs::File::create(&path).unwrap();
        file.write_all(line(1, "one").as_bytes()).unwrap();
        let env = Env::real();
        let inotify = Inotify::start(&env).unwrap();
        let (end_tx, end_rx) = tokio::sync::oneshot::channel::<()>();
        let (tx, mut rx) = mpsc::channel(100);
        let source = Source { dir: dir.path().into(), name: "0.log".into(), is_plain: false, ended: async move { drop(end_rx.await) } };
        let task = env.spawn("follow", stream(source, LogOptions { follow: true, ..LogOptions::default() }, Some(inotify), tx));
        assert_eq!(rx.recv().await.unwrap(), "one\n");
        file.write_all(line(2, "two").as_bytes()).unwrap();
        assert_eq!(rx.recv().await.unwrap(), "two\n");
        std::fs::rename(&path, dir.path().join("0.log.20260101-000000.000000000")).unwrap();
        file.write_all(line(3, "late").as_bytes()).unwrap();
        let mut fresh = std::fs::File::create(&path).unwrap();
        fresh.write_all(line(4, "new").as_bytes()).unwrap();
        let mut text = String::new();
        while text.len() < 9 {
            text.push_str(std::str::from_utf8(&rx.recv().await.unwrap()).unwrap());
        }
        assert_eq!(text, "late\nnew\n");
        end_tx.send(()).unwrap();
        fresh.write_all(line(5, "last").as_bytes()).unwrap();
        drop((file, fresh));
        assert_eq!(rx.recv().await.unwrap(), "last\n");
        assert_eq!(rx.recv().await, None);
        task.await.unwrap().unwrap();
    }
}
