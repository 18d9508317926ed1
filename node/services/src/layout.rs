//! The sets and chains of the table, and what an element of each looks like.
//!
//! Registers in all rules: 0 source address or class, 1 destination address, 2 protocol, 3 port, 4 slot, then the
//! chosen address, 5 the chosen port. So one load serves as the key of every map: 1–4 is a slot of an address, 2–4 one
//! of a node port, 0–3 a client's affinity, 1–5 or 2–5 a living endpoint.

use std::net::Ipv4Addr;

use contract::Protocol;
use stdx::instance::Instance;
use sys::netlink::nft::{Chain, Data, Element, Hook, HookPoint, Is, Kind, Rule, Set, Value};

use crate::front::{FrontKey, Target};

/// The table's sets, for diffs and look-ups.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum SetId {
    /// Slots of addresses and node ports come first: what names them follows.
    AddressSlots,
    NodePortSlots,
    /// Endpoints that affinity may still choose.
    AddressLive,
    NodePortLive,
    Hairpin,
    /// Front to class.
    Addresses,
    NodePorts,
    /// For clients from outside, before the above.
    AddressesOutside,
    NodePortsOutside,
    AddressesRefused,
    NodePortsRefused,
}

impl SetId {
    pub(crate) const ALL: [Self; 11] = [
        Self::AddressSlots,
        Self::NodePortSlots,
        Self::AddressLive,
        Self::NodePortLive,
        Self::Hairpin,
        Self::Addresses,
        Self::NodePorts,
        Self::AddressesOutside,
        Self::NodePortsOutside,
        Self::AddressesRefused,
        Self::NodePortsRefused,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::AddressSlots => "svc-slots",
            Self::NodePortSlots => "np-slots",
            Self::AddressLive => "svc-live",
            Self::NodePortLive => "np-live",
            Self::Hairpin => "hairpin",
            Self::Addresses => "svc",
            Self::NodePorts => "np",
            Self::AddressesOutside => "svc-outside",
            Self::NodePortsOutside => "np-outside",
            Self::AddressesRefused => "svc-refused",
            Self::NodePortsRefused => "np-refused",
        }
    }
}

const ADDRESS_CLASSES: &str = "svc-classes";
const NODE_PORT_CLASSES: &str = "np-classes";
const AFFINITY: &str = "affinity";
/// Clients that are remembered at most; beyond that new ones are distributed without affinity.
const AFFINITY_MAX: u32 = 262_144;
/// Slots of the `outside` list begin here.
const OUTSIDE_SLOT: u32 = 0x8000;

const DESTINATION_NAT: i32 = -100;
/// Before podnet's masquerade: the first translation wins.
const SOURCE_NAT: i32 = 99;
const FILTER: i32 = -10;
/// The bits that [`Instance::mark`] uses.
const MARK_MASK: u32 = 0x40ff;

pub(crate) fn sets() -> Vec<Set> {
    use Kind::{Ipv4, Mark, Port, Protocol};
    const TARGET: Data = Data::Values(&[Ipv4, Port]);
    const CLASS: Data = Data::Values(&[Mark, Mark]);
    let set = |id: SetId, key, data| Set { name: id.name(), key, data, dynamic: None };
    vec![
        set(SetId::AddressSlots, &[Ipv4, Protocol, Port, Mark], TARGET),
        set(SetId::NodePortSlots, &[Protocol, Port, Mark], TARGET),
        set(SetId::AddressLive, &[Ipv4, Protocol, Port, Ipv4, Port], Data::None),
        set(SetId::NodePortLive, &[Protocol, Port, Ipv4, Port], Data::None),
        set(SetId::Hairpin, &[Ipv4, Ipv4], Data::None),
        set(SetId::Addresses, &[Ipv4, Protocol, Port], CLASS),
        set(SetId::NodePorts, &[Protocol, Port], CLASS),
        set(SetId::AddressesOutside, &[Ipv4, Protocol, Port], CLASS),
        set(SetId::NodePortsOutside, &[Protocol, Port], CLASS),
        set(SetId::AddressesRefused, &[Ipv4, Protocol, Port], Data::None),
        set(SetId::NodePortsRefused, &[Protocol, Port], Data::None),
        Set { name: ADDRESS_CLASSES, key: &[Mark], data: Data::Verdict, dynamic: None },
        Set { name: NODE_PORT_CLASSES, key: &[Mark], data: Data::Verdict, dynamic: None },
        Set { name: AFFINITY, key: &[Ipv4, Ipv4, Protocol, Port], data: TARGET, dynamic: Some(AFFINITY_MAX) },
    ]
}

