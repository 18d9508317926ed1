//! Starting one container: image, environment, spec, process, post-start hook.

use std::sync::Arc;
use std::time::Duration;

use contract::{ContainerId, ContainerState, ErrorKind, Exit, Image};
use jiff::Timestamp;
use kinds::core::{Container, Pod};
use tokio_util::sync::CancellationToken;

use super::{Message, Prepared, Worker, clean};
use crate::blueprint::{self, Parts};
use crate::context::Context;
use crate::environment::{self, Objects};
use crate::hook;
use crate::slot::{BACKOFF_FIRST, BACKOFF_MAX, Ended, Run, State, Unhealthy, Why};

pub(super) const HOOK_FAILED: &str = "PostStartHook failed";
const CONFIG_RETRY: Duration = Duration::from_secs(30);
/// What containerd reports for a process that could not be started.
const START_ERROR_CODE: i32 = 128;

/// How a start ended.
pub(crate) enum Outcome {
    /// It runs, its post-start hook is done (or failed: the sentence).
    Running {
        state: ContainerState,
        image: String,
        image_id: String,
        hook: Result<(), String>,
    },
    /// The image could not be had.
    NoImage(Why),
    /// The configuration does not hold together (yet).
    BadConfig(Why),
    /// The process could not be started.
    Dead {
        message: String,
        restarts: u32,
        image: String,
        image_id: String,
    },
    Cancelled,
}

impl Worker {
    pub(super) fn start(&mut self, index: usize) {
        let (Some(prepared), Some(container)) = (self.prepared.clone(), self.container(index)) else { return };
        let id = container_id(&self.cx.env);
        self.cx.registry.claim(&id, &self.pod.metadata.uid);
        let token = CancellationToken::new();
        self.starts.insert(index, token.clone());
        let slot = &mut self.slots[index];
        let restarts = slot.next_restarts();
        slot.retry_at = None;
        if let State::Exited { at, .. } = &slot.state
            && slot.waiting.as_ref().is_none_or(|why| is_crash(&why.reason))
        {
            let (at, now) = (*at, self.cx.env.instant());
            slot.backoff.advance(at, now);
        }
        let ended_before = match &slot.state {
            State::Exited { at, .. } => Some(*at),
            _ => None,
        };
        let old = std::mem::replace(&mut slot.state, State::Starting { id: id.clone(), cancelled: false, ended_before });
        let forgotten = match old {
            State::Exited { ended, .. } => slot.previous.replace(ended),
            _ => None,
        };
        if slot.waiting.as_ref().is_some_and(|why| is_crash(&why.reason)) {
            slot.waiting = None;
        }
        let pid_target = self.pid_target(&container.name);
        let (cx, pod, objects) = (Arc::clone(&self.cx), Arc::clone(&self.pod), Arc::clone(&self.objects));
        self.spawn("container start", async move {
            if let Some(ended) = forgotten {
                clean::forget_run(&cx, &pod, &container.name, &ended.id, restarts.checked_sub(2)).await;
            }
            let attempt = Attempt {
                cx: &cx,
                pod: &pod,
                container: &container,
                prepared: &prepared,
                objects: objects.as_ref(),
                id: &id,
                restarts,
                pid_target,
            };
            let outcome = attempt.run(&token).await;
            Message::Started { index, id, outcome }
        });
    }

    /// The container that an ephemeral one joins; an error is the sentence of one that is not there.
    fn pid_target(&self, name: &str) -> Result<Option<ContainerId>, String> {
        let ephemeral = self.pod.spec.ephemeral_containers.iter().find(|one| one.container.name == name);
        let Some(target) = ephemeral.map(|one| &one.target_container_name).filter(|target| !target.is_empty()) else { return Ok(None) };
        let slot = self.slots.iter().find(|slot| slot.name == *target);
        match slot.map(|slot| &slot.state) {
            Some(State::Running(run)) => Ok(Some(run.id.clone())),
            Some(State::Exited { ended, .. }) => Ok(Some(ended.id.clone())),
            _ => Err(format!("unable to find target container {target}")),
        }
    }

