//! The one owner of expiry: deletes keys whose time has come, through ordinary transactions.
//!
//! A delete is guarded by the revision that carried the deadline, so a key written again in the meantime stays. The
//! deadline is wall time and part of the record: it survives a restart.

use std::sync::{Arc, Weak};
use std::time::Duration;

use env::Env;
use futures::StreamExt;
use futures::stream::FuturesUnordered;

use crate::contract::{Guard, Key, Op, Revision, Store, StoreError, Txn};
use crate::hub::Hub;
use crate::mvcc::Deadline;

/// Deadlines are in seconds; waking this much later takes neighbours along in one round.
const SLACK: Duration = Duration::from_secs(1);

/// Deletes in flight: enough to share a sync, few enough not to fill the store's queue.
const AT_ONCE: usize = 64;

/// After a write that failed, as on a full disk.
const RETRY: Duration = Duration::from_secs(30);

/// Starts the owner. It ends with the store, with `env`, or when the last user of the store is gone.
pub(crate) fn spawn<S: Store>(env: &Env, hub: &Arc<Hub>, store: Weak<S>) {
    env.spawn("store-expiry", run(env.clone(), hub.clone(), store));
}

async fn run<S: Store>(env: Env, hub: Arc<Hub>, store: Weak<S>) {
    let mut pause = Duration::ZERO;
    loop {
        let deadline = hub.read().next_deadline();
        tokio::select! {
            () = hub.closed.cancelled() => return,
            () = env.shutdown().cancelled() => return,
            () = hub.deadline_moved.notified() => continue,
            () = sleep_until(&env, deadline, pause) => {}
        }
        let due = hub.read().expired(env.now().as_second(), AT_ONCE);
        let Some(store) = store.upgrade() else { return };
        pause = if delete_all(&*store, due).await { Duration::ZERO } else { RETRY };
    }
}

async fn sleep_until(env: &Env, deadline: Option<Deadline>, pause: Duration) {
    let Some(deadline) = deadline else { return std::future::pending().await };
    let seconds = deadline.saturating_sub(env.now().as_second());
    let until_due =
        u64::try_from(seconds).ok().filter(|&seconds| seconds > 0).map_or(Duration::ZERO, |seconds| Duration::from_secs(seconds) + SLACK);
    env.sleep(until_due.max(pause)).await;
}

/// False if a delete failed for another reason than that the key was written again.
async fn delete_all(store: &dyn Store, due: Vec<(Key, Revision)>) -> bool {
    let mut deletes: FuturesUnordered<_> = due.into_iter().map(|(key, at)| store.txn(delete(key, at))).collect();
    let mut fine = true;
    while let Some(outcome) = deletes.next().await {
        match outcome {
            Ok(_) | Err(StoreError::Conflict { .. }) => {}
            Err(error) => {
                tracing::warn!(%error, "an expired key could not be deleted, trying again later");
                fine = false;
            }
        }
    }
    fine
}

fn delete(key: Key, at: Revision) -> Txn {
    Txn { guards: vec![Guard::At(key.clone(), at)], ops: vec![Op::Delete { key }] }
}
