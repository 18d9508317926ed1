//! A service as fronts: pure, no kernel.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use contract::{Affinity, Endpoint, PortSpec, Protocol, ServiceSpec};
use stdx::instance::Instance;

use crate::Error;

/// A class counts slots in 13 bits.
pub(crate) const SLOTS_MAX: usize = 8191;
/// A class keeps the affinity's seconds in 17 bits; upstream allows one day.
const AFFINITY_SECONDS_MAX: u32 = 86_400;

/// What a client connects to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum FrontKey {
    Address(Ipv4Addr, Protocol, u16),
    /// On every address of the node.
    NodePort(Protocol, u16),
}

impl FrontKey {
    pub(crate) fn protocol(self) -> Protocol {
        match self {
            Self::Address(_, protocol, _) | Self::NodePort(protocol, _) => protocol,
        }
    }
}

/// Where a connection goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Target {
    pub(crate) ip: Ipv4Addr,
    pub(crate) port: u16,
}

/// What a front does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Front {
    /// For everybody, or where `outside` is set for pods and the node only.
    pub(crate) inside: Vec<Target>,
    /// `externalTrafficPolicy: Local`: for clients from outside, with their address kept.
    pub(crate) outside: Option<Vec<Target>>,
    /// The service has no endpoint anywhere: refuse. (With endpoints elsewhere only, a `Local` list is empty and drops.)
    pub(crate) refuses: bool,
    pub(crate) affinity_seconds: Option<u32>,
}

/// Every front of a service.
pub(crate) fn fronts(service: &ServiceSpec, instance: &Instance) -> Result<BTreeMap<FrontKey, Front>, Error> {
    let mut out = BTreeMap::new();
    let addresses = addresses(service, instance)?;
    for port in &service.ports {
        let endpoints = endpoints(service, port)?;
        for ip in &addresses {
            let is_cluster_ip = in_range(*ip, instance.service_range());
            out.insert(FrontKey::Address(*ip, port.protocol, port.port), front(service, &endpoints, is_cluster_ip));
        }
        if port.node_port != 0 {
            out.insert(FrontKey::NodePort(port.protocol, port.node_port), front(service, &endpoints, false));
        }
    }
    Ok(out)
}

/// Endpoint addresses of pods on this node: the ones that may connect to themselves through a service.
pub(crate) fn local_addresses(service: &ServiceSpec, instance: &Instance) -> Vec<Ipv4Addr> {
    let endpoints = service.ports.iter().flat_map(|port| &port.endpoints);
    let mut out: Vec<Ipv4Addr> = endpoints
        .filter_map(|endpoint| match endpoint.ip {
            IpAddr::V4(ip) => (endpoint.local || in_range(ip, instance.node_pod_range())).then_some(ip),
            IpAddr::V6(_) => None,
        })
        .collect();
    out.sort_unstable();
    out.dedup();
    out
}

fn addresses(service: &ServiceSpec, instance: &Instance) -> Result<Vec<Ipv4Addr>, Error> {
    let all: Vec<Ipv4Addr> = service.ips.iter().map(|ip| ipv4(service, *ip)).collect::<Result<_, _>>()?;
    // The node answers DNS there itself.
    Ok(all.into_iter().filter(|ip| *ip != instance.dns_ip()).collect())
}

fn endpoints(service: &ServiceSpec, port: &PortSpec) -> Result<Vec<(Target, bool)>, Error> {
    let target = |endpoint: &Endpoint| Ok((Target { ip: ipv4(service, endpoint.ip)?, port: endpoint.port }, endpoint.local));
    let mut all: Vec<(Target, bool)> = port.endpoints.iter().map(target).collect::<Result<_, Error>>()?;
    all.sort_unstable();
    all.dedup_by_key(|(target, _)| *target);
    if all.len() > SLOTS_MAX {
        tracing::warn!(service = %name(service), port = port.port, endpoints = all.len(), max = SLOTS_MAX, "more endpoints than slots: the rest is not used");
        all.truncate(SLOTS_MAX);
    }
    Ok(all)
}

fn front(service: &ServiceSpec, endpoints: &[(Target, bool)], is_cluster_ip: bool) -> Front {
    let all = || endpoints.iter().map(|(target, _)| *target).collect::<Vec<_>>();
    let local = || endpoints.iter().filter(|(_, local)| *local).map(|(target, _)| *target).collect::<Vec<_>>();
    let only_local = is_cluster_ip && service.internal_local;
    Front {
        inside: if only_local { local() } else { all() },
        outside: (!is_cluster_ip && service.external_local).then(local),
        refuses: endpoints.is_empty(),
        affinity_seconds: match service.affinity {
            Affinity::None => None,
            Affinity::ClientIp { timeout_seconds } => Some(timeout_seconds.clamp(1, AFFINITY_SECONDS_MAX)),
        },
    }
}

fn ipv4(service: &ServiceSpec, ip: IpAddr) -> Result<Ipv4Addr, Error> {
    match ip {
        IpAddr::V4(ip) => Ok(ip),
        IpAddr::V6(_) => Err(Error::Ipv6 { service: name(service), ip }),
    }
}

pub(crate) fn name(service: &ServiceSpec) -> String {
    format!("{}/{}", service.namespace, service.name)
}

fn in_range(ip: Ipv4Addr, (base, prefix): (Ipv4Addr, u8)) -> bool {
    (u32::from(ip) ^ u32::from(base)).checked_shr(32 - u32::from(prefix)).unwrap_or(0) == 0
}

/// `new` in an order that keeps every target of `old` in its slot where that is possible: a removed one's slot is filled
/// from the end, added ones go to the end. So a change of one endpoint is a change of one or two slots.
pub(crate) fn keep_slots(old: &[Target], new: &[Target]) -> Vec<Target> {
    let wanted: std::collections::HashSet<Target> = new.iter().copied().collect();
    let kept = |at: usize| old.get(at).copied().filter(|target| wanted.contains(target));
    let staying: std::collections::HashSet<Target> = (0..new.len()).filter_map(kept).collect();
    let mut moving = new.iter().copied().filter(|target| !staying.contains(target));
    (0..new.len()).map(|at| kept(at).or_else(|| moving.next()).expect("as many slots as targets")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn t(last: u8) -> Target {
        Target { ip: Ipv4Addr::new(10, 0, 0, last), port: 80 }
    }

    #[test]
    fn a_removed_target_moves_one_other() {
        let old = [1, 2, 3, 4].map(t);
        assert_eq!(keep_slots(&old, &[1, 3, 4].map(t)), [1, 4, 3].map(t));
        assert_eq!(keep_slots(&old, &[0, 1, 2, 3, 4].map(t)), [1, 2, 3, 4, 0].map(t));
        assert_eq!(keep_slots(&old, &[1, 2, 3, 9].map(t)), [1, 2, 3, 9].map(t));
        assert_eq!(keep_slots(&[], &[2, 1].map(t)), [2, 1].map(t));
    }

    proptest::proptest! {
        #[test]
        fn slots_hold_exactly_the_new_targets(old in proptest::collection::btree_set(0u8..30, 0..20), new in proptest::collection::btree_set(0u8..30, 0..20)) {
            let (old, new): (Vec<_>, Vec<_>) = (old.into_iter().map(t).collect(), new.into_iter().map(t).collect());
            let mut kept = keep_slots(&old, &new);
            let changed = kept.iter().zip(&old).filter(|(a, b)| a != b).count();
            let removed = old.iter().filter(|one| !new.contains(one)).count();
            proptest::prop_assert!(changed <= removed);
            kept.sort_unstable();
            proptest::prop_assert_eq!(kept, new);
        }
    }
}
