//! Answers that are remembered for a while: bounded in number, by the digest of the question.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use env::Env;
use tokio::time::Instant;

/// As upstream's.
const ANSWERS_MAX: usize = 8_192;

pub(super) struct Memory<T> {
    answers: Mutex<HashMap<[u8; 32], (Instant, T)>>,
    env: Env,
}

impl<T: Clone> Memory<T> {
    pub(super) fn new(env: &Env) -> Self {
        Self { answers: Mutex::default(), env: env.clone() }
    }

    pub(super) fn get(&self, key: &[u8; 32]) -> Option<T> {
        let now = self.env.instant();
        let mut answers = self.answers.lock().expect("no holder of the answers panics");
        match answers.get(key) {
            Some((until, answer)) if now < *until => Some(answer.clone()),
            Some(_) => {
                answers.remove(key);
                None
            }
            None => None,
        }
    }

    /// Keeps `answer` for `time`; not at all where that is nothing.
    pub(super) fn put(&self, key: [u8; 32], answer: T, time: Duration) {
        if time.is_zero() {
            return;
        }
        let now = self.env.instant();
        let mut answers = self.answers.lock().expect("no holder of the answers panics");
        if answers.len() >= ANSWERS_MAX {
            answers.retain(|_, (until, _)| now < *until);
        }
        if answers.len() >= ANSWERS_MAX {
            answers.clear();
        }
        answers.insert(key, (now + time, answer));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn answers_end_and_are_only_so_many() {
        let memory = Memory::new(&Env::sim(1));
        let key = |number: u32| {
            let mut key = [0; 32];
            key[..4].copy_from_slice(&number.to_le_bytes());
            key
        };
        memory.put(key(1), "a", Duration::from_secs(5));
        memory.put(key(2), "b", Duration::ZERO);
        assert_eq!((memory.get(&key(1)), memory.get(&key(2))), (Some("a"), None));
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(memory.get(&key(1)), None);
        for number in 0..20_000 {
            memory.put(key(number), "c", Duration::from_secs(5));
            assert!(memory.answers.lock().unwrap().len() <= ANSWERS_MAX);
        }
    }
}