    pub(super) async fn was_started(&mut self, index: usize, id: &str, outcome: Outcome) {
        self.starts.remove(&index);
        let early = self.early.remove(id);
        let (now, wall) = (self.cx.env.instant(), self.cx.env.now());
        let slot = &mut self.slots[index];
        if !matches!(&slot.state, State::Starting { id: starting, .. } if starting == id) {
            return;
        }
        if !matches!(outcome, Outcome::Running { .. }) {
            self.cx.registry.release(id);
        }
        match outcome {
            Outcome::Running { state, image, image_id, hook } => {
                (slot.image, slot.image_id) = (image, image_id);
                slot.restarts = crate::slot::restarts_of(&state.labels);
                slot.waiting = None;
                slot.pull_delay = Duration::ZERO;
                let started_at = Timestamp::from_nanosecond(state.started_at.into()).unwrap_or(wall);
                let unhealthy = hook.err().map(|_| Unhealthy { message: HOOK_FAILED.into(), grace_seconds: None });
                let (started, ready) = (!slot.has_startup_probe, !slot.has_readiness_probe);
                let run = Run { id: id.to_owned(), started_at, started, ready, unhealthy, stopping: false };
                slot.state = State::Running(run.clone());
                match early {
                    Some(exit) => self.end_run(index, run, &exit).await,
                    None => {
                        self.probe(index);
                        self.rotate_log(index);
                    }
                }
            }
            Outcome::NoImage(why) => {
                slot.pull_delay = if slot.pull_delay.is_zero() { BACKOFF_FIRST } else { (slot.pull_delay * 2).min(BACKOFF_MAX) };
                let retry_at = now + slot.pull_delay;
                self.wait_with(index, why, retry_at);
            }
            Outcome::BadConfig(why) => {
                let retry_at = now + CONFIG_RETRY;
                self.wait_with(index, why, retry_at);
            }
            Outcome::Dead { message, restarts, image, image_id } => {
                (slot.image, slot.image_id) = (image, image_id);
                slot.restarts = restarts;
                let why = Why::new("StartError", message.as_str());
                let ended = Ended {
                    id: id.to_owned(),
                    code: START_ERROR_CODE,
                    signal: 0,
                    why,
                    started_at: Timestamp::UNIX_EPOCH,
                    finished_at: wall,
                };
                slot.state = State::Exited { ended, at: now };
                slot.waiting = Some(Why::new("RunContainerError", message));
            }
            Outcome::Cancelled => self.restore(index),
        }
    }

    /// Back to what was before the attempt, waiting for a reason.
    fn wait_with(&mut self, index: usize, why: Why, retry_at: tokio::time::Instant) {
        self.restore(index);
        let slot = &mut self.slots[index];
        slot.waiting = Some(why);
        slot.retry_at = Some(retry_at);
    }

    fn restore(&mut self, index: usize) {
        let slot = &mut self.slots[index];
        let State::Starting { ended_before, .. } = slot.state else { return };
        slot.state = match (ended_before, slot.previous.take()) {
            (Some(at), Some(ended)) => State::Exited { ended, at },
            (_, previous) => {
                slot.previous = previous;
                State::Idle
            }
        };
    }

    /// The pull error has been shown; from now on the status says that the node waits.
    pub(super) fn pull_back_off(&mut self, index: usize) {
        let Some(container) = self.container(index) else { return };
        let message = format!("Back-off pulling image {:?}", container.image);
        let about = || self.cx.about_container(&self.pod, &container.name);
        self.cx.recorder.normal(about(), "BackOff", message.as_str());
        self.cx.recorder.warning(about(), "Failed", "Error: ImagePullBackOff");
        self.slots[index].waiting = Some(Why::new("ImagePullBackOff", message));
    }
}

fn is_crash(reason: &str) -> bool {
    matches!(reason, "CrashLoopBackOff" | "RunContainerError" | "PostStartHookError")
}

