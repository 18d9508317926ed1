//! One pod's link: its name, its two ends.

use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::time::Duration;

use sys::netlink::route::{Link, LinkChange, Mac, NewVeth, Route};
use sys::netlink::{self, Batch, Family, Socket};
use sys::netns::Netns;

use crate::Error;

/// The pod's name for its link, as everywhere.
const POD_SIDE: &str = "eth0";
const GATEWAY: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);
/// The kernel takes microseconds, or milliseconds under load.
const SETTLE_PATIENCE: Duration = Duration::from_millis(500);
const GATEWAY_MAC: Mac = [0xee; 6];

/// `<prefix><address in hex>`: unique because addresses are.
pub(crate) fn name(prefix: &str, ip: Ipv4Addr) -> String {
    format!("{prefix}{:08x}", u32::from(ip))
}

/// The address that a link's name says, if it is a pod link of this instance.
pub(crate) fn address(prefix: &str, name: &str) -> Option<Ipv4Addr> {
    let hex = name.strip_prefix(prefix).filter(|rest| rest.len() == 8)?;
    u32::from_str_radix(hex, 16).ok().map(Ipv4Addr::from)
}

/// Locally administered, made of the address.
fn pod_mac(ip: Ipv4Addr) -> Mac {
    let [a, b, c, d] = ip.octets();
    [0x0a, 0x58, a, b, c, d]
}

/// Makes the pair, with the peer inside `netns`; both ends are still down.
pub(crate) fn create(route: &mut Socket, name: &str, ip: Ipv4Addr, mtu: u32, netns: &Netns) -> Result<Link, Error> {
    let mut batch = Batch::new();
    batch.new_veth(&NewVeth { name, mac: GATEWAY_MAC, mtu, peer_name: POD_SIDE, peer_mac: pod_mac(ip), peer_netns: Some(netns.as_fd()) });
    route.transact(&mut batch)?;
    route.link(name)?.ok_or_else(|| Error::Vanished(name.to_owned()))
}

/// The node's side: up, the pod's address behind it.
pub(crate) fn configure_node_side(route: &mut Socket, link: &Link, uid: &str, ip: Ipv4Addr, node_ip: Ipv4Addr) -> netlink::Result<()> {
    let mut batch = Batch::new();
    // route_localnet lets a connection to a node port on 127.0.0.1 leave by this link.
    batch.change_link(link.index, &LinkChange { up: true, alias: Some(uid), route_localnet: true, ..LinkChange::default() });
    batch.route(&Route { source: Some(node_ip), ..Route::on_link(ip, 32, link.index) });
    batch.neighbour(link.index, ip, pod_mac(ip));
    route.transact(&mut batch)
}

/// The pod's side, from within its namespace: loopback and link up, address, default route. May be repeated.
pub(crate) fn configure_pod_side(netns: &Netns, ip: Ipv4Addr) -> Result<(), Error> {
    netns.run(|| {
        let mut route = Socket::open(Family::Route)?;
        let (loopback, eth0) = (route.link("lo")?, route.link(POD_SIDE)?);
        let (Some(loopback), Some(eth0)) = (loopback, eth0) else { return Err(Error::Vanished(POD_SIDE.to_owned())) };
        let mut batch = Batch::new();
        batch.change_link(loopback.index, &LinkChange { up: true, ..LinkChange::default() });
        batch.change_link(eth0.index, &LinkChange { no_ipv6_autoconf: true, ..LinkChange::default() });
        batch.change_link(eth0.index, &LinkChange { up: true, ..LinkChange::default() });
        batch.address(eth0.index, ip, 32);
        batch.neighbour(eth0.index, GATEWAY, GATEWAY_MAC);
        batch.route(&Route::on_link(GATEWAY, 32, eth0.index));
        batch.route(&Route { gateway: Some(GATEWAY), ..Route::on_link(Ipv4Addr::UNSPECIFIED, 0, eth0.index) });
        Ok(route.transact(&mut batch)?)
    })?
}

/// The node's side came up before it had a carrier, so its queue starts only now, in the kernel's own time. Until then the
/// first packet to the pod would be lost, and a connection would take a second.
pub(crate) fn settle(route: &mut Socket, name: &str) -> Result<(), Error> {
    match route.wait_until_it_sends(name, SETTLE_PATIENCE)? {
        Some(sends) => {
            if !sends {
                tracing::warn!(link = name, "link is slow to come up: first packets to its pod may be lost");
            }
            Ok(())
        }
        None => Err(Error::Vanished(name.to_owned())),
    }
}

/// Whether the other end of `link` is this namespace's link.
pub(crate) fn ends_in(netns: &Netns, link: &Link) -> Result<bool, Error> {
    let inside = netns.run(|| Socket::open(Family::Route)?.link(POD_SIDE))??;
    Ok(inside.is_some_and(|inside| inside.peer == link.index && link.peer == inside.index))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_its_address() {
        let ip = Ipv4Addr::new(10, 244, 0, 5);
        assert_eq!(name("corten0", ip), "corten00af40005");
        assert_eq!(address("corten0", "corten00af40005"), Some(ip));
        for foreign in ["corten0", "corten0p", "ctn50af40005", "corten00af4000g", "eth0"] {
            assert_eq!(address("corten0", foreign), None, "{foreign}");
        }
        assert_eq!(address("ctn5", "ctn51ac150105"), None, "another instance's link");
    }
}
