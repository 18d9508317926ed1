//! A Deployment's status: counts and the conditions Available, Progressing and ReplicaFailure. Pure.

use jiff::Timestamp;
use kinds::apps::{Deployment, DeploymentCondition, DeploymentStatus};

use super::scale::{desired, min_available};
use super::sets::{Set, Sets};

/// What this look did that the Progressing condition tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// A new replica set of this name.
    Created(String),
    Found(String),
    /// No new replica set could be made; the text says why.
    CreateFailed(String),
    Paused,
    Resumed,
}

pub fn condition<'a>(status: &'a DeploymentStatus, r#type: &str) -> Option<&'a DeploymentCondition> {
    status.conditions.iter().find(|condition| condition.r#type == r#type)
}

/// Only the counts; conditions as they were.
pub fn counts(deployment: &Deployment, sets: &Sets) -> DeploymentStatus {
    let sum = |of: fn(&Set) -> i32| sets.all().map(of).sum::<i32>();
    let available = sum(|set| set.lens.status.available_replicas);
    DeploymentStatus {
        observed_generation: deployment.metadata.generation,
        replicas: sum(|set| set.lens.status.replicas),
        updated_replicas: sets.new.as_ref().map_or(0, |set| set.lens.status.replicas),
        ready_replicas: sum(|set| set.lens.status.ready_replicas),
        available_replicas: available,
        unavailable_replicas: (sum(Set::replicas) - available).max(0),
        terminating_replicas: Some(sum(|set| set.lens.status.terminating_replicas.unwrap_or_default())),
        conditions: deployment.status.conditions.clone(),
        collision_count: deployment.status.collision_count,
    }
}

/// The whole new status.
pub fn status(deployment: &Deployment, sets: &Sets, progress: Option<&Progress>, now: Timestamp) -> DeploymentStatus {
    let mut status = counts(deployment, sets);
    let minimum = status.available_replicas >= min_available(deployment);
    let (state, reason, message) = if minimum {
        ("True", "MinimumReplicasAvailable", "Deployment has minimum availability.")
    } else {
        ("False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability.")
    };
    set(&mut status, "Available", state, reason, message, now, false);
    tell_progress(deployment, sets, progress, &mut status, now);
    tell_failure(sets, &mut status, now);
    status
}

