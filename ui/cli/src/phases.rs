//! A line per phase with its time.

use env::Env;
use tokio::time::Instant;

use crate::{Failure, out};

pub struct Phases {
    env: Env,
    colour: bool,
    begun: Instant,
}

impl Phases {
    pub fn new(env: &Env, colour: bool) -> Self {
        Self { env: env.clone(), colour, begun: env.instant() }
    }

    /// Runs one phase and prints how it went.
    pub async fn run<T>(&self, name: &str, phase: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        let begun = self.env.instant();
        let outcome = phase.await;
        out::talk(format!("{name:<28} {:<8} {:>7} ms", out::mark(outcome.is_ok(), self.colour), begun.elapsed().as_millis()));
        outcome
    }

    pub fn total(&self) -> String {
        format!("{:.2} s", self.begun.elapsed().as_secs_f64())
    }
}
