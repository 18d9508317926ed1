//! Names to prebuilt answers, shared by the tasks that answer and the one that watches.
//!
//! Sharded by name, so that a change locks one shard for the time of an insert. A name may be made by several services
//! (the reverse name of a pod behind two headless services), so contributions are kept by their owner.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::Ipv4Addr;
use std::sync::{Arc, RwLock};

use crate::name::{Name, dashed_address, labels_before};
use crate::records::{Names, Records};
use crate::wire::{self, TYPE_A, TYPE_ANY, TYPE_CNAME, TYPE_NS, TYPE_PTR, TYPE_SOA, TYPE_SRV, TYPE_TXT};

const SHARDS: usize = 64;
/// As CoreDNS: short enough that a client sees a change soon.
pub(crate) const TTL_SECONDS: u32 = 5;
const SPEC_VERSION: &[u8] = b"1.1.0";

/// What a name answers, encoded. Records' owner is the question's name.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    a: Vec<Vec<u8>>,
    srv: Vec<(Vec<u8>, Vec<u8>)>,
    ptr: Vec<Vec<u8>>,
    txt: Vec<Vec<u8>>,
    ns: Vec<Vec<u8>>,
    soa: Vec<Vec<u8>>,
    pub(crate) alias: Option<Alias>,
}

#[derive(Debug)]
pub(crate) struct Alias {
    pub(crate) target: Name,
    pub(crate) record: Vec<u8>,
}

impl Answers {
    /// Records of this type with what belongs into the additional section beside each.
    pub(crate) fn of_kind(&self, kind: u16) -> Vec<(&[u8], Option<&[u8]>)> {
        match kind {
            TYPE_A => plain(&self.a),
            TYPE_PTR => plain(&self.ptr),
            TYPE_TXT => plain(&self.txt),
            TYPE_NS => plain(&self.ns),
            TYPE_SOA => plain(&self.soa),
            TYPE_SRV => self.srv.iter().map(|(record, extra)| (&record[..], Some(&extra[..]))).collect(),
            TYPE_CNAME => self.alias.iter().map(|alias| (&alias.record[..], None)).collect(),
            TYPE_ANY => [TYPE_CNAME, TYPE_A, TYPE_SRV, TYPE_PTR, TYPE_TXT].into_iter().flat_map(|kind| self.of_kind(kind)).collect(),
            _ => Vec::new(),
        }
    }
}

fn plain(records: &[Vec<u8>]) -> Vec<(&[u8], Option<&[u8]>)> {
    records.iter().map(|record| (&record[..], None)).collect()
}

/// What the zone says to a name.
#[derive(Debug)]
pub(crate) enum Found {
    Name(Arc<Answers>),
    /// There is something below it, or it is part of the zone's frame: NODATA for every type.
    Empty,
    Nothing,
    /// Not ours.
    Elsewhere,
}

#[derive(Debug)]
struct Entry {
    by_owner: Vec<(Arc<str>, Records)>,
    answers: Arc<Answers>,
}

#[derive(Debug)]
pub(crate) struct Zone {
    apex: Name,
    /// `svc.<apex>`
    pub(crate) services: Name,
    own_ranges: Vec<(Ipv4Addr, u8)>,
    shards: Vec<RwLock<HashMap<Name, Entry>>>,
    hasher: RandomState,
    /// Names that have others below them, with how many: `ns.svc.<apex>`, `_tcp.web.ns.svc.<apex>`, and all up to the apex.
    parents: RwLock<HashMap<Name, usize>>,
    fixed: HashMap<Name, Arc<Answers>>,
    /// For negative answers.
    pub(crate) soa: Vec<u8>,
}

impl Zone {
    /// None where `domain` is no name.
    pub(crate) fn new(domain: &str, dns_ip: Ipv4Addr, own_ranges: Vec<(Ipv4Addr, u8)>) -> Option<Self> {
        let apex = Name::parse(domain)?;
        let server = apex.below("dns")?.below("ns")?;
        let soa_data = soa_data(&apex, &server)?;
        let soa = wire::record(apex.as_bytes(), TYPE_SOA, TTL_SECONDS, &soa_data);
        let fixed = fixed_answers(&apex, &server, dns_ip, &soa_data)?;
        let shards = (0..SHARDS).map(|_| RwLock::default()).collect();
        let services = apex.below("svc")?;
        Some(Self { apex, services, own_ranges, shards, hasher: RandomState::new(), parents: RwLock::default(), fixed, soa })
    }

