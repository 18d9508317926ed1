//! How long history is kept, and the task that forgets it.
//!
//! History is bounded by age and by bytes. The task sleeps until the oldest commit is too old, and not at all while
//! there is no history: an idle store costs nothing.

use std::sync::Arc;
use std::time::Duration;

use env::Env;

use crate::contract::{Revision, StoreError};
use crate::hub::Hub;

/// The bounds of history, and with it of the backlog of a watcher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HistoryConfig {
    /// At least this long can a watcher be away and resume, unless `bytes_max` is reached before.
    pub keep: Duration,
    /// Keys, values and their bookkeeping.
    pub bytes_max: usize,
}

impl Default for HistoryConfig {
    fn default() -> Self {
        Self { keep: Duration::from_secs(300), bytes_max: 128 << 20 }
    }
}

/// Says through `compact` what to forget, until the store or `env` stops.
pub(crate) async fn keep_bounded<C, F>(env: Env, hub: Arc<Hub>, config: HistoryConfig, compact: C)
where
    C: Fn(Revision) -> F,
    F: Future<Output = Result<(), StoreError>>,
{
    // Whole rounds rather than a wake-up per commit: history is kept up to a quarter longer than asked for.
    let slack = config.keep / 4;
    loop {
        let due = hub.read().history_since().map(|since| since + config.keep + slack);
        tokio::select! {
            () = hub.closed.cancelled() => return,
            () = env.shutdown().cancelled() => return,
            () = hub.history_grew.notified() => {}
            () = sleep_until(due) => {}
        }
        if let Some(to) = target(&env, &hub, config) {
            compact(to).await.expect("the target is not ahead of the store");
        }
    }
}

/// Up to where history must go now.
fn target(env: &Env, hub: &Hub, config: HistoryConfig) -> Option<Revision> {
    let mvcc = hub.read();
    let full = mvcc.history_bytes() > config.bytes_max;
    let bytes = if full { config.bytes_max / 4 * 3 } else { usize::MAX };
    let target = mvcc.compaction_target(env.instant().checked_sub(config.keep), bytes);
    (target > mvcc.oldest()).then_some(target)
}

async fn sleep_until(due: Option<tokio::time::Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}
