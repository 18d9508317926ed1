//! Nodes and what runs on them, kept current in place: the scheduler's whole world.

use std::collections::{HashMap, HashSet};
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
    /// Uids of `placed` by node name, also for nodes that are not known (yet, or any more).
    on_node: HashMap<String, HashSet<String>>,
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
        let early: Vec<Placed> = self.on_node.get(&name).into_iter().flatten().filter_map(|uid| self.placed.get(uid)).cloned().collect();
        early.iter().for_each(|placed| self.count(placed, 1));
    }

    pub fn remove_node(&mut self, name: &str) {
        let Some(at) = self.index.remove(name) else { return };
        self.nodes.swap_remove(at);
        if let Some(moved) = self.nodes.get(at) {
            self.index.insert(moved.node.metadata.name.clone(), at);
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
        self.on_node.entry(node.to_owned()).or_default().insert(pod.metadata.uid.clone());
        self.placed.insert(pod.metadata.uid.clone(), placed);
    }

    /// The pod is gone, finished, or was not bound after all. Returns whether it counted.
    pub fn remove(&mut self, uid: &str) -> bool {
        let Some(placed) = self.placed.remove(uid) else { return false };
        self.count(&placed, -1);
        if let Some(uids) = self.on_node.get_mut(&placed.node) {
            uids.remove(uid);
            if uids.is_empty() {
                self.on_node.remove(&placed.node);
            }
        }
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use schema::json;

    use super::*;

    fn node(name: usize) -> Arc<Node> {
        let doc = json!({"metadata": {"name": format!("n{name}")}, "status": {"allocatable": {"cpu": "8", "pods": "100"}}});
        Arc::new(serde_json::from_value(doc).unwrap())
    }

    fn pod(uid: usize, cpu: usize) -> Pod {
        let doc = json!({"metadata": {"name": "p", "uid": format!("u{uid}")}, "spec": {"containers": [
            {"name": "c", "resources": {"requests": {"cpu": cpu.to_string()}}, "ports": [{"containerPort": 80, "hostPort": 8000 + uid, "protocol": "TCP"}]},
        ]}});
        serde_json::from_value(doc).unwrap()
    }

    #[derive(Clone, Debug)]
    enum Event {
        Node(usize),
        NoNode(usize),
        Place { uid: usize, cpu: usize, node: usize },
        Remove(usize),
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            (0..3_usize).prop_map(Event::Node),
            (0..3_usize).prop_map(Event::NoNode),
            (0..4_usize, 1..4_usize, 0..3_usize).prop_map(|(uid, cpu, node)| Event::Place { uid, cpu, node }),
            (0..4_usize).prop_map(Event::Remove),
        ]
    }

    proptest! {
        /// Nodes and pods come from two informers: in whatever order their news arrive, the counts are those of what is there.
        #[test]
        fn counts_hold_in_every_order_of_events(events in proptest::collection::vec(event(), 0..40)) {
            let mut snapshot = Snapshot::default();
            let (mut nodes, mut pods) = (HashSet::new(), HashMap::new());
            for event in events {
                match event {
                    Event::Node(name) => { snapshot.set_node(node(name)); nodes.insert(name); }
                    Event::NoNode(name) => { snapshot.remove_node(&format!("n{name}")); nodes.remove(&name); }
                    Event::Place { uid, cpu, node } => { snapshot.place(&pod(uid, cpu), &format!("n{node}")); pods.insert(uid, (cpu, node)); }
                    Event::Remove(uid) => { prop_assert_eq!(snapshot.remove(&format!("u{uid}")), pods.remove(&uid).is_some()); }
                }
            }
            prop_assert_eq!(snapshot.nodes().len(), nodes.len());
            for name in nodes {
                let there: Vec<usize> = pods.values().filter(|(_, node)| *node == name).map(|(cpu, _)| *cpu).collect();
                let info = snapshot.node(&format!("n{name}")).unwrap();
                prop_assert_eq!(info.pods, there.len() as i64);
                prop_assert_eq!(info.requested.cpu_milli, there.iter().sum::<usize>() as i64 * 1000);
                prop_assert_eq!(info.ports.len(), there.len());
            }
            prop_assert_eq!(snapshot.on_node.values().map(HashSet::len).sum::<usize>(), pods.len());
        }
    }
}
