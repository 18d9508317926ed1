//! What is wanted, what the kernel has, and the difference between the two. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::Ipv4Addr;

use contract::Protocol;
use sys::netlink::nft::{Element, Value};

use crate::front::{Front, FrontKey, Target, keep_slots};
use crate::layout::{Class, SetId, front_bytes, read_slot, slot_bytes, target_bytes};

/// `namespace/name`.
pub(crate) type ServiceName = String;

/// A front as programmed: its lists in slot order.
pub(crate) type Programmed = Front;

/// What one service wants.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Wanted {
    pub(crate) fronts: BTreeMap<FrontKey, Front>,
    /// Local endpoints.
    pub(crate) hairpins: Vec<Ipv4Addr>,
}

#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) services: HashMap<ServiceName, Wanted>,
    /// Who asked for a front, the earliest first; only that one has it. (Two services may name one external address.)
    claims: HashMap<FrontKey, Vec<ServiceName>>,
    pub(crate) programmed: HashMap<FrontKey, Programmed>,
    hairpins: HashMap<Ipv4Addr, usize>,
    /// Classes whose chain and element are there.
    pub(crate) classes: HashSet<Class>,
}

/// Element changes: what goes, then what comes, by set.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Changes {
    pub(crate) remove: BTreeMap<SetId, Vec<Element>>,
    pub(crate) add: BTreeMap<SetId, Vec<Element>>,
    pub(crate) classes: BTreeSet<Class>,
    /// What the fronts are afterwards.
    pub(crate) after: Vec<(FrontKey, Option<Programmed>)>,
    /// UDP flows that must find their way anew.
    pub(crate) stale: Vec<Stale>,
}

/// Flows that connection tracking would keep on the wrong way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stale {
    /// To an endpoint that left the front.
    Translated(FrontKey, Target),
    /// Sent while the front had nothing behind it.
    Untranslated(FrontKey),
}

impl Changes {
    pub(crate) fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.add.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.remove.values().chain(self.add.values()).map(Vec::len).sum()
    }
}

impl State {
    /// Notes what a service wants from now on (None: nothing) and computes what follows for the kernel.
    pub(crate) fn change(&mut self, name: &str, wanted: Option<Wanted>) -> Changes {
        let (touched, hairpins) = self.want(name, wanted);
        let mut changes = Changes::default();
        for (ip, add) in hairpins {
            let list = if add { &mut changes.add } else { &mut changes.remove };
            list.entry(SetId::Hairpin).or_default().push(hairpin_element(ip));
        }
        for key in touched {
            self.change_front(key, &mut changes);
        }
        changes
    }

    /// Only notes; returns the fronts that may differ now, and the hairpin addresses that came (true) or went.
    pub(crate) fn want(&mut self, name: &str, wanted: Option<Wanted>) -> (BTreeSet<FrontKey>, Vec<(Ipv4Addr, bool)>) {
        let before = self.services.remove(name).unwrap_or_default();
        let after = wanted.clone().unwrap_or_default();
        let touched: BTreeSet<FrontKey> = before.fronts.keys().chain(after.fronts.keys()).copied().collect();
        for key in &touched {
            self.claim(*key, name, after.fronts.contains_key(key));
        }
        let hairpins = self.count_hairpins(&before.hairpins, &after.hairpins);
        if let Some(wanted) = wanted {
            self.services.insert(name.to_owned(), wanted);
        }
        (touched, hairpins)
    }

    fn claim(&mut self, key: FrontKey, name: &str, claims: bool) {
        let claimants = self.claims.entry(key).or_default();
        match (claims, claimants.iter().position(|one| one == name)) {
            (true, None) => claimants.push(name.to_owned()),
            (false, Some(at)) => {
                claimants.remove(at);
            }
            _ => {}
        }
        if claimants.is_empty() {
            self.claims.remove(&key);
        }
    }

    fn count_hairpins(&mut self, before: &[Ipv4Addr], after: &[Ipv4Addr]) -> Vec<(Ipv4Addr, bool)> {
        let mut changed = Vec::new();
        for ip in after.iter().filter(|ip| !before.contains(ip)) {
            let count = self.hairpins.entry(*ip).or_default();
            *count += 1;
            if *count == 1 {
                changed.push((*ip, true));
            }
        }
        for ip in before.iter().filter(|ip| !after.contains(ip)) {
            let Some(count) = self.hairpins.get_mut(ip) else { continue };
            *count -= 1;
            if *count == 0 {
                self.hairpins.remove(ip);
                changed.push((*ip, false));
            }
        }
        changed
    }

