//! Network, IPC and UTS namespaces of sandboxes, pinned by mounts.
//!
//! One thread makes them (namespaces belong to threads) and keeps a few ready: making a network namespace takes
//! 0.3–0.9 ms, entering a ready one 1.4 µs. A namespace is used by one sandbox only, ever.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::mpsc;

use rustix::fs::{Mode, OFlags, open};
use rustix::mount::mount_bind;
use sys::ns;
use tokio::sync::oneshot;

/// Fresh ones kept ready when there is time.
const READY: usize = 8;
/// Made at once even while pods start: a fresh set takes the processor from the start that it follows.
const READY_MIN: usize = 4;

const KINDS: [(&str, i32); 3] = [("net", ns::NET), ("ipc", ns::IPC), ("uts", ns::UTS)];

/// What one sandbox wants.
pub(super) struct Order {
    /// Where `net`, `ipc` and `uts` are pinned.
    pub(super) folder: PathBuf,
    pub(super) hostname: String,
    /// Only those of the allow-list.
    pub(super) sysctls: BTreeMap<String, String>,
}

enum Job {
    Furnish { order: Order, done: oneshot::Sender<io::Result<()>> },
    Replenish,
}

/// A handle to the thread; it ends with its last handle.
pub(super) struct Namespaces {
    jobs: mpsc::Sender<Job>,
}

impl Namespaces {
    pub(super) fn start() -> io::Result<Self> {
        let (jobs, receiver) = mpsc::channel();
        std::thread::Builder::new().name("namespaces".into()).spawn(move || serve(&receiver))?;
        Ok(Self { jobs })
    }

    pub(super) async fn make(&self, order: Order) -> io::Result<()> {
        let ended = || io::Error::other("the namespace thread has ended");
        let (done, result) = oneshot::channel();
        self.jobs.send(Job::Furnish { order, done }).map_err(|_| ended())?;
        result.await.map_err(|_| ended())?
    }

    /// A good moment to make what was used up: a pod has just gone, nobody waits.
    pub(super) fn replenish(&self) {
        // A thread that has ended is told of by the next `make`.
        let _ = self.jobs.send(Job::Replenish);
    }
}

type Set = [OwnedFd; 3];

fn serve(jobs: &mpsc::Receiver<Job>) {
    let (mut ready, mut wanted) = (VecDeque::new(), READY);
    loop {
        let job = match jobs.try_recv() {
            Ok(job) => job,
            Err(mpsc::TryRecvError::Disconnected) => return,
            Err(mpsc::TryRecvError::Empty) if ready.len() < wanted => match fresh() {
                Ok(set) => {
                    ready.push_back(set);
                    continue;
                }
                // Tried again, and told, when somebody asks.
                Err(_) => match jobs.recv() {
                    Ok(job) => job,
                    Err(_) => return,
                },
            },
            Err(mpsc::TryRecvError::Empty) => match jobs.recv() {
                Ok(job) => job,
                Err(_) => return,
            },
        };
        let Job::Furnish { order, done } = job else {
            wanted = READY;
            continue;
        };
        wanted = READY_MIN;
        let set = ready.pop_front().map_or_else(fresh, Ok);
        let _ = done.send(set.and_then(|set| furnish(&set, &order)));
    }
}

/// Leaves the thread in the new namespaces, which keeps nothing alive: the next call replaces them.
fn fresh() -> io::Result<Set> {
    ns::unshare(ns::NET | ns::IPC | ns::UTS)?;
    ns::loopback_up()?;
    let open = |(name, _): (&str, i32)| open(format!("/proc/thread-self/ns/{name}"), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
    Ok([open(KINDS[0])?, open(KINDS[1])?, open(KINDS[2])?])
}

fn furnish(set: &Set, order: &Order) -> io::Result<()> {
    for (fd, (_, kind)) in set.iter().zip(KINDS) {
        ns::enter(fd, kind)?;
    }
    if !order.hostname.is_empty() {
        rustix::system::sethostname(order.hostname.as_bytes())?;
    }
    for (name, value) in &order.sysctls {
        let path = Path::new("/proc/sys").join(name.replace('.', "/"));
        std::fs::write(&path, value).map_err(|error| io::Error::new(error.kind(), format!("sysctl {name}: {error}")))?;
    }
    for (fd, (name, _)) in set.iter().zip(KINDS) {
        let place = order.folder.join(name);
        std::fs::File::create(&place)?;
        mount_bind(format!("/proc/self/fd/{}", fd.as_raw_fd()), &place)?;
    }
    Ok(())
}

/// What a pod may set: namespaced, and harmless to its neighbours (upstream's safe set and what it allows by name).
pub(super) fn check_sysctl(name: &str, host_network: bool, host_ipc: bool) -> Result<(), String> {
    let net = name.starts_with("net.");
    let ipc = name.starts_with("kernel.shm") || name.starts_with("kernel.msg") || name == "kernel.sem" || name.starts_with("fs.mqueue.");
    let clean = !name.contains('/') && name.split('.').all(|part| !part.is_empty());
    match (clean, net, ipc) {
        (true, true, _) if host_network => Err(format!("sysctl {name} may not be set in a pod with host network")),
        (true, _, true) if host_ipc => Err(format!("sysctl {name} may not be set in a pod with host IPC")),
        (true, true, _) | (true, _, true) => Ok(()),
        _ => Err(format!("sysctl {name} is not namespaced: it would change the whole node")),
    }
}

#[cfg(test)]
mod tests {
    use super::check_sysctl;

    #[test]
    fn only_namespaced_sysctls_pass() {
        assert!(check_sysctl("net.core.somaxconn", false, false).is_ok());
        assert!(check_sysctl("kernel.shm_rmid_forced", false, false).is_ok());
        for bad in ["kernel.panic", "vm.swappiness", "net..x", "net/../kernel.panic", "net.../kernel/panic"] {
            assert!(check_sysctl(bad, false, false).is_err(), "{bad}");
        }
        assert!(check_sysctl("net.core.somaxconn", true, false).is_err());
        assert!(check_sysctl("kernel.sem", false, true).is_err());
    }
}
