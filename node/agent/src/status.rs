//! The status of a pod, computed from what is known of it. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;
use kinds::core::{
    ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting, ContainerStatus, HostIp, Pod, PodCondition,
    PodIp, PodStatus,
};

use crate::resources;
use crate::slot::{Ended, Role, Slot, State, Why};

/// The condition types that the node writes; every other one belongs to somebody else.
pub const CONDITIONS: &[&str] = &["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"];

/// What the worker knows beside the slots.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    pub host_ip: String,
    pub pod_ips: Vec<String>,
    pub start_time: Option<Timestamp>,
    /// Sandbox and network are there.
    pub sandbox_ready: bool,
    /// The pod failed as a whole: rejected, deadline exceeded.
    pub failed: Option<Why>,
    /// It was never admitted: its containers have no status.
    pub rejected: bool,
    /// Nothing runs any more and nothing will.
    pub is_over: bool,
}

/// The whole status. `previous` is the one computed before (or read from the API at first): a terminal phase stays, and
/// transition times carry over. Conditions of others come from `pod`, as the API has them.
pub fn pod_status(pod: &Pod, previous: &PodStatus, slots: &[Slot], facts: &Facts, now: Timestamp) -> PodStatus {
    let of = |roles: &[Role]| -> Vec<ContainerStatus> {
        let chosen = slots.iter().filter(|slot| !facts.rejected && roles.contains(&slot.role));
        chosen.map(|slot| container_status(pod, slots, slot, facts)).collect()
    };
    let (init, app, ephemeral) = (of(&[Role::Init, Role::Sidecar]), of(&[Role::App]), of(&[Role::Ephemeral]));
    let phase = phase(pod, previous, slots, facts);
    let (reason, message) = facts.failed.clone().map_or_else(Default::default, |why| (why.reason, why.message));
    let mut status = PodStatus {
        observed_generation: pod.metadata.generation,
        phase: phase.into(),
        reason,
        message,
        nominated_node_name: pod.status.nominated_node_name.clone(),
        host_ip: facts.host_ip.clone(),
        host_ips: vec![HostIp { ip: facts.host_ip.clone() }],
        pod_ip: facts.pod_ips.first().cloned().unwrap_or_default(),
        pod_ips: facts.pod_ips.iter().map(|ip| PodIp { ip: ip.clone() }).collect(),
        start_time: facts.start_time.map(schema::time::format),
        init_container_statuses: init,
        container_statuses: app,
        ephemeral_container_statuses: ephemeral,
        qos_class: resources::qos(&pod.spec).as_str().into(),
        ..PodStatus::default()
    };
    status.conditions = conditions(pod, previous, slots, facts, phase, now);
    status
}

fn container_status(pod: &Pod, slots: &[Slot], slot: &Slot, facts: &Facts) -> ContainerStatus {
    let (state, last_state) = states(slots, slot, facts);
    let (ready, started) = readiness(slot);
    let spec = crate::slot::containers(&pod.spec).map(|(container, _)| container).find(|container| container.name == slot.name);
    let resources = spec.map(|container| container.resources.clone()).filter(|_| slot.is_running());
    ContainerStatus {
        name: slot.name.clone(),
        container_id: shown_id(slot),
        state,
        last_state,
        ready,
        restart_count: i32::try_from(slot.restarts).unwrap_or(i32::MAX),
        image: slot.image.clone(),
        image_id: slot.image_id.clone(),
        started: Some(started),
        allocated_resources: resources.as_ref().map(|resources| resources.requests.clone()).unwrap_or_else(BTreeMap::new),
        resources,
        ..ContainerStatus::default()
    }
}

/// `corten://<id>` of the current or last run.
fn shown_id(slot: &Slot) -> String {
    let id = match &slot.state {
        State::Running(run) => Some(&run.id),
        State::Exited { ended, .. } => Some(&ended.id),
        State::Idle | State::Starting { .. } => slot.previous.as_ref().map(|ended| &ended.id),
    };
    id.filter(|id| !id.is_empty()).map(|id| format!("corten://{id}")).unwrap_or_default()
}

