//! ClusterIPs and node ports, allocated in the transaction of the write that needs them.
//!
//! Every allocated address and port is a key of its own (`/allocations/ips/10.96.0.7`), guarded to be absent by the write
//! that takes it and deleted by the write that gives it back: exact also with several API servers. The set in memory only
//! says where to try; the guard decides.

use std::collections::HashSet;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::RwLock;

use bytes::Bytes;
use env::Env;
use kinds::Descriptor;
use schema::{DocExt, FieldErrors, Path, Status, Value, json};
use store::{Guard, Key, Op};

use crate::{Config, Core};

const PREFIX: &str = "/allocations/";
const IPS: &str = "/allocations/ips/";
const PORTS: &str = "/allocations/ports/";

/// What is taken now, as far as the watch cache has seen.
#[derive(Default)]
pub struct Allocations {
    taken: RwLock<HashSet<Box<str>>>,
}

impl Allocations {
    pub(crate) fn clear(&self) {
        self.taken.write().expect("allocations").clear();
    }

    /// Follows the store: `value` is None for a delete. Other keys are none of its business.
    pub(crate) fn note(&self, key: &str, value: Option<&Bytes>) {
        if !key.starts_with(PREFIX) {
            return;
        }
        let mut taken = self.taken.write().expect("allocations");
        match value {
            Some(_) => drop(taken.insert(key.into())),
            None => drop(taken.remove(key)),
        }
    }

    fn is_taken(&self, key: &str) -> bool {
        self.taken.read().expect("allocations").contains(key)
    }

    fn all(&self) -> Vec<Box<str>> {
        self.taken.read().expect("allocations").iter().cloned().collect()
    }
}

/// What a write adds to its transaction.
#[derive(Default)]
pub struct Allocated {
    pub guards: Vec<Guard>,
    pub ops: Vec<Op>,
}

/// Fills in the addresses and ports that `new` lacks, takes those that it has and `old` had not, and gives the others back.
/// Everything but Services passes unchanged. 422 where an asked one is taken or out of range.
pub fn plan(core: &Core, kind: &Descriptor, old: Option<&Value>, new: &mut Value) -> Result<Allocated, Status> {
    if !is_service(kind) {
        return Ok(Allocated::default());
    }
    let held: Vec<String> = old.map(keys_of).unwrap_or_default();
    let mut planner =
        Planner { taken: &core.cache.allocations, config: &core.config, env: &core.env, held: &held, errors: FieldErrors::default() };
    planner.families(new);
    planner.address(new)?;
    planner.ports(new)?;
    planner.health_check(new)?;
    if !planner.errors.is_empty() {
        return Err(Status::invalid("", "Service", new.str_at("metadata.name"), &planner.errors));
    }
    Ok(difference(&held, &keys_of(new), new))
}

/// Operations that give back everything that a deleted object held.
pub fn release(kind: &Descriptor, old: &Value) -> Vec<Op> {
    if !is_service(kind) {
        return Vec::new();
    }
    keys_of(old).into_iter().map(|key| Op::Delete { key: key.into() }).collect()
}

/// An update that leaves an address or port out keeps the one it has, as long as it still needs one.
pub fn carry_over(kind: &Descriptor, new: &mut Value, old: &Value) {
    if !is_service(kind) {
        return;
    }
    if needs_address(new) && needs_address(old) {
        for path in ["spec.clusterIP", "spec.clusterIPs", "spec.ipFamilies", "spec.ipFamilyPolicy"] {
            let missing = new.str_at(path).is_empty() && new.items_at(path).is_empty();
            if let Some(value) = old.at(path).filter(|_| missing) {
                new.set_at(path, value.clone());
            }
        }
    }
    if needs_ports(new) && needs_ports(old) {
        carry_ports(new, old);
    }
    if needs_health_check(new) && needs_health_check(old) && new.i64_at(HEALTH_CHECK).unwrap_or_default() == 0 {
        new.set_at(HEALTH_CHECK, old.i64_at(HEALTH_CHECK));
    }
}

