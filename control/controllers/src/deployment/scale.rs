//! How many pods each replica set may have: surge, unavailability, and proportional scaling in the middle of a roll-out.

use kinds::apps::Deployment;

use super::sets::{DESIRED, MAX, Set, Sets};

/// The Deployment's replicas.
pub fn desired(deployment: &Deployment) -> i32 {
    deployment.spec.replicas.unwrap_or(1)
}

/// (desired, desired plus surge)
pub fn sizes(deployment: &Deployment) -> (i32, i32) {
    let desired = desired(deployment);
    (desired, desired + surge_and_unavailable(deployment).0)
}

/// Resolved `maxSurge` (rounded up) and `maxUnavailable` (rounded down, at most the replicas). They are never both zero.
pub fn surge_and_unavailable(deployment: &Deployment) -> (i32, i32) {
    if deployment.spec.strategy.r#type != "RollingUpdate" {
        return (0, 0);
    }
    let desired = desired(deployment);
    let rolling = deployment.spec.strategy.rolling_update.clone().unwrap_or_default();
    let surge = rolling.max_surge.and_then(|amount| amount.scaled(desired, true)).unwrap_or_default();
    let unavailable = rolling.max_unavailable.and_then(|amount| amount.scaled(desired, false)).unwrap_or_default();
    let unavailable = if surge == 0 && unavailable == 0 { 1 } else { unavailable };
    (surge, unavailable.min(desired))
}

/// Pods that must stay available during a roll-out.
pub fn min_available(deployment: &Deployment) -> i32 {
    desired(deployment) - surge_and_unavailable(deployment).1
}

/// The replicas were changed since the active sets were last sized.
pub fn is_scaling_event(deployment: &Deployment, sets: &Sets) -> bool {
    let desired = desired(deployment);
    sets.active().iter().any(|set| set.number(DESIRED).is_some_and(|noted| noted != desired))
}

/// New sizes for the sets whose size or note changes, when the Deployment is paused or was scaled.
pub fn plan(deployment: &Deployment, sets: &Sets) -> Vec<(Set, i32)> {
    let desired = desired(deployment);
    let active = sets.active();
    if active.len() <= 1 {
        let only = active.first().copied().or(sets.new.as_ref()).or(sets.old.last());
        // Also where only the note is wrong (somebody sized the set by hand): it would look like a scaling event for ever.
        let differs = |set: &&Set| set.replicas() != desired || set.number(DESIRED).is_some_and(|noted| noted != desired);
        return only.filter(differs).map(|set| (set.clone(), desired)).into_iter().collect();
    }
    if is_saturated(deployment, sets.new.as_ref()) {
        return sets.old.iter().filter(|set| set.replicas() > 0).map(|set| (set.clone(), 0)).collect();
    }
    if deployment.spec.strategy.r#type != "RollingUpdate" {
        return Vec::new();
    }
    proportional(deployment, active)
}

fn is_saturated(deployment: &Deployment, new: Option<&Set>) -> bool {
    let desired = desired(deployment);
    new.is_some_and(|set| {
        set.number(DESIRED) == Some(desired) && set.replicas() == desired && set.lens.status.available_replicas == desired
    })
}

/// Spreads the difference over the active sets by their share; what rounding leaves goes to the largest.
fn proportional(deployment: &Deployment, mut active: Vec<&Set>) -> Vec<(Set, i32)> {
    let (desired, max) = sizes(deployment);
    let allowed = if desired > 0 { max } else { 0 };
    let to_add = allowed - active.iter().map(|set| set.replicas()).sum::<i32>();
    // Larger first; among equals the newer grows first and the older shrinks first.
    active.sort_by(|a, b| {
        let age = |set: &Set| (set.lens.metadata.creation_timestamp.clone(), set.lens.metadata.name.clone());
        let ages = if to_add > 0 { age(b).cmp(&age(a)) } else { age(a).cmp(&age(b)) };
        b.replicas().cmp(&a.replicas()).then(ages)
    });
    let mut added = 0;
    let mut sizes: Vec<(Set, i32)> = Vec::new();
    for set in active {
        let share = share(deployment, set, to_add, added);
        added += share;
        sizes.push((set.clone(), set.replicas() + share));
    }
    if let Some((_, size)) = sizes.first_mut() {
        *size = (*size + to_add - added).max(0);
    }
    sizes.retain(|(set, size)| set.replicas() != *size || set.number(DESIRED) != Some(desired) || set.number(MAX) != Some(max));
    sizes
}

fn share(deployment: &Deployment, set: &Set, to_add: i32, added: i32) -> i32 {
    if to_add == 0 || to_add == added {
        return 0;
    }
    let (fraction, rest) = (fraction(deployment, set), to_add - added);
    if to_add > 0 { fraction.min(rest) } else { fraction.max(rest) }
}

/// How much this set would change if every set changed alike.
fn fraction(deployment: &Deployment, set: &Set) -> i32 {
    let (desired, max) = sizes(deployment);
    if desired == 0 {
        return -set.replicas();
    }
    let before = set.number(MAX).filter(|max| *max > 0).unwrap_or(deployment.status.replicas);
    if before == 0 {
        return 0;
    }
    let size = f64::from(set.replicas()) * f64::from(max) / f64::from(before);
    size.round() as i32 - set.replicas()
}
