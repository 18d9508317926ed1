//! Power cuts of the store, on a disk that forgets what was not flushed.
//!
//! QEMU records every write and flush of the guest's disk (`recording.rs`) while writers in the guest (`kernel power write`) fill
//! a store and mark each acknowledgement on the same disk. QEMU is killed at a random moment. From the recording come several
//! disks, each as a cut at some point would have left it: all that was flushed before, and of the rest nothing, everything, some
//! of the writes, or some of their sectors. The next boot opens the store on each, holds it against the marks that were made
//! before its cut, and writes on where one of them ended.
//!
//! One more disk has lost what it had flushed: there the check must fail, or it proves nothing.

mod recording;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use self::recording::{Entry, Kept};
use super::{Bench, new_disk, raw_disk};

const FILE_SYSTEM_BYTES: u64 = 96 << 20;
/// The marks lie behind the file system, in a sector for each writer.
const DISK_BYTES: u64 = FILE_SYSTEM_BYTES + (1 << 20);
const WRITERS: usize = 6;
const MARK: &[u8; 8] = b"corten-a";
/// For hangs.
const LIMIT: Duration = Duration::from_secs(120);
/// The guest writes so long before its power is cut.
const WRITES_MS: std::ops::Range<u64> = 800..3000;

#[derive(clap::Args, Clone)]
pub(crate) struct Options {
    /// Power cuts
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// Disks that are checked after each cut, at most 14
    #[arg(long, default_value_t = 8)]
    disks: usize,
    /// Repeats the moments and the losses of a run that failed
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

impl Options {
    /// For a test run that has much else to do.
    pub(super) fn short() -> Self {
        Self { rounds: 2, disks: 6, seed: 1 }
    }
}

/// A disk after a cut.
struct Cut {
    path: PathBuf,
    /// The number that each writer had marked before.
    marks: [u64; WRITERS],
    story: String,
    /// It lost what it had flushed.
    lies: bool,
}

pub(super) fn run(bench: &Bench, options: &Options, tell: &mut dyn FnMut(&str)) -> Result<bool> {
    ensure!((1..=14).contains(&options.disks), "--disks is 1 to 14");
    let mut random = Random(options.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let folder = bench.work.path().join("power");
    std::fs::create_dir_all(&folder)?;
    let start = folder.join("start.disk");
    new_disk(&start, FILE_SYSTEM_BYTES, DISK_BYTES)?;
    let (mut cuts, mut counts, mut expected) = (Vec::new(), Counts::default(), 0);
    for round in 1..=options.rounds {
        let entries = write_until_cut(bench, &start, &cuts, &mut random, &mut counts, tell)?;
        let base = std::fs::read(&start)?;
        cuts = cut_disks(&folder, &base, &entries, options, &mut random)?;
        let (writes, flushes) = (entries.iter().filter(|entry| !entry.flush).count(), entries.iter().filter(|entry| entry.flush).count());
        tell(&format!(
            "cut {round}: {} transactions acknowledged, {writes} writes and {flushes} flushes recorded",
            cuts[0].marks.iter().sum::<u64>()
        ));
        expected += cuts.len();
        let next = &cuts[random.below(options.disks as u64) as usize];
        std::fs::write(&start, with_marks(std::fs::read(&next.path)?, &next.marks))?;
    }
    let guest = bench.boot("power", words(&cuts, None), disks(&cuts), LIMIT)?;
    let status = guest.finish(|line| counts.take(line, &cuts, tell))?;
    ensure!(status == 0, "the last check ended with status {status}");
    std::fs::remove_dir_all(&folder)?;
    tell(&format!("{} passed, {} failed", counts.held, counts.broke));
    ensure!(counts.held + counts.broke == expected, "only {} of {expected} disks were checked", counts.held + counts.broke);
    Ok(counts.broke == 0)
}

/// One boot: the disks of the cut before are checked, then writers write until the power goes. What the disk was told.
fn write_until_cut(
    bench: &Bench,
    start: &Path,
    cuts: &[Cut],
    random: &mut Random,
    counts: &mut Counts,
    tell: &mut dyn FnMut(&str),
) -> Result<Vec<Entry>> {
    let (disk, log) = (start.with_file_name("write.disk"), start.with_file_name("write.log"));
    std::fs::copy(start, &disk)?;
    drop(std::fs::File::create(&log)?);
    let mut all = disks(cuts);
    all.push(recording::disk(cuts.len(), &disk, &log));
    let guest = bench.boot("power", words(cuts, Some(FILE_SYSTEM_BYTES)), all, LIMIT)?;
    guest.wait_for("@writing", |line| counts.take(line, cuts, tell))?;
    let moment = WRITES_MS.start + random.below(WRITES_MS.end - WRITES_MS.start);
    guest.run_for(Duration::from_millis(moment), tell)?;
    guest.kill()?;
    recording::read(&log)
}

/// Disks as cuts at the end and at random points before would have left them, and one that lies.
fn cut_disks(folder: &Path, base: &[u8], entries: &[Entry], options: &Options, random: &mut Random) -> Result<Vec<Cut>> {
    let first = entries.iter().position(|entry| marks_of(entry).next().is_some()).context("nothing was acknowledged before the cut")?;
    let mut cuts = Vec::new();
    for number in 0..options.disks {
        let end = if number < 2 { entries.len() } else { first + 1 + random.below((entries.len() - first) as u64) as usize };
        let kept = Kept::ALL[number % Kept::ALL.len()];
        let image = recording::replay(base, &entries[..end], kept, &mut |below| random.below(below));
        let story = format!("{kept:?} of what was not flushed, cut at {end} of {}", entries.len());
        cuts.push(Cut { path: folder.join(format!("cut{number}.disk")), marks: marks(base, &entries[..end]), story, lies: false });
        std::fs::write(&cuts[number].path, image)?;
    }
    // As if everything since half of the recording had been lost, flushed or not.
    let half = first + (entries.len() - first) / 2;
    let image = recording::replay(base, &entries[..half], Kept::Nothing, &mut |below| random.below(below));
    let path = folder.join("lies.disk");
    std::fs::write(&path, image)?;
    ensure!(marks(base, entries) != marks(base, &entries[..half]), "too little was acknowledged before the cut");
    cuts.push(Cut { path, marks: marks(base, entries), story: "a disk that lost what it had flushed".into(), lies: true });
    Ok(cuts)
}

/// A mark is not flushed, so a disk may have lost it; what was acknowledged stays so.
fn with_marks(mut image: Vec<u8>, marks: &[u64; WRITERS]) -> Vec<u8> {
    for ((writer, mark), sector) in (0_u64..).zip(marks).zip(image[FILE_SYSTEM_BYTES as usize..].chunks_mut(recording::SECTOR)) {
        let bytes = [*MARK, writer.to_le_bytes(), mark.to_le_bytes()].concat();
        sector[..bytes.len()].copy_from_slice(&bytes);
    }
    image
}

/// The newest number of each writer: from before the boot, and among the writes.
fn marks(base: &[u8], entries: &[Entry]) -> [u64; WRITERS] {
    let mut marks = [0; WRITERS];
    let before = base[FILE_SYSTEM_BYTES as usize..].chunks(recording::SECTOR).filter_map(parse_mark);
    for (writer, number) in before.chain(entries.iter().flat_map(marks_of)) {
        marks[writer] = number.max(marks[writer]);
    }
    marks
}

/// The guest's kernel makes one request of what several writers mark at once.
fn marks_of(entry: &Entry) -> impl Iterator<Item = (usize, u64)> {
    let sectors = (entry.offset >= FILE_SYSTEM_BYTES).then(|| entry.data.chunks(recording::SECTOR));
    sectors.into_iter().flatten().filter_map(parse_mark)
}

/// What begins it, the writer, the number.
fn parse_mark(sector: &[u8]) -> Option<(usize, u64)> {
    let rest = sector.strip_prefix(MARK)?;
    let number = |at: usize| Some(u64::from_le_bytes(rest.get(at..at + 8)?.try_into().ok()?));
    let writer = usize::try_from(number(0)?).ok().filter(|writer| *writer < WRITERS)?;
    Some((writer, number(8)?))
}

fn words(cuts: &[Cut], write_at: Option<u64>) -> Vec<String> {
    let list = |cut: &Cut| cut.marks.map(|mark| mark.to_string()).join(",");
    let mut words = ["corten.cgroups=v2", "corten.job=power", "corten.bare_disks=yes"].map(str::to_owned).to_vec();
    words.push(format!("corten.marks={}", cuts.iter().map(list).collect::<Vec<_>>().join("/")));
    words.extend(write_at.map(|at| format!("corten.write_at={at}")));
    words
}

fn disks(cuts: &[Cut]) -> Vec<String> {
    cuts.iter().enumerate().map(|(at, cut)| raw_disk(at, &cut.path)).collect()
}

#[derive(Default)]
struct Counts {
    held: usize,
    broke: usize,
}

impl Counts {
    /// `@held 3 …` and `@broke 3 …`: the disk's place in the list, from 1.
    fn take(&mut self, line: &str, cuts: &[Cut], tell: &mut dyn FnMut(&str)) {
        let (held, rest) = match (line.strip_prefix("@held "), line.strip_prefix("@broke ")) {
            (Some(rest), _) => (true, rest),
            (_, Some(rest)) => (false, rest),
            _ => return tell(line),
        };
        let (place, said) = rest.split_once(' ').unwrap_or((rest, ""));
        let Some(cut) = place.parse::<usize>().ok().and_then(|place| cuts.get(place.checked_sub(1)?)) else { return tell(line) };
        if held == cut.lies {
            self.broke += 1;
            tell(&format!("FAIL  power: {}: {said}", cut.story));
        } else {
            self.held += 1;
            tell(&format!("ok    power: {}: {said}", cut.story));
        }
    }
}

/// xorshift: a seed tells the whole run, as far as QEMU's own timing lets it.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mark_of_a_request_counts_and_the_newest_wins() {
        let base = with_marks(vec![0; DISK_BYTES as usize], &[5, 0, 9, 0, 0, 0]);
        let disk = with_marks(base.clone(), &[6, 3, 8, 0, 0, 0]);
        let at = FILE_SYSTEM_BYTES as usize;
        let entry = |offset: usize, len: usize| Entry {
            offset: offset as u64,
            data: disk[offset..offset + len].to_vec(),
            flush: false,
            forced: false,
        };
        assert_eq!(marks(&base, &[]), [5, 0, 9, 0, 0, 0]);
        assert_eq!(marks(&base, &[entry(at, 3 * recording::SECTOR), entry(0, recording::SECTOR)]), [6, 3, 9, 0, 0, 0]);
    }
}
