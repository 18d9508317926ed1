//! The machine's name servers, from its resolv.conf.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use crate::Upstreams;

/// The file is looked at again after this, and then only when a question needs it.
const FRESH: Duration = Duration::from_secs(5);
/// As every resolver.
const SERVERS_MAX: usize = 3;

/// The current upstream servers.
#[derive(Debug)]
pub(crate) struct Resolv {
    upstreams: Upstreams,
    own: SocketAddr,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    looked: Option<Instant>,
    modified: Option<SystemTime>,
    servers: Vec<SocketAddr>,
}

impl Resolv {
    /// `own` is left out of the list: asking ourselves would never end.
    pub(crate) fn new(upstreams: Upstreams, own: SocketAddr) -> Self {
        Self { upstreams, own, state: Mutex::default() }
    }

    pub(crate) fn servers(&self, now: Instant) -> Vec<SocketAddr> {
        let path = match &self.upstreams {
            Upstreams::Fixed(servers) => return servers.iter().copied().filter(|server| *server != self.own).collect(),
            Upstreams::ResolvConf(path) => path,
        };
        let mut state = self.state.lock().expect("no holder of the servers panics");
        if state.looked.is_none_or(|looked| now.duration_since(looked) > FRESH) {
            state.looked = Some(now);
            self.look(path, &mut state);
        }
        state.servers.clone()
    }

    fn look(&self, path: &Path, state: &mut State) {
        let modified = std::fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
        if modified.is_some() && modified == state.modified {
            return;
        }
        state.modified = modified;
        let text = std::fs::read_to_string(path).unwrap_or_default();
        state.servers = parse(&text).into_iter().filter(|server| server.ip() != self.own.ip()).take(SERVERS_MAX).collect();
    }
}

fn parse(text: &str) -> Vec<SocketAddr> {
    let server = |line: &str| -> Option<SocketAddr> {
        let mut words = line.split_whitespace();
        if words.next()? != "nameserver" {
            return None;
        }
        // A zone (`fe80::1%eth0`) cannot be asked without knowing the link.
        Some(SocketAddr::new(words.next()?.parse::<IpAddr>().ok()?, 53))
    };
    let mut servers: Vec<SocketAddr> = text.lines().filter_map(server).collect();
    // resolv.conf(5): without a line it is the machine itself; on ours nobody listens there unless the file says so.
    servers.retain(|server| server.ip() != IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    servers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_and_we_are_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("resolv.conf");
        std::fs::write(&path, "# x\nsearch a b\nnameserver 10.96.0.10\n nameserver 192.0.2.3\nnameserver fd00::1 # y\nnameserver bad\n")
            .unwrap();
        let resolv = Resolv::new(Upstreams::ResolvConf(path.clone()), "10.96.0.10:53".parse().unwrap());
        let shown = |servers: Vec<SocketAddr>| servers.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(shown(resolv.servers(Instant::now())), ["192.0.2.3:53", "[fd00::1]:53"]);
        let missing = Resolv::new(Upstreams::ResolvConf(folder.path().join("none")), "10.96.0.10:53".parse().unwrap());
        assert!(missing.servers(Instant::now()).is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_changed_file_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("resolv.conf");
        let resolv = Resolv::new(Upstreams::ResolvConf(path.clone()), "10.96.0.10:53".parse().unwrap());
        assert!(resolv.servers(Instant::now()).is_empty());
        std::fs::write(&path, "nameserver 192.0.2.3\n").unwrap();
        tokio::time::advance(FRESH * 2).await;
        assert_eq!(resolv.servers(Instant::now()).len(), 1);
    }
}
