//! Probes: one task each, thresholds counted here, so that a pod hears only of changes.

mod grpc;

use std::sync::Arc;
use std::time::Duration;

use contract::ExecSpec;
use jiff::Timestamp;
use kinds::core::{Container, Pod};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::context::Context;
use crate::pod::Message;
use crate::{execute, http_get};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Startup,
    Liveness,
    Readiness,
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Startup => "Startup",
            Self::Liveness => "Liveness",
            Self::Readiness => "Readiness",
        }
    }
}

/// What is probed.
#[derive(Clone)]
pub(crate) struct Target {
    pub pod: Arc<Pod>,
    pub container: Container,
    pub id: String,
    pub pod_ip: Option<String>,
}

/// Counts results until they make a verdict.
#[derive(Clone, Copy, Debug)]
struct Verdict {
    kind: Kind,
    success_threshold: u32,
    failure_threshold: u32,
    /// None before the first verdict.
    last: Option<bool>,
    run: (bool, u32),
}

impl Verdict {
    fn new(kind: Kind, probe: &kinds::core::Probe) -> Self {
        let at_least_one = |threshold: i32, default: u32| u32::try_from(threshold).ok().filter(|n| *n > 0).unwrap_or(default);
        Self {
            kind,
            success_threshold: at_least_one(probe.success_threshold, 1),
            failure_threshold: at_least_one(probe.failure_threshold, 3),
            last: None,
            run: (false, 0),
        }
    }

    /// Takes one result; Some when it changes the verdict.
    fn take(&mut self, success: bool) -> Option<bool> {
        self.run = if self.run.0 == success { (success, self.run.1 + 1) } else { (success, 1) };
        let threshold = if success { self.success_threshold } else { self.failure_threshold };
        // Not ready is where readiness begins; healthy is where liveness begins.
        let before = self.last.unwrap_or(self.kind == Kind::Liveness);
        if self.run.1 < threshold || (before == success && (self.last.is_some() || self.kind != Kind::Startup)) {
            return None;
        }
        self.last = Some(success);
        Some(success)
    }
}

/// Starts probing until `token` fires.
pub(crate) fn spawn(
    cx: &Arc<Context>,
    target: Target,
    kind: Kind,
    probe: kinds::core::Probe,
    started_at: Timestamp,
    index: usize,
    token: CancellationToken,
    tx: mpsc::Sender<Message>,
) {
    let (cx, shutdown) = (Arc::clone(cx), cx.env.shutdown().clone());
    cx.env.clone().spawn("probe", async move {
        let prober = Prober { cx, target, kind, probe, index, tx };
        tokio::select! {
            () = token.cancelled() => {}
            () = shutdown.cancelled() => {}
            () = prober.run(started_at) => {}
        }
    });
}

struct Prober {
    cx: Arc<Context>,
    target: Target,
    kind: Kind,
    probe: kinds::core::Probe,
    index: usize,
    tx: mpsc::Sender<Message>,
}

impl Prober {
    async fn run(self, started_at: Timestamp) {
        let seconds = |number: i32, default: u64| Duration::from_secs(u64::try_from(number).ok().filter(|n| *n > 0).unwrap_or(default));
        let period = seconds(self.probe.period_seconds, 10);
        let env = &self.cx.env;
        let age = Duration::try_from(env.now().duration_since(started_at)).unwrap_or_default();
        env.sleep(seconds(self.probe.initial_delay_seconds, 0).saturating_sub(age)).await;
        let mut verdict = Verdict::new(self.kind, &self.probe);
        let mut is_first = true;
        loop {
            let began = env.instant();
            let timeout = seconds(self.probe.timeout_seconds, 1);
            let result = tokio::time::timeout(timeout, self.once()).await.unwrap_or_else(|_| Err(self.timed_out(timeout)));
            if let Err(message) = &result {
                self.tell(message);
            }
            if let Some(healthy) = verdict.take(result.is_ok()) {
                self.report(healthy, result.err().unwrap_or_default()).await;
                if self.kind == Kind::Startup || (self.kind == Kind::Liveness && !healthy) {
                    // Its work is done: the next run of the container gets a probe of its own.
                    return;
                }
            }
            // Many pods that start together must not be probed together for ever.
            let jitter =
                if std::mem::take(&mut is_first) { period.mul_f64(env.random_below(1000) as f64 / 1000.0) } else { Duration::ZERO };
            tokio::time::sleep_until(began + period.saturating_sub(jitter).max(Duration::from_millis(100))).await;
        }
    }