    /// The front that the earliest claimant wants.
    fn wanted_front(&self, key: FrontKey) -> Option<&Front> {
        let owner = self.claims.get(&key)?.first()?;
        self.services.get(owner)?.fronts.get(&key)
    }

    fn change_front(&self, key: FrontKey, changes: &mut Changes) {
        let before = self.programmed.get(&key);
        let after = self.wanted_front(key).map(|wanted| placed(wanted, before));
        if before == after.as_ref() {
            return;
        }
        let old: HashMap<(SetId, Vec<u8>), Value> = before.map(|front| elements(key, front)).unwrap_or_default().into_iter().collect();
        let mut new: HashMap<(SetId, Vec<u8>), Value> =
            after.as_ref().map(|front| elements(key, front)).unwrap_or_default().into_iter().collect();
        for ((set, bytes), value) in old {
            match new.get(&(set, bytes.clone())) {
                Some(same) if *same == value => {
                    new.remove(&(set, bytes));
                }
                _ => changes.remove.entry(set).or_default().push(Element { key: bytes, value }),
            }
        }
        for ((set, key), value) in new {
            changes.add.entry(set).or_default().push(Element { key, value });
        }
        note_classes(key, after.as_ref(), changes);
        note_stale(key, before, after.as_ref(), changes);
        changes.after.push((key, after));
    }

    /// The kernel now has what `changes` said.
    pub(crate) fn done(&mut self, changes: &mut Changes) {
        self.classes.extend(&changes.classes);
        for (key, front) in changes.after.drain(..) {
            match front {
                Some(front) => self.programmed.insert(key, front),
                None => self.programmed.remove(&key),
            };
        }
    }

    /// The difference between everything wanted and a dump of the kernel, in portions of whole fronts.
    pub(crate) fn difference(&mut self, dump: &HashMap<SetId, Vec<Element>>, portion: usize) -> Vec<Changes> {
        self.programmed.clear();
        let slots = found_slots(dump);
        let mut kernel: HashMap<(SetId, Vec<u8>), Value> = HashMap::new();
        for (set, found) in dump {
            kernel.extend(found.iter().map(|element| ((*set, element.key.clone()), element.value.clone())));
        }
        let mut out = Vec::new();
        let mut changes = Changes::default();
        for ip in self.hairpins.keys() {
            let element = hairpin_element(*ip);
            if kernel.remove(&(SetId::Hairpin, element.key.clone())).is_none() {
                changes.add.entry(SetId::Hairpin).or_default().push(element);
            }
        }
        let keys: BTreeSet<FrontKey> = self.claims.keys().copied().collect();
        for key in keys {
            let Some(wanted) = self.wanted_front(key) else { continue };
            let front = placed(wanted, slots.get(&key));
            for ((set, bytes), value) in elements(key, &front) {
                let found = kernel.remove(&(set, bytes.clone()));
                if found.as_ref() == Some(&value) {
                    continue;
                }
                if let Some(found) = found {
                    changes.remove.entry(set).or_default().push(Element { key: bytes.clone(), value: found });
                }
                changes.add.entry(set).or_default().push(Element { key: bytes, value });
            }
            note_classes(key, Some(&front), &mut changes);
            note_stale(key, slots.get(&key), Some(&front), &mut changes);
            changes.after.push((key, Some(front)));
            if changes.len() >= portion {
                out.push(std::mem::take(&mut changes));
            }
        }
        // What is left over belongs to nobody. It goes last: first the right answers, then the wrong ones' end.
        for ((set, key), value) in kernel {
            changes.remove.entry(set).or_default().push(Element { key, value });
            if changes.len() >= portion {
                out.push(std::mem::take(&mut changes));
            }
        }
        out.push(changes);
        out
    }

    /// The classes that the wanted fronts need.
    pub(crate) fn wanted_classes(&self) -> BTreeSet<Class> {
        let mut changes = Changes::default();
        for key in self.claims.keys() {
            note_classes(*key, self.wanted_front(*key), &mut changes);
        }
        changes.classes
    }
}

