//! The pod network's part of the instance's nftables table.

use std::net::Ipv4Addr;

use stdx::instance::Instance;
use sys::netlink::nft::{Chain, Data, Element, Hook, HookPoint, Is, Kind, Rule, Set, Value};

/// Links of pods.
pub(crate) const LINKS: &str = "pod-links";
/// Which source address may come in by which link.
pub(crate) const SOURCES: &str = "pod-sources";

const DNS_PORT: [u8; 2] = 53u16.to_be_bytes();
/// Before connection tracking.
const RAW: i32 = -300;
const SOURCE_NAT: i32 = 100;

pub(crate) fn sets() -> Vec<Set> {
    vec![
        Set { name: LINKS, key: &[Kind::LinkIndex], data: Data::None, dynamic: None },
        Set { name: SOURCES, key: &[Kind::LinkIndex, Kind::Ipv4], data: Data::None, dynamic: None },
    ]
}

pub(crate) fn chains(instance: &Instance) -> Vec<Chain> {
    let dns = (instance.dns_ip(), 32);
    let to_dns = || Rule::new().destination_in(Is::Equal, dns, 0).load_destination_port(0).compare(0, Is::Equal, &DNS_PORT).untracked();
    let from_dns = || Rule::new().source_in(Is::Equal, dns, 0).load_source_port(0).compare(0, Is::Equal, &DNS_PORT).untracked();
    let loopback = (Ipv4Addr::new(127, 0, 0, 0), 8);
    vec![
        filter(
            "pods-guard",
            HookPoint::Prerouting,
            vec![
                // route_localnet is on for node ports on 127.0.0.1; it must not open the node's loopback to pods.
                Rule::new().load_in_link(0).in_set(LINKS, 0).destination_in(Is::Equal, loopback, 0).drop(),
                Rule::new().load_in_link(0).load_source(1).in_set(SOURCES, 0).back(),
                Rule::new().load_in_link(0).in_set(LINKS, 0).drop(),
            ],
        ),
        filter("dns-in", HookPoint::Prerouting, vec![to_dns(), from_dns()]),
        filter("dns-out", HookPoint::Output, vec![to_dns(), from_dns()]),
        Chain {
            name: "pods-out".into(),
            hook: Some(Hook { point: HookPoint::Postrouting, priority: SOURCE_NAT, nat: true }),
            rules: vec![
                Rule::new()
                    .source_in(Is::Equal, instance.node_pod_range(), 0)
                    .destination_in(Is::Unequal, instance.pod_range(), 0)
                    .out_link_is(Is::Unequal, "lo", 0)
                    .masquerade(),
            ],
        },
    ]
}

fn filter(name: &str, point: HookPoint, rules: Vec<Rule>) -> Chain {
    Chain { name: name.into(), hook: Some(Hook { point, priority: RAW, nat: false }), rules }
}

/// The pod's element of [`LINKS`].
pub(crate) fn link_element(link: u32) -> Element {
    Element { key: link.to_ne_bytes().to_vec(), value: Value::None }
}

/// The pod's element of [`SOURCES`].
pub(crate) fn source_element(link: u32, ip: Ipv4Addr) -> Element {
    let key = [link.to_ne_bytes(), ip.octets()].concat();
    Element { key, value: Value::None }
}
