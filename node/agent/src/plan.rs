//! What a pod needs next. Pure: the same view gives the same plan, and carrying a plan out changes the view so that
//! the next plan does not ask for it again.
//!
//! Order of a life: prepare (sandbox, network, volumes) → init containers one after the other, sidecars among them →
//! all containers at once → … → end: containers, then sidecars in reverse → clean up → done.

use std::time::Duration;

use kinds::core::PodSpec;
use tokio::time::Instant;

use crate::slot::{Policy, Role, Slot, State};

/// How long an error shows as itself before the status says that the node backs off.
const ERROR_SHOWN: Duration = Duration::from_secs(2);

/// Sandbox, address and volumes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setup {
    /// To be made; not before the given time after a failure.
    Absent {
        retry_at: Option<Instant>,
    },
    /// Being made or removed right now.
    Busy,
    Ready,
    /// Removed for good.
    Removed,
}

/// The pod must end: its containers have until `deadline`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ending {
    pub deadline: Instant,
}

pub struct View<'a> {
    pub spec: &'a PodSpec,
    pub slots: &'a [Slot],
    pub setup: Setup,
    pub ending: Option<Ending>,
    /// When `activeDeadlineSeconds` runs out.
    pub active_deadline: Option<Instant>,
    pub now: Instant,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Make the sandbox, its address and the volumes.
    Prepare,
    /// Start this container, for the first time or again.
    Start(usize),
    /// It crashed and waits: say so.
    BackOff(usize),
    /// Its image could not be had and it waits: say so.
    PullBackOff(usize),
    /// End this container gracefully because a probe or hook gave up on it.
    StopUnhealthy(usize),
    /// End this container gracefully; the pod ends.
    Stop(usize),
    /// Give up a start that is under way.
    Cancel(usize),
    /// Nothing is left to run: the pod has succeeded or failed.
    Complete,
    /// `activeDeadlineSeconds` has run out.
    Expire,
    /// Remove sandbox, address and volumes.
    CleanUp,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    pub actions: Vec<Action>,
    /// Look again then, if nothing happens before.
    pub wake: Option<Instant>,
    /// Everything is ended and cleaned: the API may forget the pod.
    pub done: bool,
}

impl Plan {
    fn act(&mut self, action: Action) {
        self.actions.push(action);
    }

    fn wake_at(&mut self, at: Instant) {
        self.wake = Some(self.wake.map_or(at, |wake| wake.min(at)));
    }
}

pub fn plan(pod: &View<'_>) -> Plan {
    let mut plan = Plan::default();
    match pod.ending {
        Some(ending) => end(pod, ending, &mut plan),
        None => run(pod, &mut plan),
    }
    plan
}

fn run(pod: &View<'_>, plan: &mut Plan) {
    if let Some(deadline) = pod.active_deadline {
        if pod.now >= deadline {
            return plan.act(Action::Expire);
        }
        plan.wake_at(deadline);
    }
    if is_complete(pod) {
        return plan.act(Action::Complete);
    }
    for (index, slot) in pod.slots.iter().enumerate() {
        if matches!(&slot.state, State::Running(run) if run.unhealthy.is_some() && !run.stopping) {
            plan.act(Action::StopUnhealthy(index));
        }
    }
    if !prepare(pod, plan) {
        return;
    }
    let initialised = initialise(pod, plan);
    for (index, slot) in pod.slots.iter().enumerate() {
        match slot.role {
            Role::App if initialised => keep_running(pod, index, plan),
            Role::Ephemeral if slot.state == State::Idle => start_when_due(pod, index, plan),
            _ => {}
        }
    }
}

/// Every app container is over for good, or an init container has failed for good.
fn is_complete(pod: &View<'_>) -> bool {
    let over = |slot: &&Slot| matches!(slot.state, State::Exited { .. }) && !slot.should_restart();
    let failed = |slot: &Slot| matches!(&slot.state, State::Exited { ended, .. } if ended.code != 0);
    let mut apps = pod.slots.iter().filter(|slot| slot.role == Role::App).peekable();
    let init_failed = pod.slots.iter().any(|slot| slot.role == Role::Init && slot.policy == Policy::Never && failed(slot) && over(&slot));
    let nothing_started = pod.slots.iter().filter(|slot| slot.role == Role::App).all(|slot| !slot.has_run());
    (init_failed && nothing_started) || (apps.peek().is_some() && apps.all(|slot| over(&slot)))
}

