//! What the composition root decides for the API server.

use std::net::{IpAddr, Ipv4Addr};

use stdx::Instance;

use crate::admission::pod_security;

/// Everything that differs between two clusters or two tests.
#[derive(Clone, Debug)]
pub struct Config {
    /// What this server's own writes are signed with in managedFields: the name of its program, as upstream has it.
    pub program: &'static str,
    /// ClusterIPs: network address and prefix length. The first address is `default/kubernetes`.
    pub service_range: (Ipv4Addr, u8),
    /// First and last node port.
    pub node_ports: (u16, u16),
    /// Where `default/kubernetes` leads: the API server's own address and TLS port.
    pub api_address: (IpAddr, u16),
    /// Bytes of event history kept per kind for watchers that lag or resume.
    pub ring_bytes_max: usize,
    /// Together, the seats that the priority levels divide.
    pub reads_in_flight_max: usize,
    pub writes_in_flight_max: usize,
    /// What pods may do where the labels of their namespace say nothing, and for whom nothing is forbidden.
    pub pod_security: pod_security::Settings,
    /// Who issues tokens for whom, and which keys verify them.
    pub tokens: auth::token::Settings,
    /// PEM of the key that signs tokens; None: the cluster's own.
    pub signing_key: Option<String>,
    /// Whether setting owner references takes the right to delete the object and to finalize a waiting owner.
    pub owner_references_enforced: bool,
}

/// History that is worth its memory: a watcher that lags more is told to list again.
const RING_BYTES_MAX: usize = 64 << 20;

impl Config {
    /// The configuration of `instance`, whose API answers at `api_ip`.
    pub fn new(instance: &Instance, api_ip: IpAddr) -> Self {
        Self {
            service_range: instance.service_range(),
            node_ports: instance.node_ports(),
            api_address: (api_ip, instance.api_port()),
            ..Self::default()
        }
    }

    /// ClusterIP of `default/kubernetes`.
    pub fn kubernetes_ip(&self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.service_range.0) + 1)
    }
}

/// That of the default instance, whose API answers at the node's own address.
impl Default for Config {
    fn default() -> Self {
        Self {
            program: "kube-apiserver",
            service_range: (Ipv4Addr::new(10, 96, 0, 0), 16),
            node_ports: (30_000, 32_767),
            api_address: (IpAddr::V4(Ipv4Addr::new(10, 244, 0, 1)), 6443),
            ring_bytes_max: RING_BYTES_MAX,
            reads_in_flight_max: 400,
            writes_in_flight_max: 200,
            pod_security: pod_security::Settings::default(),
            tokens: auth::token::Settings::default(),
            signing_key: None,
            owner_references_enforced: false,
        }
    }
}