    async fn report(&self, healthy: bool, message: String) {
        let grace_seconds = self.probe.termination_grace_period_seconds;
        let message = if healthy { message } else { format!("failed {} probe", self.kind.as_str().to_lowercase()) };
        let id = self.target.id.clone();
        let _ = self.tx.send(Message::Probe { index: self.index, id, kind: self.kind, healthy, message, grace_seconds }).await;
    }

    fn tell(&self, message: &str) {
        let about = self.cx.about_container(&self.target.pod, &self.target.container.name);
        self.cx.recorder.warning(about, "Unhealthy", format!("{} probe failed: {message}", self.kind.as_str()));
    }

    fn timed_out(&self, timeout: Duration) -> String {
        let after = format!("{}s", timeout.as_secs());
        match &self.probe {
            kinds::core::Probe { exec: Some(exec), .. } => {
                format!("command timed out: {:?} timed out after {after}", exec.command.join(" "))
            }
            kinds::core::Probe { grpc: Some(grpc), .. } => {
                let ip = self.target.pod_ip.as_deref().unwrap_or_default();
                format!("timeout: failed to connect service \"{ip}:{}\" within {after}: context deadline exceeded", grpc.port)
            }
            _ => "context deadline exceeded (Client.Timeout exceeded while awaiting headers)".into(),
        }
    }

    async fn once(&self) -> Result<(), String> {
        let Target { container, pod_ip, id, .. } = &self.target;
        let ip = pod_ip.as_deref().unwrap_or("127.0.0.1");
        if let Some(exec) = &self.probe.exec {
            let spec = ExecSpec { argv: exec.command.clone(), ..ExecSpec::default() };
            let result = execute::capture(&self.cx.drivers, id, &spec).await?;
            return if result.code == 0 { Ok(()) } else { Err(result.text) };
        }
        if let Some(get) = &self.probe.http_get {
            let url = http_get::Url::of(get, container, ip)?;
            let answer = http_get::get(&url, &http_get::headers(get, "kube-probe/1.37")).await?;
            let good = answer.left_host || (200..400).contains(&answer.code);
            return if good { Ok(()) } else { Err(format!("HTTP probe failed with statuscode: {}", answer.code)) };
        }
        if let Some(tcp) = &self.probe.tcp_socket {
            let host = if tcp.host.is_empty() { ip } else { &tcp.host };
            let port = http_get::port(&tcp.port, container)?;
            return TcpStream::connect((host, port)).await.map(|_| ()).map_err(|cause| format!("dial tcp {host}:{port}: {cause}"));
        }
        if let Some(action) = &self.probe.grpc {
            return grpc::check(ip, action.port, action.service.as_deref().unwrap_or_default()).await;
        }
        Err("the probe names no way to probe".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdicts(kind: Kind, success: i32, failure: i32, results: &str) -> String {
        let probe = kinds::core::Probe { success_threshold: success, failure_threshold: failure, ..kinds::core::Probe::default() };
        let mut verdict = Verdict::new(kind, &probe);
        let show = |verdict: Option<bool>| verdict.map_or('.', |healthy| if healthy { 'S' } else { 'F' });
        results.chars().map(|result| show(verdict.take(result == 's'))).collect()
    }

    #[test]
    fn thresholds_make_verdicts() {
        for (kind, success, failure, results, want) in [
            (Kind::Readiness, 1, 3, "ssfffs", "S...FS"),
            (Kind::Readiness, 2, 1, "sssfsfss", ".S.F...S"),
            (Kind::Readiness, 1, 3, "fff", "..."),
            (Kind::Liveness, 1, 3, "ssffsfff", ".......F"),
            (Kind::Liveness, 1, 1, "f", "F"),
            (Kind::Startup, 1, 3, "ffs", "..S"),
            (Kind::Startup, 1, 3, "fff", "..F"),
        ] {
            assert_eq!(verdicts(kind, success, failure, results), want, "{kind:?} {success} {failure} {results}");
        }
    }
}
