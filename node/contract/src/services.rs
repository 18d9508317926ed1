//! Service addresses to endpoints, in the kernel.
//!
//! A service is ensured whole: its new state replaces the old in one step, and a connection meets either the one or the
//! other. With endpoints it answers, without it refuses at once; under a `Local` policy with endpoints elsewhere only it drops.

pub mod suite;

use std::net::IpAddr;

use async_trait::async_trait;

use crate::Result;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    Tcp,
    Udp,
    Sctp,
}

/// `sessionAffinity`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Affinity {
    #[default]
    None,
    ClientIp {
        timeout_seconds: u32,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Endpoint {
    pub ip: IpAddr,
    pub port: u16,
    /// On this node.
    pub local: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortSpec {
    pub name: String,
    pub protocol: Protocol,
    pub port: u16,
    /// 0: none.
    pub node_port: u16,
    /// Usable ones, already chosen by readiness (serving and terminating ones only where none is ready). Sorted.
    pub endpoints: Vec<Endpoint>,
}

/// One Service with its endpoints, as the data plane needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceSpec {
    pub namespace: String,
    pub name: String,
    /// Cluster, external and load balancer addresses.
    pub ips: Vec<IpAddr>,
    pub ports: Vec<PortSpec>,
    pub affinity: Affinity,
    /// `externalTrafficPolicy: Local`.
    pub external_local: bool,
    /// `internalTrafficPolicy: Local`.
    pub internal_local: bool,
}

#[async_trait]
pub trait Services: Send + Sync + 'static {
    /// Makes this one service so; everything about it changes in one transaction, nobody else is touched.
    async fn ensure(&self, service: ServiceSpec) -> Result<()>;
    async fn remove(&self, namespace: &str, name: &str) -> Result<()>;
    /// Makes exactly these services so (at start): what the kernel has beyond them goes, what is right stays untouched.
    async fn replace(&self, services: Vec<ServiceSpec>) -> Result<()>;
}
