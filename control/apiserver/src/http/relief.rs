//! When memory is worth giving back.
//!
//! The allocator keeps what was freed until it works again: after a list of thousands of objects, or their deletion, some
//! hundred megabytes. How much passes through it shows in how much is answered. When that was a lot and a quiet moment follows, the
//! process is asked to give back what it no longer uses; on an idle server nothing runs.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use env::Env;
use tokio::sync::Notify;

/// Answered since the last time before it is worth the effort.
const ANSWERED_MIN: u64 = 8 << 20;
/// What a stream counts for: its length is not known; to open a watch takes about this, and most of it is free at once.
pub(super) const STREAM_BYTES: u64 = 16 << 10;
/// A moment is quiet when little was answered for this long.
const QUIET: Duration = Duration::from_secs(2);
const QUIET_BYTES_MAX: u64 = 1 << 20;

#[derive(Default)]
pub struct Relief {
    answered: AtomicU64,
    much: Notify,
}

impl Relief {
    /// An answer of `bytes` is on its way.
    pub(super) fn note(&self, bytes: u64) {
        if self.answered.fetch_add(bytes, Ordering::Relaxed) + bytes >= ANSWERED_MIN {
            self.much.notify_one();
        }
    }

    /// Calls `give_back`, off the request path, in each quiet moment that follows much traffic. Runs until the process stops.
    pub async fn run(&self, env: &Env, give_back: fn()) {
        let forever = async {
            loop {
                self.much.notified().await;
                if self.answered.load(Ordering::Relaxed) < ANSWERED_MIN {
                    continue; // the word of traffic that the last time took in
                }
                self.quiet(env).await;
                self.answered.store(0, Ordering::Relaxed);
                let _ = tokio::task::spawn_blocking(give_back).await; // it has nothing to say
            }
        };
        let _: Option<()> = env.shutdown().run_until_cancelled(forever).await;
    }

    async fn quiet(&self, env: &Env) {
        loop {
            let before = self.answered.load(Ordering::Relaxed);
            env.sleep(QUIET).await;
            if self.answered.load(Ordering::Relaxed) - before < QUIET_BYTES_MAX {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;

    use super::*;

    static GIVEN: AtomicUsize = AtomicUsize::new(0);

    fn given() -> usize {
        GIVEN.load(Ordering::SeqCst)
    }

    #[tokio::test(start_paused = true)]
    async fn memory_goes_back_once_after_much_traffic_and_not_before_it_is_quiet() {
        let (env, relief) = (Env::real(), Arc::new(Relief::default()));
        let (running, of) = (Arc::clone(&relief), env.clone());
        env.spawn("relief", async move { running.run(&of, || _ = GIVEN.fetch_add(1, Ordering::SeqCst)).await });
        relief.note(ANSWERED_MIN - 1);
        env.sleep(QUIET * 5).await;
        assert_eq!(given(), 0, "not much");
        for _ in 0..10 {
            relief.note(QUIET_BYTES_MAX);
            env.sleep(QUIET / 2).await;
        }
        assert_eq!(given(), 0, "not quiet");
        while given() == 0 {
            env.sleep(QUIET).await;
        }
        env.sleep(QUIET * 5).await;
        assert_eq!(given(), 1);
    }
}
