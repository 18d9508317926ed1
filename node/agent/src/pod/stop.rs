//! Ending containers: pre-stop hook, signal, grace, kill. The hook's time counts against the grace.

use std::sync::Arc;
use std::time::Duration;

use kinds::core::{Container, Pod};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Worker;
use crate::context::Context;
use crate::hook;
use crate::slot::{State, Unhealthy};

/// What is left for the signal after a hook that used up the grace.
const GRACE_AFTER_HOOK: Duration = Duration::from_secs(2);
/// A kill that shows no effect is repeated, later and later.
const KILL_RETRY_MAX: Duration = Duration::from_secs(60);

impl Worker {
    /// The pod ends: within what is left of its grace.
    pub(super) fn stop_for_end(&mut self, index: usize) {
        let Some(deadline_rx) = self.ending.as_ref().map(watch::Sender::subscribe) else { return };
        let text = format!("Stopping container {}", self.slots[index].name);
        self.stop(index, deadline_rx, text);
    }

    /// A probe or hook gave up on it; the rest of the pod goes on.
    pub(super) fn stop_unhealthy(&mut self, index: usize) {
        let name = self.slots[index].name.clone();
        let Some(Unhealthy { message, grace_seconds }) = self.slots[index].run_mut().and_then(|run| run.unhealthy.clone()) else { return };
        let grace =
            grace_seconds.map_or_else(|| self.spec_grace(), |seconds| Duration::from_secs(u64::try_from(seconds).unwrap_or_default()));
        let (_, deadline_rx) = watch::channel(self.cx.env.instant() + grace);
        self.stop(index, deadline_rx, format!("Container {name} {message}, will be restarted"));
    }

    fn stop(&mut self, index: usize, deadline_rx: watch::Receiver<Instant>, text: String) {
        let Some(container) = self.container(index) else { return };
        let gone = self.runs.entry(index).or_default().clone();
        let Some(run) = self.slots[index].run_mut() else { return };
        run.stopping = true;
        self.cx.recorder.normal(self.cx.about_container(&self.pod, &container.name), "Killing", text);
        let stop = Stop {
            cx: Arc::clone(&self.cx),
            pod: Arc::clone(&self.pod),
            container,
            id: run.id.clone(),
            deadline_rx,
            pod_ip: self.pod_ips().first().cloned(),
        };
        let shutdown = self.cx.env.shutdown().clone();
        self.cx.env.spawn("container stop", async move {
            // Whichever comes first: the container is gone, or this agent ends (the next one takes up the stop).
            tokio::select! {
                () = gone.cancelled() => {}
                () = shutdown.cancelled() => {}
                () = stop.run() => {}
            }
        });
    }

    pub(super) fn cancel(&mut self, index: usize) {
        if let State::Starting { cancelled, .. } = &mut self.slots[index].state {
            *cancelled = true;
        }
        if let Some(token) = self.starts.get(&index) {
            token.cancel();
        }
    }

    /// The tokens that end what runs for a container.
    pub(super) fn run_token(&mut self, index: usize) -> CancellationToken {
        self.runs.entry(index).or_default().clone()
    }
}

struct Stop {
    cx: Arc<Context>,
    pod: Arc<Pod>,
    container: Container,
    id: String,
    deadline_rx: watch::Receiver<Instant>,
    pod_ip: Option<String>,
}

impl Stop {
    /// Goes on until it is dropped: the container's exit ends it.
    async fn run(mut self) {
        let began = self.cx.env.instant();
        if self.deadline() > began {
            let had_hook = self.pre_stop().await;
            if had_hook && self.deadline() < self.cx.env.instant() + GRACE_AFTER_HOOK {
                self.signal().await;
                self.cx.env.sleep(GRACE_AFTER_HOOK).await;
            } else {
                self.signal().await;
                self.wait_for_deadline().await;
            }
        }
        self.kill().await;
    }

    fn deadline(&self) -> Instant {
        *self.deadline_rx.borrow()
    }

