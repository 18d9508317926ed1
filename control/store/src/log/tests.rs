//! The log against the suite, a model, and its faults.

#![expect(clippy::print_stdout, reason = "a test says what it skipped or how much it did")]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures::future::join_all;

use super::torn::{Crash, TornDisk};
use super::*;
use crate::contract::{Guard, Op};
use crate::suite::{self, delete, next, outline, put, put_op};

/// Segments of a few records, so that everything rotates; snapshots as soon as they free two.
fn small() -> LogConfig {
    LogConfig { segment_bytes: 2048, snapshot_after_bytes: 4096, ..LogConfig::default() }
}

fn open(disk: &TornDisk) -> Result<Arc<Log>, OpenError> {
    Log::open_on(Arc::new(disk.clone()), None, &Env::real(), small())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn passes_the_suite() {
    let dirs = tempfile::tempdir().unwrap();
    let made = AtomicU32::new(0);
    suite::run(|| {
        let dir = dirs.path().join(made.fetch_add(1, Ordering::Relaxed).to_string());
        Log::open(&dir, &Env::real(), small()).unwrap() as Arc<dyn Store>
    })
    .await;
}

#[tokio::test]
async fn a_second_process_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let first = Log::open(dir.path(), &Env::real(), small()).unwrap();
    put(&*first, "/a", "1").await;
    assert!(matches!(Log::open(dir.path(), &Env::real(), small()), Err(OpenError::Locked { .. })));
    drop(first);
    let again = Log::open(dir.path(), &Env::real(), small()).unwrap();
    assert_eq!(again.revision(), Revision(1));
}

#[tokio::test]
async fn a_restart_keeps_values_history_and_deadlines() {
    let disk = TornDisk::new();
    let store = open(&disk).unwrap();
    put(&*store, "/a", "1").await;
    put(&*store, "/a", "2").await;
    delete(&*store, "/a").await;
    store.txn(Txn { guards: vec![], ops: vec![put_op("/b", "4"), put_op("/c", "4")] }).await.unwrap();
    let expiring = Op::Put { key: "/e".into(), value: "5".into(), rv_at: None, ttl_seconds: Some(3600) };
    store.txn(Txn { guards: vec![], ops: vec![expiring] }).await.unwrap();
    let deadline = store.hub.read().next_deadline();
    drop(store);

    let store = open(&disk).unwrap();
    assert_eq!((store.revision(), store.oldest(), store.repair()), (Revision(5), Revision(0), None));
    let mut watch = store.watch("/", Revision(1)).await.unwrap();
    let mut seen = Vec::new();
    for _ in 0..4 {
        seen.push(outline(&next(&mut watch).await).join(", "));
    }
    assert_eq!(seen, ["2 update /a=2 was 1", "3 delete /a was 2", "4 create /b=4, 4 create /c=4", "5 create /e=5"]);
    assert_eq!(store.hub.read().next_deadline(), deadline);
}

#[tokio::test]
async fn a_key_that_expired_while_the_store_was_down_goes_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let long_ago = Env::sim(1); // starts in January 2026
    let store = Log::open(dir.path(), &long_ago, small()).unwrap();
    let expiring = Op::Put { key: "/e".into(), value: "1".into(), rv_at: None, ttl_seconds: Some(60) };
    store.txn(Txn { guards: vec![], ops: vec![expiring] }).await.unwrap();
    put(&*store, "/stays", "2").await;
    drop(store);
    let later = Env::real();
    if later.now() < long_ago.now() {
        println!("skipped: this machine's clock stands before January 2026");
        return;
    }
    let store = Log::open(dir.path(), &later, small()).unwrap();
    let mut watch = store.watch("/", Revision(2)).await.unwrap();
    assert_eq!(outline(&next(&mut watch).await), ["3 delete /e was 1"]);
}

