//! Rotation of one container's log: renamed when it is large enough, the oldest copies removed.
//!
//! Nothing polls. The next write wakes this up once; how far the file still is from its limit then says how long no further
//! write needs to be heard of. So a silent container costs nothing and a chatty one a look a second at most.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::context::Context;
use crate::logs;

const LOOK_EVERY_MIN: Duration = Duration::from_secs(1);
const LOOK_EVERY_MAX: Duration = Duration::from_secs(30);
/// No container writes faster.
const BYTES_A_SECOND: u64 = 64 << 20;

/// Watches the log of one run until `token` fires.
pub(crate) fn spawn(cx: &Arc<Context>, container_id: &str, path: PathBuf, token: CancellationToken) {
    let rotation = Rotation { cx: Arc::clone(cx), id: container_id.to_owned(), path };
    let shutdown = cx.env.shutdown().clone();
    cx.env.spawn("log rotation", async move {
        tokio::select! {
            () = token.cancelled() => {}
            () = shutdown.cancelled() => {}
            () = rotation.run() => {}
        }
    });
}

struct Rotation {
    cx: Arc<Context>,
    id: String,
    path: PathBuf,
}

impl Rotation {
    async fn run(self) {
        let Some(inotify) = &self.cx.inotify else { return };
        loop {
            match inotify.watch_once(&self.path) {
                // What was written before the watch stood is found by the look below.
                Ok(mut watch) if self.size() < self.cx.config.log_bytes_max => watch.changed().await,
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return tracing::warn!(path = %self.path.display(), %error, "log is not watched and grows without bound"),
            }
            if self.size() >= self.cx.config.log_bytes_max
                && let Err(error) = self.rotate().await
            {
                tracing::warn!(path = %self.path.display(), %error, "log not rotated");
            }
            self.cx.env.sleep(pause(self.size(), self.cx.config.log_bytes_max)).await;
        }
    }

    fn size(&self) -> u64 {
        std::fs::metadata(&self.path).map_or(0, |meta| meta.len())
    }

    async fn rotate(&self) -> Result<(), String> {
        let stamp = self.cx.env.now().strftime("%Y%m%d-%H%M%S.%9f").to_string();
        let mut name = self.path.as_os_str().to_owned();
        name.push(format!(".{stamp}"));
        tokio::fs::rename(&self.path, &name).await.map_err(|cause| cause.to_string())?;
        if let Err(error) = self.cx.drivers.runtime.reopen_log(&self.id).await {
            // Back to its name: the writer still has this file.
            let _ = tokio::fs::rename(&name, &self.path).await;
            return Err(error.message);
        }
        let (Some(dir), Some(name)) = (self.path.parent(), self.path.file_name().and_then(|name| name.to_str())) else { return Ok(()) };
        let files = logs::files_of(dir, name).await;
        let most = self.cx.config.log_files_max.max(2) as usize;
        for old in &files[..files.len().saturating_sub(most)] {
            tokio::fs::remove_file(old).await.map_err(|cause| format!("{}: {cause}", old.display()))?;
        }
        Ok(())
    }
}

fn pause(size: u64, most: u64) -> Duration {
    Duration::from_millis(most.saturating_sub(size) * 1000 / BYTES_A_SECOND).clamp(LOOK_EVERY_MIN, LOOK_EVERY_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_follows_what_is_left() {
        assert_eq!(pause(0, 10 << 20), LOOK_EVERY_MIN);
        assert_eq!(pause(0, 640 << 20), Duration::from_secs(10));
        assert_eq!(pause(20 << 20, 10 << 20), LOOK_EVERY_MIN);
        assert_eq!(pause(0, u64::MAX / 1000), LOOK_EVERY_MAX);
    }
}