fn states(slots: &[Slot], slot: &Slot, facts: &Facts) -> (ContainerState, ContainerState) {
    let previous = slot.previous.as_ref().map(terminated).unwrap_or_default();
    match &slot.state {
        State::Running(run) => {
            let running = ContainerStateRunning { started_at: Some(schema::time::format(run.started_at)) };
            (ContainerState { running: Some(running), ..ContainerState::default() }, previous)
        }
        // A run that ended shows as terminated until the pod knows that it must wait: no waiting state flickers between.
        State::Exited { ended, .. } => match &slot.waiting {
            Some(why) if !facts.is_over && slot.should_restart() => (waiting(why), terminated(ended)),
            _ => (terminated(ended), previous),
        },
        // While the next run is being created, the last one's end stays visible, as upstream does.
        State::Starting { .. } if slot.waiting.is_none() && slot.previous.is_some() => {
            (slot.previous.as_ref().map(terminated).unwrap_or_default(), ContainerState::default())
        }
        State::Starting { .. } | State::Idle => (waiting(&slot.waiting.clone().unwrap_or_else(|| default_wait(slots))), previous),
    }
}

fn default_wait(slots: &[Slot]) -> Why {
    let initialising = slots.iter().any(|slot| matches!(slot.role, Role::Init | Role::Sidecar));
    Why::new(if initialising { "PodInitializing" } else { "ContainerCreating" }, "")
}

fn waiting(why: &Why) -> ContainerState {
    let waiting = ContainerStateWaiting { reason: why.reason.clone(), message: why.message.clone() };
    ContainerState { waiting: Some(waiting), ..ContainerState::default() }
}

fn terminated(ended: &Ended) -> ContainerState {
    let terminated = ContainerStateTerminated {
        exit_code: ended.code,
        signal: ended.signal,
        reason: ended.why.reason.clone(),
        message: ended.why.message.clone(),
        started_at: Some(schema::time::format(ended.started_at)),
        finished_at: Some(schema::time::format(ended.finished_at)),
        container_id: if ended.id.is_empty() { String::new() } else { format!("corten://{}", ended.id) },
    };
    ContainerState { terminated: Some(terminated), ..ContainerState::default() }
}

/// (ready, started)
fn readiness(slot: &Slot) -> (bool, bool) {
    match (&slot.state, slot.role) {
        (State::Running(_), Role::Ephemeral) => (false, false),
        (State::Running(run), Role::Init) => (false, run.started),
        (State::Running(run), _) => (run.started && run.ready, run.started),
        (State::Exited { ended, .. }, Role::Init) => (ended.code == 0, false),
        _ => (false, false),
    }
}

fn phase(pod: &Pod, previous: &PodStatus, slots: &[Slot], facts: &Facts) -> &'static str {
    match previous.phase.as_str() {
        // A terminal phase is final.
        "Failed" => return "Failed",
        "Succeeded" => return "Succeeded",
        _ if facts.failed.is_some() => return "Failed",
        _ => {}
    }
    let never = pod.spec.restart_policy == "Never";
    let count = |matches: &dyn Fn(&Slot) -> bool| slots.iter().filter(|slot| slot.role == Role::App && matches(slot)).count();
    let has_initialised = count(&|slot| slot.has_run()) > 0;
    let init_failed = slots.iter().any(|slot| slot.role == Role::Init && last_code(slot).is_some_and(|code| code != 0));
    let initialising = slots.iter().any(|slot| slot.role == Role::Init && last_code(slot) != Some(0));
    let (running, stopped) = (count(&Slot::is_running), count(&|slot| !slot.is_running() && last_code(slot).is_some()));
    let succeeded = count(&|slot| matches!(&slot.state, State::Exited { ended, .. } if ended.code == 0));
    let waiting = count(&|slot| !slot.is_running() && last_code(slot).is_none());
    let sidecar_runs = slots.iter().any(|slot| slot.role == Role::Sidecar && slot.is_running());
    if init_failed && never && !has_initialised {
        return "Failed";
    }
    match () {
        () if facts.is_over => terminal(stopped, succeeded, waiting),
        () if initialising && !has_initialised => "Pending",
        () if waiting > 0 => "Pending",
        () if running > 0 || sidecar_runs => "Running",
        () if slots.iter().any(|slot| slot.role == Role::App && slot.should_restart()) => "Running",
        () if stopped > 0 && stopped == succeeded => "Succeeded",
        () if stopped > 0 => "Failed",
        () => "Pending",
    }
}

/// The phase of a pod of which nothing runs any more, whatever its restart policy.
fn terminal(stopped: usize, succeeded: usize, waiting: usize) -> &'static str {
    if waiting == 0 && stopped > 0 && stopped == succeeded { "Succeeded" } else { "Failed" }
}

