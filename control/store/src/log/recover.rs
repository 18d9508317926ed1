//! From the files of a folder to the map: the newest snapshot, then every commit behind it.
//!
//! Damage is told apart by what it proves. At the end of the last segment a batch may be torn: it was never
//! acknowledged, so it is cut off and reported. Everything else that does not read is refused with its file and offset,
//! also in the last segment, when a later commit proves that the damaged one had been synced.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::disk::{Disk, DiskFile};
use super::format::{Commit, HEADER_LEN, HeaderFault, LoggedOp, Record, SEGMENT, SNAPSHOT, decode, parse_header};
use super::frames::{Frames, Step};
use super::{LogConfig, OpenError, Repair};
use crate::contract::{Event, EventKind, Revision};
use crate::mvcc::{Mvcc, Staged};

/// The name of a snapshot while it is written.
pub(crate) const UNFINISHED: &str = "snapshot.tmp";

pub(crate) fn segment_name(first: Revision) -> String {
    format!("{:020}.log", first.0)
}

pub(crate) fn snapshot_name(revision: Revision) -> String {
    format!("{:020}.snap", revision.0)
}

fn parse_name(name: &str, ending: &str) -> Option<Revision> {
    let number = name.strip_suffix(ending)?;
    (number.len() == 20).then(|| number.parse().ok().map(Revision))?
}

/// A segment that is no longer written to.
#[derive(Clone, Debug)]
pub(crate) struct Sealed {
    pub(crate) name: String,
    pub(crate) last: Revision,
    pub(crate) bytes: u64,
}

/// Where the writer goes on.
pub(crate) struct Tail {
    pub(crate) name: String,
    pub(crate) file: Box<dyn DiskFile>,
    pub(crate) offset: u64,
    /// Reserved for the file.
    pub(crate) capacity: u64,
}

pub(crate) struct Recovered {
    pub(crate) mvcc: Mvcc,
    /// None in a new folder.
    pub(crate) tail: Option<Tail>,
    pub(crate) sealed: Vec<Sealed>,
    pub(crate) snapshot_bytes: u64,
    pub(crate) repair: Option<Repair>,
}

/// Reads everything; `now` is the instant at which the newest commit counts as made, so that watchers which were away
/// while the store was down find all of its history.
pub(crate) fn recover(disk: &Arc<dyn Disk>, config: &LogConfig, wall: i64, now: Instant) -> Result<Recovered, OpenError> {
    let names = disk.list().map_err(|source| OpenError::Io { path: disk.path(""), source })?;
    let (mut segments, snapshots) = (sorted(&names, ".log"), sorted(&names, ".snap"));
    let mut recovery = Recovery { disk: &**disk, config, wall, now, mvcc: Mvcc::starting_at(Revision(0)), newest_wall: i64::MIN };
    recovery.drop_unborn_segment(&mut segments)?;

    let snapshot_bytes = match snapshots.last() {
        Some(&revision) => recovery.read_snapshot(revision)?,
        None => 0,
    };
    let base = recovery.mvcc.revision();
    recovery.check_continuity(&segments, &snapshots)?;
    let mut sealed = Vec::new();
    let mut tail = None;
    let mut repair = None;
    for (index, &first) in segments.iter().enumerate() {
        let next = segments.get(index + 1).copied();
        if let Some(next) = next.filter(|next| next.0 <= base.0 + 1) {
            let name = segment_name(first);
            let bytes = recovery.len(&name)?;
            sealed.push(Sealed { name, last: Revision(next.0 - 1), bytes }); // wholly behind the snapshot: to be removed
            continue;
        }
        let read = recovery.read_segment(first, next)?;
        match next {
            Some(next) => sealed.push(Sealed { name: read.name, last: Revision(next.0 - 1), bytes: read.offset }),
            None => {
                recovery.check_reaches(&read, base)?;
                repair = recovery.mend(&read);
                tail = Some(recovery.tail(read)?);
            }
        }
    }
    Ok(Recovered { mvcc: recovery.mvcc, tail, sealed, snapshot_bytes, repair })
}

/// The snapshot to start from, if there is one.
pub(crate) fn newest_snapshot(disk: &dyn Disk) -> Option<Revision> {
    sorted(&disk.list().ok()?, ".snap").last().copied()
}

fn sorted(names: &[String], ending: &str) -> Vec<Revision> {
    let mut revisions: Vec<Revision> = names.iter().filter_map(|name| parse_name(name, ending)).collect();
    revisions.sort_unstable();
    revisions
}

struct Recovery<'a> {
    disk: &'a dyn Disk,
    config: &'a LogConfig,
    wall: i64,
    now: Instant,
    mvcc: Mvcc,
    /// The clock may have been set back between commits; ages never go back.
    newest_wall: i64,
}

struct SegmentRead {
    name: String,
    file: Box<dyn DiskFile>,
    /// The end of what is good, and the revision that belongs there.
    offset: u64,
    next: Revision,
    /// Why the record at `offset` is none, if there is one.
    torn: Option<&'static str>,
}

