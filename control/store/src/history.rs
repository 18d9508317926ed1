//! How long history is kept, and the task that forgets it.
//!
//! History is bounded by age and by bytes. The task sleeps until the oldest commit is too old, and not at all while
//! there is no history: an idle store costs nothing.

use std::sync::Arc;
use std::time::Duration;

use env::Env;

use crate::hub::Hub;

/// The bounds of history, and with it of the backlog of a watcher.
#[derive(Clone, Copy, Debug)]
pub struct HistoryConfig {
    /// At least this long can a watcher be away and resume, unless `bytes_max` is reached before.
    pub keep: Duration,
    /// Keys, values and their bookkeeping.
    pub bytes_max: usize,
}

impl Default for HistoryConfig {
    fn default() -> Self {
        Self { keep: Duration::from_secs(300), bytes_max: 256 << 20 }
    }
}

/// Compacts until the store or `env` stops; calls `compacted` after each round.
pub(crate) async fn keep_bounded(env: Env, hub: Arc<Hub>, config: HistoryConfig, mut compacted: impl AsyncFnMut()) {
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
        if compact_once(&env, &hub, config).await {
            compacted().await;
        }
    }
}

/// True if something was forgotten.
async fn compact_once(env: &Env, hub: &Hub, config: HistoryConfig) -> bool {
    let (oldest, target) = {
        let mvcc = hub.read();
        let full = mvcc.history_bytes() > config.bytes_max;
        let bytes = if full { config.bytes_max / 4 * 3 } else { usize::MAX };
        (mvcc.oldest(), mvcc.compaction_target(env.instant().checked_sub(config.keep), bytes))
    };
    target > oldest && hub.compact(target).await.is_ok()
}

async fn sleep_until(due: Option<tokio::time::Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}
