//! What changes in a folder, without looking again and again.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::inotify::{self, CreateFlags, Reader, WatchFlags};
use rustix::io::Errno;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::reactor;

/// One folder watched; dropping it ends that.
pub struct Folder(AsyncFd<OwnedFd>);

impl Folder {
    /// Files that are written, made, moved in or out, removed. Call it within the runtime.
    pub fn watch(path: &Path) -> io::Result<Self> {
        let fd = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        let flags = WatchFlags::CLOSE_WRITE | WatchFlags::CREATE | WatchFlags::DELETE | WatchFlags::MOVED_FROM | WatchFlags::MOVED_TO;
        inotify::add_watch(&fd, path, flags)?;
        Ok(Self(reactor::register(fd, Interest::READABLE)?))
    }

    /// Resolves when something has happened since the last call; many events at once are one.
    pub async fn changed(&self) -> io::Result<()> {
        loop {
            let mut ready = self.0.readable().await?;
            let seen = drain(self.0.get_ref())?;
            ready.clear_ready();
            if seen {
                return Ok(());
            }
        }
    }
}

fn drain(fd: &OwnedFd) -> io::Result<bool> {
    let mut buffer = [MaybeUninit::uninit(); 4096];
    let (mut reader, mut seen) = (Reader::new(fd, &mut buffer), false);
    loop {
        match reader.next() {
            Ok(_) => seen = true,
            Err(Errno::AGAIN) => return Ok(seen),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_file_that_is_written_or_moved_in_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::watch(dir.path()).unwrap();
        let soon = || tokio::time::timeout(Duration::from_secs(5), folder.changed());
        std::fs::write(dir.path().join("a"), "x").unwrap();
        soon().await.unwrap().unwrap();
        std::fs::rename(dir.path().join("a"), dir.path().join("b")).unwrap();
        soon().await.unwrap().unwrap();
        assert!(tokio::time::timeout(Duration::from_millis(50), folder.changed()).await.is_err());
    }
}
