//! Network namespaces: holding one, and doing something inside another.
//!
//! A thread belongs to a namespace, so work in a foreign one happens on a helper thread that lives for that work alone;
//! the caller's threads never move. What was opened inside (a socket) stays inside when it is handed back.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("network namespace {path}: {cause}")]
    Open { path: PathBuf, cause: io::Error },
    #[error("entering network namespace {path}: {cause}")]
    Enter { path: PathBuf, cause: io::Error },
    #[error("helper thread for a network namespace: {0}")]
    Thread(io::Error),
}

impl Error {
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::Open { cause, .. } if cause.kind() == io::ErrorKind::NotFound)
    }
}

/// A namespace held open.
#[derive(Debug)]
pub struct Netns {
    file: File,
    path: PathBuf,
}

impl Netns {
    pub fn open(path: &Path) -> Result<Self, Error> {
        let file = File::open(path).map_err(|cause| Error::Open { path: path.to_path_buf(), cause })?;
        Ok(Self { file, path: path.to_path_buf() })
    }

    /// That of the calling thread.
    pub fn current() -> Result<Self, Error> {
        Self::open(Path::new("/proc/thread-self/ns/net"))
    }

    /// A new one that lives while it is held, or while something is in it.
    pub fn fresh() -> Result<Self, Error> {
        on_helper(|| {
            let path = PathBuf::from("(fresh)");
            // SAFETY: the helper thread is ours alone and shares nothing that CLONE_NEWNET unshares.
            unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }.map_err(|cause| Error::Enter { path, cause: cause.into() })?;
            Self::current()
        })?
    }

    /// A path through which this process and its children can open it while it is held.
    pub fn proc_path(&self) -> PathBuf {
        use std::os::fd::AsRawFd;
        PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), self.file.as_raw_fd()))
    }

    /// Runs `work` inside. It blocks the caller for as long.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, Error> {
        on_helper(|| {
            self.enter()?;
            Ok(work())
        })?
    }

    /// Moves the calling thread inside for good: for threads that serve one namespace.
    pub fn enter(&self) -> Result<(), Error> {
        move_into_link_name_space(self.file.as_fd(), Some(LinkNameSpaceType::Network))
            .map_err(|cause| Error::Enter { path: self.path.clone(), cause: cause.into() })
    }

    /// Device and inode: equal for equal namespaces.
    pub fn identity(&self) -> io::Result<(u64, u64)> {
        use std::os::unix::fs::MetadataExt;
        let metadata = self.file.metadata()?;
        Ok((metadata.dev(), metadata.ino()))
    }
}

impl AsFd for Netns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Runs `work` in a new namespace (loopback down, nothing else in it), which ends with it unless `work` hands out a handle.
pub fn in_fresh<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T, Error> {
    Netns::fresh()?.run(work)
}

fn on_helper<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T, Error> {
    std::thread::scope(|scope| {
        let helper =
            std::thread::Builder::new().name("netns".into()).stack_size(256 << 10).spawn_scoped(scope, work).map_err(Error::Thread)?;
        match helper.join() {
            Ok(result) => Ok(result),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}
