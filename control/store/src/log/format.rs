//! The bytes of the log's files, format 1.
//!
//! A file is a header and a row of frames. Integers are little-endian.
//!
//! ```text
//! header   magic 8 | format u32 | 0 u32 | revision u64 | crc32c of all before u32 | 0 u32
//! frame    len u32 | crc32c of len and payload u32 | payload | zeros up to a multiple of 8
//!
//! commit   1 u8 | revision u64 | durable u64 | wall seconds i64 | ops u32 | op …
//! op       tag u8 (0 delete, 1 put) | expires i64 | key len u32 | value len u32 | key | value
//! entries  2 u8 | entries u32 | entry …
//! entry    created u64 | modified u64 | expires i64 | key len u32 | value len u32 | key | value
//! end      3 u8 | entries in the whole snapshot u64
//! ```
//!
//! A segment's header names the first revision in it; its frames are commits, one per revision, and a length of 0 ends
//! them. `durable` is the revision that was synced before the commit's batch was written: a commit that says so proves
//! that everything up to there was on disk once. A snapshot's header names its revision; entries, then one end.

use bytes::Bytes;

use crate::contract::{Entry, Event, EventKind, Revision};
use crate::mvcc::{Deadline, Staged};

/// The newest format that this build reads, and the one it writes.
pub(crate) const FORMAT: u32 = 1;
pub(crate) const HEADER_LEN: usize = 32;
pub(crate) const FRAME_HEAD_LEN: usize = 8;
pub(crate) const SEGMENT: &[u8; 8] = b"CTNLOG\r\n";
pub(crate) const SNAPSHOT: &[u8; 8] = b"CTNSNAP\n";

const COMMIT: u8 = 1;
const ENTRIES: u8 = 2;
const END: u8 = 3;

const DELETE: u8 = 0;
const PUT: u8 = 1;

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum HeaderFault {
    /// Written by a later version of this program.
    Newer(u32),
    Damaged,
}

pub(crate) fn header(magic: &[u8; 8], revision: Revision) -> [u8; HEADER_LEN] {
    let mut header = [0; HEADER_LEN];
    header[..8].copy_from_slice(magic);
    header[8..12].copy_from_slice(&FORMAT.to_le_bytes());
    header[16..24].copy_from_slice(&revision.0.to_le_bytes());
    let crc = crc32c::crc32c(&header[..24]);
    header[24..28].copy_from_slice(&crc.to_le_bytes());
    header
}

/// The revision that the header names. The version is looked at first: a later format may have another header.
pub(crate) fn parse_header(magic: &[u8; 8], bytes: &[u8]) -> Result<Revision, HeaderFault> {
    let mut fields = Fields(bytes);
    let (found, format) = fields.take(8).zip(fields.u32()).ok_or(HeaderFault::Damaged)?;
    if found != magic {
        return Err(HeaderFault::Damaged);
    }
    if format > FORMAT {
        return Err(HeaderFault::Newer(format));
    }
    let revision = fields.u32().and_then(|_| fields.u64()).ok_or(HeaderFault::Damaged)?;
    let crc = fields.u32().ok_or(HeaderFault::Damaged)?;
    if format == 0 || crc != crc32c::crc32c(&bytes[..24]) {
        return Err(HeaderFault::Damaged);
    }
    Ok(Revision(revision))
}

/// Appends one frame whose payload `write` makes.
fn frame(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; FRAME_HEAD_LEN]);
    write(out);
    let len = (out.len() - start - FRAME_HEAD_LEN) as u32;
    out[start..start + 4].copy_from_slice(&len.to_le_bytes());
    let crc = frame_crc(len, &out[start + FRAME_HEAD_LEN..]);
    out[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
    out.resize(start + frame_len(len), 0);
}

pub(crate) fn frame_crc(len: u32, payload: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&len.to_le_bytes()), payload)
}

/// Bytes in the file of a frame with a payload of `len`.
pub(crate) fn frame_len(len: u32) -> usize {
    (FRAME_HEAD_LEN + len as usize).next_multiple_of(8)
}

pub(crate) fn encode_commit(out: &mut Vec<u8>, staged: &Staged, durable: Revision, wall: i64) {
    frame(out, |out| {
        out.push(COMMIT);
        for number in [staged.revision.0, durable.0, wall as u64] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend_from_slice(&(staged.events.len() as u32).to_le_bytes());
        for (event, expires) in staged.events.iter().zip(&staged.deadlines) {
            encode_op(out, event, *expires);
        }
    });
}

fn encode_op(out: &mut Vec<u8>, event: &Event, expires: Deadline) {
    out.push(if event.kind == EventKind::Delete { DELETE } else { PUT });
    out.extend_from_slice(&expires.to_le_bytes());
    encode_pair(out, &event.key, &event.value);
}

fn encode_pair(out: &mut Vec<u8>, key: &str, value: &[u8]) {
    out.extend_from_slice(&(key.len() as u32).to_le_bytes());
    out.extend_from_slice(&(value.len() as u32).to_le_bytes());
    out.extend_from_slice(key.as_bytes());
    out.extend_from_slice(value);
}

