//! Flow control: at most so many requests at once, the rest is told to come back in a second. Watches are not counted,
//! they hold no resource but memory. The components of this process are bounded by their own worker pools.

use std::sync::Arc;

use auth::UserInfo;
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

    /// Takes a place for a request of `verb` until the permit is dropped. 429 when there is none, except for
    /// administrators, who must get in when it matters most.
    pub fn enter(&self, user: &UserInfo, verb: Verb) -> Result<Option<OwnedSemaphorePermit>, Status> {
        let places = match verb {
            Verb::Watch => return Ok(None),
            Verb::Get | Verb::List => &self.reads,
            _ => &self.writes,
        };
        match Arc::clone(places).try_acquire_owned() {
            Ok(place) => Ok(Some(place)),
            Err(_) if user.is_in(auth::MASTERS) => Ok(None),
            Err(_) => Err(Status::too_many_requests("Too many requests, please try again later.", 1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_comes_when_all_places_are_taken_is_told_to_come_back() {
        let flow = Flow::new(&Config { reads_in_flight_max: 1, writes_in_flight_max: 1, ..Config::default() });
        let (alice, admin) = (UserInfo::new("alice", &[]), UserInfo::new("admin", &[auth::MASTERS]));
        let reading = flow.enter(&alice, Verb::List).unwrap();
        let status = flow.enter(&alice, Verb::Get).unwrap_err();
        assert_eq!((status.code, status.details.unwrap().retry_after_seconds), (429, 1));
        flow.enter(&alice, Verb::Patch).unwrap();
        flow.enter(&alice, Verb::Watch).unwrap();
        flow.enter(&admin, Verb::Get).unwrap();
        drop(reading);
        flow.enter(&alice, Verb::Get).unwrap();
    }
}
