//! The node's own link, its routes and kernel settings; and taking all of it away again.

use std::io;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use stdx::instance::Instance;
use sys::netlink::nft::{HookPoint, Transaction};
use sys::netlink::route::{Link, LinkChange, NewVeth, Route, RouteKind};
use sys::netlink::{Batch, Family, Socket};

use crate::{Error, foreign, link};

const IP_FORWARD: &str = "/proc/sys/net/ipv4/ip_forward";
const FORWARDING_ALIAS: &str = "ip_forward=";
const MTU_DEFAULT: u32 = 1500;
/// Behind every route of ours, so that a pod's own route always wins.
const UNREACHABLE_METRIC: u32 = 4096;

/// Makes the node's link and routes so. May be repeated.
pub(crate) fn ensure(route: &mut Socket, instance: &Instance) -> Result<(), Error> {
    raise_loopback(route)?;
    refuse_foreign_routes(route, instance)?;
    let name = instance.link();
    let link = match route.link(&name)? {
        Some(link) => link,
        None => create(route, &name)?,
    };
    enable_forwarding()?;
    let peer = route.link(&peer_name(&name))?.ok_or_else(|| Error::Vanished(peer_name(&name)))?;
    let mut batch = Batch::new();
    for end in [&peer, &link] {
        // Nothing ever answers on it: packets to a service are translated or refused before they could leave.
        batch.change_link(end.index, &LinkChange { up: true, no_arp: true, ..LinkChange::default() });
    }
    batch.address(link.index, instance.node_ip(), 32);
    batch.address(link.index, instance.dns_ip(), 32);
    for route in routes(instance, link.index) {
        batch.route(&route);
    }
    Ok(route.transact(&mut batch)?)
}

/// Down in a fresh network namespace; without it the node could not reach its own addresses.
fn raise_loopback(route: &mut Socket) -> Result<(), Error> {
    let loopback = route.link("lo")?.ok_or_else(|| Error::Vanished("lo".to_owned()))?;
    if loopback.is_up() {
        return Ok(());
    }
    let mut batch = Batch::new();
    batch.change_link(loopback.index, &LinkChange { up: true, ..LinkChange::default() });
    Ok(route.transact(&mut batch)?)
}

/// What `ip_forward` was before the first instance came stands in the alias of each instance's link: it lives exactly as
/// long as the setting does, and the last instance to go finds it.
fn create(route: &mut Socket, name: &str) -> Result<Link, Error> {
    let before = match route.links()?.into_iter().find(|link| is_any_instance(&link.name)) {
        Some(other) => other.alias,
        None => format!("{FORWARDING_ALIAS}{}", read_forwarding()?),
    };
    let mut batch = Batch::new();
    let peer_name = peer_name(name);
    batch.new_veth(&NewVeth {
        name,
        mac: [0x0a, 0x58, 0, 0, 0, 1],
        mtu: MTU_DEFAULT,
        peer_name: &peer_name,
        peer_mac: [0x0a, 0x58, 0, 0, 0, 2],
        peer_netns: None,
    });
    route.transact(&mut batch)?;
    for end in [name, &peer_name] {
        disable_ipv6(end)?;
    }
    let link = route.link(name)?.ok_or_else(|| Error::Vanished(name.to_owned()))?;
    let mut batch = Batch::new();
    batch.change_link(link.index, &LinkChange { alias: Some(&before), ..LinkChange::default() });
    route.transact(&mut batch)?;
    Ok(link)
}

fn peer_name(link: &str) -> String {
    format!("{link}p")
}

fn routes(instance: &Instance, link: u32) -> [Route; 2] {
    let ((services, services_prefix), (pods, pods_prefix)) = (instance.service_range(), instance.node_pod_range());
    [
        // The source matters: it is what a pod sees of a connection from its own node.
        Route { source: Some(instance.node_ip()), ..Route::on_link(services, services_prefix, link) },
        // An address without a pod fails at once, instead of leaving by the default route.
        Route { kind: RouteKind::Unreachable, link: 0, metric: UNREACHABLE_METRIC, ..Route::on_link(pods, pods_prefix, 0) },
    ]
}

/// A route of somebody else that is as exact as ours, or more exact, would take our packets.
fn refuse_foreign_routes(route: &mut Socket, instance: &Instance) -> Result<(), Error> {
    let links = route.links()?;
    let name_of = |index: u32| links.iter().find(|link| link.index == index).map(|link| link.name.clone()).unwrap_or_default();
    let ours = |name: &str| name == instance.link() || link::address(&instance.link(), name).is_some();
    for (range, prefix) in [instance.service_range(), instance.pod_range()] {
        let inside = |other: &Route| other.prefix >= prefix && network(other.to, prefix) == network(range, prefix);
        let found = route.routes()?.into_iter().find(|other| inside(other) && other.link != 0 && !ours(&name_of(other.link)));
        if let Some(other) = found {
            let range = format!("{range}/{prefix}");
            return Err(Error::InTheWay { to: other.to, prefix: other.prefix, link: name_of(other.link), range });
        }
    }
    Ok(())
}

