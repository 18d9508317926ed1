//! Time, chance and tasks as values.
//!
//! Whatever needs the clock, randomness or a background task takes an [`Env`]. The real one asks the machine; the
//! simulated one counts tokio's (pausable) clock from a fixed start and draws from a seed, so that a test replays.

use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Cheap to clone; all clones share one clock, one generator and one set of tasks.
#[derive(Clone)]
pub struct Env(Arc<Inner>);

struct Inner {
    clock: Clock,
    rng: Mutex<Rng>,
    tasks: TaskTracker,
    shutdown: CancellationToken,
}

enum Clock {
    Real,
    /// Wall time = start + what tokio's clock has moved since.
    Simulated {
        start: Timestamp,
        origin: Instant,
    },
}

impl Env {
    /// The machine's clock and a generator seeded by the kernel.
    pub fn real() -> Self {
        Self::with(Clock::Real, Rng::from_kernel())
    }

    /// A clock that starts at 2026-01-01T00:00:00Z and moves with tokio's, and a generator that replays from `seed`.
    pub fn sim(seed: u64) -> Self {
        let start = Timestamp::from_second(1_767_225_600).expect("a constant in range");
        Self::with(Clock::Simulated { start, origin: Instant::now() }, Rng::new(seed))
    }

    fn with(clock: Clock, rng: Rng) -> Self {
        let inner = Inner { clock, rng: Mutex::new(rng), tasks: TaskTracker::new(), shutdown: CancellationToken::new() };
        Self(Arc::new(inner))
    }

    /// Wall time: for timestamps that people and other programs read. Never for ordering or time-outs.
    pub fn now(&self) -> Timestamp {
        match &self.0.clock {
            #[expect(clippy::disallowed_methods, reason = "the one place that asks the wall clock")]
            Clock::Real => Timestamp::now(),
            Clock::Simulated { start, origin } => *start + origin.elapsed(),
        }
    }

    /// Monotonic time: for time-outs and latencies.
    pub fn instant(&self) -> Instant {
        Instant::now()
    }

    pub async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }

    pub fn random_u64(&self) -> u64 {
        self.0.rng.lock().expect("no holder of the generator panics").next()
    }

    /// Uniform in `0..bound`.
    pub fn random_below(&self, bound: u64) -> u64 {
        ((u128::from(self.random_u64()) * u128::from(bound)) >> 64) as u64
    }

    /// RFC 4122 version 4.
    pub fn uuid(&self) -> String {
        let high = (self.random_u64() & !0xf000) | 0x4000;
        let low = (self.random_u64() & !(0b11 << 62)) | (0b10 << 62);
        format!("{:08x}-{:04x}-{:04x}-{:04x}-{:012x}", high >> 32, (high >> 16) & 0xffff, high & 0xffff, low >> 48, low & 0xffff_ffff_ffff)
    }

    /// `length` characters of the alphabet that generated names use (no vowels, no look-alikes).
    pub fn suffix(&self, length: usize) -> String {
        const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
        (0..length).map(|_| char::from(ALPHABET[self.random_below(ALPHABET.len() as u64) as usize])).collect()
    }

    /// Runs `future` as a task that [`Env::stop`] waits for. It should end when [`Env::shutdown`] fires; `name` is for logs.
    pub fn spawn<F>(&self, name: &'static str, future: F) -> tokio::task::JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let _ = name;
        self.0.tasks.spawn(future)
    }

    /// Fires when the process is asked to stop.
    pub fn shutdown(&self) -> &CancellationToken {
        &self.0.shutdown
    }

    /// Asks every task to end and waits for them, at most `grace`.
    pub async fn stop(&self, grace: Duration) {
        self.0.shutdown.cancel();
        self.0.tasks.close();
        let _ = tokio::time::timeout(grace, self.0.tasks.wait()).await;
    }
}

/// splitmix64: enough for names, jitter and identifiers; never for keys (those come from the crypto provider).
struct Rng(u64);

impl Rng {
    fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn from_kernel() -> Self {
        let mut seed = [0u8; 8];
        rustix::rand::getrandom(&mut seed[..], rustix::rand::GetRandomFlags::empty()).expect("getrandom works on Linux");
        Self(u64::from_ne_bytes(seed))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn simulated_time_moves_only_with_tokio() {
        let env = Env::sim(1);
        let before = env.now();
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(env.now().duration_since(before).as_secs(), 60);
    }

    #[tokio::test]
    async fn a_seed_replays() {
        let (a, b) = (Env::sim(7), Env::sim(7));
        assert_eq!((a.uuid(), a.suffix(5)), (b.uuid(), b.suffix(5)));
        assert_eq!(a.uuid().len(), 36);
    }
}
