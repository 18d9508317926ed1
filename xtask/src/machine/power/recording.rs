//! What a disk was told, as QEMU's `blklogwrites` records it, and the disks that a cut may leave of it.
//!
//! The record has the kernel's dm-log-writes form: a first sector of its own, then for each request a sector that says where, how
//! much and what kind, and the data. QEMU writes a request into the record before it tells the guest that it is done, so what
//! was done before a flush lies before it.

use std::path::Path;

use anyhow::{Context, Result, ensure};

pub(crate) const SECTOR: usize = 512;
const FLUSH: u64 = 1;
const FORCED: u64 = 2;

/// One request.
pub(crate) struct Entry {
    pub(crate) offset: u64,
    pub(crate) data: Vec<u8>,
    /// Everything before it is durable.
    pub(crate) flush: bool,
    /// This write itself is durable.
    pub(crate) forced: bool,
}

/// What a cut leaves of the writes since the last flush.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    Nothing,
    Everything,
    SomeWrites,
    SomeSectors,
}

impl Kept {
    pub(crate) const ALL: [Self; 4] = [Self::Nothing, Self::Everything, Self::SomeSectors, Self::SomeWrites];
}

/// A value of `-blockdev`: the disk, recorded into `log`.
pub(crate) fn disk(at: usize, disk: &Path, log: &Path) -> String {
    format!(
        "driver=blklogwrites,node-name=disk{at},log-sector-size={SECTOR},file.driver=file,file.filename={},log.driver=file,log.filename={}",
        disk.display(),
        log.display()
    )
}

/// The requests up to the kill: what had been begun but is not whole at the end is left out.
pub(crate) fn read(log: &Path) -> Result<Vec<Entry>> {
    parse(&std::fs::read(log).with_context(|| log.display().to_string())?).with_context(|| log.display().to_string())
}

fn parse(log: &[u8]) -> Result<Vec<Entry>> {
    ensure!(log.starts_with(&0x006a_7366_7773_6872_u64.to_le_bytes()), "no record of writes: QEMU ended before the disk was used");
    let mut entries = Vec::new();
    let mut rest = log.get(SECTOR..).unwrap_or_default();
    while let Some((entry, after)) = next(rest) {
        entries.push(entry);
        rest = after;
    }
    Ok(entries)
}

fn next(log: &[u8]) -> Option<(Entry, &[u8])> {
    let (header, rest) = log.split_at_checked(SECTOR)?;
    let number = |at: usize| u64::from_le_bytes(header[at * 8..at * 8 + 8].try_into().expect("eight bytes"));
    let (sector, sectors, flags) = (number(0), number(1), number(2));
    if sectors == 0 && flags == 0 {
        return None; // not written yet
    }
    let (data, rest) = rest.split_at_checked(usize::try_from(sectors).ok()?.checked_mul(SECTOR)?)?;
    let entry = Entry { offset: sector * SECTOR as u64, data: data.to_vec(), flush: flags & FLUSH != 0, forced: flags & FORCED != 0 };
    Some((entry, rest))
}

/// The disk after a cut that came when these requests had been made. `random(n)` is below `n`.
pub(crate) fn replay(base: &[u8], entries: &[Entry], kept: Kept, random: &mut dyn FnMut(u64) -> u64) -> Vec<u8> {
    let mut disk = base.to_vec();
    let durable = entries.iter().rposition(|entry| entry.flush).map_or(0, |at| at + 1);
    for (at, entry) in entries.iter().enumerate() {
        let whole = at < durable || entry.forced;
        let pieces = if whole || kept == Kept::Everything {
            entry.data.len()
        } else if kept == Kept::SomeSectors {
            SECTOR
        } else {
            entry.data.len()
        };
        for (number, piece) in entry.data.chunks(pieces.max(1)).enumerate() {
            let stays = whole || kept == Kept::Everything || kept != Kept::Nothing && random(2) == 1;
            if stays {
                let start = entry.offset as usize + number * pieces;
                disk[start..start + piece.len()].copy_from_slice(piece);
            }
        }
    }
    disk
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recorded(requests: &[(u64, &[u8], u64)]) -> Vec<u8> {
        let sector = |numbers: &[u64]| {
            let mut bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
            bytes.resize(SECTOR, 0);
            bytes
        };
        let mut log = sector(&[0x006a_7366_7773_6872, 1, 0]);
        for (at, fills, flags) in requests {
            log.extend(sector(&[*at, fills.len() as u64, *flags, 0]));
            log.extend(fills.iter().flat_map(|fill| [*fill; SECTOR]));
        }
        log
    }

    fn first_bytes(disk: &[u8]) -> Vec<u8> {
        disk.chunks(SECTOR).map(|sector| sector[0]).collect()
    }

    #[test]
    fn what_was_flushed_stays_and_the_rest_may_go() {
        let entries = parse(&recorded(&[(0, &[1, 1], 0), (0, &[], FLUSH), (1, &[2, 2], 0), (3, &[3], FORCED)])).unwrap();
        let after = |kept| first_bytes(&replay(&[0; 4 * SECTOR], &entries, kept, &mut |_| 0));
        assert_eq!(after(Kept::Nothing), [1, 1, 0, 3]);
        assert_eq!(after(Kept::Everything), [1, 2, 2, 3]);
        assert_eq!(after(Kept::SomeWrites), [1, 1, 0, 3]);
        let mut turn = 0;
        let torn = replay(&[0; 4 * SECTOR], &entries, Kept::SomeSectors, &mut |_| {
            turn += 1;
            turn % 2
        });
        assert_eq!(first_bytes(&torn), [1, 2, 0, 3], "one sector of the write of two");
    }

    #[test]
    fn a_record_ends_where_qemu_was_killed() {
        let whole = recorded(&[(0, &[1], 0), (1, &[2, 2], 0)]);
        assert_eq!(parse(&whole).unwrap().len(), 2);
        assert_eq!(parse(&whole[..whole.len() - 1]).unwrap().len(), 1, "the data is not whole");
        let mut hole = whole.clone();
        hole.extend([0; 4 * SECTOR]);
        assert_eq!(parse(&hole).unwrap().len(), 2);
        assert!(parse(&[]).is_err());
    }
}
