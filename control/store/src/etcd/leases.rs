//! Leases: etcd deletes what is put under one when it ends, so it is the one owner of expiry.
//!
//! Puts that come shortly after one another share a lease, which costs etcd far more than a key. So a key lives up to a
//! twentieth of its time longer than asked for, one minute at most.

use std::collections::HashMap;
use std::time::Duration;

use env::Env;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::channel::Channel;
use super::grpc::CallError;
use super::messages::{LEASE_GRANT, LeaseGrantRequest, LeaseGrantResponse};

/// Keys under one lease: its end deletes them in one go.
const KEYS_MAX: u32 = 1_000;
const SLACK_SECONDS_MAX: u32 = 60;

struct Lease {
    id: i64,
    /// Keys put until then live long enough.
    until: Instant,
    keys: u32,
}

/// The leases that still take keys, by the time to live of these.
#[derive(Default)]
pub(crate) struct Leases(Mutex<HashMap<u32, Lease>>);

impl Leases {
    /// The lease for a key that lives `ttl_seconds` from now.
    pub(crate) async fn take(&self, channel: &Channel, env: &Env, ttl_seconds: u32) -> Result<i64, CallError> {
        let mut held = self.0.lock().await;
        let now = env.instant();
        if let Some(lease) = held.get_mut(&ttl_seconds).filter(|lease| now < lease.until && lease.keys < KEYS_MAX) {
            lease.keys += 1;
            return Ok(lease.id);
        }
        let slack = slack_seconds(ttl_seconds);
        let granted: LeaseGrantResponse = channel.call(LEASE_GRANT, &LeaseGrantRequest(i64::from(ttl_seconds) + i64::from(slack))).await?;
        let until = now + Duration::from_secs(slack.into());
        held.insert(ttl_seconds, Lease { id: granted.id, until, keys: 1 });
        Ok(granted.id)
    }

    /// Takes no more keys into a lease that etcd does not know.
    pub(crate) async fn forget(&self, id: i64) {
        self.0.lock().await.retain(|_, lease| lease.id != id);
    }
}

fn slack_seconds(ttl_seconds: u32) -> u32 {
    (ttl_seconds / 20).min(SLACK_SECONDS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_lives_a_twentieth_longer_at_most() {
        assert_eq!([0, 2, 20, 600, 3_600, u32::MAX].map(slack_seconds), [0, 0, 1, 30, 60, 60]);
    }
}
