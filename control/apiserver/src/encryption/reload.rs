//! The configuration file may change while we run. A good one counts from the next write on; a bad one is told in the log, and
//! what was before it goes on.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use env::Env;
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::{Encrypted, Encryption};

/// Reads the file.
pub fn read(path: &Path) -> Result<(String, Encryption), String> {
    let text = std::fs::read_to_string(path);
    let text = text.map_err(|error| format!("error reading encryption provider configuration file {path:?}: {error}"))?;
    if text.is_empty() {
        return Err(format!("encryption provider configuration file {path:?} is empty"));
    }
    let encryption = Encryption::parse(&text).map_err(|why| format!("error while parsing file {path:?}: {why}"))?;
    Ok((text, encryption))
}

/// Follows the file, of which `text` is what counts now. Call it within the runtime.
pub fn follow(env: &Env, path: PathBuf, text: String, store: Arc<Encrypted>) -> io::Result<()> {
    let folder = Folder::of(&path)?;
    let shutdown = env.shutdown().clone();
    drop(env.spawn("encryption configuration", async move {
        let follower = Follower { folder, path, text, store };
        if let Some(Err(error)) = shutdown.run_until_cancelled(follower.run()).await {
            tracing::error!(%error, "the encryption configuration is not watched any more; a restart of control reads it");
        }
    }));
    Ok(())
}

struct Follower {
    folder: Folder,
    path: PathBuf,
    /// What counts.
    text: String,
    store: Arc<Encrypted>,
}

impl Follower {
    async fn run(mut self) -> io::Result<()> {
        loop {
            self.take(); // also once after the watch began: the file may have changed before
            self.folder.changed().await?;
        }
    }

    fn take(&mut self) {
        match read(&self.path) {
            Ok((text, _)) if text == self.text => {}
            Ok((text, encryption)) => {
                self.text = text;
                self.store.exchange(encryption);
                tracing::info!(path = %self.path.display(), "another encryption configuration counts");
            }
            Err(why) => tracing::error!(why, "the encryption configuration stays as it was"),
        }
    }
}

/// A folder whose files come and change. The folder rather than the file, because editors and mounts put a new one in its place.
struct Folder(AsyncFd<OwnedFd>);

impl Folder {
    fn of(file: &Path) -> io::Result<Self> {
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let fd = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        inotify::add_watch(&fd, folder, WatchFlags::CLOSE_WRITE | WatchFlags::CREATE | WatchFlags::MOVED_TO)?;
        Ok(Self(sys::reactor::register(fd, Interest::READABLE)?))
    }

    /// Resolves when something has happened.
    async fn changed(&self) -> io::Result<()> {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut seen = false;
        while !seen {
            let mut ready = self.0.readable().await?;
            let mut reader = inotify::Reader::new(self.0.get_ref(), &mut buffer);
            loop {
                match reader.next() {
                    Ok(_) => seen = true,
                    Err(rustix::io::Errno::AGAIN) => break,
                    Err(rustix::io::Errno::INTR) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            ready.clear_ready();
        }
        Ok(())
    }
}
