//! A full disk: reads go on, writes say so, and go on when there is room again. On a small tmpfs; needs root.

#![expect(clippy::print_stdout, reason = "a test says what it skipped or how much it did")]

use std::path::Path;

use env::Env;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use store::{Log, LogConfig, Op, Revision, Store, StoreError, Txn};

/// A tmpfs that goes with the value.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// None where mounting is not allowed.
    fn mount() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        mount("tmpfs", dir.path(), "tmpfs", MountFlags::NOSUID, c"size=1m").ok()?;
        Some(Self(dir))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        unmount(self.path(), UnmountFlags::DETACH).unwrap();
    }
}

async fn put(store: &Log, key: &str, len: usize) -> Result<Revision, StoreError> {
    let put = Op::Put { key: key.into(), value: vec![b'x'; len].into(), rv_at: None, ttl_seconds: None };
    store.txn(Txn { guards: vec![], ops: vec![put] }).await.map(|done| done.revision)
}

#[tokio::test]
async fn a_full_disk_makes_the_store_read_only_until_there_is_room() {
    let Some(disk) = SmallDisk::mount() else {
        println!("skipped: mounting a tmpfs needs root");
        return;
    };
    let dir = disk.path().join("store");
    let ballast = disk.path().join("ballast");
    std::fs::write(&ballast, vec![1; 512 << 10]).unwrap();
    let config = LogConfig { segment_bytes: 64 << 10, ..LogConfig::default() };
    let store = Log::open(&dir, &Env::real(), config).unwrap();

    let mut written = Revision(0);
    let full = loop {
        match put(&store, "/a", 10_000).await {
            Ok(revision) => written = revision,
            Err(error) => break error,
        }
    };
    assert!(matches!(&full, StoreError::ReadOnly(why) if why.contains("No space left")), "{full}");
    assert!(written > Revision(20), "it came to fill the disk: {written:?}");
    assert_eq!(store.get("/a").await.unwrap().unwrap().modified, written, "reads go on");
    assert!(matches!(put(&store, "/a", 10_000).await, Err(StoreError::ReadOnly(_))));

    std::fs::remove_file(&ballast).unwrap();
    assert_eq!(put(&store, "/b", 10_000).await.unwrap(), Revision(written.0 + 1), "refused writes took no revision");
    drop(store);
    let again = Log::open(&dir, &Env::real(), config).unwrap();
    assert_eq!((again.revision(), again.repair()), (Revision(written.0 + 1), None));
}
