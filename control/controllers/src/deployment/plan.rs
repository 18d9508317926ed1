//! The next step of a Deployment, decided from its replica sets. Pure.

use kinds::apps::Deployment;
use schema::Value;

use super::scale::{self, desired, min_available, sizes};
use super::sets::{Set, Sets, missing_annotations};
use super::status::{self, Progress};

#[derive(Clone, Debug)]
pub enum Step {
    Create { replicas: i32, revision: i64 },
    Annotate { set: Set, annotations: Value },
    Scale { set: Set, to: i32 },
    Delete { set: Set },
}

#[derive(Clone, Debug, Default)]
pub struct Plan {
    pub steps: Vec<Step>,
    /// The Deployment's own revision annotation.
    pub revision: Option<i64>,
    /// A change of the Progressing condition that is no step.
    pub progress: Option<Progress>,
}

pub fn recreates(deployment: &Deployment) -> bool {
    deployment.spec.strategy.r#type == "Recreate"
}

/// `old_pods_running`: a pod of an old set is not finished yet (only asked for `Recreate`).
pub fn plan(deployment: &Deployment, sets: &Sets, old_pods_running: bool) -> Plan {
    let revision = sets.old.iter().map(Set::revision).max().unwrap_or_default() + 1;
    if deployment.spec.paused || scale::is_scaling_event(deployment, sets) {
        let steps = scale::plan(deployment, sets).into_iter().map(|(set, to)| Step::Scale { set, to }).collect();
        let revision = sets.new.as_ref().map(Set::revision).filter(|revision| *revision > 0);
        return Plan { steps, revision, progress: status::pausing(deployment) };
    }
    let mut plan = Plan { steps: Vec::new(), revision: Some(revision), progress: status::pausing(deployment) };
    if let Some(new) = &sets.new {
        plan.revision = Some(revision.max(new.revision()));
        let missing = missing_annotations(deployment, new, revision);
        if !missing.is_empty() || new.lens.spec.min_ready_seconds != deployment.spec.min_ready_seconds {
            plan.steps.push(Step::Annotate { set: new.clone(), annotations: Value::Object(missing) });
            return plan;
        }
        if plan.progress.is_none() && status::condition(&deployment.status, "Progressing").is_none() {
            plan.progress = Some(Progress::Found(new.lens.metadata.name.clone()));
        }
    }
    plan.steps =
        if recreates(deployment) { recreate(deployment, sets, revision, old_pods_running) } else { roll(deployment, sets, revision) };
    if plan.steps.is_empty() && status::is_complete(deployment, &status::counts(deployment, sets)) {
        plan.steps = prune(deployment, sets);
    }
    plan
}

fn roll(deployment: &Deployment, sets: &Sets, revision: i64) -> Vec<Step> {
    let Some(new) = &sets.new else {
        return vec![Step::Create { replicas: new_size(deployment, sets, 0), revision }];
    };
    let size = if new.replicas() > desired(deployment) { desired(deployment) } else { new_size(deployment, sets, new.replicas()) };
    if size != new.replicas() {
        return vec![Step::Scale { set: new.clone(), to: size }];
    }
    shrink_old(deployment, sets, new)
}

/// The new set grows as far as the surge allows.
fn new_size(deployment: &Deployment, sets: &Sets, current: i32) -> i32 {
    let total: i32 = sets.all().map(Set::replicas).sum();
    let room = sizes(deployment).1 - total;
    if room <= 0 { current } else { current + room.min(desired(deployment) - current) }
}

/// First the old pods that do not serve anyway, then as many others as availability allows.
fn shrink_old(deployment: &Deployment, sets: &Sets, new: &Set) -> Vec<Step> {
    if sets.old.iter().all(|set| set.replicas() == 0) {
        return Vec::new();
    }
    let total: i32 = sets.all().map(Set::replicas).sum();
    let new_unavailable = new.replicas() - new.lens.status.available_replicas;
    let mut budget = total - min_available(deployment) - new_unavailable;
    if budget <= 0 {
        return Vec::new();
    }
    let mut targets: Vec<i32> = sets.old.iter().map(Set::replicas).collect();
    for (set, target) in sets.old.iter().zip(&mut targets) {
        let dead = (set.replicas() - set.lens.status.available_replicas).clamp(0, budget.max(0));
        *target -= dead;
        budget -= dead;
    }
    // A set gives up its pods that do not serve first, so this takes no more from availability than there is to spare.
    let available: i32 = sets.all().map(|set| set.lens.status.available_replicas).sum();
    let mut spare = available - min_available(deployment);
    for target in &mut targets {
        let live = (*target).min(spare).max(0);
        *target -= live;
        spare -= live;
    }
    let changed = sets.old.iter().zip(targets).filter(|(set, target)| set.replicas() != *target);
    changed.map(|(set, to)| Step::Scale { set: set.clone(), to }).collect()
}

fn recreate(deployment: &Deployment, sets: &Sets, revision: i64, old_pods_running: bool) -> Vec<Step> {
    let down: Vec<Step> = sets.old.iter().filter(|set| set.replicas() > 0).map(|set| Step::Scale { set: set.clone(), to: 0 }).collect();
    if !down.is_empty() || old_pods_running {
        return down;
    }
    match &sets.new {
        None => vec![Step::Create { replicas: desired(deployment), revision }],
        Some(new) if new.replicas() != desired(deployment) => vec![Step::Scale { set: new.clone(), to: desired(deployment) }],
        Some(_) => Vec::new(),
    }
}

/// Old sets beyond the history limit, oldest revisions first; only those that are empty and at rest.
fn prune(deployment: &Deployment, sets: &Sets) -> Vec<Step> {
    let Some(limit) = deployment.spec.revision_history_limit.filter(|limit| *limit != i32::MAX) else { return Vec::new() };
    let mut old: Vec<&Set> = sets.old.iter().filter(|set| !set.lens.metadata.is_deleting()).collect();
    let excess = old.len().saturating_sub(usize::try_from(limit).unwrap_or_default());
    old.sort_by_key(|set| set.revision());
    let at_rest = |set: &&&Set| {
        let lens = &set.lens;
        set.replicas() == 0 && lens.status.replicas == 0 && lens.metadata.generation <= lens.status.observed_generation
    };
    old.iter().take(excess).filter(at_rest).map(|set| Step::Delete { set: (*set).clone() }).collect()
}

#[cfg(test)]
mod tests;
