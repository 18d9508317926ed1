//! What a pod leaves behind, and when it goes: networks and volumes when the last container has ended, containers and logs
//! only when the API has forgotten the pod, so that both can be read until then.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use contract::{ContainerSpec, Exit};
use kinds::core::Pod;

use super::{Message, Worker};
use crate::context::Context;
use crate::logs;
use crate::plan::Setup;
use crate::slot::{Slot, State, containers};

const MESSAGE_BYTES_MAX: u64 = 4096;
const MESSAGE_FROM_LOG_BYTES: usize = 2048;
const MESSAGE_FROM_LOG_LINES: usize = 80;

impl Worker {
    pub(super) fn clean_up(&mut self) {
        self.setup = Setup::Busy;
        let (cx, pod) = (Arc::clone(&self.cx), Arc::clone(&self.pod));
        self.spawn("pod clean-up", async move { Message::CleanedUp(clean_up(&cx, &pod).await) });
    }

    pub(super) fn was_cleaned(&mut self, result: Result<(), String>) {
        match result {
            Ok(()) => self.setup = Setup::Removed,
            Err(error) => {
                self.cx.recorder.warning(self.cx.about(&self.pod), "FailedKillPod", format!("error killing pod: {error}"));
                self.setup = Setup::Absent { retry_at: Some(self.cx.env.instant() + self.setup_delay) };
                self.setup_delay = (self.setup_delay * 2).min(Duration::from_secs(60));
            }
        }
    }
}

/// Sandbox first: with it go the network namespace and whatever still runs.
async fn clean_up(cx: &Context, pod: &Pod) -> Result<(), String> {
    let uid = &pod.metadata.uid;
    let drivers = &cx.drivers;
    drivers.runtime.remove_sandbox(uid).await.map_err(|cause| format!("sandbox: {cause}"))?;
    let (address, volumes) = tokio::join!(drivers.podnet.remove(uid), drivers.volumes.remove_pod(uid));
    address.map_err(|cause| format!("address: {cause}"))?;
    volumes.map_err(|cause| format!("volumes: {cause}"))
}

/// Forgets everything that was kept for readers of a pod that nobody can ask for any more. Faults are logged: nobody is left to tell.
pub(super) async fn forget(cx: &Context, pod: &Pod, slots: &[Slot]) {
    for slot in slots {
        let ended = match &slot.state {
            State::Exited { ended, .. } => Some(ended),
            _ => None,
        };
        for run in ended.into_iter().chain(&slot.previous).filter(|run| !run.id.is_empty()) {
            remove_container(cx, &run.id).await;
        }
    }
    cx.tokens.forget(&pod.metadata.uid);
    let meta = &pod.metadata;
    remove_dir(&cx.config.log_dir(&meta.namespace, &meta.name, &meta.uid)).await;
    remove_dir(&cx.config.pod_dir(&meta.uid)).await;
}

async fn remove_dir(path: &Path) {
    match tokio::fs::remove_dir_all(path).await {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            tracing::warn!(path = %path.display(), %error, "folder of a pod not removed")
        }
        _ => {}
    }
}

/// Forgets one run: its container, writable layer, message and log (of restart number `log`).
pub(super) async fn forget_run(cx: &Context, pod: &Pod, container: &str, id: &str, log: Option<u32>) {
    if !id.is_empty() {
        remove_container(cx, id).await;
        let message = cx.config.pod_dir(&pod.metadata.uid).join("containers").join(container).join(&id[..id.len().min(8)]);
        let _ = tokio::fs::remove_file(message).await;
    }
    if let Some(number) = log {
        let meta = &pod.metadata;
        logs::remove(&cx.config.log_dir(&meta.namespace, &meta.name, &meta.uid).join(container), number).await;
    }
}

async fn remove_container(cx: &Context, id: &str) {
    if let Err(error) = cx.drivers.runtime.remove(id).await {
        tracing::warn!(container = id, %error, "exited container not removed");
    }
    if let Err(error) = cx.drivers.images.remove_rootfs(id).await {
        tracing::warn!(container = id, %error, "writable layer not removed");
    }
}

/// The folders of the log and of the termination message, and the message's empty file.
pub(super) async fn make_files(spec: &ContainerSpec) -> std::io::Result<()> {
    if let Some(dir) = spec.stdio.log_path.parent() {
        tokio::fs::create_dir_all(dir).await?;
    }
    let Some((_, file)) = &spec.termination_log else { return Ok(()) };
    if let Some(dir) = file.parent() {
        tokio::fs::create_dir_all(dir).await?;
    }
    tokio::fs::write(file, b"").await?;
    // Any user of the container may write it.
    use std::os::unix::fs::PermissionsExt;
    tokio::fs::set_permissions(file, std::fs::Permissions::from_mode(0o666)).await
}

/// What the container left in its message file or, where it asks for that and failed, the end of its log.
pub(super) async fn termination_message(cx: &Context, pod: &Pod, slot: &Slot, exit: &Exit) -> String {
    if !cx.config.write_files || exit.unknown {
        return String::new();
    }
    let meta = &pod.metadata;
    let file = cx.config.pod_dir(&meta.uid).join("containers").join(&slot.name).join(&exit.id[..exit.id.len().min(8)]);
    let text = read_start(&file, MESSAGE_BYTES_MAX).await;
    let wants_log = containers(&pod.spec)
        .any(|(container, _)| container.name == slot.name && container.termination_message_policy == "FallbackToLogsOnError");
    if !text.is_empty() || !wants_log || exit.code == 0 {
        return text;
    }
    let log = cx.config.log_dir(&meta.namespace, &meta.name, &meta.uid).join(&slot.name).join(format!("{}.log", slot.restarts));
    logs::tail_text(&log, MESSAGE_FROM_LOG_LINES, MESSAGE_FROM_LOG_BYTES).await
}

async fn read_start(path: &Path, bytes_max: u64) -> String {
    use tokio::io::AsyncReadExt;
    let Ok(file) = tokio::fs::File::open(path).await else { return String::new() };
    let mut bytes = Vec::new();
    let _ = file.take(bytes_max).read_to_end(&mut bytes).await;
    String::from_utf8_lossy(&bytes).into_owned()
}
