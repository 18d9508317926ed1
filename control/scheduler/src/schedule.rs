//! The decision. Pure: the same snapshot, pod, start and dice give the same answer.

use std::collections::BTreeMap;

use kinds::core::Pod;

use crate::filter::{self, Obstacle, Reason, Wanted};
use crate::resources::{requests, scored_requests};
use crate::score;
use crate::snapshot::{NodeInfo, Snapshot, host_ports};

/// A cluster of up to so many nodes is searched whole.
const SEARCH_WHOLE: usize = 100;

#[derive(Clone, Debug, Default)]
pub struct Decision {
    /// None: no node fits.
    pub node: Option<String>,
    /// Why each rejected node was, as far as the search went.
    pub rejected: Vec<(String, Vec<Reason>)>,
    /// Where the next search should start, so that all nodes get their turn.
    pub next_start: usize,
}

impl Decision {
    /// `0/3 nodes are available: 1 Insufficient cpu, 2 node(s) were unschedulable.`
    pub fn message(&self, nodes: usize) -> String {
        if nodes == 0 {
            return "no nodes available to schedule pods".into();
        }
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for reason in self.rejected.iter().flat_map(|(_, reasons)| reasons) {
            *counts.entry(&reason.text).or_default() += 1;
        }
        let mut texts: Vec<String> = counts.into_iter().map(|(text, count)| format!("{count} {text}")).collect();
        texts.sort();
        format!("0/{nodes} nodes are available: {}.", texts.join(", "))
    }

    /// Whether a pod that goes could make room.
    pub fn waits_for_room(&self) -> bool {
        self.rejected.iter().any(|(_, reasons)| reasons.iter().all(|reason| reason.obstacle == Obstacle::Room))
    }
}

/// Picks the best of enough feasible nodes, looking from `start` on; `dice` breaks ties.
pub fn schedule(snapshot: &Snapshot, pod: &Pod, start: usize, dice: u64) -> Decision {
    let wanted = Wanted { pod, requests: requests(pod), ports: host_ports(pod) };
    let nodes = snapshot.nodes();
    let mut decision = Decision::default();
    let mut feasible: Vec<&NodeInfo> = Vec::new();
    let enough = enough(nodes.len());
    let mut looked = 0;
    while looked < nodes.len() && feasible.len() < enough {
        let info = &nodes[(start + looked) % nodes.len()];
        looked += 1;
        match obstacles(&wanted, info) {
            None => feasible.push(info),
            Some(reasons) => decision.rejected.push((info.node.metadata.name.clone(), reasons)),
        }
    }
    decision.next_start = if nodes.is_empty() { 0 } else { (start + looked) % nodes.len() };
    decision.node = best(&wanted, &feasible, dice);
    decision
}

/// Half of a small cluster down to a twentieth of a huge one, at least a hundred.
fn enough(nodes: usize) -> usize {
    if nodes <= SEARCH_WHOLE {
        return nodes;
    }
    let percent = 50_usize.saturating_sub(nodes / 125).max(5);
    (nodes * percent / 100).max(SEARCH_WHOLE)
}

fn obstacles(wanted: &Wanted<'_>, info: &NodeInfo) -> Option<Vec<Reason>> {
    filter::ALL.iter().map(|(_, filter)| filter(wanted, info)).find(|reasons| !reasons.is_empty())
}

fn best(wanted: &Wanted<'_>, feasible: &[&NodeInfo], dice: u64) -> Option<String> {
    if let [only] = feasible {
        return Some(only.node.metadata.name.clone());
    }
    let scores = score::scores(wanted, &scored_requests(wanted.pod), feasible);
    let top = scores.iter().max()?;
    let winners: Vec<&&NodeInfo> = feasible.iter().zip(&scores).filter(|(_, score)| *score == top).map(|(info, _)| info).collect();
    let pick = winners[(dice % winners.len() as u64) as usize];
    Some(pick.node.metadata.name.clone())
}

#[cfg(test)]
mod tests;