/// The wanted front with its lists in slots, as near as possible to where they are.
fn placed(wanted: &Front, before: Option<&Programmed>) -> Programmed {
    let old_inside = before.map_or(&[][..], |before| &before.inside);
    let old_outside = before.and_then(|before| before.outside.as_deref()).unwrap_or_default();
    Front {
        inside: keep_slots(old_inside, &wanted.inside),
        outside: wanted.outside.as_ref().map(|outside| keep_slots(old_outside, outside)),
        ..wanted.clone()
    }
}

/// Every element of a front.
fn elements(key: FrontKey, front: &Programmed) -> Vec<((SetId, Vec<u8>), Value)> {
    let node_port = matches!(key, FrontKey::NodePort(..));
    let pick = |address: SetId, port: SetId| if node_port { port } else { address };
    let bytes = front_bytes(key);
    let mut out = Vec::with_capacity(front.inside.len() + 2);
    if front.refuses {
        out.push(((pick(SetId::AddressesRefused, SetId::NodePortsRefused), bytes), Value::None));
        return out;
    }
    let slots = pick(SetId::AddressSlots, SetId::NodePortSlots);
    let live = pick(SetId::AddressLive, SetId::NodePortLive);
    let mut lives = HashSet::new();
    for (outside, list) in lists(front) {
        let set = if outside { pick(SetId::AddressesOutside, SetId::NodePortsOutside) } else { pick(SetId::Addresses, SetId::NodePorts) };
        let class = class(key, front, outside, list.len());
        out.push(((set, bytes.clone()), class.value()));
        for (slot, target) in list.iter().enumerate() {
            let slot_key = [&bytes[..], &slot_bytes(outside, slot)].concat();
            out.push(((slots, slot_key), Value::Bytes(target_bytes(*target).to_vec())));
            if front.affinity_seconds.is_some() && lives.insert(*target) {
                out.push(((live, [&bytes[..], &target_bytes(*target)].concat()), Value::None));
            }
        }
    }
    out
}

fn lists(front: &Programmed) -> impl Iterator<Item = (bool, &[Target])> {
    let outside = front.outside.as_deref().map(|outside| (true, outside));
    std::iter::once((false, &front.inside[..])).chain(outside)
}

fn class(key: FrontKey, front: &Programmed, outside: bool, slots: usize) -> Class {
    let node_port = matches!(key, FrontKey::NodePort(..));
    if slots == 0 {
        return Class { slots: 0, node_port, outside: false, affinity_seconds: 0 };
    }
    Class { slots: slots as u32, node_port, outside, affinity_seconds: front.affinity_seconds.unwrap_or_default() }
}

fn note_classes(key: FrontKey, front: Option<&Programmed>, changes: &mut Changes) {
    let Some(front) = front.filter(|front| !front.refuses) else { return };
    changes.classes.extend(lists(front).map(|(outside, list)| class(key, front, outside, list.len())));
}

fn note_stale(key: FrontKey, before: Option<&Programmed>, after: Option<&Programmed>, changes: &mut Changes) {
    if key.protocol() != Protocol::Udp {
        return;
    }
    let targets = |front: Option<&Programmed>| -> BTreeSet<Target> {
        front.into_iter().flat_map(|front| lists(front).flat_map(|(_, list)| list.to_vec())).collect()
    };
    let (old, new) = (targets(before), targets(after));
    changes.stale.extend(old.difference(&new).map(|target| Stale::Translated(key, *target)));
    if old.is_empty() && !new.is_empty() {
        changes.stale.push(Stale::Untranslated(key));
    }
}

/// The fronts' slots as the kernel has them, for keeping targets in their places.
fn found_slots(dump: &HashMap<SetId, Vec<Element>>) -> HashMap<FrontKey, Programmed> {
    let mut found: HashMap<(FrontKey, bool), BTreeMap<usize, Target>> = HashMap::new();
    for set in [SetId::AddressSlots, SetId::NodePortSlots] {
        let elements = dump.get(&set).into_iter().flatten();
        for (key, outside, slot, target) in elements.filter_map(|element| read_slot(set, element)) {
            found.entry((key, outside)).or_default().insert(slot, target);
        }
    }
    let mut out: HashMap<FrontKey, Programmed> = HashMap::new();
    for ((key, outside), slots) in found {
        let list: Vec<Target> = slots.into_values().collect();
        let front = out.entry(key).or_default();
        if outside {
            front.outside = Some(list);
        } else {
            front.inside = list;
        }
    }
    out
}

fn hairpin_element(ip: Ipv4Addr) -> Element {
    Element { key: [ip.octets(), ip.octets()].concat(), value: Value::None }
}
