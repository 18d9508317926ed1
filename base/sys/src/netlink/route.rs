//! rtnetlink: links, addresses, routes and neighbours. IPv4.
//!
//! Verbs on a [`Batch`] say what shall be so; [`Socket::transact`] makes it so. All of them may be repeated, except
//! where a name says `new`.

use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

use super::{ACK, Attributes, Batch, CREATE, EXCLUSIVE, Family, Message, REPLACE, Result, Socket, Writer, attributes, number, string};

const IFINFO: usize = 16;
const ADDRESS_HEADER: usize = 8;
const ROUTE_HEADER: usize = 12;

const IFLA_IFNAME: u16 = 3;
const IFLA_ADDRESS: u16 = 1;
const IFLA_MTU: u16 = 4;
const IFLA_LINK: u16 = 5;
const IFLA_QDISC: u16 = 6;
const IFLA_LINKINFO: u16 = 18;
const IFLA_IFALIAS: u16 = 20;
const IFLA_AF_SPEC: u16 = 26;
const IFLA_NET_NS_FD: u16 = 28;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const VETH_INFO_PEER: u16 = 1;
const IFLA_INET_CONF: u16 = 1;
const IFLA_INET6_ADDR_GEN_MODE: u16 = 8;
const ADDR_GEN_MODE_NONE: u8 = 1;
const IPV4_DEVCONF_ROUTE_LOCALNET: u16 = 26;

const GROUP_LINK: u32 = 1;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_FLAGS: u16 = 8;
/// No connected route comes with the address.
const IFA_F_NOPREFIXROUTE: u32 = 0x200;

const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_PRIORITY: u16 = 6;
const RTA_PREFSRC: u16 = 7;
const NDA_DST: u16 = 1;
const NDA_LLADDR: u16 = 2;
const NUD_PERMANENT: u16 = 0x80;

pub type Mac = [u8; 6];

/// A link as the kernel describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Link {
    pub index: u32,
    pub name: String,
    /// Free text that we set: the pod's uid.
    pub alias: String,
    /// `veth`, `bridge` …; empty for loopback and hardware.
    pub kind: String,
    pub mac: Vec<u8>,
    pub mtu: u32,
    pub flags: u32,
    /// Index of the other end (of a veth: in the other end's namespace).
    pub peer: u32,
    /// Queueing discipline: `noop` (drops everything) until the link is really ready to send.
    pub queue: String,
}

impl Link {
    pub fn is_up(&self) -> bool {
        self.flags & libc::IFF_UP as u32 != 0
    }

    /// Up, and what is sent leaves: the kernel activates a link's queue a moment after its carrier came.
    pub fn can_send(&self) -> bool {
        self.is_up() && self.queue != "noop"
    }
}

/// A pair of links to make. The ends are down at first; the peer may start in another namespace.
#[derive(Debug)]
pub struct NewVeth<'a> {
    pub name: &'a str,
    pub mac: Mac,
    pub mtu: u32,
    pub peer_name: &'a str,
    pub peer_mac: Mac,
    pub peer_netns: Option<BorrowedFd<'a>>,
}

/// What to change on a link; `None` and `false` leave it.
#[derive(Debug, Default)]
pub struct LinkChange<'a> {
    pub up: bool,
    pub no_arp: bool,
    pub alias: Option<&'a str>,
    pub mtu: Option<u32>,
    /// Accept and send 127.0.0.0/8 on this link (`route_localnet`).
    pub route_localnet: bool,
    /// Never make IPv6 addresses by itself.
    pub no_ipv6_autoconf: bool,
}

/// What a route does with its packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RouteKind {
    #[default]
    Unicast,
    Unreachable,
    Other(u8),
}

impl RouteKind {
    fn number(self) -> u8 {
        match self {
            Self::Unicast => libc::RTN_UNICAST,
            Self::Unreachable => libc::RTN_UNREACHABLE,
            Self::Other(kind) => kind,
        }
    }

