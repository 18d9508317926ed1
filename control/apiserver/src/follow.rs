//! A file of settings that is read again when it changes. What it says then is taken if it is right; else the old settings stay, and the
//! log says why.

use std::path::PathBuf;
use std::sync::Arc;

use env::Env;
use futures::future::BoxFuture;
use sys::inotify::Folder;

/// Takes a file's new text. Err: why it is not taken.
pub type Apply = Arc<dyn Fn(String) -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

/// Follows the file `path`, whose text is `text` now.
pub fn file(env: &Env, path: PathBuf, text: String, apply: Apply) {
    let folder = path.parent().map(PathBuf::from).unwrap_or_default();
    let watched = match Folder::watch(&folder) {
        Ok(watched) => watched,
        Err(error) => {
            tracing::error!(file = %path.display(), %error, "the file cannot be watched; a change of it counts after a restart");
            return;
        }
    };
    let stop = env.shutdown().clone();
    env.spawn("settings-file", async move {
        stop.run_until_cancelled(run(watched, path, text, apply)).await;
    });
}

async fn run(watched: Folder, path: PathBuf, mut held: String, apply: Apply) {
    let name = path.display().to_string();
    loop {
        if let Err(error) = watched.changed().await {
            tracing::error!(file = %name, %error, "the file is not watched any more");
            return;
        }
        let text = match tokio::fs::read_to_string(&path).await {
            Ok(text) if text == held || text.is_empty() => continue, // another file, or one that is just being written
            Ok(text) => text,
            Err(error) => {
                tracing::error!(file = %name, %error, "the file cannot be read; the settings stay as they are");
                continue;
            }
        };
        match apply(text.clone()).await {
            Ok(()) => tracing::info!(file = %name, "the settings are those of the changed file"),
            Err(why) => tracing::error!(file = %name, %why, "the changed file is wrong; the settings stay as they are"),
        }
        held = text;
    }
}
