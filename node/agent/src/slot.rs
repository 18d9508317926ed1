//! One container's place in a pod, and everything known of what runs or ran in it.
//!
//! ```text
//!          start                 started              exit
//! Idle ──────────► Starting ──────────────► Running ───────► Exited
//!  ▲                  │ image or config error                  │
//!  └──────────────────┘           restart (after back-off) ────┘ → Starting
//! ```

use std::collections::BTreeMap;
use std::time::Duration;

use contract::{ContainerId, Exit};
use jiff::Timestamp;
use kinds::core::{Container, ContainerRestartRule, PodSpec};
use tokio::time::Instant;

/// First crash back-off; each further crash doubles it.
pub const BACKOFF_FIRST: Duration = Duration::from_secs(10);
pub const BACKOFF_MAX: Duration = Duration::from_secs(300);
/// A container that ran this long since its last start begins anew.
pub const BACKOFF_RESET: Duration = Duration::from_secs(600);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Runs to completion before what follows it.
    Init,
    /// An init container that keeps running beside the app.
    Sidecar,
    App,
    /// Added to a running pod; never restarted.
    Ephemeral,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    Always,
    OnFailure,
    Never,
}

/// A reason and a sentence, as a waiting or terminated state shows them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Why {
    pub reason: String,
    pub message: String,
}

impl Why {
    pub fn new(reason: &str, message: impl Into<String>) -> Self {
        Self { reason: reason.into(), message: message.into() }
    }
}

/// One run of a container that is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    pub id: ContainerId,
    pub code: i32,
    pub signal: i32,
    pub why: Why,
    pub started_at: Timestamp,
    pub finished_at: Timestamp,
}

/// One run of a container that is going on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    pub id: ContainerId,
    pub started_at: Timestamp,
    /// No startup probe, or it has passed.
    pub started: bool,
    /// No readiness probe, or it passes.
    pub ready: bool,
    /// A liveness or startup probe gave up, or the post-start hook failed: seconds of grace to end it with, if the probe has its own.
    pub unhealthy: Option<Unhealthy>,
    /// A stop is under way.
    pub stopping: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unhealthy {
    pub message: String,
    pub grace_seconds: Option<i64>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Nothing runs and nothing ended, or what ended is forgotten (the sandbox was lost).
    Idle,
    Starting {
        id: ContainerId,
        cancelled: bool,
        /// When the run before it ended, if there was one in this sandbox.
        ended_before: Option<Instant>,
    },
    Running(Run),
    Exited {
        ended: Ended,
        at: Instant,
    },
}

/// When the next start may come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backoff {
    pub delay: Duration,
    /// When `delay` was last set.
    pub since: Option<Instant>,
}

impl Backoff {
    /// What so many restarts have made of it.
    pub fn after(restarts: u32, now: Instant) -> Self {
        let delay = match restarts.checked_sub(1) {
            None => Duration::ZERO,
            Some(doublings) => BACKOFF_FIRST.saturating_mul(1 << doublings.min(10)).min(BACKOFF_MAX),
        };
        Self { delay, since: (restarts > 0).then_some(now) }
    }

    /// The earliest restart after an end at `ended`: at once for the first, later and later for the next.
    pub fn not_before(&self, ended: Instant) -> Instant {
        if self.is_over(ended) { ended } else { ended + self.delay }
    }

    /// Counts a restart that is happening now.
    pub fn advance(&mut self, ended: Instant, now: Instant) {
        self.delay = if self.is_over(ended) { BACKOFF_FIRST } else { (self.delay * 2).min(BACKOFF_MAX) };
        self.since = Some(now);
    }