/// Whether containers may start.
fn prepare(pod: &View<'_>, plan: &mut Plan) -> bool {
    match pod.setup {
        Setup::Ready => return true,
        Setup::Absent { retry_at: Some(at) } if at > pod.now => plan.wake_at(at),
        Setup::Absent { .. } => plan.act(Action::Prepare),
        Setup::Busy | Setup::Removed => {}
    }
    false
}

/// Runs init containers in order and keeps sidecars up; whether the app containers may run.
fn initialise(pod: &View<'_>, plan: &mut Plan) -> bool {
    let was_initialised = pod.slots.iter().any(|slot| slot.role == Role::App && (slot.has_run() || slot.is_live()));
    for (index, slot) in pod.slots.iter().enumerate() {
        match slot.role {
            Role::Sidecar => {
                keep_running(pod, index, plan);
                if !was_initialised && !slot.is_started() {
                    return false;
                }
            }
            Role::Init if !was_initialised && !is_done(slot) => {
                keep_running(pod, index, plan);
                return false;
            }
            _ => {}
        }
    }
    true
}

/// An init container that has succeeded.
fn is_done(slot: &Slot) -> bool {
    matches!(&slot.state, State::Exited { ended, .. } if ended.code == 0)
}

fn keep_running(pod: &View<'_>, index: usize, plan: &mut Plan) {
    let slot = &pod.slots[index];
    match &slot.state {
        State::Idle => start_when_due(pod, index, plan),
        State::Exited { at, .. } if slot.should_restart() => {
            let due = slot.backoff.not_before(*at);
            if due <= pod.now {
                return start_when_due(pod, index, plan);
            }
            plan.wake_at(due);
            match slot.waiting.as_ref().map(|why| why.reason.as_str()) {
                Some("CrashLoopBackOff") => {}
                Some("RunContainerError" | "PostStartHookError") if *at + ERROR_SHOWN > pod.now => plan.wake_at(*at + ERROR_SHOWN),
                _ => plan.act(Action::BackOff(index)),
            }
        }
        State::Starting { .. } | State::Running(_) | State::Exited { .. } => {}
    }
}

fn start_when_due(pod: &View<'_>, index: usize, plan: &mut Plan) {
    let slot = &pod.slots[index];
    let Some(at) = slot.retry_at.filter(|at| *at > pod.now) else { return plan.act(Action::Start(index)) };
    plan.wake_at(at);
    if slot.waiting.as_ref().is_some_and(|why| why.reason == "ErrImagePull") {
        let shown_until = at - slot.pull_delay + ERROR_SHOWN;
        if shown_until > pod.now { plan.wake_at(shown_until) } else { plan.act(Action::PullBackOff(index)) }
    }
}

fn end(pod: &View<'_>, ending: Ending, plan: &mut Plan) {
    let mut app_lives = false;
    for (index, slot) in pod.slots.iter().enumerate().filter(|(_, slot)| slot.role != Role::Sidecar) {
        app_lives |= slot.is_live();
        stop(index, slot, plan);
    }
    let expired = pod.now >= ending.deadline;
    let mut waits_for = app_lives;
    for (index, slot) in pod.slots.iter().enumerate().rev().filter(|(_, slot)| slot.role == Role::Sidecar) {
        if !waits_for || expired || !slot.is_running() {
            stop(index, slot, plan);
        }
        waits_for |= slot.is_live();
    }
    if waits_for {
        if !expired {
            plan.wake_at(ending.deadline);
        }
        return;
    }
    match pod.setup {
        Setup::Removed => plan.done = true,
        Setup::Busy => {}
        Setup::Absent { retry_at: Some(at) } if at > pod.now => plan.wake_at(at),
        Setup::Ready | Setup::Absent { .. } => plan.act(Action::CleanUp),
    }
}

fn stop(index: usize, slot: &Slot, plan: &mut Plan) {
    match &slot.state {
        State::Starting { cancelled: false, .. } => plan.act(Action::Cancel(index)),
        State::Running(run) if !run.stopping => plan.act(Action::Stop(index)),
        _ => {}
    }
}

#[cfg(test)]
mod tests;
