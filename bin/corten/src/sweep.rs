//! Ending what a cluster left when no keeper answers any more: its processes, its containers, its cgroups.
//!
//! A keeper that answers does this itself and better. This is for the case that it was killed together with everybody who could
//! have replaced it.

use std::collections::BTreeSet;
use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use stdx::Instance;

use crate::role::program;

/// New processes may appear while others are killed (a fork bomb, a child being restarted).
const ROUNDS_MAX: usize = 50;

/// Kills everything of the instance and removes its cgroups; says what was there.
pub(crate) fn sweep(instance: &Instance) -> Vec<String> {
    let mut removed = Vec::new();
    // First those that would start others again.
    for (name, pids) in [("process", ours as fn(&Instance) -> BTreeSet<i32>), ("container process", contained)] {
        for _ in 0..ROUNDS_MAX {
            let pids = pids(instance);
            if pids.is_empty() {
                break;
            }
            let killed = kill(&pids);
            if killed > 0 {
                removed.push(format!("{killed} {name}{}", if killed == 1 { "" } else { "es" }));
            }
        }
    }
    let groups: usize = cgroups(instance).iter().map(|group| remove(group)).sum();
    if groups > 0 {
        removed.push(format!("{groups} cgroups"));
    }
    removed
}

/// Keeper, control and node of this instance, by the program that they run and the instance that they name.
fn ours(instance: &Instance) -> BTreeSet<i32> {
    let programs = [program(instance), instance.run_dir().join("corten")];
    let is_ours = |pid: &i32| {
        let exe = fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
        let exe = PathBuf::from(exe.to_string_lossy().trim_end_matches(" (deleted)"));
        let argv = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let words: Vec<&[u8]> = argv.split(|byte| *byte == 0).collect();
        let role = words.get(1).is_some_and(|role| [&b"keeper"[..], b"control", b"node"].contains(role));
        let named = words.windows(2).any(|pair| pair[0] == b"--instance" && pair[1] == instance.name.as_bytes());
        role && named && programs.contains(&exe)
    };
    processes().filter(is_ours).collect()
}

fn processes() -> impl Iterator<Item = i32> {
    let own = i32::try_from(std::process::id()).unwrap_or_default();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(move |pid| *pid != own)
}

/// Everything in the instance's cgroups, whatever the hierarchy.
fn contained(instance: &Instance) -> BTreeSet<i32> {
    let mut pids = BTreeSet::new();
    for group in cgroups(instance) {
        walk(&group, &mut |folder| {
            let text = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
            pids.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()).filter(|pid| *pid > 0));
        });
    }
    pids
}

/// The instance's folder in each mounted hierarchy.
fn cgroups(instance: &Instance) -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let is_cgroup = |line: &&str| line.contains(" - cgroup ") || line.contains(" - cgroup2 ");
    let folders =
        mounts.lines().filter(is_cgroup).filter_map(|line| line.split(' ').nth(4)).map(|at| Path::new(at).join(instance.cgroup()));
    folders.filter(|folder| folder.is_dir()).collect()
}

/// Visits the deepest folders first.
fn walk(folder: &Path, visit: &mut impl FnMut(&Path)) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            walk(&entry.path(), visit);
        }
    }
    visit(folder);
}

fn remove(group: &Path) -> usize {
    let mut removed = 0;
    walk(group, &mut |folder| removed += usize::from(fs::remove_dir(folder).is_ok()));
    removed
}

/// SIGKILL through descriptors, so that a number that is reused meanwhile is not hit; waits until each is gone.
fn kill(pids: &BTreeSet<i32>) -> usize {
    let open = |pid: &i32| pidfd_open(Pid::from_raw(*pid)?, PidfdFlags::empty()).ok();
    let fds: Vec<OwnedFd> = pids.iter().filter_map(open).collect();
    let killed = fds.iter().filter(|fd| pidfd_send_signal(fd, Signal::KILL).is_ok()).count();
    let patience = Timespec { tv_sec: 2, tv_nsec: 0 };
    for fd in &fds {
        let _ = poll(&mut [PollFd::new(fd, PollFlags::IN)], Some(&patience));
    }
    killed
}