    fn is_over(&self, ended: Instant) -> bool {
        self.delay.is_zero() || self.since.is_none_or(|since| ended.saturating_duration_since(since) > BACKOFF_RESET)
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Slot {
    pub name: String,
    pub role: Role,
    /// The pod's, or the container's own.
    pub policy: Policy,
    pub rules: Vec<ContainerRestartRule>,
    pub has_startup_probe: bool,
    pub has_readiness_probe: bool,
    pub state: State,
    /// The run before the current one.
    pub previous: Option<Ended>,
    /// Number of runs before the current one.
    pub restarts: u32,
    /// Why it does not run, where there is more to say than that it is being created.
    pub waiting: Option<Why>,
    /// Crash back-off.
    pub backoff: Backoff,
    /// No start before this: image and configuration errors.
    pub retry_at: Option<Instant>,
    /// Image pull back-off.
    pub pull_delay: Duration,
    /// `name@digest` or id of the image of the last run.
    pub image: String,
    pub image_id: String,
}

impl Slot {
    pub fn new(container: &Container, role: Role, pod_policy: &str) -> Self {
        Self {
            name: container.name.clone(),
            role,
            policy: policy(container, role, pod_policy),
            rules: container.restart_policy_rules.clone(),
            has_startup_probe: container.startup_probe.is_some(),
            has_readiness_probe: container.readiness_probe.is_some(),
            state: State::Idle,
            previous: None,
            restarts: 0,
            waiting: None,
            backoff: Backoff::default(),
            retry_at: None,
            pull_delay: Duration::ZERO,
            image: container.image.clone(),
            image_id: String::new(),
        }
    }

    pub fn is_running(&self) -> bool {
        matches!(self.state, State::Running(_))
    }

    /// Something of it runs or is about to.
    pub fn is_live(&self) -> bool {
        matches!(self.state, State::Running(_) | State::Starting { .. })
    }

    /// Runs and has passed its startup probe.
    pub fn is_started(&self) -> bool {
        matches!(&self.state, State::Running(run) if run.started)
    }

    /// It runs or has run in this sandbox.
    pub fn has_run(&self) -> bool {
        matches!(self.state, State::Running(_) | State::Exited { .. })
    }

    /// The id of what runs or is starting.
    pub fn live_id(&self) -> Option<&str> {
        match &self.state {
            State::Starting { id, .. } => Some(id),
            State::Running(run) => Some(&run.id),
            State::Idle | State::Exited { .. } => None,
        }
    }

    pub fn run_mut(&mut self) -> Option<&mut Run> {
        match &mut self.state {
            State::Running(run) => Some(run),
            _ => None,
        }
    }

    /// Whether what has ended runs again; true also where nothing has run.
    pub fn should_restart(&self) -> bool {
        let State::Exited { ended, .. } = &self.state else { return true };
        match self.rules.iter().find(|rule| rule_matches(rule, ended.code)) {
            Some(rule) => rule.action == "Restart",
            None => restarts(self.policy, ended.code),
        }
    }

    /// Number that the next run will carry.
    pub fn next_restarts(&self) -> u32 {
        if self.has_run() || self.previous.is_some() { self.restarts + 1 } else { self.restarts }
    }
}

/// All slots of a pod, in the order of its spec: init containers, containers, ephemeral containers.
pub fn slots(spec: &PodSpec) -> Vec<Slot> {
    containers(spec).map(|(container, role)| Slot::new(container, role, &spec.restart_policy)).collect()
}

/// Every container with its role, in the same order as [`slots`].
pub fn containers(spec: &PodSpec) -> impl Iterator<Item = (&Container, Role)> {
    let init = spec.init_containers.iter().map(|container| (container, init_role(container)));
    let app = spec.containers.iter().map(|container| (container, Role::App));
    let ephemeral = spec.ephemeral_containers.iter().map(|one| (&one.container, Role::Ephemeral));
    init.chain(app).chain(ephemeral)
}

fn init_role(container: &Container) -> Role {
    if container.restart_policy.as_deref() == Some("Always") { Role::Sidecar } else { Role::Init }
}

fn policy(container: &Container, role: Role, pod_policy: &str) -> Policy {
    let own = container.restart_policy.as_deref().filter(|policy| !policy.is_empty());
    match (role, own.unwrap_or(pod_policy)) {
        (Role::Ephemeral, _) => Policy::Never,
        (Role::Sidecar, _) => Policy::Always,
        (Role::Init, "Never") | (Role::App, "Never") => Policy::Never,
        (Role::Init, _) | (Role::App, "OnFailure") => Policy::OnFailure,
        (Role::App, _) => Policy::Always,
    }
}

fn restarts(policy: Policy, code: i32) -> bool {
    match policy {
        Policy::Always => true,
        Policy::OnFailure => code != 0,
        Policy::Never => false,
    }
}

fn rule_matches(rule: &ContainerRestartRule, code: i32) -> bool {
    rule.exit_codes.as_ref().is_some_and(|codes| match codes.operator.as_str() {
        "In" => codes.values.contains(&code),
        "NotIn" => !codes.values.contains(&code),
        _ => false,
    })
}

/// What the agent writes on each container so that a restarted agent knows it again.
pub mod labels {
    pub const RESTARTS: &str = "io.corten.restarts";
    pub const IMAGE: &str = "io.corten.image";
    pub const IMAGE_ID: &str = "io.corten.image-id";
    pub const NAMESPACE: &str = "io.kubernetes.pod.namespace";
    pub const POD: &str = "io.kubernetes.pod.name";
    /// Host file of the termination message.
    pub const MESSAGE_FILE: &str = "io.corten.termination-message";
}

/// The restart number on a container's labels.
pub fn restarts_of(labels: &BTreeMap<String, String>) -> u32 {
    labels.get(labels::RESTARTS).and_then(|text| text.parse().ok()).unwrap_or_default()
}

/// How an exit reads in a status.
pub fn ended(exit: &Exit, started_at: Timestamp, message: String) -> Ended {
    let reason = match exit {
        Exit { unknown: true, .. } => "ContainerStatusUnknown",
        Exit { oom_killed: true, .. } => "OOMKilled",
        Exit { code: 0, .. } => "Completed",
        _ => "Error",
    };
    let unknown = "The container could not be located when the pod was terminated";
    let message = if exit.unknown { unknown.to_owned() } else { message };
    let finished_at = Timestamp::from_nanosecond(exit.finished_at.into()).unwrap_or(started_at);
    // Upstream leaves `signal` to runtimes that know it; containerd reports only 128 + signal.
    let code = if exit.unknown || exit.oom_killed && exit.code == 0 { 137 } else { exit.code };
    Ended { id: exit.id.clone(), code, signal: 0, why: Why::new(reason, message), started_at, finished_at }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_first_restart_is_immediate_then_waits_double_up_to_five_minutes() {
        let mut backoff = Backoff::default();
        let mut now = Instant::now();
        let mut waits = Vec::new();
        for _ in 0..8 {
            let start = backoff.not_before(now);
            waits.push((start - now).as_secs());
            backoff.advance(now, start);
            now = start + Duration::from_secs(1);
        }
        assert_eq!(waits, [0, 10, 20, 40, 80, 160, 300, 300]);
        let much_later = now + BACKOFF_RESET + Duration::from_secs(1);
        assert_eq!(backoff.not_before(much_later), much_later, "ten quiet minutes forgive");
    }

    #[test]
    fn exits_read_as_upstream_prints_them() {
        let exit = |code, oom_killed, unknown| Exit { id: "x".into(), code, oom_killed, unknown, ..Exit::default() };
        for (exit, want) in [
            (exit(0, false, false), (0, "Completed")),
            (exit(3, false, false), (3, "Error")),
            (exit(137, true, false), (137, "OOMKilled")),
            (exit(0, false, true), (137, "ContainerStatusUnknown")),
        ] {
            let ended = ended(&exit, Timestamp::UNIX_EPOCH, String::new());
            assert_eq!((ended.code, ended.why.reason.as_str()), want);
        }
    }
}
