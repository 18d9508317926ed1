//! A queue of keys: a key waits once, is worked on by one worker at a time, and comes back if it was added meanwhile.
//!
//! ```text
//! add ──► waiting ──take──► working ──done──► gone
//!            ▲                 │ added meanwhile
//!            └─────────────────┘
//! ```

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Mutex;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::metrics::Counters;

/// First back-off of a failing key, doubled each time.
const BACKOFF_MIN: Duration = Duration::from_millis(5);
const BACKOFF_MAX: Duration = Duration::from_secs(300);

#[derive(Default)]
pub struct Queue {
    state: Mutex<State>,
    /// Something is ready, or an earlier alarm was set.
    changed: Notify,
}

#[derive(Default)]
struct State {
    /// With the time since when they wait.
    ready: VecDeque<(String, Instant)>,
    /// In `ready`, or to be put there when the worker is done.
    dirty: HashSet<String>,
    working: HashSet<String>,
    /// Keys by the time at which they become ready; the number keeps equal times apart.
    delayed: BTreeMap<(Instant, u64), String>,
    /// The one delay of a key: an earlier one replaces a later one.
    alarms: HashMap<String, (Instant, u64)>,
    sequence: u64,
    failures: HashMap<String, u32>,
    counters: Option<Counters>,
}

impl Queue {
    /// A queue that says in `counters` what becomes of its keys.
    pub(crate) fn counted(counters: Counters) -> Self {
        Self { state: Mutex::new(State { counters: Some(counters), ..State::default() }), changed: Notify::new() }
    }

    pub fn add(&self, key: &str) {
        self.lock().add(key, Instant::now());
        self.changed.notify_one();
    }

    /// Adds the key when `delay` is over, or earlier if it was already to come earlier.
    pub fn add_after(&self, key: &str, delay: Duration) {
        self.lock().delay(key, Instant::now() + delay);
        self.changed.notify_one();
    }

    /// Adds the key after its own growing back-off; returns the delay.
    pub fn add_backed_off(&self, key: &str) -> Duration {
        let failures = {
            let mut state = self.lock();
            let failures = state.failures.entry(key.to_owned()).or_default();
            *failures += 1;
            *failures
        };
        let delay = BACKOFF_MIN.saturating_mul(1 << (failures - 1).min(20)).min(BACKOFF_MAX);
        self.add_after(key, delay);
        delay
    }

    /// The key did well: its back-off starts anew.
    pub fn forget(&self, key: &str) {
        self.lock().failures.remove(key);
    }

    /// Waits for the next key and marks it as worked on. Every take needs a [`Queue::done`].
    pub async fn take(&self) -> String {
        loop {
            let changed = self.changed.notified();
            let next = self.lock().take(Instant::now());
            match next {
                Next::Key(key) => {
                    // One permit may stand for several adds: pass it on while there is work.
                    if self.depth() > 0 {
                        self.changed.notify_one();
                    }
                    return key;
                }
                Next::At(alarm) => {
                    let _ = tokio::time::timeout_at(alarm, changed).await;
                }
                Next::Nothing => changed.await,
            }
        }
    }

    pub fn done(&self, key: &str) {
        let again = self.lock().done(key, Instant::now());
        if again {
            self.changed.notify_one();
        }
    }

    /// Keys waiting now (for metrics).
    pub fn depth(&self) -> usize {
        self.lock().ready.len()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("no holder of the queue panics")
    }
}

enum Next {
    Key(String),
    At(Instant),
    Nothing,
}

impl State {
    fn add(&mut self, key: &str, now: Instant) {
        if let Some(alarm) = self.alarms.remove(key) {
            self.delayed.remove(&alarm);
        }
        if !self.dirty.insert(key.to_owned()) {
            return;
        }
        if let Some(counters) = &self.counters {
            counters.adds.inc();
        }
        if !self.working.contains(key) {
            self.ready.push_back((key.to_owned(), now));
        }
    }