/// The sets that map classes to their chains.
pub(crate) const CLASS_SETS: [&str; 2] = [ADDRESS_CLASSES, NODE_PORT_CLASSES];

/// The chains that are there whatever the services are.
pub(crate) fn chains(instance: &Instance) -> Vec<Chain> {
    let pods = instance.pod_range();
    let from_outside = || Rule::new().source_in(Is::Unequal, pods, 0);
    let address = || distribute(load_address_front(Rule::new()), SetId::Addresses, 1, ADDRESS_CLASSES);
    let node_port = || distribute(load_node_port_front(Rule::new()), SetId::NodePorts, 2, NODE_PORT_CLASSES);
    vec![
        // Twice: until Linux 6.17 a look-up may miss an element that a transaction replaces at that moment, old and new alike.
        // The next look-up sees the new one.
        plain("services", vec![address(), node_port(), address(), node_port()]),
        base(
            "services-in",
            HookPoint::Prerouting,
            DESTINATION_NAT,
            true,
            vec![
                distribute(load_address_front(from_outside()), SetId::AddressesOutside, 1, ADDRESS_CLASSES),
                distribute(load_node_port_front(from_outside()), SetId::NodePortsOutside, 2, NODE_PORT_CLASSES),
                Rule::new().jump("services"),
            ],
        ),
        base("services-out", HookPoint::Output, DESTINATION_NAT, true, vec![Rule::new().jump("services")]),
        base("services-source", HookPoint::Postrouting, SOURCE_NAT, true, source_rules(instance)),
        plain(
            "refuse",
            vec![
                load_address_front(Rule::new()).in_set(SetId::AddressesRefused.name(), 1).jump("reject"),
                load_node_port_front(Rule::new()).in_set(SetId::NodePortsRefused.name(), 2).jump("reject"),
            ],
        ),
        plain("reject", vec![Rule::new().protocol_is(Is::Equal, TCP, 0).reset(), Rule::new().reject()]),
        base("refuse-in", HookPoint::Input, FILTER, false, vec![Rule::new().jump("refuse")]),
        base("refuse-forward", HookPoint::Forward, FILTER, false, vec![Rule::new().jump("refuse"), refuse_unknown(instance)]),
        base("refuse-out", HookPoint::Output, FILTER, false, vec![Rule::new().jump("refuse"), refuse_unknown(instance)]),
    ]
}

/// The source becomes the node's own address (not `masquerade`, which might choose another) where the reply would not
/// come back this way: a pod that talks to itself, a client that was marked as coming from outside.
fn source_rules(instance: &Instance) -> Vec<Rule> {
    let node = instance.node_ip().octets();
    let (mask, mark) = (MARK_MASK.to_ne_bytes(), instance.mark().to_ne_bytes());
    vec![
        Rule::new().load_source(0).load_destination(1).in_set(SetId::Hairpin.name(), 0).set_register(0, &node).source_nat(0),
        Rule::new()
            .load_mark(0)
            .bits(0, &mask, &[0; 4])
            .compare(0, Is::Equal, &mark)
            .load_mark(0)
            .bits(0, &(!MARK_MASK).to_ne_bytes(), &[0; 4])
            .store_mark(0)
            .set_register(0, &node)
            .source_nat(0),
    ]
}

/// What still goes to the service range here was translated by nothing. DNS goes over loopback.
fn refuse_unknown(instance: &Instance) -> Rule {
    Rule::new().destination_in(Is::Equal, instance.service_range(), 0).out_link_is(Is::Unequal, "lo", 0).jump("reject")
}

/// Front to class to chain. The class is the second of the two components, so that it lands in register 1: `nft list`
/// (1.0.6) aborts on a look-up whose key it sees coming from another look-up. It prints `ip daddr vmap` or `fib … vmap`
/// here instead.
fn distribute(rule: Rule, fronts: SetId, key: u32, classes: &str) -> Rule {
    rule.map(fronts.name(), key, 0).verdict_map(classes, 1)
}

fn load_address_front(rule: Rule) -> Rule {
    rule.load_destination(1).load_protocol(2).load_destination_port(3)
}

fn load_node_port_front(rule: Rule) -> Rule {
    rule.destination_is_local(1).load_protocol(2).load_destination_port(3)
}