#[tokio::test]
async fn compaction_takes_a_snapshot_and_frees_segments() {
    let disk = TornDisk::new();
    let store = open(&disk).unwrap();
    for round in 0..200 {
        put(&*store, &format!("/k/{}", round % 10), &"x".repeat(100)).await;
    }
    put(&*store, "/late", "1").await;
    let before = disk.list().unwrap().len();
    store.compact(Revision(190)).await.unwrap();
    let names = disk.list().unwrap();
    assert!(names.contains(&recover::snapshot_name(Revision(190))), "{names:?}");
    assert!(names.len() < before / 4, "{before} files became {names:?}");
    drop(store);
    let store = open(&disk).unwrap();
    assert_eq!((store.oldest(), store.revision()), (Revision(190), Revision(201)));
    assert_eq!(store.range("/k/", "/k0", Some(Revision(190)), 0).await.unwrap().entries.len(), 10);
    let entry = store.get("/k/0").await.unwrap().unwrap();
    assert_eq!((entry.created, entry.modified), (Revision(1), Revision(191)));
}

#[tokio::test]
async fn a_record_larger_than_a_segment_fits_also_as_the_first() {
    let disk = TornDisk::new();
    let store = open(&disk).unwrap();
    let large = "x".repeat(10_000);
    for key in ["/a", "/b"] {
        put(&*store, key, &large).await;
        put(&*store, key, "small").await;
        put(&*store, key, &large).await;
    }
    drop(store);
    let store = open(&disk).unwrap();
    assert_eq!(store.get("/b").await.unwrap().unwrap().value.len(), 10_000);
    assert_eq!(store.revision(), Revision(6));
}