fn carry_ports(new: &mut Value, old: &Value) {
    let protocol = |port: &Value| if port.str_at("protocol").is_empty() { "TCP".to_owned() } else { port.str_at("protocol").to_owned() };
    let key = |port: &Value| (protocol(port), port.i64_at("port"));
    let used: HashSet<i64> = new.items_at("spec.ports").iter().filter_map(|port| port.i64_at("nodePort")).collect();
    for port in new.items_at_mut("spec.ports") {
        if port.i64_at("nodePort").unwrap_or_default() != 0 {
            continue;
        }
        let before = old.items_at("spec.ports").iter().find(|before| key(before) == key(port)).and_then(|before| before.i64_at("nodePort"));
        if let Some(node_port) = before.filter(|node_port| !used.contains(node_port)) {
            port.set_at("nodePort", node_port);
        }
    }
}

/// Makes the keys fit the services that exist: `services` are all of them. Returns what a transaction would have to do.
pub fn repair(taken: &Allocations, services: &[Value]) -> Allocated {
    let wanted: HashSet<String> = services.iter().flat_map(keys_of).collect();
    let have: HashSet<String> = taken.all().into_iter().map(String::from).collect();
    let mut repair = Allocated::default();
    for service in services {
        for key in keys_of(service).into_iter().filter(|key| !have.contains(key)) {
            let put = put(&key, service);
            if !repair.ops.iter().any(|op| matches!(op, Op::Put { key: have, .. } if **have == *key)) {
                repair.ops.push(put);
            }
        }
    }
    repair.ops.extend(have.difference(&wanted).map(|key| Op::Delete { key: key.as_str().into() }));
    repair
}

const HEALTH_CHECK: &str = "spec.healthCheckNodePort";

struct Planner<'a> {
    taken: &'a Allocations,
    config: &'a Config,
    env: &'a Env,
    /// Keys that the object has already.
    held: &'a [String],
    errors: FieldErrors,
}