    fn of(number: u8) -> Self {
        match number {
            libc::RTN_UNICAST => Self::Unicast,
            libc::RTN_UNREACHABLE => Self::Unreachable,
            other => Self::Other(other),
        }
    }
}

/// A route of the main table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    pub to: Ipv4Addr,
    pub prefix: u8,
    pub kind: RouteKind,
    /// 0: none.
    pub link: u32,
    pub gateway: Option<Ipv4Addr>,
    pub source: Option<Ipv4Addr>,
    pub metric: u32,
}

impl Route {
    /// Straight onto a link.
    pub fn on_link(to: Ipv4Addr, prefix: u8, link: u32) -> Self {
        Self { to, prefix, kind: RouteKind::Unicast, link, gateway: None, source: None, metric: 0 }
    }
}

impl Batch {
    pub fn new_veth(&mut self, veth: &NewVeth<'_>) {
        self.push(format!("creating link {}", veth.name), libc::RTM_NEWLINK, ACK | CREATE | EXCLUSIVE, &ifinfo(0, 0, 0), |w| {
            w.str(IFLA_IFNAME, veth.name);
            w.bytes(IFLA_ADDRESS, &veth.mac);
            w.u32(IFLA_MTU, veth.mtu);
            w.nested(IFLA_LINKINFO, |w| {
                w.str(IFLA_INFO_KIND, "veth");
                w.nested(IFLA_INFO_DATA, |w| w.nested(VETH_INFO_PEER, |w| veth_peer(w, veth)));
            });
        });
    }

    pub fn change_link(&mut self, index: u32, change: &LinkChange<'_>) {
        let flags = [(change.up, libc::IFF_UP), (change.no_arp, libc::IFF_NOARP)];
        let flags = flags.iter().filter(|(wanted, _)| *wanted).fold(0, |all, (_, flag)| all | *flag as u32);
        self.push(format!("changing link {index}"), libc::RTM_NEWLINK, ACK, &ifinfo(index, flags, flags), |w| {
            if let Some(alias) = change.alias {
                w.bytes(IFLA_IFALIAS, alias.as_bytes());
            }
            if let Some(mtu) = change.mtu {
                w.u32(IFLA_MTU, mtu);
            }
            if change.route_localnet {
                w.nested(IFLA_AF_SPEC, |w| {
                    w.nested(libc::AF_INET as u16, |w| w.nested(IFLA_INET_CONF, |w| w.u32(IPV4_DEVCONF_ROUTE_LOCALNET, 1)));
                });
            }
        });
        // Apart, because it is refused where the kernel has no IPv6: then there is nothing to keep off either.
        if change.no_ipv6_autoconf {
            self.push(format!("changing link {index}"), libc::RTM_NEWLINK, 0, &ifinfo(index, 0, 0), |w| {
                w.nested(IFLA_AF_SPEC, |w| w.nested(libc::AF_INET6 as u16, |w| w.bytes(IFLA_INET6_ADDR_GEN_MODE, &[ADDR_GEN_MODE_NONE])));
            });
            self.last_is_optional();
        }
    }

    pub fn delete_link(&mut self, index: u32) {
        self.push(format!("deleting link {index}"), libc::RTM_DELLINK, ACK, &ifinfo(index, 0, 0), |_| {});
    }

    /// An address without a connected route.
    pub fn address(&mut self, link: u32, ip: Ipv4Addr, prefix: u8) {
        let header = address_header(link, prefix);
        self.push(format!("adding address {ip}/{prefix}"), libc::RTM_NEWADDR, ACK | CREATE | REPLACE, &header, |w| {
            w.bytes(IFA_LOCAL, &ip.octets());
            w.bytes(IFA_ADDRESS, &ip.octets());
            w.u32(IFA_FLAGS, IFA_F_NOPREFIXROUTE);
        });
    }

    pub fn delete_address(&mut self, link: u32, ip: Ipv4Addr, prefix: u8) {
        let header = address_header(link, prefix);
        self.push(format!("removing address {ip}/{prefix}"), libc::RTM_DELADDR, ACK, &header, |w| w.bytes(IFA_LOCAL, &ip.octets()));
    }