    pub(crate) fn find(&self, name: &[u8]) -> Found {
        if let Some(entry) = self.shard(name).read().expect("no writer of the zone panics").get(name) {
            return Found::Name(Arc::clone(&entry.answers));
        }
        let Some(labels) = labels_before(name, self.apex.as_bytes()) else { return self.find_reverse(name) };
        if let Some(answers) = self.fixed.get(name) {
            return Found::Name(Arc::clone(answers));
        }
        match &labels[..] {
            [b"svc" | b"pod" | b"dns"] => Found::Empty,
            [address, _, b"pod"] => pod(address),
            [_, b"pod"] => Found::Empty,
            _ if self.parents.read().expect("no writer of the zone panics").contains_key(name) => Found::Empty,
            _ => Found::Nothing,
        }
    }

    fn find_reverse(&self, name: &[u8]) -> Found {
        let Some(ip) = crate::name::reversed_address(name) else { return Found::Elsewhere };
        let inside =
            |(base, prefix): &(Ipv4Addr, u8)| (u32::from(ip) ^ u32::from(*base)).checked_shr(32 - u32::from(*prefix)).unwrap_or(0) == 0;
        if self.own_ranges.iter().any(inside) { Found::Nothing } else { Found::Elsewhere }
    }

    /// Replaces what `owner` said before (`old`) by `new`.
    pub(crate) fn update(&self, owner: &Arc<str>, old: &Names, new: &Names) {
        for (name, records) in new {
            if old.get(name) != Some(records) {
                self.change(name, owner, Some(records));
            }
        }
        for name in old.keys().filter(|name| !new.contains_key(*name)) {
            self.change(name, owner, None);
        }
    }

    fn change(&self, name: &Name, owner: &Arc<str>, records: Option<&Records>) {
        let mut shard = self.shard(name.as_bytes()).write().expect("no writer of the zone panics");
        let before = shard.remove(name);
        let existed = before.is_some();
        let mut by_owner = before.map(|entry| entry.by_owner).unwrap_or_default();
        by_owner.retain(|(other, _)| other != owner);
        by_owner.extend(records.filter(|records| !records.is_empty()).map(|records| (Arc::clone(owner), records.clone())));
        let exists = !by_owner.is_empty();
        if exists {
            let mut merged = Records::default();
            by_owner.iter().for_each(|(_, records)| merged.merge(records));
            shard.insert(name.clone(), Entry { by_owner, answers: Arc::new(encode(&merged)) });
        }
        drop(shard);
        if existed != exists {
            self.count_parents(name, exists);
        }
    }

    fn count_parents(&self, name: &Name, more: bool) {
        let Some(labels) = labels_before(name.as_bytes(), self.services.as_bytes()) else { return };
        let mut parents = self.parents.write().expect("no writer of the zone panics");
        let mut rest = name.as_bytes();
        for label in labels {
            rest = &rest[1 + label.len()..];
            match (more, parents.get_mut(rest)) {
                (true, Some(count)) => *count += 1,
                (true, None) => drop(parents.insert(Name::of_wire(rest), 1)),
                (false, Some(count)) if *count > 1 => *count -= 1,
                (false, _) => drop(parents.remove(rest)),
            }
        }
    }

    fn shard(&self, name: &[u8]) -> &RwLock<HashMap<Name, Entry>> {
        &self.shards[self.hasher.hash_one(name) as usize % SHARDS]
    }
}

/// As upstream's `pods insecure`: the name says the address, whoever asks.
fn pod(address: &[u8]) -> Found {
    let Some(ip) = dashed_address(address) else { return Found::Nothing };
    let records = Records { a: [ip].into(), ..Records::default() };
    Found::Name(Arc::new(encode(&records)))
}

fn encode(records: &Records) -> Answers {
    if let Some(target) = &records.cname {
        let record = wire::record_of_question(TYPE_CNAME, TTL_SECONDS, target.as_bytes());
        return Answers { alias: Some(Alias { target: target.clone(), record }), ..Answers::default() };
    }
    let weight = (100 / records.srv.len().max(1)).max(1) as u16;
    Answers {
        a: records.a.iter().map(|ip| wire::record_of_question(TYPE_A, TTL_SECONDS, &ip.octets())).collect(),
        srv: records
            .srv
            .iter()
            .map(|srv| {
                let data = [&[0, 0], &weight.to_be_bytes()[..], &srv.port.to_be_bytes(), srv.target.as_bytes()].concat();
                let record = wire::record_of_question(TYPE_SRV, TTL_SECONDS, &data);
                (record, wire::record(srv.target.as_bytes(), TYPE_A, TTL_SECONDS, &srv.ip.octets()))
            })
            .collect(),
        ptr: records.ptr.iter().map(|name| wire::record_of_question(TYPE_PTR, TTL_SECONDS, name.as_bytes())).collect(),
        ..Answers::default()
    }
}