impl Planner<'_> {
    /// The IP families of a cluster that has only IPv4.
    fn families(&mut self, service: &mut Value) {
        if service.str_at("spec.type") == "ExternalName" {
            return;
        }
        let selectorless_headless = is_headless(service) && service.map_at("spec.selector").is_none_or(schema::Map::is_empty);
        if selectorless_headless && service.str_at("spec.ipFamilyPolicy").is_empty() {
            service.set_at("spec.ipFamilyPolicy", "RequireDualStack");
            service.default_at("spec.ipFamilies", json!(["IPv4", "IPv6"]));
            return;
        }
        service.default_at("spec.ipFamilyPolicy", "SingleStack");
        service.default_at("spec.ipFamilies", json!(["IPv4"]));
        if selectorless_headless {
            return;
        }
        if service.str_at("spec.ipFamilyPolicy") == "RequireDualStack" {
            let path = Path::new("spec").child("ipFamilyPolicy");
            self.errors.invalid(&path, "RequireDualStack", "this cluster is not configured for dual-stack services");
        }
        if let Some(at) = service.items_at("spec.ipFamilies").iter().position(|family| family == "IPv6") {
            let path = Path::new("spec").child("ipFamilies").index(at);
            self.errors.invalid(&path, "IPv6", "not configured on this cluster");
        }
    }

    fn address(&mut self, service: &mut Value) -> Result<(), Status> {
        if service.str_at("spec.type") == "ExternalName" {
            if service.str_at("spec.clusterIP").is_empty() {
                service.remove_at("spec.clusterIP");
            }
            return Ok(());
        }
        if is_headless(service) {
            service.set_at("spec.clusterIP", "None");
            service.set_at("spec.clusterIPs", json!(["None"]));
            return Ok(());
        }
        let asked = match service.str_at("spec.clusterIP") {
            "" => service.items_at("spec.clusterIPs").first().and_then(Value::as_str).unwrap_or_default(),
            ip => ip,
        };
        let ip = if asked.is_empty() { self.free_address()?.to_string() } else { asked.to_owned() };
        if !asked.is_empty() {
            self.check_address(&ip);
        }
        service.set_at("spec.clusterIP", ip.as_str());
        service.set_at("spec.clusterIPs", json!([ip]));
        Ok(())
    }

    fn check_address(&mut self, ip: &str) {
        if ip.parse::<Ipv6Addr>().is_ok() {
            let path = Path::new("spec").child("clusterIPs").index(0);
            return self.errors.invalid(&path, json!([ip]), "may not use IPv6 on a cluster which is not configured for it");
        }
        let (network, bits) = self.config.service_range;
        let why = match ip.parse::<Ipv4Addr>() {
            Err(_) => return, // the kind's own validation words it
            Ok(address) if !contains(self.config.service_range, address) => {
                format!(
                    "failed to allocate IP {ip}: the provided IP ({ip}) is not in the valid range. The range of valid IPs is {network}/{bits}"
                )
            }
            Ok(_) if self.is_foreign(&format!("{IPS}{ip}")) => format!("failed to allocate IP {ip}: provided IP is already allocated"),
            Ok(_) => return,
        };
        self.errors.invalid(&Path::new("spec").child("clusterIPs"), json!([ip]), &why);
    }

    /// A random free address, from the upper part of the range first: people choose fixed ones from the lower part.
    fn free_address(&self) -> Result<Ipv4Addr, Status> {
        let (network, bits) = self.config.service_range;
        let size = 1_u32 << (32 - u32::from(bits));
        let reserved = if size < 16 { 1 } else { (size / 16).clamp(16, 256) }.min(size / 2);
        let free = |first: u32, count: u32| {
            let start = u32::try_from(self.env.random_below(u64::from(count.max(1)))).unwrap_or_default();
            (0..count)
                .map(|step| Ipv4Addr::from(u32::from(network) + first + (start + step) % count))
                .find(|ip| !self.taken.is_taken(&format!("{IPS}{ip}")))
        };
        let upper = free(reserved, size - reserved - 1); // the last address is no host's
        let found = upper.or_else(|| free(1, reserved.saturating_sub(1)));
        found.ok_or_else(|| Status::internal("failed to allocate a serviceIP: range is full"))
    }

    fn ports(&mut self, service: &mut Value) -> Result<(), Status> {
        if !needs_ports(service) {
            return Ok(());
        }
        let mut chosen: Vec<(i64, i64)> = Vec::new(); // (port, node port): protocols of one port share a node port
        for (index, port) in service.items_at_mut("spec.ports").iter_mut().enumerate() {
            let number = port.i64_at("port").unwrap_or_default();
            let asked = port.i64_at("nodePort").unwrap_or_default();
            let node_port = if asked != 0 {
                self.check_port(asked, &Path::new("spec").child("ports").index(index).child("nodePort"));
                asked
            } else {
                let shared = chosen.iter().find(|(have, _)| *have == number).map(|(_, node_port)| *node_port);
                match shared {
                    Some(node_port) => node_port,
                    None => self.free_port(&chosen)?,
                }
            };
            port.set_at("nodePort", node_port);
            chosen.push((number, node_port));
        }
        Ok(())
    }

    fn check_port(&mut self, port: i64, path: &Path) {
        let (first, last) = self.config.node_ports;
        if !(i64::from(first)..=i64::from(last)).contains(&port) {
            let why = format!("provided port is not in the valid range. The range of valid ports is {first}-{last}");
            self.errors.invalid(path, port, &why);
        } else if self.is_foreign(&format!("{PORTS}{port}")) {
            self.errors.invalid(path, port, "provided port is already allocated");
        }
    }

    fn free_port(&self, chosen: &[(i64, i64)]) -> Result<i64, Status> {
        let (first, last) = (i64::from(self.config.node_ports.0), i64::from(self.config.node_ports.1));
        let count = last - first + 1;
        let start = i64::try_from(self.env.random_below(count.unsigned_abs())).unwrap_or_default();
        let mut candidates = (0..count).map(|step| first + (start + step) % count);
        let free = |port: &i64| !chosen.iter().any(|(_, have)| have == port) && !self.taken.is_taken(&format!("{PORTS}{port}"));
        candidates.find(free).ok_or_else(|| Status::internal("failed to allocate a nodePort: range is full"))
    }

    fn health_check(&mut self, service: &mut Value) -> Result<(), Status> {
        if !needs_health_check(service) {
            return Ok(());
        }
        match service.i64_at(HEALTH_CHECK).unwrap_or_default() {
            0 => {
                let used: Vec<(i64, i64)> =
                    service.items_at("spec.ports").iter().filter_map(|port| Some((0, port.i64_at("nodePort")?))).collect();
                let port = self.free_port(&used)?;
                service.set_at(HEALTH_CHECK, port);
            }
            asked => self.check_port(asked, &Path::new("spec").child("healthCheckNodePort")),
        }
        Ok(())
    }

    /// Taken by another object.
    fn is_foreign(&self, key: &str) -> bool {
        self.taken.is_taken(key) && !self.held.iter().any(|own| own == key)
    }
}

