//! Which of the nodes that can run a pod is best. Each score is 0–100; the sum is weighted as upstream's defaults are.

use kinds::core::Taint;

use crate::filter::{Wanted, matches_term, tolerates_any};
use crate::resources::Amounts;
use crate::snapshot::NodeInfo;

const MAX: i64 = 100;

const WEIGHT_LEAST_ALLOCATED: i64 = 1;
const WEIGHT_BALANCED: i64 = 1;
const WEIGHT_TAINTS: i64 = 3;
const WEIGHT_AFFINITY: i64 = 2;

/// Weighted sums, one for each of `feasible`.
pub fn scores(wanted: &Wanted<'_>, scored: &Amounts, feasible: &[&NodeInfo]) -> Vec<i64> {
    let affinity = normalized(feasible.iter().map(|info| preferred_weight(wanted, info)).collect(), false);
    let taints = normalized(feasible.iter().map(|info| soft_taints(wanted, info)).collect(), true);
    let sums = feasible.iter().enumerate().map(|(at, info)| {
        WEIGHT_LEAST_ALLOCATED * least_allocated(scored, info)
            + WEIGHT_BALANCED * balanced(scored, &wanted.requests, info)
            + WEIGHT_TAINTS * taints[at]
            + WEIGHT_AFFINITY * affinity[at]
    });
    sums.collect()
}

/// The mean share of cpu and memory that stays free.
fn least_allocated(scored: &Amounts, info: &NodeInfo) -> i64 {
    let free = |capacity: i64, used: i64| if capacity == 0 || used > capacity { 0 } else { (capacity - used) * MAX / capacity };
    let cpu = free(info.allocatable.cpu_milli, info.scored.cpu_milli + scored.cpu_milli);
    let memory = free(info.allocatable.memory, info.scored.memory + scored.memory);
    (cpu + memory) / 2
}

/// How alike cpu and memory are used after the pod is there.
fn balanced(_scored: &Amounts, requests: &Amounts, info: &NodeInfo) -> i64 {
    let share = |used: i64, capacity: i64| if capacity == 0 { 1.0 } else { (used as f64 / capacity as f64).min(1.0) };
    let cpu = share(info.requested.cpu_milli + requests.cpu_milli, info.allocatable.cpu_milli);
    let memory = share(info.requested.memory + requests.memory, info.allocatable.memory);
    // Of two numbers the standard deviation is half their distance.
    ((1.0 - (cpu - memory).abs() / 2.0) * MAX as f64) as i64
}

fn preferred_weight(wanted: &Wanted<'_>, info: &NodeInfo) -> i64 {
    let affinity = wanted.pod.spec.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref());
    let terms = affinity.into_iter().flat_map(|affinity| &affinity.preferred_during_scheduling_ignored_during_execution);
    terms.filter(|term| matches_term(&term.preference, info)).map(|term| i64::from(term.weight)).sum()
}

fn soft_taints(wanted: &Wanted<'_>, info: &NodeInfo) -> i64 {
    let soft = |taint: &&Taint| taint.effect == "PreferNoSchedule" && !tolerates_any(&wanted.pod.spec.tolerations, taint);
    info.node.spec.taints.iter().filter(soft).count() as i64
}

/// Scales to 0–100 by the largest; `fewer_is_better` turns it round.
fn normalized(mut values: Vec<i64>, fewer_is_better: bool) -> Vec<i64> {
    let largest = values.iter().copied().max().unwrap_or_default();
    for value in &mut values {
        let scaled = if largest == 0 { 0 } else { *value * MAX / largest };
        *value = if fewer_is_better { MAX - scaled } else { scaled };
    }
    values
}
