//! The store on a disk whose power is cut: a writer that marks what was acknowledged, and the check afterwards.
//!
//! `kernel power write STORE DEVICE OFFSET` writes for ever. Each writer waits for its transaction, then marks its number on the
//! raw device at OFFSET, beyond the file system: whoever records what the disk was told finds each acknowledgement among the
//! writes and flushes, in order. `kernel power check STORE 41,17,…` opens what is left and holds it against the numbers marked
//! before the cut, one per writer.
//!
//! A transaction number `n` of a writer puts its counter to `n` and fills or empties one of its slots. So from the counters
//! follows what every slot must hold, and the store's revision is their sum.

use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use env::Env;
use rustix::fs::{Mode, OFlags};
use store::{HistoryConfig, Log, LogConfig, Op, Revision, Store, Txn};

const WRITERS: u64 = 6;
const SLOTS: u64 = 32;
/// Begins a mark; the writer and its number follow, little-endian.
const MARK: &[u8; 8] = b"corten-a";
const SECTOR: usize = 512;

/// Small, so that segments end and snapshots replace them within a second.
const CONFIG: LogConfig = LogConfig {
    history: HistoryConfig { keep: Duration::from_millis(300), bytes_max: 256 << 10 },
    segment_bytes: 512 << 10,
    batch_bytes: 128 << 10,
    queue_len: 64,
    snapshot_after_bytes: 1 << 20,
};

pub(crate) fn main(words: &[&str]) -> ExitCode {
    let done = match words {
        ["write", store, device, offset] => offset.parse().context("an offset").and_then(|offset| write(store.as_ref(), device, offset)),
        ["check", store, marks] => check(store.as_ref(), marks),
        _ => Err(anyhow::anyhow!("kernel power write STORE DEVICE OFFSET | check STORE MARKS")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn write(folder: &Path, device: &str, offset: u64) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let log = runtime.block_on(async { Log::open(folder, &Env::real(), CONFIG) })?;
    let flags = OFlags::WRONLY | OFlags::DIRECT | OFlags::CLOEXEC;
    let device = Arc::new(std::fs::File::from(rustix::fs::open(device, flags, Mode::empty())?));
    println!("@writing");
    std::thread::scope(|scope| {
        let writers = (0..WRITERS).map(|writer| {
            let (log, device, handle) = (log.clone(), device.clone(), runtime.handle().clone());
            scope.spawn(move || -> Result<()> {
                let mut number = handle.block_on(counter(&log, writer))?;
                loop {
                    // Also what was found at the start: it must survive the next cut.
                    mark(&device, offset, writer, number)?;
                    number += 1;
                    handle.block_on(log.txn(transaction(writer, number)))?;
                }
            })
        });
        let writers: Vec<_> = writers.collect();
        writers.into_iter().try_for_each(|writer| writer.join().unwrap_or_else(|_| bail!("a writer panicked")))
    })
}

/// The device takes whole sectors from memory aligned to them.
fn mark(device: &std::fs::File, offset: u64, writer: u64, number: u64) -> Result<()> {
    let mut room = vec![0; 2 * SECTOR];
    let start = room.as_ptr().align_offset(SECTOR);
    let sector = &mut room[start..start + SECTOR];
    for (field, bytes) in sector.chunks_mut(8).zip([*MARK, writer.to_le_bytes(), number.to_le_bytes()]) {
        field.copy_from_slice(&bytes);
    }
    Ok(device.write_all_at(sector, offset + writer * SECTOR as u64)?)
}

fn transaction(writer: u64, number: u64) -> Txn {
    let put = |key: String, value: Vec<u8>| Op::Put { key: key.into(), value: value.into(), rv_at: None, ttl_seconds: None };
    let counter = put(counter_key(writer), number.to_string().into_bytes());
    let slot = slot_key(writer, number % SLOTS);
    let slot = if empties(number) { Op::Delete { key: slot.into() } } else { put(slot, content(writer, number)) };
    Txn { guards: Vec::new(), ops: vec![counter, slot] }
}

fn counter_key(writer: u64) -> String {
    format!("/power/{writer}/counter")
}

fn slot_key(writer: u64, slot: u64) -> String {
    format!("/power/{writer}/slot/{slot:02}")
}

fn empties(number: u64) -> bool {
    number % 5 == 4
}

/// Up to 12 KiB that no other transaction writes.
fn content(writer: u64, number: u64) -> Vec<u8> {
    let mut state = (writer << 32 | number).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let words = 1 + next() % 1536;
    (0..words).flat_map(|_| next().to_le_bytes()).collect()
}

async fn counter(log: &Log, writer: u64) -> Result<u64> {
    let Some(entry) = log.get(&counter_key(writer)).await? else { return Ok(0) };
    Ok(std::str::from_utf8(&entry.value)?.parse()?)
}

fn check(folder: &Path, marks: &str) -> Result<()> {
    let marks: Vec<u64> = marks.split(',').map(|mark| mark.parse().context("a mark")).collect::<Result<_>>()?;
    ensure!(marks.len() as u64 == WRITERS, "{WRITERS} marks, not {}", marks.len());
    crate::world::block_on(async {
        let log = Log::open(folder, &Env::real(), CONFIG).context("the store does not open")?;
        let mut transactions = 0;
        for (writer, acknowledged) in (0..).zip(marks) {
            let found = counter(&log, writer).await?;
            ensure!(found >= acknowledged, "writer {writer}: {acknowledged} was acknowledged, {found} is there");
            ensure!(found <= acknowledged + 1, "writer {writer}: {found} is there, and {} was never begun", acknowledged + 2);
            slots(&log, writer, found).await?;
            transactions += found;
        }
        ensure!(log.revision() == Revision(transactions), "{transactions} transactions, but the store is at {:?}", log.revision());
        log.txn(transaction(WRITERS, 1)).await.context("it takes no more writes")?;
        let repair =
            log.repair().map_or_else(|| "nothing to repair".into(), |repair| format!("cut off at byte {}: {}", repair.offset, repair.why));
        println!("{transactions} transactions are there, {repair}");
        Ok(())
    })
}

/// What every slot of the writer must hold after `last`.
async fn slots(log: &Log, writer: u64, last: u64) -> Result<()> {
    for slot in 0..SLOTS {
        let number = (last.saturating_sub(SLOTS - 1).max(1)..=last).find(|number| number % SLOTS == slot);
        let expected = number.filter(|number| !empties(*number)).map(|number| content(writer, number));
        let found = log.get(&slot_key(writer, slot)).await?.map(|entry| entry.value.to_vec());
        ensure!(found == expected, "writer {writer} after {last}: slot {slot} does not hold what {number:?} left");
    }
    Ok(())
}