fn tell_progress(deployment: &Deployment, sets: &Sets, progress: Option<&Progress>, status: &mut DeploymentStatus, now: Timestamp) {
    if !has_deadline(deployment) {
        status.conditions.retain(|condition| condition.r#type != "Progressing");
        return;
    }
    if let Some(progress) = progress {
        let (state, reason, message) = match progress {
            Progress::Created(name) => ("True", "NewReplicaSetCreated", format!("Created new replica set {name:?}")),
            Progress::Found(name) => ("True", "FoundNewReplicaSet", format!("Found new replica set {name:?}")),
            Progress::CreateFailed(why) => ("False", "ReplicaSetCreateError", why.clone()),
            Progress::Paused => ("Unknown", "DeploymentPaused", "Deployment is paused".into()),
            Progress::Resumed => ("Unknown", "DeploymentResumed", "Deployment is resumed".into()),
        };
        return set(status, "Progressing", state, reason, &message, now, true);
    }
    let current = condition(&deployment.status, "Progressing");
    let finished =
        status.replicas == status.updated_replicas && current.is_some_and(|condition| condition.reason == "NewReplicaSetAvailable");
    if finished || deployment.spec.paused {
        return;
    }
    let who = match &sets.new {
        Some(set) => format!("ReplicaSet {:?}", set.lens.metadata.name),
        None => format!("Deployment {:?}", deployment.metadata.name),
    };
    if is_complete(deployment, status) {
        set(status, "Progressing", "True", "NewReplicaSetAvailable", &format!("{who} has successfully progressed."), now, true);
    } else if has_progressed(&deployment.status, status) {
        set(status, "Progressing", "True", "ReplicaSetUpdated", &format!("{who} is progressing."), now, true);
    } else if has_timed_out(deployment, now) {
        set(status, "Progressing", "False", "ProgressDeadlineExceeded", &format!("{who} has timed out progressing."), now, false);
    }
}

fn tell_failure(sets: &Sets, status: &mut DeploymentStatus, now: Timestamp) {
    let failures = sets.new.iter().chain(&sets.old).flat_map(|set| &set.lens.status.conditions);
    match failures.into_iter().find(|condition| condition.r#type == "ReplicaFailure") {
        Some(failure) => {
            let (state, reason, message) = (failure.status.clone(), failure.reason.clone(), failure.message.clone());
            set(status, "ReplicaFailure", &state, &reason, &message, now, false);
        }
        None => status.conditions.retain(|condition| condition.r#type != "ReplicaFailure"),
    }
}

/// Writes a condition. Its transition time moves with the state; its update time with any change, or always where `touch` says so.
fn set(status: &mut DeploymentStatus, r#type: &str, state: &str, reason: &str, message: &str, now: Timestamp, touch: bool) {
    let now = schema::time::format(now);
    let held = condition(status, r#type).cloned().unwrap_or_default();
    let same = held.status == state && held.reason == reason;
    if same && !(touch && held.message != message) && !(touch && reason == "ReplicaSetUpdated") {
        return;
    }
    let since = if held.status == state { held.last_transition_time.unwrap_or_else(|| now.clone()) } else { now.clone() };
    let made = DeploymentCondition {
        r#type: r#type.into(),
        status: state.into(),
        last_update_time: Some(now),
        last_transition_time: Some(since),
        reason: reason.into(),
        message: message.into(),
    };
    match status.conditions.iter_mut().find(|condition| condition.r#type == r#type) {
        Some(condition) => *condition = made,
        None => status.conditions.push(made),
    }
}

pub fn is_complete(deployment: &Deployment, status: &DeploymentStatus) -> bool {
    let desired = desired(deployment);
    status.updated_replicas == desired
        && status.replicas == desired
        && status.available_replicas == desired
        && status.observed_generation >= deployment.metadata.generation
}

fn has_progressed(old: &DeploymentStatus, new: &DeploymentStatus) -> bool {
    new.updated_replicas > old.updated_replicas
        || new.replicas - new.updated_replicas < old.replicas - old.updated_replicas
        || new.ready_replicas > old.ready_replicas
        || new.available_replicas > old.available_replicas
}

fn has_deadline(deployment: &Deployment) -> bool {
    deployment.spec.progress_deadline_seconds.is_some_and(|seconds| seconds != i32::MAX)
}

fn has_timed_out(deployment: &Deployment, now: Timestamp) -> bool {
    let Some(current) = condition(&deployment.status, "Progressing") else { return false };
    match current.reason.as_str() {
        "NewReplicaSetAvailable" => false,
        "ProgressDeadlineExceeded" => true,
        _ => seconds_left(deployment, current, now).is_some_and(|left| left <= 0),
    }
}

fn seconds_left(deployment: &Deployment, current: &DeploymentCondition, now: Timestamp) -> Option<i64> {
    let from = schema::time::parse(current.last_update_time.as_deref()?)?;
    Some(i64::from(deployment.spec.progress_deadline_seconds?) - now.duration_since(from).as_secs())
}

/// Seconds until the progress deadline must be looked at, while a roll-out is under way.
pub fn deadline(deployment: &Deployment, now: Timestamp) -> Option<u64> {
    let current = condition(&deployment.status, "Progressing").filter(|_| has_deadline(deployment) && !deployment.spec.paused)?;
    if matches!(current.reason.as_str(), "NewReplicaSetAvailable" | "ProgressDeadlineExceeded") {
        return None;
    }
    seconds_left(deployment, current, now).map(|left| left.max(0).unsigned_abs() + 1)
}

/// The condition that pausing or resuming asks for, where it is not there yet.
pub fn pausing(deployment: &Deployment) -> Option<Progress> {
    let reason = condition(&deployment.status, "Progressing").map_or("", |condition| condition.reason.as_str());
    match (deployment.spec.paused, reason) {
        (_, "ProgressDeadlineExceeded") | (true, "DeploymentPaused") => None,
        (true, _) => Some(Progress::Paused),
        (false, "DeploymentPaused") => Some(Progress::Resumed),
        (false, _) => None,
    }
}
