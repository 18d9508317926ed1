//! Cluster DNS: prebuilt answers, forwarding upstream.
//!
//! The node answers for the cluster domain itself, on the cluster DNS address as a local address: no service
//! translation, no connection tracking, no pod to wait for. What a name answers is encoded once, when a Service or an
//! EndpointSlice changes; a query is a look-up by its wire name and a copy. Names elsewhere go to the machine's own
//! name servers, through a bounded cache, each question once at a time.
//!
//! | name | answer |
//! |---|---|
//! | `svc.ns.svc.cluster.local` | A: the ClusterIP, or every ready endpoint of a headless service; CNAME for ExternalName |
//! | `_port._proto.svc.ns.svc…` | SRV for each named port, targets in the additional section |
//! | `name.svc.ns.svc…` of a headless service | A of one endpoint: by its hostname, or by its address with dashes |
//! | `10-244-0-5.ns.pod…` | A of that address |
//! | `5.0.244.10.in-addr.arpa` | PTR to a service or a headless endpoint |
//! | `dns-version.cluster.local` | TXT |
//!
//! Existing names without the type asked for are NODATA, others NXDOMAIN, both with the SOA; the TTL is five seconds;
//! the question's case is kept; several answers come in random order. Until the first complete set of objects is
//! there, questions about the cluster wait four seconds (resolvers ask again after five), then fail (SERVFAIL), because a premature NXDOMAIN is believed.

mod cache;
mod forward;
mod name;
mod records;
mod resolv;
mod server;
#[cfg(test)]
mod tests;
mod watch;
mod wire;
mod zone;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

pub use server::{Dns, Error, Sockets, bind, serve};
pub use watch::{BY_SERVICE, service_of_slice};

use stdx::instance::Instance;

/// What the server must be told.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where it listens, UDP and TCP.
    pub listen: SocketAddr,
    /// `cluster.local`.
    pub cluster_domain: String,
    /// What `ns.dns.<domain>` answers.
    pub dns_ip: Ipv4Addr,
    /// Reverse look-ups inside these never leave the machine.
    pub own_ranges: Vec<(Ipv4Addr, u8)>,
    pub upstreams: Upstreams,
}

/// Who answers for the rest of the world.
#[derive(Clone, Debug)]
pub enum Upstreams {
    /// The `nameserver` lines of this file, without our own address; read again when it changes.
    ResolvConf(PathBuf),
    Fixed(Vec<SocketAddr>),
}

impl Config {
    /// An instance's cluster DNS, forwarding to the machine's own name servers.
    pub fn new(instance: &Instance) -> Self {
        Self {
            listen: SocketAddr::from((instance.dns_ip(), 53)),
            cluster_domain: "cluster.local".into(),
            dns_ip: instance.dns_ip(),
            own_ranges: vec![instance.service_range(), instance.pod_range()],
            upstreams: Upstreams::ResolvConf("/etc/resolv.conf".into()),
        }
    }
}
