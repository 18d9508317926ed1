//! The suite that every service data plane passes: `suite::run(&driver, &wire, …).await` panics at the first broken promise.

use std::collections::BTreeSet;
use std::net::IpAddr;

use async_trait::async_trait;

use super::{Affinity, Endpoint, PortSpec, Protocol, ServiceSpec, Services};

const PORT: u16 = 80;
/// Connections that show every one of three endpoints, but once in a million runs.
const ENOUGH: usize = 60;

/// How the suite sees what the driver did: TCP connections of a pod.
#[async_trait]
pub trait Wire: Send + Sync {
    /// Address and port of the endpoint that answers; None where the connection is refused.
    async fn to_address(&self, ip: IpAddr, port: u16) -> Option<(IpAddr, u16)>;
    async fn to_node_port(&self, port: u16) -> Option<(IpAddr, u16)>;
}

/// Runs all cases on one fresh driver. `backends` are three living endpoints, `addresses` two free service addresses,
/// `node_port` a free node port.
pub async fn run(services: &dyn Services, wire: &dyn Wire, addresses: [IpAddr; 2], node_port: u16, backends: &[Endpoint; 3]) {
    let [one, other] = addresses;
    services.replace(vec![]).await.unwrap();
    assert_eq!(wire.to_address(one, PORT).await, None, "nothing is there at first");
    services.remove("suite", "never-there").await.unwrap();

    services.ensure(service("a", one, &backends[..1])).await.unwrap();
    assert_eq!(answering(wire, one).await, targets(&backends[..1]));
    services.ensure(service("a", one, &backends[..1])).await.unwrap();
    services.ensure(service("a", one, backends)).await.unwrap();
    assert_eq!(answering(wire, one).await, targets(backends), "every endpoint is used");
    services.ensure(service("a", one, &backends[1..])).await.unwrap();
    assert_eq!(answering(wire, one).await, targets(&backends[1..]), "one that left is not");
    assert_eq!(wire.to_address(one, PORT + 1).await, None, "other ports are closed");

    services.ensure(with_node_port(service("b", other, &backends[..1]), node_port)).await.unwrap();
    assert_eq!(wire.to_node_port(node_port).await, Some(target(&backends[0])));
    assert_eq!(answering(wire, one).await, targets(&backends[1..]), "nobody else is touched");
    services.ensure(service("b", other, &backends[..1])).await.unwrap();
    assert_eq!(wire.to_node_port(node_port).await, None, "the node port is gone again");
    services.ensure(service("b", other, &[])).await.unwrap();
    assert_eq!(wire.to_address(other, PORT).await, None, "no endpoint, no connection");

    services.replace(vec![service("b", other, &backends[2..])]).await.unwrap();
    assert_eq!(wire.to_address(one, PORT).await, None, "what is not in the list goes");
    assert_eq!(answering(wire, other).await, targets(&backends[2..]));
    for _ in 0..2 {
        services.remove("suite", "b").await.unwrap();
    }
    assert_eq!(wire.to_address(other, PORT).await, None);
}

fn service(name: &str, ip: IpAddr, endpoints: &[Endpoint]) -> ServiceSpec {
    let port = PortSpec { name: String::new(), protocol: Protocol::Tcp, port: PORT, node_port: 0, endpoints: endpoints.to_vec() };
    ServiceSpec {
        namespace: "suite".into(),
        name: name.into(),
        ips: vec![ip],
        ports: vec![port],
        affinity: Affinity::None,
        external_local: false,
        internal_local: false,
    }
}

fn with_node_port(mut service: ServiceSpec, node_port: u16) -> ServiceSpec {
    service.ports[0].node_port = node_port;
    service
}

async fn answering(wire: &dyn Wire, ip: IpAddr) -> BTreeSet<(IpAddr, u16)> {
    let mut out = BTreeSet::new();
    for _ in 0..ENOUGH {
        out.insert(wire.to_address(ip, PORT).await.expect("a service with endpoints answers"));
    }
    out
}

fn targets(endpoints: &[Endpoint]) -> BTreeSet<(IpAddr, u16)> {
    endpoints.iter().map(target).collect()
}

fn target(endpoint: &Endpoint) -> (IpAddr, u16) {
    (endpoint.ip, endpoint.port)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::fake::FakeServices;

    /// What a data plane would do with the fake's table.
    struct Table {
        services: FakeServices,
        turn: AtomicUsize,
    }

    impl Table {
        fn find(&self, matches: impl Fn(&ServiceSpec, &PortSpec) -> bool) -> Option<(IpAddr, u16)> {
            let all = ["a", "b"].iter().filter_map(|name| self.services.get("suite", name));
            let endpoints = all.flat_map(|service| service.ports.clone().into_iter().map(move |port| (service.clone(), port)));
            let port = endpoints.into_iter().find(|(service, port)| matches(service, port))?.1;
            let turn = self.turn.fetch_add(1, Ordering::Relaxed);
            port.endpoints.get(turn.checked_rem(port.endpoints.len())?).map(target)
        }
    }

    #[async_trait]
    impl Wire for Table {
        async fn to_address(&self, ip: IpAddr, number: u16) -> Option<(IpAddr, u16)> {
            self.find(|service, port| service.ips.contains(&ip) && port.port == number)
        }

        async fn to_node_port(&self, number: u16) -> Option<(IpAddr, u16)> {
            self.find(|_, port| port.node_port == number)
        }
    }

    #[tokio::test]
    async fn the_fake_passes() {
        let wire = Table { services: FakeServices::new(), turn: AtomicUsize::new(0) };
        let backends = [1, 2, 3].map(|last| Endpoint { ip: IpAddr::from([10, 0, 0, last]), port: 8080, local: true });
        run(&wire.services, &wire, [IpAddr::from([10, 96, 0, 1]), IpAddr::from([10, 96, 0, 2])], 30_000, &backends).await;
    }
}