    /// Whether there was a hook. It runs at most until the deadline.
    async fn pre_stop(&mut self) -> bool {
        let Some(handler) = self.container.lifecycle.as_ref().and_then(|lifecycle| lifecycle.pre_stop.clone()) else { return false };
        let target = hook::Target { container: &self.container, id: &self.id, pod_ip: self.pod_ip.as_deref() };
        let mut deadline_rx = self.deadline_rx.clone();
        let result = tokio::select! {
            result = hook::run(&self.cx, &handler, &target) => result,
            () = passes(&mut deadline_rx) => Err("the termination grace period ran out".into()),
        };
        if let Err(error) = result {
            let about = self.cx.about_container(&self.pod, &self.container.name);
            self.cx.recorder.warning(about, "FailedPreStopHook", format!("PreStopHook failed: {error}"));
        }
        true
    }

    async fn signal(&self) {
        let own = self.container.lifecycle.as_ref().and_then(|lifecycle| lifecycle.stop_signal.clone());
        let signal = match own {
            Some(own) => own,
            None => self.image_signal().await.unwrap_or_default(),
        };
        if let Err(error) = self.cx.drivers.runtime.signal(&self.id, signal_number(&signal)).await {
            tracing::warn!(container = %self.id, %error, "stop signal not sent");
        }
    }

    async fn image_signal(&self) -> Option<String> {
        let image = self.cx.drivers.images.resolve(&self.container.image).await.ok()??;
        Some(image.config.stop_signal)
    }

    async fn wait_for_deadline(&mut self) {
        let mut deadline_rx = self.deadline_rx.clone();
        passes(&mut deadline_rx).await;
    }

    async fn kill(&self) {
        let mut wait = Duration::from_secs(1);
        loop {
            if let Err(error) = self.cx.drivers.runtime.kill(&self.id).await {
                tracing::warn!(container = %self.id, %error, "container not killed, trying again");
            }
            self.cx.env.sleep(wait).await;
            wait = (wait * 2).min(KILL_RETRY_MAX);
        }
    }
}

/// Resolves when the deadline has passed, however often it is moved.
async fn passes(deadline_rx: &mut watch::Receiver<Instant>) {
    loop {
        let deadline = *deadline_rx.borrow_and_update();
        tokio::select! {
            () = tokio::time::sleep_until(deadline) => return,
            Ok(()) = deadline_rx.changed() => {}
        }
    }
}

/// `SIGTERM`, `TERM`, `15`, `RTMIN+3`; SIGTERM where it says nothing that we know.
pub(super) fn signal_number(name: &str) -> i32 {
    const TERM: i32 = 15;
    const NAMES: &[&str] = &[
        "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM", "TERM", "STKFLT",
        "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
    ];
    const RTMIN: i32 = 34;
    const RTMAX: i32 = 64;
    let name = name.trim().to_uppercase();
    let short = name.strip_prefix("SIG").unwrap_or(&name);
    let offset = |text: &str| text.parse::<i32>().ok();
    let number = match short.split_once(['+', '-']) {
        Some(("RTMIN", by)) => offset(by).map(|by| RTMIN + by),
        Some(("RTMAX", by)) => offset(by).map(|by| RTMAX - by),
        _ if short == "RTMIN" => Some(RTMIN),
        _ if short == "RTMAX" => Some(RTMAX),
        _ => offset(short).or_else(|| NAMES.iter().position(|known| *known == short).map(|at| at as i32 + 1)),
    };
    number.filter(|number| (1..=RTMAX).contains(number)).unwrap_or(TERM)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_by_every_spelling() {
        for (name, want) in [
            ("", 15),
            ("SIGTERM", 15),
            ("term", 15),
            ("9", 9),
            ("SIGUSR1", 10),
            ("SIGRTMIN+3", 37),
            ("RTMAX-1", 63),
            ("SIGSYS", 31),
            ("NOPE", 15),
            ("99", 15),
        ] {
            assert_eq!(signal_number(name), want, "{name}");
        }
    }
}