    fn delay(&mut self, key: &str, at: Instant) {
        if self.alarms.get(key).is_some_and(|(held, _)| *held <= at) {
            return;
        }
        if let Some(alarm) = self.alarms.remove(key) {
            self.delayed.remove(&alarm);
        }
        self.sequence += 1;
        let alarm = (at, self.sequence);
        self.delayed.insert(alarm, key.to_owned());
        self.alarms.insert(key.to_owned(), alarm);
    }

    fn take(&mut self, now: Instant) -> Next {
        while let Some(entry) = self.delayed.first_entry().filter(|entry| entry.key().0 <= now) {
            let key = entry.remove();
            self.alarms.remove(&key);
            self.add(&key, now);
        }
        if let Some((key, since)) = self.ready.pop_front() {
            if let Some(counters) = &self.counters {
                counters.waited.observe(now.saturating_duration_since(since).as_secs_f64());
            }
            self.dirty.remove(&key);
            self.working.insert(key.clone());
            return Next::Key(key);
        }
        self.delayed.first_key_value().map_or(Next::Nothing, |((at, _), _)| Next::At(*at))
    }

    fn done(&mut self, key: &str, now: Instant) -> bool {
        self.working.remove(key);
        let again = self.dirty.contains(key);
        if again {
            self.ready.push_back((key.to_owned(), now));
        }
        again
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_key_added_while_worked_on_comes_once_more() {
        let queue = Queue::default();
        queue.add("a");
        queue.add("a");
        assert_eq!(queue.take().await, "a");
        queue.add("a");
        queue.add("a");
        assert_eq!(queue.depth(), 0, "nobody else may take it meanwhile");
        queue.done("a");
        assert_eq!(queue.take().await, "a");
        queue.done("a");
        assert_eq!(queue.depth(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn it_counts_what_comes_and_how_long_it_waits() {
        let (metrics, mut registry) = (crate::metrics::Metrics::default(), prometheus_client::registry::Registry::default());
        metrics.register(&mut registry);
        let queue = Queue::counted(metrics.of("x"));
        queue.add("a");
        queue.add("a");
        queue.add_after("b", Duration::from_secs(8));
        tokio::time::advance(Duration::from_secs(2)).await;
        queue.done(&queue.take().await);
        queue.done(&queue.take().await);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for line in [r#"workqueue_adds_total{name="x"} 2"#, r#"workqueue_queue_duration_seconds_sum{name="x"} 2.0"#] {
            assert!(text.lines().any(|held| held == line), "{line} in {text}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_earlier_of_two_delays_wins_and_an_add_cancels_both() {
        let queue = Queue::default();
        let start = Instant::now();
        queue.add_after("a", Duration::from_secs(10));
        queue.add_after("a", Duration::from_secs(2));
        queue.add_after("a", Duration::from_secs(5));
        assert_eq!(queue.take().await, "a");
        assert_eq!(start.elapsed().as_secs(), 2);
        queue.done("a");
        assert!(tokio::time::timeout(Duration::from_secs(60), queue.take()).await.is_err(), "no second alarm is left");
    }

    #[tokio::test(start_paused = true)]
    async fn failures_back_off_until_forgotten() {
        let queue = Queue::default();
        let delays: Vec<u128> = (0..4).map(|_| queue.add_backed_off("a").as_millis()).collect();
        assert_eq!(delays, [5, 10, 20, 40]);
        queue.forget("a");
        assert_eq!(queue.add_backed_off("a").as_millis(), 5);
    }

    #[tokio::test]
    async fn every_key_is_taken_by_exactly_one_of_many_workers() {
        let queue = std::sync::Arc::new(Queue::default());
        let env = env::Env::sim(1);
        let (done_tx, mut done_rx) = tokio::sync::mpsc::channel(100);
        for _ in 0..4 {
            let (queue, done_tx) = (queue.clone(), done_tx.clone());
            env.spawn("worker", async move {
                loop {
                    let key = queue.take().await;
                    done_tx.send(key.clone()).await.unwrap();
                    queue.done(&key);
                }
            });
        }
        (0..50).for_each(|n| queue.add(&n.to_string()));
        let mut seen = HashSet::new();
        while seen.len() < 50 {
            assert!(seen.insert(done_rx.recv().await.unwrap()));
        }
    }
}
