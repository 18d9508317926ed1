//! How far the cache is, and who waits for it. A batch wakes only those whose revision it reached.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use store::StoreError;
use tokio::sync::oneshot;

#[derive(Default)]
pub(super) struct Progress {
    applied: AtomicU64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    waiters: BTreeMap<u64, Vec<oneshot::Sender<()>>>,
    failure: Option<StoreError>,
}

impl Progress {
    pub(super) fn applied(&self) -> u64 {
        self.applied.load(Ordering::Acquire)
    }

    pub(super) fn reach(&self, revision: u64) {
        let mut state = self.state.lock().expect("progress");
        self.applied.store(revision, Ordering::Release);
        let later = state.waiters.split_off(&(revision + 1));
        for waiter in std::mem::replace(&mut state.waiters, later).into_values().flatten() {
            let _ = waiter.send(()); // a waiter that is gone does not care
        }
    }

    /// Nothing will ever be applied again.
    pub(super) fn fail(&self, error: StoreError) {
        let mut state = self.state.lock().expect("progress");
        state.failure = Some(error);
        state.waiters.clear();
    }

    pub(super) async fn wait(&self, revision: u64) -> Result<(), StoreError> {
        if self.applied() >= revision {
            return Ok(());
        }
        let reached = {
            let mut state = self.state.lock().expect("progress");
            if self.applied() >= revision {
                return Ok(());
            }
            if let Some(error) = &state.failure {
                return Err(error.clone());
            }
            let (tx, rx) = oneshot::channel();
            state.waiters.entry(revision).or_default().push(tx);
            rx
        };
        let failed = || StoreError::Failed("the watch cache lost the store".into());
        reached.await.map_err(|_| failed())
    }
}