fn fixed_answers(apex: &Name, server: &Name, dns_ip: Ipv4Addr, soa_data: &[u8]) -> Option<HashMap<Name, Arc<Answers>>> {
    let own = wire::record_of_question;
    let version = [&[SPEC_VERSION.len() as u8], SPEC_VERSION].concat();
    let at_apex = Answers {
        ns: vec![own(TYPE_NS, TTL_SECONDS, server.as_bytes())],
        soa: vec![own(TYPE_SOA, TTL_SECONDS, soa_data)],
        ..Answers::default()
    };
    let at_server = Answers { a: vec![own(TYPE_A, TTL_SECONDS, &dns_ip.octets())], ..Answers::default() };
    let at_version = Answers { txt: vec![own(TYPE_TXT, TTL_SECONDS, &version)], ..Answers::default() };
    let all = [(apex.clone(), at_apex), (server.clone(), at_server), (apex.below("dns-version")?, at_version)];
    Some(all.into_iter().map(|(name, answers)| (name, Arc::new(answers))).collect())
}

fn soa_data(apex: &Name, server: &Name) -> Option<Vec<u8>> {
    let mailbox = apex.below("hostmaster")?;
    let mut data = [server.as_bytes(), mailbox.as_bytes()].concat();
    // Serial, refresh, retry, expire, and how long an answer of "no" may be believed.
    for number in [1u32, 7200, 1800, 86_400, TTL_SECONDS] {
        data.extend_from_slice(&number.to_be_bytes());
    }
    Some(data)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zone() -> Zone {
        Zone::new("cluster.local", Ipv4Addr::new(10, 96, 0, 10), vec![(Ipv4Addr::new(10, 96, 0, 0), 16)]).unwrap()
    }

    fn names(entries: &[(&str, [u8; 4])]) -> Names {
        let one =
            |(name, ip): &(&str, [u8; 4])| (Name::parse(name).unwrap(), Records { a: [Ipv4Addr::from(*ip)].into(), ..Records::default() });
        entries.iter().map(one).collect()
    }

    fn shown(zone: &Zone, name: &str) -> String {
        match zone.find(Name::parse(name).unwrap().as_bytes()) {
            Found::Name(answers) => format!("{} A", answers.of_kind(TYPE_A).len()),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn names_come_and_go_with_their_owners() {
        let zone = zone();
        let (a, b): (Arc<str>, Arc<str>) = ("d/a".into(), "d/b".into());
        let (of_a, of_b) = (names(&[("x.d.svc.cluster.local", [10, 0, 0, 1])]), names(&[("x.d.svc.cluster.local", [10, 0, 0, 2])]));
        assert_eq!(shown(&zone, "x.d.svc.cluster.local"), "Nothing");
        zone.update(&a, &Names::new(), &of_a);
        zone.update(&b, &Names::new(), &of_b);
        assert_eq!(shown(&zone, "x.d.svc.cluster.local"), "2 A");
        assert_eq!(shown(&zone, "d.svc.cluster.local"), "Empty", "a namespace is there while it has names");
        zone.update(&a, &of_a, &Names::new());
        assert_eq!(shown(&zone, "x.d.svc.cluster.local"), "1 A");
        zone.update(&b, &of_b, &Names::new());
        assert_eq!(shown(&zone, "x.d.svc.cluster.local"), "Nothing");
        assert_eq!(shown(&zone, "d.svc.cluster.local"), "Nothing");
        assert!(zone.parents.read().unwrap().is_empty());
    }

    #[test]
    fn the_frame_of_the_zone_is_there_and_the_world_is_not() {
        let zone = zone();
        for (name, expected) in [
            ("svc.cluster.local", "Empty"),
            ("d.pod.cluster.local", "Empty"),
            ("10-0-0-1.d.pod.cluster.local", "1 A"),
            ("10-0-0-300.d.pod.cluster.local", "Nothing"),
            ("ns.dns.cluster.local", "1 A"),
            ("cluster.local", "0 A"),
            ("nothing.cluster.local", "Nothing"),
            ("example.org", "Elsewhere"),
            ("mycluster.local", "Elsewhere"),
            ("1.0.96.10.in-addr.arpa", "Nothing"),
            ("1.1.1.1.in-addr.arpa", "Elsewhere"),
        ] {
            assert_eq!(shown(&zone, name), expected, "{name}");
        }
    }
}
