//! kill -9: a child writes and tells each acknowledged key; whenever it dies, nothing it told is lost.

#![expect(clippy::print_stdout, reason = "a test says what it skipped or how much it did")]

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use env::Env;
use store::{HistoryConfig, Log, LogConfig, Op, Revision, Store, Txn};

const DIR: &str = "CORTEN_STORE_KILL_TEST_DIR";
const ROUNDS: u64 = 25;

/// Small segments and little history: the kills also hit rotations, compactions and snapshots.
fn config() -> LogConfig {
    let history = HistoryConfig { bytes_max: 200_000, ..HistoryConfig::default() };
    LogConfig { history, segment_bytes: 64 << 10, snapshot_after_bytes: 128 << 10, ..LogConfig::default() }
}

#[test]
fn nothing_acknowledged_is_lost_when_the_process_is_killed() {
    let dir = tempfile::tempdir().unwrap();
    let chance = Env::real();
    let mut acknowledged = Vec::new();
    for round in 0..ROUNDS {
        let told = run_child_and_kill_it(dir.path(), Duration::from_millis(5 + chance.random_below(60)));
        acknowledged.extend(told);
        check(dir.path(), &acknowledged, round);
    }
    println!("{} acknowledged writes survived {ROUNDS} kills", acknowledged.len());
    assert!(acknowledged.len() as u64 > ROUNDS, "the children came to write");
}

/// What the child told: key and revision of each acknowledged write.
fn run_child_and_kill_it(dir: &Path, after: Duration) -> Vec<(String, Revision)> {
    #[expect(clippy::disallowed_methods, reason = "the test kills a process of its own")]
    let mut command = Command::new(std::env::current_exe().unwrap());
    let mut child = command
        .args(["child_that_writes_until_killed", "--exact", "--ignored", "--nocapture"])
        .env(DIR, dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let out = BufReader::new(child.stdout.take().unwrap());
    let reader = std::thread::spawn(move || out.lines().map_while(Result::ok).filter_map(|line| parse(&line)).collect());
    std::thread::sleep(after);
    child.kill().unwrap();
    child.wait().unwrap();
    reader.join().unwrap()
}

/// `ack /k/7 1234.`; the dot tells a whole line.
fn parse(line: &str) -> Option<(String, Revision)> {
    let (key, revision) = line.strip_prefix("ack ")?.strip_suffix('.')?.split_once(' ')?;
    Some((key.to_owned(), Revision(revision.parse().ok()?)))
}

#[tokio::main(flavor = "current_thread")]
async fn check(dir: &Path, acknowledged: &[(String, Revision)], round: u64) {
    let store = Log::open(dir, &Env::real(), config()).unwrap_or_else(|error| panic!("after kill {round} it does not open: {error}"));
    let newest = acknowledged.iter().map(|(_, revision)| *revision).max().unwrap_or_default();
    assert!(store.revision() >= newest, "kill {round}: revision {newest:?} is lost");
    for (key, revision) in acknowledged {
        let entry = store.get(key).await.unwrap().unwrap_or_else(|| panic!("kill {round}: {key} is lost"));
        assert!(entry.modified >= *revision, "kill {round}: {key} at {revision:?} is lost");
        assert!(entry.value.ends_with(format!(" {}", entry.modified.0).as_bytes()), "kill {round}: {key} has another revision's value");
    }
}

#[test]
#[ignore = "started and killed by the test above"]
fn child_that_writes_until_killed() {
    #[expect(clippy::disallowed_methods, reason = "the parent names the folder")]
    let dir = std::env::var(DIR).expect("the parent names the folder");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let env = Env::real();
        let store = Log::open(Path::new(&dir), &env, config()).unwrap();
        let writers: Vec<_> = (0..8).map(|writer| env.spawn("writer", write_forever(store.clone(), writer))).collect();
        for writer in writers {
            writer.await.unwrap();
        }
    });
}

async fn write_forever(store: Arc<Log>, writer: u64) {
    for round in 0.. {
        let key = format!("/k/{}", writer * 10 + round % 10);
        let value = format!("{} ", "x".repeat(300));
        let put = Op::Put { key: key.as_str().into(), rv_at: Some(value.len() as u32), value: value.into(), ttl_seconds: None };
        let done = store.txn(Txn { guards: vec![], ops: vec![put] }).await.unwrap();
        let line = format!("ack {key} {}.\n", done.revision.0);
        std::io::stdout().write_all(line.as_bytes()).unwrap();
    }
}