fn network(ip: Ipv4Addr, prefix: u8) -> u32 {
    u32::from(ip) & u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0)
}

/// The MTU of the link with the default route.
pub(crate) fn underlay_mtu(route: &mut Socket) -> Result<u32, Error> {
    let default = route.routes()?.into_iter().filter(|route| route.prefix == 0 && route.link != 0).min_by_key(|route| route.metric);
    let Some(default) = default else { return Ok(MTU_DEFAULT) };
    let links = route.links()?;
    Ok(links.iter().find(|link| link.index == default.link).map_or(MTU_DEFAULT, |link| link.mtu))
}

/// Lets the node forward packets. Links made later inherit it.
fn enable_forwarding() -> Result<(), Error> {
    if read_forwarding()? == "1" { Ok(()) } else { write_sysctl(PathBuf::from(IP_FORWARD), "1") }
}

fn read_forwarding() -> Result<String, Error> {
    let path = PathBuf::from(IP_FORWARD);
    let text = std::fs::read_to_string(&path).map_err(|cause| Error::State { path, cause })?;
    Ok(text.trim().to_owned())
}

/// IPv6 is not ours yet, and what we do not guard must not pass.
pub(crate) fn disable_ipv6(link: &str) -> Result<(), Error> {
    match write_sysctl(PathBuf::from(format!("/proc/sys/net/ipv6/conf/{link}/disable_ipv6")), "1") {
        Err(Error::Sysctl { cause, .. }) if cause.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn write_sysctl(path: PathBuf, value: &str) -> Result<(), Error> {
    std::fs::write(&path, value).map_err(|cause| Error::Sysctl { path, value: value.to_owned(), cause })
}

/// What [`teardown`] removed, in words for a person.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Teardown {
    pub removed: Vec<String>,
}

/// Removes everything that this instance ever made in the calling thread's network namespace: links, routes, the
/// nftables table (the services' part too), accept rules in other people's chains; forwarding goes back to what it
/// was unless somebody else may need it by now. May be repeated.
pub fn teardown(instance: &Instance) -> Result<Teardown, Error> {
    let mut route = Socket::open(Family::Route)?;
    let mut netfilter = Socket::open(Family::Netfilter)?;
    let mut report = Teardown::default();
    let removed = foreign::close_the_way(&mut netfilter, instance)?;
    report.removed.extend(removed.into_iter().map(|chain| format!("accept rules in chain {chain}")));
    remove_table(&mut netfilter, instance, &mut report)?;
    let before = route.link(&instance.link())?.and_then(|link| link.alias.strip_prefix(FORWARDING_ALIAS).map(str::to_owned));
    remove_links(&mut route, instance, &mut report)?;
    remove_routes(&mut route, instance, &mut report)?;
    if let Some(before) = before {
        restore_forwarding(&mut route, &mut netfilter, &before, &mut report)?;
    }
    Ok(report)
}

fn remove_table(netfilter: &mut Socket, instance: &Instance, report: &mut Teardown) -> Result<(), Error> {
    let table = instance.table();
    let mut transaction = Transaction::empty(&table);
    transaction.delete_table();
    match transaction.commit(netfilter) {
        Ok(()) => report.removed.push(format!("nftables table {table}")),
        Err(error) if error.is_absent() => {}
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

fn remove_links(route: &mut Socket, instance: &Instance, report: &mut Teardown) -> Result<(), Error> {
    let prefix = instance.link();
    for link in route.links()? {
        if link.name != prefix && link::address(&prefix, &link.name).is_none() {
            continue;
        }
        let mut batch = Batch::new();
        batch.delete_link(link.index);
        match route.transact(&mut batch) {
            Ok(()) => report.removed.push(format!("link {}", link.name)),
            Err(error) if error.is_absent() => {} // its namespace took it along
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Most went with their links.
fn remove_routes(route: &mut Socket, instance: &Instance, report: &mut Teardown) -> Result<(), Error> {
    for ours in routes(instance, 0).iter().filter(|ours| ours.kind == RouteKind::Unreachable) {
        let mut batch = Batch::new();
        batch.delete_route(ours);
        match route.transact(&mut batch) {
            Ok(()) => report.removed.push(format!("route {}/{}", ours.to, ours.prefix)),
            Err(error) if error.is_absent() => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn restore_forwarding(route: &mut Socket, netfilter: &mut Socket, before: &str, report: &mut Teardown) -> Result<(), Error> {
    let other_instance = route.links()?.iter().any(|link| is_any_instance(&link.name));
    let others_forward = netfilter.base_chains()?.iter().any(|chain| chain.hook == HookPoint::Forward);
    if other_instance || others_forward || read_forwarding()? == before {
        return Ok(());
    }
    report.removed.push("net.ipv4.ip_forward=1".into());
    write_sysctl(PathBuf::from(IP_FORWARD), before)
}

fn is_any_instance(link: &str) -> bool {
    link == "corten0" || link.strip_prefix("ctn").is_some_and(|slot| slot.parse::<u16>().is_ok())
}
