//! Writes that come in numbers, and what must be seen of them before the same key is looked at again.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Mutex;
use std::time::Duration;

use client::Lister;
use schema::Status;
use tokio::time::Instant;

/// After this the expectation is given up: the event was lost, and acting again is better than never acting.
const EXPECTATION_TTL: Duration = Duration::from_secs(300);

/// Runs `count` writes in batches of 1, 2, 4 …, each batch at once, and stops after the first batch with a failure: a
/// quota or a webhook that refuses one pod refuses them all. Returns how many succeeded, and the first error.
pub async fn slow_start<F, Fut>(count: usize, write: F) -> (usize, Option<Status>)
where
    F: Fn(usize) -> Fut,
    Fut: Future<Output = Result<(), Status>>,
{
    let (mut done, mut succeeded, mut batch) = (0, 0, 1);
    while done < count {
        let size = batch.min(count - done);
        let results = futures::future::join_all((done..done + size).map(&write)).await;
        succeeded += results.iter().filter(|result| result.is_ok()).count();
        if let Some(error) = results.into_iter().find_map(Result::err) {
            return (succeeded, Some(error));
        }
        done += size;
        batch *= 2;
    }
    (succeeded, None)
}

/// One thing that the informer must show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expectation {
    /// An object created or changed, at this revision or later.
    Seen { key: String, revision: u64 },
    /// An object deleted: gone, replaced, or on its way out.
    Gone { key: String, uid: String },
}

/// What each reconciled key still waits to see of its own writes.
///
/// Without this a controller that has just created three pods, and is woken by something else before the informer
/// shows them, would create three more.
#[derive(Default)]
pub struct Expectations {
    pending: Mutex<HashMap<String, (Instant, Vec<Expectation>)>>,
}

impl Expectations {
    pub fn expect(&self, key: &str, expectations: impl IntoIterator<Item = Expectation>) {
        let mut pending = self.pending.lock().expect("no holder of the expectations panics");
        let (since, held) = pending.entry(key.to_owned()).or_insert_with(|| (Instant::now(), Vec::new()));
        *since = Instant::now();
        held.extend(expectations);
    }

    /// Whether `lister` shows everything that `key` waits for.
    pub fn are_met(&self, key: &str, lister: &Lister) -> bool {
        let mut pending = self.pending.lock().expect("no holder of the expectations panics");
        let Some((since, held)) = pending.get_mut(key) else { return true };
        held.retain(|expectation| !is_met(expectation, lister));
        let met = held.is_empty();
        let expired = since.elapsed() > EXPECTATION_TTL;
        if expired && !met {
            tracing::warn!(key, ?held, "own writes were never seen, acting again");
        }
        if met || expired {
            pending.remove(key);
        }
        met || expired
    }

    pub fn forget(&self, key: &str) {
        self.pending.lock().expect("no holder of the expectations panics").remove(key);
    }
}

fn is_met(expectation: &Expectation, lister: &Lister) -> bool {
    match expectation {
        Expectation::Seen { key, revision } => {
            lister.revision() >= *revision || lister.get(key).is_some_and(|held| held.revision() >= *revision)
        }
        Expectation::Gone { key, uid } => lister.get(key).is_none_or(|held| held.meta.uid != *uid || held.meta.is_deleting()),
    }
}

/// Remembers since when a key has been asked about.
#[derive(Default)]
pub struct Quarantine {
    since: Mutex<HashMap<String, Instant>>,
}

impl Quarantine {
    /// Whether the first question about `key` was at least `wait` ago; a yes forgets the key. Keys asked about once and never
    /// again are forgotten after four times the wait.
    pub fn passed(&self, key: &str, wait: Duration) -> bool {
        let mut since = self.since.lock().expect("no holder of the quarantine panics");
        since.retain(|_, first| first.elapsed() < wait * 4);
        let first = *since.entry(key.to_owned()).or_insert_with(Instant::now);
        let passed = first.elapsed() >= wait;
        if passed {
            since.remove(key);
        }
        passed
    }

    /// What was asked about is not so any more: the next question is the first again.
    pub fn forget(&self, key: &str) {
        self.since.lock().expect("no holder of the quarantine panics").remove(key);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn a_refusal_stops_the_next_batch() {
        let tried = AtomicUsize::new(0);
        let (succeeded, error) = slow_start(100, |n| {
            tried.fetch_add(1, Ordering::Relaxed);
            async move { if n == 4 { Err(Status::bad_request("no")) } else { Ok(()) } }
        })
        .await;
        assert_eq!((succeeded, tried.load(Ordering::Relaxed)), (6, 7), "batches of 1, 2 and 4, then it stops");
        assert!(error.is_some());
    }

    #[tokio::test]
    async fn a_deletion_is_expected_until_it_shows() {
        let lister = Lister::with_indexes(&[]);
        let expectations = Expectations::default();
        expectations.expect("d/rs", [Expectation::Seen { key: "d/a".into(), revision: 7 }]);
        assert!(!expectations.are_met("d/rs", &lister));
        assert!(expectations.are_met("d/other", &lister));
        expectations.forget("d/rs");
        expectations.expect("d/rs", [Expectation::Gone { key: "d/a".into(), uid: "u".into() }]);
        assert!(expectations.are_met("d/rs", &lister), "what is not there is gone");
    }
}
