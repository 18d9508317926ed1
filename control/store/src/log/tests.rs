//! The log against the suite, and against its faults.

use std::sync::Arc;

use env::Env;

use super::*;
use crate::suite::{self, put};

fn small() -> LogConfig {
    LogConfig { segment_bytes: 4096, snapshot_after_bytes: 8192, ..LogConfig::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn passes_the_suite() {
    let dirs = tempfile::tempdir().unwrap();
    let made = std::sync::atomic::AtomicU32::new(0);
    suite::run(|| {
        let dir = dirs.path().join(made.fetch_add(1, std::sync::atomic::Ordering::Relaxed).to_string());
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
