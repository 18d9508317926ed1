//! Which nodes can run a pod at all. Each filter says why not, in upstream's words.

use kinds::core::{NodeSelectorRequirement, NodeSelectorTerm, Pod, Taint, Toleration};

use crate::resources::Amounts;
use crate::snapshot::{HostPort, NodeInfo};

/// What about the pod the filters need, computed once per pod.
#[derive(Debug)]
pub struct Wanted<'a> {
    pub pod: &'a Pod,
    pub requests: Amounts,
    pub ports: Vec<HostPort>,
}

/// A sort of obstacle: says which events may remove it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// Only a change of nodes helps.
    Node,
    /// A pod that goes helps as well.
    Room,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    pub text: String,
    pub obstacle: Obstacle,
}

/// A filter answers with its reasons; none: the node passes.
pub type Filter = fn(&Wanted<'_>, &NodeInfo) -> Vec<Reason>;

/// In the order in which they are asked; the first that objects ends the question for that node.
pub const ALL: &[(&str, Filter)] = &[
    ("NodeUnschedulable", unschedulable),
    ("NodeName", node_name),
    ("TaintToleration", taints),
    ("NodeAffinity", affinity),
    ("NodePorts", ports),
    ("NodeResourcesFit", fit),
];

fn node_reason(text: impl Into<String>) -> Vec<Reason> {
    vec![Reason { text: text.into(), obstacle: Obstacle::Node }]
}

fn unschedulable(wanted: &Wanted<'_>, info: &NodeInfo) -> Vec<Reason> {
    let taint = Taint { key: "node.kubernetes.io/unschedulable".into(), effect: "NoSchedule".into(), ..Taint::default() };
    if info.node.spec.unschedulable && !tolerates_any(&wanted.pod.spec.tolerations, &taint) {
        return node_reason("node(s) were unschedulable");
    }
    Vec::new()
}

fn node_name(wanted: &Wanted<'_>, info: &NodeInfo) -> Vec<Reason> {
    let name = &wanted.pod.spec.node_name;
    if name.is_empty() || *name == info.node.metadata.name {
        Vec::new()
    } else {
        node_reason("node(s) didn't match the requested node name")
    }
}

fn taints(wanted: &Wanted<'_>, info: &NodeInfo) -> Vec<Reason> {
    let hard = info.node.spec.taints.iter().filter(|taint| taint.effect != "PreferNoSchedule");
    match hard.into_iter().find(|taint| !tolerates_any(&wanted.pod.spec.tolerations, taint)) {
        Some(_) => node_reason("node(s) had untolerated taint(s)"),
        None => Vec::new(),
    }
}

/// Whether one of the tolerations covers the taint.
pub fn tolerates_any(tolerations: &[Toleration], taint: &Taint) -> bool {
    tolerations.iter().any(|toleration| tolerates(toleration, taint))
}

fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let effect = toleration.effect.is_empty() || toleration.effect == taint.effect;
    let key = toleration.key.is_empty() || toleration.key == taint.key;
    let value = match toleration.operator.as_str() {
        "" | "Equal" => toleration.value == taint.value,
        "Exists" => true,
        _ => false,
    };
    effect && key && value
}

fn affinity(wanted: &Wanted<'_>, info: &NodeInfo) -> Vec<Reason> {
    let labels = &info.node.metadata.labels;
    let selector = wanted.pod.spec.node_selector.iter().all(|(name, value)| labels.get(name) == Some(value));
    let node_affinity = wanted.pod.spec.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref());
    let required = node_affinity.and_then(|affinity| affinity.required_during_scheduling_ignored_during_execution.as_ref());
    let terms = required.is_none_or(|required| required.node_selector_terms.iter().any(|term| matches_term(term, info)));
    if selector && terms { Vec::new() } else { node_reason("node(s) didn't match Pod's node affinity/selector") }
}

/// Whether all of the term's requirements hold; an empty term matches nothing.
pub fn matches_term(term: &NodeSelectorTerm, info: &NodeInfo) -> bool {
    if term.match_expressions.is_empty() && term.match_fields.is_empty() {
        return false;
    }
    let labels = term.match_expressions.iter().all(|requirement| {
        let value = info.node.metadata.labels.get(&requirement.key).map(String::as_str);
        matches(requirement, value)
    });
    let fields = term.match_fields.iter().all(|requirement| {
        let value = (requirement.key == "metadata.name").then_some(info.node.metadata.name.as_str());
        matches(requirement, value)
    });
    labels && fields
}

fn matches(requirement: &NodeSelectorRequirement, value: Option<&str>) -> bool {
    let listed = value.is_some_and(|value| requirement.values.iter().any(|one| one == value));
    let compare = |greater: bool| {
        let (held, bound) =
            (value.and_then(|value| value.parse::<i64>().ok()), requirement.values.first().and_then(|bound| bound.parse::<i64>().ok()));
        held.zip(bound).is_some_and(|(held, bound)| if greater { held > bound } else { held < bound })
    };
    match requirement.operator.as_str() {
        "In" => listed,
        "NotIn" => !listed,
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => compare(true),
        "Lt" => compare(false),
        _ => false,
    }
}

fn ports(wanted: &Wanted<'_>, info: &NodeInfo) -> Vec<Reason> {
    let conflict = |(protocol, port, ip): &HostPort| {
        let clashes = |(held_protocol, held_port, held_ip): &HostPort| {
            held_protocol == protocol && held_port == port && (ip.is_empty() || held_ip.is_empty() || ip == held_ip)
        };
        info.ports.iter().any(clashes)
    };
    if wanted.ports.iter().any(conflict) {
        return vec![Reason { text: "node(s) didn't have free ports for the requested pod ports".into(), obstacle: Obstacle::Room }];
    }
    Vec::new()
}

fn fit(wanted: &Wanted<'_>, info: &NodeInfo) -> Vec<Reason> {
    let mut reasons = Vec::new();
    let mut room = |text: String| reasons.push(Reason { text, obstacle: Obstacle::Room });
    if info.pods + 1 > info.pods_max {
        room("Too many pods".into());
    }
    let asked = &wanted.requests;
    if asked.cpu_milli > 0 && asked.cpu_milli > info.allocatable.cpu_milli - info.requested.cpu_milli {
        room("Insufficient cpu".into());
    }
    if asked.memory > 0 && asked.memory > info.allocatable.memory - info.requested.memory {
        room("Insufficient memory".into());
    }
    for (name, amount) in &asked.others {
        if *amount > 0 && *amount > info.allocatable.other(name) - info.requested.other(name) {
            room(format!("Insufficient {name}"));
        }
    }
    reasons
}
