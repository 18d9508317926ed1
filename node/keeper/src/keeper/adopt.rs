//! What a new keeper takes up from one that was killed: by process id and start time, never by the id alone.

use std::os::fd::{AsFd, OwnedFd};

use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::processes::{Process, nanos};
use super::{Keeper, Source, watch};
use crate::protocol::{Ended, Memory, PROCESS_FILE, ProcessFile, read_whole};

/// Containers that run are watched again; of those that ended meanwhile nobody may know how.
pub(super) fn containers(keeper: &mut Keeper) {
    let folders = std::fs::read_dir(keeper.places.containers()).into_iter().flatten().filter_map(Result::ok);
    for folder in folders {
        let Some(id) = folder.file_name().to_str().map(str::to_owned) else { continue };
        let Some(file) = read_whole::<ProcessFile>(&folder.path().join(PROCESS_FILE)) else { continue };
        container(keeper, id, file);
    }
}

fn container(keeper: &mut Keeper, id: String, file: ProcessFile) {
    let alive = open(file.pid, file.start_ticks);
    let ended = alive.is_none().then(|| Ended { id: id.clone(), status: None, finished_at: nanos(&keeper.env) });
    let Some(pidfd) = alive.or_else(placeholder) else { return };
    if ended.is_none() {
        adopt(keeper, file.pid, &pidfd);
    }
    let process = Process {
        pid: file.pid,
        pidfd,
        start_ticks: file.start_ticks,
        started_at: file.started_at,
        owner: None,
        held: held(keeper, &id),
        terminal: None,
        ended,
        taken: false,
    };
    keeper.processes.insert(id, process);
}

/// Ends of the named pipes, as the driver had handed them over: writing for input, reading for the others.
fn held(keeper: &Keeper, id: &str) -> Vec<OwnedFd> {
    crate::pipes::Pipes::of(&keeper.places.container(id)).held().unwrap_or_default()
}

/// `control` and `node`, if they live.
pub(super) fn children(keeper: &mut Keeper) {
    let memory: Memory = read_whole(&keeper.places.memory()).unwrap_or_default();
    for child in memory.children {
        let Some(pidfd) = open(child.pid, child.start_ticks) else { continue };
        if keeper.children.adopt(&child.name, child.pid, keeper.env.instant()) {
            adopt(keeper, child.pid, &pidfd);
        }
    }
}

fn adopt(keeper: &mut Keeper, pid: u32, pidfd: &OwnedFd) {
    let Ok(copy) = pidfd.try_clone() else { return };
    let number = keeper.adopted.len() as u64;
    if watch(&keeper.epoll, copy.as_fd(), Source::Adopted(number)).is_ok() {
        keeper.adopted.push((pid, copy));
    }
}

/// The process, if it is still the one that was meant.
fn open(pid: u32, start_ticks: u64) -> Option<OwnedFd> {
    let pidfd = pidfd_open(Pid::from_raw(pid as i32)?, PidfdFlags::empty()).ok()?;
    (sys::process::start_ticks(pid)? == start_ticks && sys::process::zombie_status(pid).is_none()).then_some(pidfd)
}

/// Stands where a pidfd would, for a process that is gone.
fn placeholder() -> Option<OwnedFd> {
    std::fs::File::open("/dev/null").ok().map(OwnedFd::from)
}

impl Keeper {
    pub(super) fn adopted_ended(&mut self, number: u64) {
        let Some((pid, pidfd)) = self.adopted.get(number as usize) else { return };
        let _ = rustix::event::epoll::delete(&self.epoll, pidfd);
        // Its parent may have reaped it or not: the one place knows what the other does not.
        let known = || sys::pidfd::exit_status(pidfd).ok().flatten();
        let status = known().or_else(|| sys::process::zombie_status(*pid)).or_else(known).map(|status| status.0);
        let pid = *pid;
        if !self.children.ended(pid, status, self.env.instant()) {
            self.process_ended(pid, status);
        }
    }
}