    pub fn route(&mut self, route: &Route) {
        let what = format!("adding route {}/{}", route.to, route.prefix);
        self.push(what, libc::RTM_NEWROUTE, ACK | CREATE | REPLACE, &route_header(route), |w| write_route(w, route));
    }

    pub fn delete_route(&mut self, route: &Route) {
        let what = format!("removing route {}/{}", route.to, route.prefix);
        self.push(what, libc::RTM_DELROUTE, ACK, &route_header(route), |w| write_route(w, route));
    }

    /// A neighbour that is never asked for and never forgotten.
    pub fn neighbour(&mut self, link: u32, ip: Ipv4Addr, mac: Mac) {
        let mut header = [0u8; 12];
        header[0] = libc::AF_INET as u8;
        header[4..8].copy_from_slice(&link.to_ne_bytes());
        header[8..10].copy_from_slice(&NUD_PERMANENT.to_ne_bytes());
        self.push(format!("adding neighbour {ip}"), libc::RTM_NEWNEIGH, ACK | CREATE | REPLACE, &header, |w| {
            w.bytes(NDA_DST, &ip.octets());
            w.bytes(NDA_LLADDR, &mac);
        });
    }
}

impl Socket {
    pub fn links(&mut self) -> Result<Vec<Link>> {
        let mut request = Batch::dump("listing links", libc::RTM_GETLINK, &ifinfo(0, 0, 0), |_| {});
        Ok(self.dump(&mut request)?.iter().map(link).collect())
    }

