//! Flow control: at most so many requests at once, the rest is told to come back in a second. Watches are not counted,
//! they hold no resource but memory. The components of this process are bounded by their own worker pools.

use std::sync::Arc;

use client::Verb;
use schema::Status;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::Config;

pub struct Flow {
    reads: Arc<Semaphore>,
    writes: Arc<Semaphore>,
}

impl Flow {
    pub fn new(config: &Config) -> Self {
        let semaphore = |permits| Arc::new(Semaphore::new(permits));
        Self { reads: semaphore(config.reads_in_flight_max), writes: semaphore(config.writes_in_flight_max) }
    }

    /// Takes a place for a request of `verb` until the permit is dropped. 429 when there is none.
    pub fn enter(&self, verb: Verb) -> Result<Option<OwnedSemaphorePermit>, Status> {
        let places = match verb {
            Verb::Watch => return Ok(None),
            Verb::Get | Verb::List => &self.reads,
            _ => &self.writes,
        };
        let busy = |_| Status::too_many_requests("Too many requests, please try again later.", 1);
        Arc::clone(places).try_acquire_owned().map(Some).map_err(busy)
    }
}
