//! Addresses without links.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;

use crate::{Error, ErrorKind, PodAddress, PodNet, Result};

/// Hands out the addresses of one range in turn. Cheap to clone.
#[derive(Clone)]
pub struct FakePodNet(Arc<Mutex<State>>);

struct State {
    range: ipnet::Ipv4Net,
    last: u32,
    given: BTreeMap<String, IpAddr>,
}

impl FakePodNet {
    pub fn new(range: ipnet::Ipv4Net) -> Self {
        Self(Arc::new(Mutex::new(State { last: u32::from(range.network()) + 1, range, given: BTreeMap::new() })))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no holder of the fake's state panics")
    }
}

impl State {
    /// The next free address after the one given last, so that an address is not used again at once.
    fn next(&mut self) -> Option<IpAddr> {
        let (first, end) = (u32::from(self.range.network()) + 2, u32::from(self.range.broadcast()));
        for _ in first..end {
            self.last = if self.last + 1 >= end { first } else { self.last + 1 };
            let ip = IpAddr::V4(Ipv4Addr::from(self.last));
            if !self.given.values().any(|given| *given == ip) {
                return Some(ip);
            }
        }
        None
    }
}

#[async_trait]
impl PodNet for FakePodNet {
    async fn ensure(&self, pod_uid: &str, _netns: &Path) -> Result<PodAddress> {
        let mut state = self.lock();
        let ip = match state.given.get(pod_uid) {
            Some(ip) => *ip,
            None => state.next().ok_or_else(|| Error::new(ErrorKind::Busy, format!("no address is free in {}", state.range)))?,
        };
        state.given.insert(pod_uid.into(), ip);
        Ok(PodAddress { pod_uid: pod_uid.into(), ips: vec![ip] })
    }

    async fn remove(&self, pod_uid: &str) -> Result<()> {
        self.lock().given.remove(pod_uid);
        Ok(())
    }

    async fn observe(&self) -> Result<Vec<PodAddress>> {
        Ok(self.lock().given.iter().map(|(uid, ip)| PodAddress { pod_uid: uid.clone(), ips: vec![*ip] }).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_is_kept_freed_and_not_given_twice() {
        let net = FakePodNet::new("10.0.0.0/29".parse().unwrap());
        let ip = async |uid: &str| net.ensure(uid, Path::new("/")).await.map(|address| address.ips[0].to_string());
        assert_eq!(
            (ip("a").await.unwrap(), ip("a").await.unwrap(), ip("b").await.unwrap()),
            ("10.0.0.2".into(), "10.0.0.2".into(), "10.0.0.3".into())
        );
        net.remove("a").await.unwrap();
        assert_eq!(ip("c").await.unwrap(), "10.0.0.4", "a freed address rests");
        for uid in ["d", "e", "f"] {
            ip(uid).await.unwrap();
        }
        assert_eq!(ip("g").await.unwrap_err().kind, ErrorKind::Busy);
    }
}
