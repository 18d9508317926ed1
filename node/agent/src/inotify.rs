//! Who wrote where: one inotify descriptor for the whole agent, many waiters.

use std::collections::HashMap;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

use env::Env;
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;

/// What has happened at a path since it is watched. Counters only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    pub changes: u64,
    /// Of these, a writer closing its file.
    pub closes: u64,
}

/// Cheap to clone.
#[derive(Clone)]
pub struct Inotify(Arc<Inner>);

struct Inner {
    fd: AsyncFd<OwnedFd>,
    /// By watch descriptor, with the number of those who hold it.
    watches: Mutex<HashMap<i32, (watch::Sender<Seen>, usize)>>,
}

/// One path watched; dropping it ends that.
pub struct Watch {
    inotify: Inotify,
    wd: i32,
    seen_rx: watch::Receiver<Seen>,
}

impl Inotify {
    /// Starts the task that reads; call it within the runtime.
    pub fn start(env: &Env) -> io::Result<Self> {
        let fd = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        let inotify = Self(Arc::new(Inner { fd: sys::reactor::register(fd, Interest::READABLE)?, watches: Mutex::default() }));
        let (reader, shutdown) = (inotify.clone(), env.shutdown().clone());
        env.spawn("inotify", async move {
            if let Some(Err(error)) = shutdown.run_until_cancelled(reader.read_all()).await {
                tracing::error!(%error, "log files are not watched any more");
            }
        });
        Ok(inotify)
    }

    /// Writes to the file, or to any file in the folder.
    pub fn watch(&self, path: &Path) -> io::Result<Watch> {
        let flags = WatchFlags::MODIFY | WatchFlags::CLOSE_WRITE | WatchFlags::CREATE | WatchFlags::MOVED_TO | WatchFlags::MOVED_FROM;
        self.add(path, flags)
    }

    /// The next write to the file, then nothing any more: a busy writer costs one event.
    pub fn watch_once(&self, path: &Path) -> io::Result<Watch> {
        self.add(path, WatchFlags::MODIFY | WatchFlags::ONESHOT)
    }

    fn add(&self, path: &Path, flags: WatchFlags) -> io::Result<Watch> {
        let mut watches = self.lock();
        let wd = inotify::add_watch(self.0.fd.get_ref(), path, flags)?;
        let entry = watches.entry(wd).or_insert_with(|| (watch::channel(Seen::default()).0, 0));
        entry.1 += 1;
        Ok(Watch { inotify: self.clone(), wd, seen_rx: entry.0.subscribe() })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<i32, (watch::Sender<Seen>, usize)>> {
        self.0.watches.lock().expect("no holder of the watches panics")
    }

    async fn read_all(&self) -> io::Result<()> {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        loop {
            let mut ready = self.0.fd.readable().await?;
            let mut reader = inotify::Reader::new(self.0.fd.get_ref(), &mut buffer);
            loop {
                match reader.next() {
                    Ok(event) => self.tell(event.wd(), event.events()),
                    Err(rustix::io::Errno::AGAIN) => break,
                    Err(rustix::io::Errno::INTR) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            ready.clear_ready();
        }
    }

    fn tell(&self, wd: i32, events: ReadFlags) {
        let watches = self.lock();
        let one = |(seen_tx, _): &(watch::Sender<Seen>, usize)| {
            seen_tx.send_modify(|seen| {
                seen.changes += 1;
                seen.closes += u64::from(events.contains(ReadFlags::CLOSE_WRITE));
            });
        };
        // Too many events at once: everybody looks.
        if events.contains(ReadFlags::QUEUE_OVERFLOW) {
            watches.values().for_each(one);
        } else if let Some(entry) = watches.get(&wd) {
            one(entry);
        }
    }
}

impl Watch {
    pub fn seen(&mut self) -> Seen {
        *self.seen_rx.borrow_and_update()
    }

    /// Something has happened since [`Watch::seen`] or the last call.
    pub async fn changed(&mut self) {
        if self.seen_rx.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut watches = self.inotify.lock();
        let Some(entry) = watches.get_mut(&self.wd) else { return };
        entry.1 -= 1;
        if entry.1 == 0 {
            watches.remove(&self.wd);
            // A one-shot watch, or that of a removed file, is gone by itself.
            let _ = inotify::remove_watch(self.inotify.0.fd.get_ref(), self.wd);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[tokio::test]
    async fn writes_and_closes_are_seen() {
        let inotify = Inotify::start(&Env::sim(1)).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("0.log");
        let mut file = std::fs::File::create(&path).unwrap();
        let (mut folder, mut once) = (inotify.watch(dir.path()).unwrap(), inotify.watch_once(&path).unwrap());
        file.write_all(b"x").unwrap();
        once.changed().await;
        folder.changed().await;
        assert_eq!(folder.seen().closes, 0);
        drop(file);
        folder.changed().await;
        assert_eq!(folder.seen().closes, 1);
        drop((folder, once));
        assert!(inotify.lock().is_empty());
    }
}
