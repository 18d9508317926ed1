//! Nodes and what runs on them, kept current in place: the scheduler's whole world.

use std::collections::HashMap;
use std::sync::Arc;

use kinds::core::{Node, Pod};

use crate::resources::{Amounts, requests, scored_requests};

/// (protocol, host port, host IP; empty is all)
pub type HostPort = (String, i32, String);

#[derive(Clone, Debug)]
pub struct NodeInfo {
    pub node: Arc<Node>,
    pub allocatable: Amounts,
    pub pods_max: i64,
    pub requested: Amounts,
    pub scored: Amounts,
    pub ports: Vec<HostPort>,
    pub pods: i64,
}

/// What the snapshot remembers of a pod so that it can take it off again.
#[derive(Clone, Debug, PartialEq)]
struct Placed {
    node: String,
    requested: Amounts,
    scored: Amounts,
    ports: Vec<HostPort>,
}

#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// In no order but a stable one: the search starts where the last one ended.
    nodes: Vec<NodeInfo>,
    index: HashMap<String, usize>,
    placed: HashMap<String, Placed>,
    /// Pods by node name for nodes that are not known (yet).
    homeless: HashMap<String, Vec<String>>,
}

impl Snapshot {
    pub fn nodes(&self) -> &[NodeInfo] {
        &self.nodes
    }

    pub fn node(&self, name: &str) -> Option<&NodeInfo> {
        self.index.get(name).map(|at| &self.nodes[*at])
    }

    pub fn set_node(&mut self, node: Arc<Node>) {
        let name = node.metadata.name.clone();
        let allocatable = Amounts::of(&node.status.allocatable);
        let pods_max = node.status.allocatable.get("pods").map_or(0, |quantity| quantity.value());
        if let Some(at) = self.index.get(&name) {
            let info = &mut self.nodes[*at];
            (info.node, info.allocatable, info.pods_max) = (node, allocatable, pods_max);
            return;
        }
        self.index.insert(name.clone(), self.nodes.len());
        let empty = Amounts::default();
        self.nodes.push(NodeInfo { node, allocatable, pods_max, requested: empty.clone(), scored: empty, ports: Vec::new(), pods: 0 });
        for uid in self.homeless.remove(&name).unwrap_or_default() {
            if let Some(placed) = self.placed.get(&uid).cloned() {
                self.count(&placed, 1);
            }
        }
    }

    pub fn remove_node(&mut self, name: &str) {
        let Some(at) = self.index.remove(name) else { return };
        self.nodes.swap_remove(at);
        if let Some(moved) = self.nodes.get(at) {
            self.index.insert(moved.node.metadata.name.clone(), at);
        }
        let orphans = self.placed.iter().filter(|(_, placed)| placed.node == name).map(|(uid, _)| uid.clone()).collect::<Vec<_>>();
        if !orphans.is_empty() {
            self.homeless.insert(name.to_owned(), orphans);
        }
    }

    /// The pod counts on `node` from now on: bound there, or about to be.
    pub fn place(&mut self, pod: &Pod, node: &str) {
        let placed = Placed { node: node.to_owned(), requested: requests(pod), scored: scored_requests(pod), ports: host_ports(pod) };
        if self.placed.get(&pod.metadata.uid) == Some(&placed) {
            return;
        }
        self.remove(&pod.metadata.uid);
        self.count(&placed, 1);
        if !self.index.contains_key(node) {
            self.homeless.entry(node.to_owned()).or_default().push(pod.metadata.uid.clone());
        }
        self.placed.insert(pod.metadata.uid.clone(), placed);
    }

    /// The pod is gone, finished, or was not bound after all. Returns whether it counted.
    pub fn remove(&mut self, uid: &str) -> bool {
        let Some(placed) = self.placed.remove(uid) else { return false };
        self.count(&placed, -1);
        true
    }

    pub fn holds(&self, uid: &str) -> bool {
        self.placed.contains_key(uid)
    }

    fn count(&mut self, placed: &Placed, sign: i64) {
        let Some(at) = self.index.get(&placed.node) else { return };
        let info = &mut self.nodes[*at];
        info.pods += sign;
        if sign > 0 {
            info.requested.add(&placed.requested);
            info.scored.add(&placed.scored);
            info.ports.extend(placed.ports.iter().cloned());
        } else {
            info.requested.subtract(&placed.requested);
            info.scored.subtract(&placed.scored);
            for port in &placed.ports {
                if let Some(held) = info.ports.iter().position(|held| held == port) {
                    info.ports.swap_remove(held);
                }
            }
        }
    }
}

/// Ports on the host that the pod wants for itself.
pub fn host_ports(pod: &Pod) -> Vec<HostPort> {
    let sidecars = pod.spec.init_containers.iter().filter(|container| container.restart_policy.as_deref() == Some("Always"));
    let ports = pod.spec.containers.iter().chain(sidecars).flat_map(|container| &container.ports).filter(|port| port.host_port > 0);
    let any = |ip: &str| if ip == "0.0.0.0" || ip == "::" { String::new() } else { ip.to_owned() };
    ports.map(|port| (port.protocol.clone(), port.host_port, any(&port.host_ip))).collect()
}