#[tokio::test]
async fn an_io_error_stops_the_store_and_every_watcher() {
    let disk = TornDisk::new();
    let store = open(&disk).unwrap();
    put(&*store, "/a", "1").await;
    let mut watch = store.watch("/", Revision(0)).await.unwrap();
    disk.crash_after(1); // the write succeeds, the sync does not
    let failed = store.txn(Txn { guards: vec![], ops: vec![put_op("/a", "2")] }).await;
    assert!(matches!(failed, Err(StoreError::Failed(_))), "{failed:?}");
    assert!(matches!(store.failed().await, StoreError::Failed(why) if why.contains("sync /torn/")));
    let after = store.txn(Txn { guards: vec![], ops: vec![put_op("/a", "3")] }).await;
    assert!(matches!(after, Err(StoreError::Failed(_))), "{after:?}");
    assert_eq!(outline(&next(&mut watch).await), ["1 create /a=1"]);
    assert!(matches!(futures::StreamExt::next(&mut watch).await, Some(Err(StoreError::Failed(_)))));
    assert_eq!(store.get("/a").await.unwrap().unwrap().value, "1", "what was not durable was never visible");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_caller_is_answered_when_the_store_stops() {
    for round in 0..100 {
        let (env, disk) = (Env::real(), TornDisk::new());
        let store = open(&disk).unwrap();
        disk.crash_after(10 + round % 20);
        let write_until_it_stops =
            |store: Arc<Log>| async move { while store.txn(Txn { guards: vec![], ops: vec![put_op("/a", "1")] }).await.is_ok() {} };
        let callers: Vec<_> = (0..16).map(|_| env.spawn("caller", write_until_it_stops(store.clone()))).collect();
        tokio::time::timeout(Duration::from_secs(60), join_all(callers)).await.expect("nobody waits for ever");
    }
}

#[tokio::test]
async fn a_batch_that_found_no_room_is_never_believed() {
    let disk = TornDisk::new();
    let store = open(&disk).unwrap();
    put(&*store, "/a", "1").await;
    disk.fill_next_write();
    let refused = join_all((0..3).map(|n| store.txn(Txn { guards: vec![], ops: vec![put_op("/a", &format!("refused {n}"))] }))).await;
    assert!(refused.iter().any(|outcome| matches!(outcome, Err(StoreError::ReadOnly(_)))), "{refused:?}");
    let before = store.revision();
    put(&*store, "/a", "later").await;
    drop(store);
    for crash in [Crash::Kill, Crash::PowerCut] {
        let store = open(&disk.reboot(crash, &Env::sim(1))).unwrap();
        assert_eq!((store.revision().0, store.repair()), (before.0 + 1, None));
        let mut watch = store.watch("/", before).await.unwrap();
        assert!(outline(&next(&mut watch).await)[0].contains("/a=later"));
    }
}

type Answers = Vec<Result<Committed, StoreError>>;

/// Two writes of `/held` go to the disk in one batch and stand still there; behind them come a create of `/held`, which
/// conflicts, one more write of it, and a create of `/behind`. Then `fault` befalls the disk and the writes go on. What
/// the first two and the others were told. Revisions 1 and 2 were there before.
async fn two_batches(disk: &TornDisk, store: &Arc<Log>, fault: impl FnOnce(&TornDisk)) -> (Answers, Answers) {
    put(&**store, "/a", "1").await;
    let txn = |guard: Option<Guard>, key: &str, value: &str| {
        store.txn(Txn { guards: guard.into_iter().collect(), ops: vec![put_op(key, value)] })
    };
    disk.hold_next_write();
    let mut plug = txn(None, "/a", "2");
    assert!(futures::poll!(&mut plug).is_pending());
    disk.wait_until_held();
    let mut first = Box::pin(join_all(["1", "2"].map(|value| txn(None, "/held", value))));
    assert!(futures::poll!(&mut first).is_pending());
    disk.hold_next_write();
    disk.let_go();
    plug.await.unwrap();
    disk.wait_until_held();
    let absent = |key: &str| Some(Guard::Absent(key.into()));
    let present = Some(Guard::Present("/held".into()));
    let behind = [txn(absent("/held"), "/held", "created"), txn(present, "/held", "3"), txn(absent("/behind"), "/behind", "created")];
    let mut behind = Box::pin(join_all(behind));
    assert!(futures::poll!(&mut behind).is_pending(), "nobody is told before the disk is");
    assert_eq!((store.revision(), store.get("/held").await.unwrap()), (Revision(2), None), "nor sees anything");
    let queue = store.queue.as_ref().expect("the log is open");
    while queue.capacity() < queue.max_capacity() {
        std::thread::yield_now(); // until the writer, a thread of its own, has gathered them
    }
    fault(disk);
    disk.let_go();
    (first.await, behind.await)
}

#[tokio::test]
async fn a_batch_is_checked_against_the_one_before_it_that_is_on_its_way() {
    let disk = TornDisk::new();
    let store = open(&disk).unwrap();
    let (first, behind) = two_batches(&disk, &store, |_| {}).await;
    let revisions = |answers: &Answers| answers.iter().flatten().map(|done| done.revision.0).collect::<Vec<_>>();
    assert_eq!((revisions(&first), revisions(&behind)), (vec![3, 4], vec![5, 6]));
    assert!(matches!(&behind[0], Err(StoreError::Conflict { current: Some(Revision(4)), .. })), "{behind:?}");
    drop(store);
    let store = open(&disk.reboot(Crash::PowerCut, &Env::sim(1))).unwrap();
    assert_eq!((store.revision(), store.repair()), (Revision(6), None));
    let mut watch = store.watch("/", Revision(2)).await.unwrap();
    for event in ["3 create /held=1", "4 update /held=2 was 1", "5 update /held=3 was 2", "6 create /behind=created"] {
        assert_eq!(outline(&next(&mut watch).await), [event]);
    }
}

#[tokio::test]
async fn no_room_for_a_batch_refuses_what_was_checked_against_it() {
    let disk = TornDisk::new();
    let store = open(&disk).unwrap();
    let (first, behind) = two_batches(&disk, &store, TornDisk::fill_next_write).await;
    for answer in first.iter().chain(&behind) {
        assert!(matches!(answer, Err(StoreError::ReadOnly(_))), "{answer:?}");
    }
    assert_eq!(put(&*store, "/held", "later").await.revision, Revision(3), "refused writes took no revision");
    drop(store);
    let store = open(&disk.reboot(Crash::PowerCut, &Env::sim(1))).unwrap();
    assert_eq!((store.revision(), store.repair()), (Revision(3), None));
    let held = store.get("/held").await.unwrap().unwrap();
    assert_eq!((&held.value[..], held.created), (&b"later"[..], Revision(3)));
    assert_eq!(store.get("/behind").await.unwrap(), None);
}

#[tokio::test]
async fn a_broken_disk_writes_nothing_of_the_batch_behind() {
    for operations in [0, 1] {
        let disk = TornDisk::new();
        let store = open(&disk).unwrap();
        let (first, behind) = two_batches(&disk, &store, |disk| disk.crash_after(operations)).await;
        for answer in first.iter().chain(&behind) {
            assert!(matches!(answer, Err(StoreError::Failed(_))), "{answer:?}");
        }
        drop(store);
        for seed in 0..20 {
            let store = open(&disk.reboot(Crash::PowerCut, &Env::sim(seed))).unwrap();
            assert_eq!(store.get("/a").await.unwrap().unwrap().value, "2");
            assert_eq!(store.get("/behind").await.unwrap(), None, "seed {seed}");
        }
    }
}

/// Three records in one segment, each synced on its own: where each starts.
async fn three_records(disk: &TornDisk) -> [usize; 3] {
    let store = open(disk).unwrap();
    for value in ["1", "2", "3"] {
        put(&*store, "/a", value).await;
    }
    drop(store);
    let record_len =
        (disk.content(&recover::segment_name(Revision(1))).iter().rposition(|byte| *byte != 0).unwrap() + 8 - format::HEADER_LEN) / 8 * 8
            / 3;
    [0, 1, 2].map(|n| format::HEADER_LEN + n * record_len)
}

#[tokio::test]
async fn damage_is_cut_off_at_the_end_and_refused_elsewhere() {
    let name = recover::segment_name(Revision(1));
    let last = TornDisk::new();
    let offsets = three_records(&last).await;
    last.damage(&name, offsets[2] + 20);
    let store = open(&last).unwrap();
    let repair = store.repair().expect("the cut is reported");
    assert_eq!((repair.offset, repair.why), (offsets[2] as u64, "its checksum does not match"));
    assert_eq!(store.revision(), Revision(2));
    put(&*store, "/a", "again").await;
    drop(store);
    assert_eq!(open(&last).unwrap().repair(), None, "a repair holds");

    for record in 0..2 {
        for byte in [0, 5, 20] {
            let middle = TornDisk::new();
            let offsets = three_records(&middle).await;
            middle.damage(&name, offsets[record] + byte);
            let Err(OpenError::Corrupt { offset, path, .. }) = open(&middle).map(drop) else {
                panic!("record {record}, byte {byte} must be refused")
            };
            assert_eq!((offset, path), (offsets[record] as u64, middle.path(&name)));
        }
    }
}

#[tokio::test]
async fn a_batch_torn_at_any_offset_leaves_the_whole_commits_before_the_tear() {
    let name = recover::segment_name(Revision(1));
    let whole = TornDisk::new();
    let offsets = three_records(&whole).await;
    let record_len = offsets[1] - offsets[0];
    for tear in offsets[0]..offsets[2] + record_len {
        let torn = whole.reboot(Crash::Kill, &Env::sim(1));
        let rest = vec![0; torn.content(&name).len() - tear];
        torn.open(&name).unwrap().write_at(tear as u64, &rest).unwrap();
        let store = open(&torn).unwrap_or_else(|error| panic!("torn at {tear}: {error}"));
        let (fits, above) = ((tear - offsets[0]) / record_len, (tear - offsets[0]).div_ceil(record_len));
        let revision = store.revision().0 as usize;
        // The last bytes of a record are filling: a tear there takes nothing away.
        assert!((fits..=above).contains(&revision), "torn at {tear}: {revision}");
        let next = put(&*store, "/a", "again").await.revision;
        drop(store);
        let again = open(&torn).unwrap();
        assert_eq!((again.revision(), again.repair()), (next, None), "torn at {tear}: a repair holds");
    }
}

#[tokio::test]
async fn damage_in_an_older_segment_or_a_missing_one_is_refused() {
    let disk = TornDisk::new();
    let store = open(&disk).unwrap();
    for _ in 0..60 {
        put(&*store, "/a", &"x".repeat(100)).await;
    }
    drop(store);
    let segments = disk.list().unwrap();
    assert!(segments.len() >= 3, "{segments:?}");
    let damaged = disk.reboot(Crash::Kill, &Env::sim(1));
    let end = damaged.content(&segments[0]).len();
    damaged.damage(&segments[0], end - 20);
    assert!(matches!(open(&damaged).map(drop), Err(OpenError::Corrupt { path, .. }) if path == disk.path(&segments[0])));
    for missing in &segments[..2] {
        let gap = disk.reboot(Crash::Kill, &Env::sim(1));
        gap.remove(missing).unwrap();
        assert!(matches!(open(&gap).map(drop), Err(OpenError::Corrupt { .. })), "without {missing}");
    }
}

#[tokio::test]
async fn a_newer_format_is_refused() {
    let disk = TornDisk::new();
    drop(open(&disk).unwrap());
    disk.open(&recover::segment_name(Revision(1))).unwrap().write_at(8, &9u32.to_le_bytes()).unwrap();
    let newer = open(&disk).map(drop).unwrap_err();
    assert!(matches!(newer, OpenError::Newer { found: 9, .. }), "{newer}");
}

/// What a client of a store that crashed knows.
#[derive(Default)]
struct Known {
    /// Values by key in the order of their writes, and the revision if the write was acknowledged.
    writes: BTreeMap<String, Vec<(Option<Revision>, String)>>,
}

impl Known {
    fn note(&mut self, key: &str, value: &str, outcome: &Result<Committed, StoreError>) {
        let revision = outcome.as_ref().ok().map(|done| done.revision);
        self.writes.entry(key.into()).or_default().push((revision, value.into()));
    }

    /// Nothing acknowledged is lost, nothing is there that was not written, and pairs are whole.
    async fn check(&self, store: &dyn Store, case: &str) {
        for (key, writes) in &self.writes {
            let found = store.get(key).await.unwrap();
            let acknowledged = writes.iter().filter_map(|(revision, _)| *revision).max();
            match (&found, acknowledged) {
                (None, Some(lost)) => panic!("{case}: {key} at {lost:?} is lost"),
                (None, None) => {}
                (Some(entry), acknowledged) => {
                    assert!(acknowledged.is_none_or(|revision| entry.modified >= revision), "{case}: {key} fell behind {acknowledged:?}");
                    let (_, value) =
                        writes.iter().find(|(_, value)| value.as_bytes() == &entry.value[..]).expect("a value that was written");
                    let acked = writes.iter().find(|(revision, _)| *revision == Some(entry.modified));
                    assert!(acked.is_none_or(|(_, acked)| acked == value), "{case}: {key} shows another value at its revision");
                }
            }
        }
        let (left, right) = (store.get("/pair/left").await.unwrap(), store.get("/pair/right").await.unwrap());
        assert_eq!(
            left.map(|entry| (entry.value, entry.modified)),
            right.map(|entry| (entry.value, entry.modified)),
            "{case}: a pair is torn"
        );
    }
}

/// Single writes, groups that share a batch, pairs in one transaction, compaction with snapshots.
async fn workload(store: &Log, known: &mut Known, round_name: &str) {
    for round in 0..12 {
        let value = format!("{round_name}-{round}-{}", "x".repeat(150));
        let writes = (0..4).map(|n| (format!("/k/{n}"), value.clone()));
        let outcomes = join_all(writes.map(|(key, value)| async move {
            let outcome = store.txn(Txn { guards: vec![], ops: vec![put_op(&key, &value)] }).await;
            (key, value, outcome)
        }));
        for (key, value, outcome) in outcomes.await {
            known.note(&key, &value, &outcome);
        }
        let pair = Txn { guards: vec![], ops: vec![put_op("/pair/left", &value), put_op("/pair/right", &value)] };
        let outcome = store.txn(pair).await;
        known.note("/pair/left", &value, &outcome);
        known.note("/pair/right", &value, &outcome);
        if round % 4 == 3 {
            let _ = store.compact(store.revision()).await; // the disk may be gone
        }
    }
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_at_any_crash_point() {
    let whole = TornDisk::new();
    let store = open(&whole).unwrap();
    workload(&store, &mut Known::default(), "whole").await;
    drop(store);
    let points = whole.operations();
    assert!(whole.list().unwrap().iter().any(|name| name.ends_with(".snap")), "the workload takes snapshots");
    let mut crashes = 0;
    for point in 0..points {
        for (seed, crash) in [(1, Crash::Kill), (2, Crash::PowerCut), (3, Crash::PowerCut), (4, Crash::PowerCut)] {
            crash_once(point, seed, crash).await;
            crashes += 1;
        }
    }
    println!("{crashes} crashes at {points} points survived");
}

async fn crash_once(point: u64, seed: u64, crash: Crash) {
    let case = format!("crash point {point}, seed {seed}, {crash:?}");
    let chance = Env::sim(seed * 100_003 + point);
    let mut known = Known::default();
    let disk = TornDisk::new();
    disk.crash_after(point);
    if let Ok(store) = open(&disk) {
        workload(&store, &mut known, "first").await;
    }
    let disk = disk.reboot(crash, &chance);
    disk.crash_after(chance.random_below(200)); // and once more, also while it recovers
    if let Ok(store) = open(&disk) {
        known.check(&*store, &case).await;
        workload(&store, &mut known, "second").await;
    }
    let disk = disk.reboot(crash, &chance);
    let store = open(&disk).unwrap_or_else(|error| panic!("{case}: it does not open: {error}"));
    known.check(&*store, &case).await;
    workload(&store, &mut known, "third").await;
    known.check(&*store, &case).await;
}

#[tokio::test]
async fn a_conflict_is_not_told_before_what_it_conflicts_with_is_durable() {
    let disk = TornDisk::new();
    let store = open(&disk).unwrap();
    let create = |value: &str| Txn { guards: vec![Guard::Absent("/a".into())], ops: vec![put_op("/a", value)] };
    let outcomes = join_all((0..20).map(|n| store.txn(create(&n.to_string())))).await;
    let conflicts =
        outcomes.iter().filter(|outcome| matches!(outcome, Err(StoreError::Conflict { current: Some(Revision(1)), .. }))).count();
    assert_eq!(conflicts, 19);
    drop(store);
    let after = disk.reboot(Crash::PowerCut, &Env::sim(1));
    assert_eq!(open(&after).unwrap().revision(), Revision(1));
}

#[tokio::test]
async fn a_clock_set_back_does_not_shorten_history() {
    let dir = tempfile::tempdir().unwrap();
    let store = Log::open(dir.path(), &Env::real(), small()).unwrap();
    put(&*store, "/a", "1").await;
    drop(store);
    let set_back = Env::sim(1);
    let store = Log::open(dir.path(), &set_back, small()).unwrap();
    put(&*store, "/a", "2").await;
    drop(store);
    let store = Log::open(dir.path(), &Env::real(), small()).unwrap();
    tokio::time::sleep(Duration::from_millis(1)).await; // the owner of history has looked once
    assert_eq!(store.oldest(), Revision(0));
}