/// 64 hex characters.
fn container_id(env: &env::Env) -> String {
    (0..4).map(|_| format!("{:016x}", env.random_u64())).collect()
}

/// One try to start a container.
struct Attempt<'a> {
    cx: &'a Context,
    pod: &'a Pod,
    container: &'a Container,
    prepared: &'a Prepared,
    objects: &'a dyn Objects,
    id: &'a str,
    restarts: u32,
    pid_target: Result<Option<ContainerId>, String>,
}

impl Attempt<'_> {
    async fn run(&self, token: &CancellationToken) -> Outcome {
        let image = match token.run_until_cancelled(self.image()).await {
            Some(Ok(image)) => image,
            Some(Err(why)) => return Outcome::NoImage(why),
            None => return Outcome::Cancelled,
        };
        let spec = match token.run_until_cancelled(self.spec(&image)).await {
            Some(Ok(spec)) => spec,
            Some(Err(why)) => return Outcome::BadConfig(why),
            None => return Outcome::Cancelled,
        };
        // From here on a process may exist: a cancelled start is completed first, then stopped.
        let shown = (blueprint::shown_image(self.container, &image), image.id.clone());
        let about = || self.cx.about_container(self.pod, &self.container.name);
        match self.cx.drivers.runtime.start(&spec).await {
            Ok(state) => {
                self.cx.recorder.normal(about(), "Created", format!("Created container: {}", self.container.name));
                self.cx.recorder.normal(about(), "Started", format!("Started container {}", self.container.name));
                let hook = self.post_start(token).await;
                Outcome::Running { state, image: shown.0, image_id: shown.1, hook }
            }
            Err(error) => {
                self.cx.recorder.warning(about(), "Failed", format!("Error: {error}"));
                let _ = self.cx.drivers.images.remove_rootfs(self.id).await;
                match error.kind {
                    ErrorKind::Start => {
                        Outcome::Dead { message: error.message, restarts: self.restarts, image: shown.0, image_id: shown.1 }
                    }
                    _ => Outcome::BadConfig(Why::new("CreateContainerError", error.message)),
                }
            }
        }
    }

    async fn spec(&self, image: &Image) -> Result<contract::ContainerSpec, Why> {
        let cx = self.cx;
        let around = cx.surroundings(&self.prepared.ips);
        let services = cx.service_variables(self.pod).await;
        let about = cx.about_container(self.pod, &self.container.name);
        let bad = |why: String| {
            cx.recorder.warning(about.clone(), "Failed", format!("Error: {why}"));
            Why::new("CreateContainerConfigError", why)
        };
        let pid_target = self.pid_target.clone().map_err(bad)?;
        let mut env = environment::environment(self.pod, self.container, &around, services, self.objects).await.map_err(bad)?;
        for text in std::mem::take(&mut env.skipped) {
            cx.recorder.warning(cx.about(self.pod), "InvalidEnvironmentVariableNames", text);
        }
        let parts = Parts {
            config: &cx.config,
            pod: self.pod,
            container: self.container,
            image,
            id: self.id,
            restarts: self.restarts,
            pid_target,
            env,
            volumes: &self.prepared.volumes,
            hostname: &self.prepared.hostname,
            memory_capacity: cx.capacity.memory_bytes,
            shared_memory: self.prepared.shared_memory.as_deref(),
        };
        let mut spec = blueprint::container_spec(parts).map_err(bad)?;
        let failed = |what: &str, cause: &dyn std::fmt::Display| Why::new("CreateContainerError", format!("{what}: {cause}"));
        if cx.config.write_files {
            clean::make_files(&spec).await.map_err(|cause| failed("files of the container", &cause))?;
        }
        spec.rootfs = cx.drivers.images.ensure_rootfs(&image.id, self.id).await.map_err(|cause| failed("root file system", &cause))?;
        Ok(spec)
    }

    /// The image by its policy, with upstream's events.
    async fn image(&self) -> Result<Image, Why> {
        let (cx, name) = (self.cx, self.container.image.as_str());
        let about = || cx.about_container(self.pod, &self.container.name);
        if name.is_empty()
            || name.contains(char::is_whitespace)
            || name.chars().any(|c| c.is_ascii_uppercase() && !name.contains(['/', ':']))
        {
            let message =
                format!("Failed to apply default image tag {name:?}: couldn't parse image name {name:?}: invalid reference format");
            cx.recorder.warning(about(), "InspectFailed", message.as_str());
            return Err(Why::new("InvalidImageName", message));
        }
        let present = cx.drivers.images.resolve(name).await.map_err(|cause| Why::new("ImageInspectError", cause.message))?;
        match (self.container.image_pull_policy.as_str(), present) {
            ("Always", present) => self.pull(present).await,
            (_, Some(image)) => {
                cx.recorder.normal(about(), "Pulled", format!("Container image {name:?} already present on machine"));
                Ok(image)
            }
            ("Never", None) => {
                let message = format!("Container image {name:?} is not present with pull policy of Never");
                cx.recorder.warning(about(), "ErrImageNeverPull", message.as_str());
                cx.recorder.warning(about(), "Failed", "Error: ErrImageNeverPull");
                Err(Why::new("ErrImageNeverPull", message))
            }
            (_, None) => self.pull(None).await,
        }
    }

    async fn pull(&self, present: Option<Image>) -> Result<Image, Why> {
        let (cx, name) = (self.cx, self.container.image.as_str());
        let about = || cx.about_container(self.pod, &self.container.name);
        let began = cx.env.instant();
        cx.recorder.normal(about(), "Pulling", format!("Pulling image {name:?}"));
        match (cx.drivers.images.pull(name).await, present) {
            (Ok(image), _) => {
                let took = schema::duration::format_nanos(
                    i64::try_from(began.elapsed().as_millis()).unwrap_or(i64::MAX).saturating_mul(1_000_000),
                );
                let text =
                    format!("Successfully pulled image {name:?} in {took} ({took} including waiting). Image size: {} bytes.", image.size);
                cx.recorder.normal(about(), "Pulled", text);
                Ok(image)
            }
            // What was imported or built here is the newest there is where no registry can be asked.
            (Err(error), Some(image)) if matches!(error.kind, ErrorKind::NotFound | ErrorKind::Unsupported) => {
                let text = format!(
                    "Container image {name:?} was imported on this machine and no registry can be asked for a newer one ({error}); using it"
                );
                cx.recorder.normal(about(), "Pulled", text);
                Ok(image)
            }
            (Err(error), _) => {
                let message = format!("failed to pull image {name:?}: {error}");
                cx.recorder.warning(about(), "Failed", format!("Failed to pull image {name:?}: {error}"));
                cx.recorder.warning(about(), "Failed", "Error: ErrImagePull");
                Err(Why::new("ErrImagePull", message))
            }
        }
    }

    async fn post_start(&self, token: &CancellationToken) -> Result<(), String> {
        let Some(handler) = self.container.lifecycle.as_ref().and_then(|lifecycle| lifecycle.post_start.as_ref()) else { return Ok(()) };
        let target = hook::Target { container: self.container, id: self.id, pod_ip: self.prepared.ips.first().map(String::as_str) };
        let done = token.run_until_cancelled(hook::run(self.cx, handler, &target)).await.unwrap_or(Ok(()));
        done.inspect_err(|error| {
            let about = self.cx.about_container(self.pod, &self.container.name);
            self.cx.recorder.warning(about, "FailedPostStartHook", format!("PostStartHook failed: {error}"));
        })
    }
}

/// An exit that nobody saw, made up for a container that is simply not there any more.
pub(super) fn lost(id: &str, now: Timestamp) -> Exit {
    Exit { id: id.into(), code: 137, unknown: true, finished_at: i64::try_from(now.as_nanosecond()).unwrap_or_default(), ..Exit::default() }
}