/// Exit code of the last run that ended, if nothing runs now.
fn last_code(slot: &Slot) -> Option<i32> {
    match &slot.state {
        State::Exited { ended, .. } => Some(ended.code),
        State::Running(_) => None,
        State::Idle | State::Starting { .. } => slot.previous.as_ref().map(|ended| ended.code),
    }
}

fn conditions(pod: &Pod, previous: &PodStatus, slots: &[Slot], facts: &Facts, phase: &str, now: Timestamp) -> Vec<PodCondition> {
    let containers = containers_ready(slots, phase);
    let ours = [
        ("PodReadyToStartContainers", (facts.sandbox_ready, Why::default())),
        ("Initialized", initialised(slots, phase)),
        ("Ready", ready(pod, &containers)),
        ("ContainersReady", containers),
        ("PodScheduled", (true, Why::default())),
    ];
    let own = ours.into_iter().map(|(name, (holds, why))| condition(pod, previous, name, holds, why, now));
    let others = pod.status.conditions.iter().filter(|condition| !CONDITIONS.contains(&condition.r#type.as_str())).cloned();
    own.chain(others).collect()
}

fn condition(pod: &Pod, previous: &PodStatus, name: &str, holds: bool, why: Why, now: Timestamp) -> PodCondition {
    let status = if holds { "True" } else { "False" };
    let old = previous.conditions.iter().find(|condition| condition.r#type == name);
    let unchanged = old.filter(|old| old.status == status).and_then(|old| old.last_transition_time.clone());
    PodCondition {
        r#type: name.into(),
        status: status.into(),
        observed_generation: pod.metadata.generation,
        last_transition_time: Some(unchanged.unwrap_or_else(|| schema::time::format(now))),
        reason: why.reason,
        message: why.message,
        ..PodCondition::default()
    }
}

fn initialised(slots: &[Slot], phase: &str) -> (bool, Why) {
    if phase == "Succeeded" {
        return (true, Why::new("PodCompleted", ""));
    }
    let has_run = slots.iter().any(|slot| slot.role == Role::App && slot.has_run());
    let complete = |slot: &&Slot| match slot.role {
        Role::Init => has_run || last_code(slot) == Some(0),
        _ => has_run || slot.is_started(),
    };
    let inits = slots.iter().filter(|slot| matches!(slot.role, Role::Init | Role::Sidecar));
    let incomplete: Vec<&str> = inits.filter(|slot| !complete(slot)).map(|slot| slot.name.as_str()).collect();
    if incomplete.is_empty() {
        return (true, Why::default());
    }
    (false, Why::new("ContainersNotInitialized", format!("containers with incomplete status: {}", go_list(&incomplete))))
}

fn containers_ready(slots: &[Slot], phase: &str) -> (bool, Why) {
    match phase {
        "Succeeded" => return (false, Why::new("PodCompleted", "")),
        "Failed" => return (false, Why::new("PodFailed", "")),
        _ => {}
    }
    let watched = slots.iter().filter(|slot| matches!(slot.role, Role::App | Role::Sidecar));
    let unready: Vec<&str> = watched.filter(|slot| !readiness(slot).0).map(|slot| slot.name.as_str()).collect();
    if unready.is_empty() {
        return (true, Why::default());
    }
    (false, Why::new("ContainersNotReady", format!("containers with unready status: {}", go_list(&unready))))
}

/// Ready: all containers are, and every readiness gate holds.
fn ready(pod: &Pod, containers: &(bool, Why)) -> (bool, Why) {
    if !containers.0 {
        return containers.clone();
    }
    let holds =
        |gate: &str| pod.status.conditions.iter().find(|condition| condition.r#type == gate).map(|condition| condition.status == "True");
    let mut unmet = Vec::new();
    for gate in &pod.spec.readiness_gates {
        match holds(&gate.condition_type) {
            Some(true) => {}
            Some(false) => unmet.push(format!("the status of pod readiness gate {:?} is not \"True\", but False", gate.condition_type)),
            None => unmet.push(format!("corresponding condition of pod readiness gate {:?} does not exist.", gate.condition_type)),
        }
    }
    if unmet.is_empty() { (true, Why::default()) } else { (false, Why::new("ReadinessGatesNotReady", unmet.join(", "))) }
}

/// `[a b]`, as Go prints a list.
fn go_list(names: &[&str]) -> String {
    format!("[{}]", names.join(" "))
}

#[cfg(test)]
mod tests;
