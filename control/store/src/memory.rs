//! The backend for tests: the shared map and nothing else. What is committed is gone with the process.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use env::Env;

use crate::contract::{Committed, Entry, Range, Revision, Store, StoreError, Txn, WatchStream};
use crate::expiry;
use crate::history::{self, HistoryConfig};
use crate::hub::Hub;
use crate::mvcc::{Ground, Mvcc, Stage, assert_well_formed};

/// A store that lives in memory.
pub struct Memory {
    hub: Arc<Hub>,
    env: Env,
    /// Held from staging to publishing: one writer at a time.
    writer: Mutex<()>,
}

impl Memory {
    /// Real time, no background task: history is kept until compacted, expired keys stay.
    pub fn new() -> Arc<Self> {
        Self::on(Env::real(), usize::MAX)
    }

    /// With the expiry owner and the compaction of old history as tasks of `env`. Needs a tokio runtime.
    pub fn start(env: &Env, history: HistoryConfig) -> Arc<Self> {
        let memory = Self::on(env.clone(), history.bytes_max);
        expiry::spawn(env, &memory.hub, Arc::downgrade(&memory));
        let hub = memory.hub.clone();
        let compact = move |to| {
            let hub = hub.clone();
            async move { hub.compact(to).await }
        };
        env.spawn("store-history", history::keep_bounded(env.clone(), memory.hub.clone(), history, compact));
        memory
    }

    fn on(env: Env, history_bytes_max: usize) -> Arc<Self> {
        let hub = Hub::new(Mvcc::starting_at(Revision(0)), history_bytes_max);
        Arc::new(Self { hub, env, writer: Mutex::new(()) })
    }

    fn commit(&self, txn: Txn) -> Result<Committed, StoreError> {
        let _one_writer = self.writer.lock().expect("no writer panics");
        let (now, at) = (self.env.now().as_second(), self.env.instant());
        let staged = {
            let mvcc = self.hub.read();
            Stage::after(mvcc.revision()).push(Ground { mvcc: &mvcc, above: None }, txn, now, at)?
        };
        let Some(mut staged) = staged else {
            return Ok(Committed { revision: self.hub.revision(), values: Vec::new() });
        };
        let values = std::mem::take(&mut staged.values);
        self.hub.publish(std::slice::from_ref(&staged));
        Ok(Committed { revision: staged.revision, values })
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.hub.stop(StoreError::Failed("it was closed".into()));
    }
}

#[async_trait]
impl Store for Memory {
    fn revision(&self) -> Revision {
        self.hub.revision()
    }

    fn oldest(&self) -> Revision {
        self.hub.read().oldest()
    }

    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        Ok(self.hub.read().get(key))
    }

    async fn range(&self, start: &str, end: &str, at: Option<Revision>, limit: usize) -> Result<Range, StoreError> {
        self.hub.read().range(start, end, at, limit)
    }

    async fn txn(&self, txn: Txn) -> Result<Committed, StoreError> {
        assert_well_formed(&txn);
        self.commit(txn)
    }

    async fn watch(&self, prefix: &str, from: Revision) -> Result<WatchStream, StoreError> {
        self.hub.watch(prefix, from)
    }

    async fn compact(&self, revision: Revision) -> Result<(), StoreError> {
        self.hub.compact(revision).await
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::contract::Op;
    use crate::suite;

    #[tokio::test]
    async fn passes_the_suite() {
        suite::run(|| Memory::new()).await;
    }

    #[tokio::test(start_paused = true)]
    async fn expired_keys_are_deleted_in_time_and_only_they() {
        let env = Env::sim(1);
        let store = Memory::start(&env, HistoryConfig::default());
        let put = |key: &str, ttl_seconds| Txn {
            guards: vec![],
            ops: vec![Op::Put { key: key.into(), value: "x".into(), rv_at: None, ttl_seconds }],
        };
        for (key, ttl) in [("/short", Some(10)), ("/long", Some(100)), ("/never", None), ("/renewed", Some(10))] {
            store.txn(put(key, ttl)).await.unwrap();
        }
        env.sleep(Duration::from_secs(5)).await;
        store.txn(put("/renewed", Some(10))).await.unwrap();
        let mut left = Vec::new();
        for seconds in [4, 3, 5, 90] {
            env.sleep(Duration::from_secs(seconds)).await;
            let range = store.range("/", "0", None, 0).await.unwrap();
            left.push(range.entries.iter().map(|entry| entry.key.to_string()).collect::<Vec<_>>().join(" "));
        }
        assert_eq!(left, ["/long /never /renewed /short", "/long /never /renewed", "/long /never", "/never"]);
    }

    #[tokio::test(start_paused = true)]
    async fn history_goes_by_age_and_by_bytes_and_an_idle_store_sleeps() {
        let env = Env::sim(1);
        let keep = Duration::from_secs(300);
        let store = Memory::start(&env, HistoryConfig { keep, bytes_max: 100_000 });
        for _ in 0..10 {
            suite::put(&*store, "/a", "x").await;
        }
        env.sleep(keep - Duration::from_secs(1)).await;
        assert_eq!(store.oldest(), Revision(0), "all of it is still young");
        env.sleep(keep).await;
        assert_eq!(store.oldest(), Revision(10), "all of it is old");
        assert_eq!(store.hub.read().history_since(), None, "nothing is left to wake up for");
        for _ in 0..100 {
            suite::put(&*store, "/a", &"x".repeat(2000)).await;
        }
        tokio::task::yield_now().await;
        let kept = store.hub.read().history_bytes();
        assert!((50_000..=100_000).contains(&kept), "{kept} bytes of history kept");
    }
}