    /// None: there is no such link.
    pub fn link(&mut self, name: &str) -> Result<Option<Link>> {
        let mut request = Batch::get(format!("link {name}"), libc::RTM_GETLINK, &ifinfo(0, 0, 0), |w| w.str(IFLA_IFNAME, name));
        match self.get(&mut request) {
            Ok(message) => Ok(Some(link(&message))),
            Err(error) if error.is_absent() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Waits until the link can send; false where it does not within `patience`. None: it is gone.
    ///
    /// Since Linux 6.8 the question itself activates the queue; before, a notification says when it happened.
    pub fn wait_until_it_sends(&mut self, name: &str, patience: Duration) -> Result<Option<bool>> {
        let can_send = |this: &mut Self| Ok::<_, super::Error>(this.link(name)?.map(|link| link.can_send()));
        if let decided @ (None | Some(true)) = can_send(self)? {
            return Ok(decided);
        }
        let mut listener = Self::open(Family::Route)?;
        listener.subscribe(GROUP_LINK)?;
        loop {
            // Asked after the subscription: no change falls between.
            if let decided @ (None | Some(true)) = can_send(self)? {
                return Ok(decided);
            }
            if !listener.wait(patience)? {
                return Ok(Some(false));
            }
            let _ = listener.notifications();
        }
    }

    /// Every address with its link and prefix length.
    pub fn addresses(&mut self) -> Result<Vec<(u32, Ipv4Addr, u8)>> {
        let mut request = Batch::dump("listing addresses", libc::RTM_GETADDR, &address_header(0, 0), |_| {});
        Ok(self.dump(&mut request)?.iter().filter_map(address).collect())
    }

    /// The IPv4 routes of the main table.
    pub fn routes(&mut self) -> Result<Vec<Route>> {
        let mut header = [0u8; ROUTE_HEADER];
        header[0] = libc::AF_INET as u8;
        let mut request = Batch::dump("listing routes", libc::RTM_GETROUTE, &header, |_| {});
        Ok(self.dump(&mut request)?.iter().filter_map(route).collect())
    }
}

fn veth_peer(w: &mut Writer<'_>, veth: &NewVeth<'_>) {
    // A peer that is created up is refused (ENOTCONN): its other half is not there yet.
    w.raw(&ifinfo(0, 0, 0));
    w.str(IFLA_IFNAME, veth.peer_name);
    w.bytes(IFLA_ADDRESS, &veth.peer_mac);
    w.u32(IFLA_MTU, veth.mtu);
    if let Some(netns) = veth.peer_netns {
        w.u32(IFLA_NET_NS_FD, netns.as_raw_fd() as u32);
    }
}

fn ifinfo(index: u32, flags: u32, change: u32) -> [u8; IFINFO] {
    let mut header = [0u8; IFINFO];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[8..12].copy_from_slice(&flags.to_ne_bytes());
    header[12..16].copy_from_slice(&change.to_ne_bytes());
    header
}

fn address_header(link: u32, prefix: u8) -> [u8; ADDRESS_HEADER] {
    let mut header = [libc::AF_INET as u8, prefix, 0, 0, 0, 0, 0, 0];
    header[4..8].copy_from_slice(&link.to_ne_bytes());
    header
}

fn route_header(route: &Route) -> [u8; ROUTE_HEADER] {
    let scope = match (route.kind, route.gateway) {
        (RouteKind::Unicast, None) => libc::RT_SCOPE_LINK,
        _ => libc::RT_SCOPE_UNIVERSE,
    };
    let family = libc::AF_INET as u8;
    [family, route.prefix, 0, 0, libc::RT_TABLE_MAIN, libc::RTPROT_STATIC, scope, route.kind.number(), 0, 0, 0, 0]
}

fn write_route(w: &mut Writer<'_>, route: &Route) {
    if route.prefix > 0 {
        w.bytes(RTA_DST, &route.to.octets());
    }
    if route.link != 0 {
        w.u32(RTA_OIF, route.link);
    }
    if let Some(gateway) = route.gateway {
        w.bytes(RTA_GATEWAY, &gateway.octets());
    }
    if let Some(source) = route.source {
        w.bytes(RTA_PREFSRC, &source.octets());
    }
    if route.metric != 0 {
        w.u32(RTA_PRIORITY, route.metric);
    }
}

fn link(message: &Message) -> Link {
    let header = |at: usize| message.body.get(at..).map_or(0, number);
    let mut link = Link { index: header(4), flags: header(8), ..Link::default() };
    for (kind, payload) in message.attributes(IFINFO) {
        match kind {
            IFLA_IFNAME => link.name = string(payload),
            IFLA_IFALIAS => link.alias = string(payload),
            IFLA_ADDRESS => link.mac = payload.to_vec(),
            IFLA_MTU => link.mtu = number(payload),
            IFLA_LINK => link.peer = number(payload),
            IFLA_QDISC => link.queue = string(payload),
            IFLA_LINKINFO => link.kind = attributes(payload).find_kind(IFLA_INFO_KIND).map(string).unwrap_or_default(),
            _ => {}
        }
    }
    link
}

fn address(message: &Message) -> Option<(u32, Ipv4Addr, u8)> {
    let attributes = message.attributes(ADDRESS_HEADER);
    let ip = attributes.clone().find_kind(IFA_LOCAL).or_else(|| attributes.find_kind(IFA_ADDRESS))?;
    Some((number(message.body.get(4..)?), ipv4(ip)?, message.body[1]))
}

fn route(message: &Message) -> Option<Route> {
    let header = message.body.get(..ROUTE_HEADER)?;
    if header[4] != libc::RT_TABLE_MAIN || header[0] != libc::AF_INET as u8 {
        return None;
    }
    let find = |kind| Attributes::find_kind(message.attributes(ROUTE_HEADER), kind);
    Some(Route {
        to: find(RTA_DST).and_then(ipv4).unwrap_or(Ipv4Addr::UNSPECIFIED),
        prefix: header[1],
        kind: RouteKind::of(header[7]),
        link: find(RTA_OIF).map_or(0, number),
        gateway: find(RTA_GATEWAY).and_then(ipv4),
        source: find(RTA_PREFSRC).and_then(ipv4),
        metric: find(RTA_PRIORITY).map_or(0, number),
    })
}

fn ipv4(payload: &[u8]) -> Option<Ipv4Addr> {
    <[u8; 4]>::try_from(payload).ok().map(Ipv4Addr::from)
}