pub(crate) fn encode_entries(out: &mut Vec<u8>, entries: &[(Entry, Deadline)]) {
    frame(out, |out| {
        out.push(ENTRIES);
        out.extend_from_slice(&(entries.len() as u32).to_le_bytes());
        for (entry, expires) in entries {
            for number in [entry.created.0, entry.modified.0, *expires as u64] {
                out.extend_from_slice(&number.to_le_bytes());
            }
            encode_pair(out, &entry.key, &entry.value);
        }
    });
}

pub(crate) fn encode_end(out: &mut Vec<u8>, entries: u64) {
    frame(out, |out| {
        out.push(END);
        out.extend_from_slice(&entries.to_le_bytes());
    });
}

/// A decoded payload.
#[derive(Debug)]
pub(crate) enum Record {
    Commit(Commit),
    Entries(Vec<(Entry, Deadline)>),
    End { entries: u64 },
}

#[derive(Debug)]
pub(crate) struct Commit {
    pub(crate) revision: Revision,
    pub(crate) wall: i64,
    pub(crate) ops: Vec<LoggedOp>,
}

#[derive(Debug)]
pub(crate) struct LoggedOp {
    pub(crate) key: String,
    /// None: deleted.
    pub(crate) value: Option<Bytes>,
    pub(crate) expires: Deadline,
}

/// None when the payload is not one that this format knows.
pub(crate) fn decode(payload: &[u8]) -> Option<Record> {
    let mut fields = Fields(payload);
    let record = match fields.u8()? {
        COMMIT => Record::Commit(decode_commit(&mut fields)?),
        ENTRIES => {
            let count = fields.u32()?;
            Record::Entries((0..count).map(|_| decode_entry(&mut fields)).collect::<Option<_>>()?)
        }
        END => Record::End { entries: fields.u64()? },
        _ => return None,
    };
    fields.0.is_empty().then_some(record)
}

/// The revision that was durable before the commit in `payload` was written; None if it holds no commit.
pub(crate) fn durable_before(payload: &[u8]) -> Option<Revision> {
    let mut fields = Fields(payload);
    if fields.u8()? != COMMIT {
        return None;
    }
    fields.u64()?;
    fields.u64().map(Revision)
}

fn decode_commit(fields: &mut Fields<'_>) -> Option<Commit> {
    let revision = Revision(fields.u64()?);
    let _durable = fields.u64()?;
    let wall = fields.u64()? as i64;
    let count = fields.u32()?;
    let ops = (0..count).map(|_| decode_op(fields)).collect::<Option<_>>()?;
    Some(Commit { revision, wall, ops })
}

fn decode_op(fields: &mut Fields<'_>) -> Option<LoggedOp> {
    let tag = fields.u8()?;
    let expires = fields.u64()? as i64;
    let (key, value) = fields.pair()?;
    let value = match tag {
        PUT => Some(Bytes::copy_from_slice(value)),
        DELETE => None,
        _ => return None,
    };
    Some(LoggedOp { key: key.to_owned(), value, expires })
}

fn decode_entry(fields: &mut Fields<'_>) -> Option<(Entry, Deadline)> {
    let (created, modified) = (Revision(fields.u64()?), Revision(fields.u64()?));
    let expires = fields.u64()? as i64;
    let (key, value) = fields.pair()?;
    Some((Entry { key: key.into(), value: Bytes::copy_from_slice(value), created, modified }, expires))
}

/// What is left of a payload.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }

    fn u64(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }

    fn pair(&mut self) -> Option<(&'a str, &'a [u8])> {
        let (key, value) = (self.u32()?, self.u32()?);
        Some((std::str::from_utf8(self.take(key as usize)?).ok()?, self.take(value as usize)?))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_newer_format_is_told_from_damage() {
        let good = header(SEGMENT, Revision(7));
        assert_eq!(parse_header(SEGMENT, &good), Ok(Revision(7)));
        assert_eq!(parse_header(SNAPSHOT, &good), Err(HeaderFault::Damaged));
        let mut newer = good;
        newer[8] = 2;
        assert_eq!(parse_header(SEGMENT, &newer), Err(HeaderFault::Newer(2)));
        let mut damaged = good;
        damaged[17] ^= 1;
        assert_eq!(parse_header(SEGMENT, &damaged), Err(HeaderFault::Damaged));
        assert_eq!(parse_header(SEGMENT, &good[..20]), Err(HeaderFault::Damaged));
    }

    proptest! {
        #[test]
        fn entries_round_trip(entries in proptest::collection::vec(("[a-z/]{1,20}", proptest::collection::vec(any::<u8>(), 0..50), any::<u32>(), any::<i64>()), 0..5)) {
            let entries: Vec<(Entry, Deadline)> = entries.into_iter().map(|(key, value, revision, expires)| {
                let revision = Revision(revision.into());
                (Entry { key: key.into(), value: value.into(), created: revision, modified: revision }, expires)
            }).collect();
            let mut out = Vec::new();
            encode_entries(&mut out, &entries);
            prop_assert_eq!(out.len() % 8, 0);
            let len = u32::from_le_bytes(out[..4].try_into().unwrap());
            let Some(Record::Entries(back)) = decode(&out[FRAME_HEAD_LEN..FRAME_HEAD_LEN + len as usize]) else { panic!("it decodes") };
            prop_assert_eq!(back, entries);
        }

        #[test]
        fn junk_is_refused_not_trusted(payload in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&payload);
        }
    }
}