impl Recovery<'_> {
    fn io(&self, name: &str) -> impl Fn(io::Error) -> OpenError + use<> {
        let path = self.disk.path(name);
        move |source| OpenError::Io { path: path.clone(), source }
    }

    fn corrupt(&self, name: &str, offset: u64, what: impl Into<String>) -> OpenError {
        OpenError::Corrupt { path: self.disk.path(name), offset, what: what.into() }
    }

    fn len(&self, name: &str) -> Result<u64, OpenError> {
        self.disk.open(name).and_then(|file| file.len()).map_err(self.io(name))
    }

    /// A crash while a segment is made leaves a file without a header. It never held a commit: the header is synced first.
    fn drop_unborn_segment(&self, segments: &mut Vec<Revision>) -> Result<(), OpenError> {
        let Some(&last) = segments.last() else { return Ok(()) };
        let name = segment_name(last);
        let file = self.disk.open(&name).map_err(self.io(&name))?;
        if !matches!(read_header(&*file, SEGMENT).map_err(self.io(&name))?, Err(HeaderFault::Damaged)) {
            return Ok(());
        }
        let mut frames = Frames::new(&*file, HEADER_LEN as u64).map_err(self.io(&name))?;
        if frames.anything_follows().map_err(self.io(&name))? {
            return Err(self.corrupt(&name, 0, "its header is damaged"));
        }
        tracing::warn!(file = %self.disk.path(&name).display(), "removing a segment that a crash left without a header");
        self.disk.remove(&name).map_err(self.io(&name))?;
        segments.pop();
        Ok(())
    }

    /// Every revision after the snapshot must lie in some segment.
    fn check_continuity(&self, segments: &[Revision], snapshots: &[Revision]) -> Result<(), OpenError> {
        let base = self.mvcc.revision();
        match (segments.first(), snapshots.last()) {
            (None, None) => Ok(()),
            (None, Some(&snapshot)) => Err(self.corrupt(&snapshot_name(snapshot), 0, "the log that must follow the snapshot is missing")),
            (Some(&first), _) if first.0 > base.0 + 1 => {
                let what = format!("it starts at revision {}, but what precedes it ends at {}: a file is missing", first.0, base.0);
                Err(self.corrupt(&segment_name(first), 0, what))
            }
            _ => Ok(()),
        }
    }

    fn check_header(&self, name: &str, file: &dyn DiskFile, magic: &[u8; 8], named: Revision) -> Result<(), OpenError> {
        match read_header(file, magic).map_err(self.io(name))? {
            Ok(revision) if revision == named => Ok(()),
            Ok(revision) => Err(self.corrupt(name, 16, format!("its header says revision {}, its name {}", revision.0, named.0))),
            Err(HeaderFault::Newer(found)) => Err(OpenError::Newer { path: self.disk.path(name), found }),
            Err(HeaderFault::Damaged) => Err(self.corrupt(name, 0, "its header is damaged")),
        }
    }

    /// Starts the map from a snapshot; its size.
    fn read_snapshot(&mut self, revision: Revision) -> Result<u64, OpenError> {
        let name = snapshot_name(revision);
        let file = self.disk.open(&name).map_err(self.io(&name))?;
        self.check_header(&name, &*file, SNAPSHOT, revision)?;
        self.mvcc = Mvcc::starting_at(revision);
        let mut frames = Frames::new(&*file, HEADER_LEN as u64).map_err(self.io(&name))?;
        let mut restored = 0;
        loop {
            let at = frames.offset;
            let record = match frames.step().map_err(self.io(&name))? {
                Step::Frame(payload) => decode(&payload),
                Step::End => return Err(self.corrupt(&name, at, "it has no end")),
                Step::Bad(why) => return Err(self.corrupt(&name, at, why)),
            };
            match record {
                Some(Record::Entries(entries)) => {
                    restored += entries.len() as u64;
                    entries.into_iter().for_each(|(entry, expires)| self.mvcc.restore(entry, expires));
                }
                Some(Record::End { entries }) if entries == restored => return Ok(frames.offset),
                _ => return Err(self.corrupt(&name, at, "the record makes no sense in a snapshot")),
            }
        }
    }

    /// Applies the commits of a segment; `next` is the first revision of the one behind it.
    fn read_segment(&mut self, first: Revision, next: Option<Revision>) -> Result<SegmentRead, OpenError> {
        let name = segment_name(first);
        let file = self.disk.open(&name).map_err(self.io(&name))?;
        self.check_header(&name, &*file, SEGMENT, first)?;
        let mut frames = Frames::new(&*file, HEADER_LEN as u64).map_err(self.io(&name))?;
        let mut expected = first;
        let torn = loop {
            let at = frames.offset;
            match frames.step().map_err(self.io(&name))? {
                Step::Frame(payload) => match decode(&payload) {
                    Some(Record::Commit(commit)) if commit.revision == expected => self.replay(commit),
                    Some(Record::Commit(commit)) => {
                        return Err(self.corrupt(&name, at, format!("revision {} stands where {} belongs", commit.revision.0, expected.0)));
                    }
                    _ => return Err(self.corrupt(&name, at, "the record makes no sense in the log")),
                },
                Step::End if next.is_none() && frames.anything_follows().map_err(self.io(&name))? => {
                    break Some("a hole precedes more data");
                }
                Step::End => break None,
                Step::Bad(why) => break Some(why),
            }
            expected.0 += 1;
        };
        let offset = frames.offset;
        if let Some(next) = next.filter(|next| torn.is_some() || *next != expected) {
            let what = torn
                .map_or_else(|| format!("it ends before revision {}, the next segment starts at {}", expected.0, next.0), str::to_owned);
            return Err(self.corrupt(&name, offset, what));
        }
        if let Some(why) = torn
            && frames.proof_of(expected).map_err(self.io(&name))?
        {
            let what = format!("{why}, though a later record proves that it had been written");
            return Err(self.corrupt(&name, offset, what));
        }
        Ok(SegmentRead { name, file, offset, next: expected, torn })
    }

    /// Applies a commit behind the snapshot and forgets history as a running store would.
    fn replay(&mut self, commit: Commit) {
        if commit.revision <= self.mvcc.revision() {
            return;
        }
        self.newest_wall = self.newest_wall.max(commit.wall);
        let age = Duration::from_secs(u64::try_from(self.wall - self.newest_wall).unwrap_or(0));
        let at = self.now.checked_sub(age).unwrap_or(self.now);
        let revision = commit.revision;
        let deadlines = commit.ops.iter().map(|op| op.expires).collect();
        let events = commit.ops.into_iter().map(|op| self.event(op, revision)).collect();
        self.mvcc.apply(&Staged { revision, events, values: Vec::new(), deadlines, at });
        let history = self.config.history;
        if self.mvcc.history_bytes() > history.bytes_max || revision.0.is_multiple_of(1024) {
            let target = self.mvcc.compaction_target(at.checked_sub(history.keep), history.bytes_max / 4 * 3);
            self.mvcc.compact(target).expect("the target is not ahead of the map");
            while self.mvcc.trim(usize::MAX) {}
        }
    }

    fn event(&self, op: LoggedOp, revision: Revision) -> Event {
        let before = self.mvcc.get(&op.key);
        let created = before.as_ref().map_or(revision, |entry| entry.created);
        let kind = match (&op.value, &before) {
            (None, _) => EventKind::Delete,
            (Some(_), None) => EventKind::Create,
            (Some(_), Some(_)) => EventKind::Update,
        };
        let key = before.as_ref().map_or_else(|| op.key.into(), |entry| entry.key.clone());
        let previous_at = before.as_ref().map(|entry| entry.modified);
        let previous = before.map(|entry| entry.value);
        Event { kind, key, revision, value: op.value.unwrap_or_default(), previous, previous_at, created }
    }

    /// A snapshot shows only what the log had synced: a log that ends before it has lost something.
    fn check_reaches(&self, last: &SegmentRead, base: Revision) -> Result<(), OpenError> {
        if last.next <= base {
            let what = format!("it ends before revision {}, though the snapshot shows {}", last.next.0, base.0);
            return Err(self.corrupt(&last.name, last.offset, what));
        }
        Ok(())
    }

    /// What is cut off, for the report.
    fn mend(&self, read: &SegmentRead) -> Option<Repair> {
        let why = read.torn?;
        let repair = Repair { path: self.disk.path(&read.name), offset: read.offset, why };
        tracing::warn!(file = %repair.path.display(), offset = repair.offset, why, "cutting off a batch that a crash tore; it was never acknowledged");
        Some(repair)
    }

    /// What was read may still be only in the page cache of a killed process: it is synced before anyone sees it.
    fn tail(&self, read: SegmentRead) -> Result<Tail, OpenError> {
        let SegmentRead { name, mut file, offset, torn, .. } = read;
        let len = file.len().map_err(self.io(&name))?;
        let mut capacity = len;
        if torn.is_some() {
            file.truncate(offset).map_err(self.io(&name))?;
            // No room to reserve is not a reason to refuse reads: the writer moves on to a new segment or says so.
            capacity = file.allocate(len.max(offset)).map_or(offset, |()| len);
        }
        file.sync().and_then(|()| self.disk.sync_dir()).map_err(self.io(&name))?;
        Ok(Tail { name, file, offset, capacity })
    }
}

fn read_header(file: &dyn DiskFile, magic: &[u8; 8]) -> io::Result<Result<Revision, HeaderFault>> {
    let mut header = [0; HEADER_LEN];
    let read = file.read_at(0, &mut header)?;
    Ok(parse_header(magic, &header[..read]))
}