fn plain(name: &str, rules: Vec<Rule>) -> Chain {
    Chain { name: name.into(), hook: None, rules }
}

fn base(name: &str, point: HookPoint, priority: i32, nat: bool, rules: Vec<Rule>) -> Chain {
    Chain { name: name.into(), hook: Some(Hook { point, priority, nat }), rules }
}

/// How a connection is distributed. Zero slots: it is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Class {
    pub(crate) slots: u32,
    pub(crate) node_port: bool,
    /// The `outside` list: the client's address is kept.
    pub(crate) outside: bool,
    /// 0: no affinity.
    pub(crate) affinity_seconds: u32,
}

const OUTSIDE_BIT: u32 = 1 << 30;
const AFFINITY_SHIFT: u32 = 13;

impl Class {
    /// The set that has its element.
    pub(crate) fn set(self) -> &'static str {
        if self.node_port { NODE_PORT_CLASSES } else { ADDRESS_CLASSES }
    }

    /// The number by which the maps name it.
    pub(crate) fn id(self) -> u32 {
        if self.slots == 0 {
            return 0;
        }
        let bit = |set: bool, bit: u32| if set { bit } else { 0 };
        bit(self.outside, OUTSIDE_BIT) | (self.affinity_seconds << AFFINITY_SHIFT) | self.slots
    }

    /// What a front maps to: nothing, and the number.
    pub(crate) fn value(self) -> Value {
        Value::Bytes([[0; 4], self.id().to_ne_bytes()].concat())
    }

    fn name(self) -> String {
        let front = if self.node_port { "np" } else { "svc" };
        let outside = if self.outside { "-outside" } else { "" };
        let sticky = if self.affinity_seconds > 0 { format!("-sticky{}", self.affinity_seconds) } else { String::new() };
        format!("{front}{outside}-{}{sticky}", self.slots)
    }

    /// Its element of [`Class::set`].
    pub(crate) fn element(self) -> Element {
        let value = if self.slots == 0 { Value::Drop } else { Value::Goto(self.name()) };
        Element { key: self.id().to_ne_bytes().to_vec(), value }
    }

    /// Its chain; a dropped connection needs none.
    pub(crate) fn chain(self, instance: &Instance) -> Option<Chain> {
        if self.slots == 0 {
            return None;
        }
        let mut rules = Vec::new();
        if !self.outside {
            rules.push(mark_outsiders(instance));
        }
        if self.affinity_seconds > 0 {
            rules.push(self.known_client());
            rules.push(self.new_client());
        }
        rules.push(self.choose(self.slots).destination_nat(4, 5));
        // A packet that saw the old number of slots and the new slots meets none, and one that looks while a slot is replaced
        // may miss it (see `chains`): the first is always there, for who looks again.
        rules.push(self.choose(1).destination_nat(4, 5));
        Some(plain(&self.name(), rules))
    }

    fn known_client(self) -> Rule {
        let live = if self.node_port { SetId::NodePortLive } else { SetId::AddressLive };
        let found = load_all().map(AFFINITY, 0, 4).in_set(live.name(), self.key_register());
        found.remember(AFFINITY, 0, 4, self.affinity_seconds).destination_nat(4, 5)
    }

    /// Forgets first: renewing an entry would keep the endpoint that is gone.
    fn new_client(self) -> Rule {
        self.choose(self.slots).load_source(0).forget(AFFINITY, 0, 4).remember(AFFINITY, 0, 4, self.affinity_seconds).destination_nat(4, 5)
    }

    /// Address and port of one of the first `slots` slots into registers 4 and 5.
    fn choose(self, slots: u32) -> Rule {
        let map = if self.node_port { SetId::NodePortSlots } else { SetId::AddressSlots };
        let offset = if self.outside { OUTSIDE_SLOT } else { 0 };
        load_all().random(4, slots, offset).map(map.name(), self.key_register(), 4)
    }

    fn key_register(self) -> u32 {
        if self.node_port { 2 } else { 1 }
    }
}

fn load_all() -> Rule {
    Rule::new().load_source(0).load_destination(1).load_protocol(2).load_destination_port(3)
}

/// A client that is no pod would get the pod's answer from an address it never asked.
fn mark_outsiders(instance: &Instance) -> Rule {
    let (keep, mark) = ((!MARK_MASK).to_ne_bytes(), instance.mark().to_ne_bytes());
    Rule::new().source_in(Is::Unequal, instance.pod_range(), 0).load_mark(0).bits(0, &keep, &mark).store_mark(0)
}