fn is_service(kind: &Descriptor) -> bool {
    kind.group.is_empty() && kind.resource == "services"
}

fn is_headless(service: &Value) -> bool {
    service.str_at("spec.clusterIP") == "None" || service.items_at("spec.clusterIPs").first().is_some_and(|ip| ip == "None")
}

fn needs_address(service: &Value) -> bool {
    service.str_at("spec.type") != "ExternalName" && !is_headless(service)
}

fn needs_ports(service: &Value) -> bool {
    match service.str_at("spec.type") {
        "NodePort" => true,
        "LoadBalancer" => service.at("spec.allocateLoadBalancerNodePorts") != Some(&Value::Bool(false)),
        _ => false,
    }
}

fn needs_health_check(service: &Value) -> bool {
    service.str_at("spec.type") == "LoadBalancer" && service.str_at("spec.externalTrafficPolicy") == "Local"
}

fn contains((network, bits): (Ipv4Addr, u8), ip: Ipv4Addr) -> bool {
    let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or_default();
    let (base, ip) = (u32::from(network), u32::from(ip));
    ip & mask == base & mask && ip != base && ip != base | !mask
}

/// The allocation keys that a service holds.
fn keys_of(service: &Value) -> Vec<String> {
    let ips = service.items_at("spec.clusterIPs").iter().filter_map(Value::as_str).filter(|ip| ip.parse::<Ipv4Addr>().is_ok());
    let ports = service.items_at("spec.ports").iter().filter_map(|port| port.i64_at("nodePort"));
    let ports = ports.chain(service.i64_at(HEALTH_CHECK)).filter(|port| *port != 0);
    let mut keys: Vec<String> = ips.map(|ip| format!("{IPS}{ip}")).chain(ports.map(|port| format!("{PORTS}{port}"))).collect();
    keys.sort_unstable();
    keys.dedup();
    keys
}

fn difference(held: &[String], wanted: &[String], owner: &Value) -> Allocated {
    let mut allocated = Allocated::default();
    for key in wanted.iter().filter(|key| !held.contains(key)) {
        allocated.guards.push(Guard::Absent(key.as_str().into()));
        allocated.ops.push(put(key, owner));
    }
    for key in held.iter().filter(|key| !wanted.contains(key)) {
        allocated.ops.push(Op::Delete { key: key.as_str().into() });
    }
    allocated
}

fn put(key: &str, owner: &Value) -> Op {
    let value = json!({"namespace": owner.str_at("metadata.namespace"), "name": owner.str_at("metadata.name"), "uid": owner.str_at("metadata.uid")});
    let key: Key = key.into();
    Op::Put { key, value: Bytes::from(value.to_string()), rv_at: None, ttl_seconds: None }
}