const TCP: u8 = 6;

pub(crate) fn protocol_number(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Tcp => TCP,
        Protocol::Udp => 17,
        Protocol::Sctp => 132,
    }
}

fn protocol_of(number: u8) -> Option<Protocol> {
    [Protocol::Tcp, Protocol::Udp, Protocol::Sctp].into_iter().find(|protocol| protocol_number(*protocol) == number)
}

/// The bytes that name a front in every set: each component padded to four.
pub(crate) fn front_bytes(key: FrontKey) -> Vec<u8> {
    let mut out = Vec::with_capacity(20);
    let (protocol, port) = match key {
        FrontKey::Address(ip, protocol, port) => {
            out.extend_from_slice(&ip.octets());
            (protocol, port)
        }
        FrontKey::NodePort(protocol, port) => (protocol, port),
    };
    out.extend_from_slice(&[protocol_number(protocol), 0, 0, 0]);
    out.extend_from_slice(&port.to_be_bytes());
    out.extend_from_slice(&[0, 0]);
    out
}

pub(crate) fn target_bytes(target: Target) -> [u8; 8] {
    let ([a, b, c, d], [high, low]) = (target.ip.octets(), target.port.to_be_bytes());
    [a, b, c, d, high, low, 0, 0]
}

/// Number of a slot as the maps name it.
pub(crate) fn slot_bytes(outside: bool, slot: usize) -> [u8; 4] {
    let base = if outside { OUTSIDE_SLOT } else { 0 };
    (base + slot as u32).to_ne_bytes()
}

/// A slot found in the kernel: its front, whether it is of the outside list, its number and its target.
pub(crate) fn read_slot(set: SetId, element: &Element) -> Option<(FrontKey, bool, usize, Target)> {
    let (front, slot) = element.key.split_at_checked(element.key.len().checked_sub(4)?)?;
    let Value::Bytes(value) = &element.value else { return None };
    let target = Target { ip: ipv4(value.get(..4)?)?, port: u16::from_be_bytes([*value.get(4)?, *value.get(5)?]) };
    let number = u32::from_ne_bytes(slot.try_into().ok()?);
    let (ip, rest) = match set {
        SetId::AddressSlots => (Some(ipv4(front.get(..4)?)?), front.get(4..)?),
        _ => (None, front),
    };
    let (protocol, port) = (protocol_of(*rest.first()?)?, u16::from_be_bytes([*rest.get(4)?, *rest.get(5)?]));
    let key = match ip {
        Some(ip) => FrontKey::Address(ip, protocol, port),
        None => FrontKey::NodePort(protocol, port),
    };
    Some((key, number >= OUTSIDE_SLOT, (number % OUTSIDE_SLOT) as usize, target))
}

fn ipv4(bytes: &[u8]) -> Option<Ipv4Addr> {
    <[u8; 4]>::try_from(bytes).ok().map(Ipv4Addr::from)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn classes_have_numbers_and_names_of_their_own() {
        let mut seen = HashSet::new();
        for slots in [1, 2, 8191] {
            for (node_port, outside) in [(false, false), (false, true), (true, false), (true, true)] {
                for affinity_seconds in [0, 1, 10_800, 86_400] {
                    let class = Class { slots, node_port, outside, affinity_seconds };
                    assert!(seen.insert((class.set(), class.id())) && class.id() != 0);
                    assert!(class.name().len() < 32);
                }
            }
        }
    }

    #[test]
    fn a_slot_is_read_as_it_was_written() {
        let target = Target { ip: Ipv4Addr::new(10, 1, 2, 3), port: 8080 };
        for (set, key) in [
            (SetId::AddressSlots, FrontKey::Address(Ipv4Addr::new(10, 96, 0, 9), Protocol::Udp, 53)),
            (SetId::NodePortSlots, FrontKey::NodePort(Protocol::Sctp, 30_000)),
        ] {
            for (outside, slot) in [(false, 0), (true, 7)] {
                let key_bytes = [front_bytes(key), slot_bytes(outside, slot).to_vec()].concat();
                let element = Element { key: key_bytes, value: Value::Bytes(target_bytes(target).to_vec()) };
                assert_eq!(read_slot(set, &element), Some((key, outside, slot, target)));
            }
        }
    }
}
