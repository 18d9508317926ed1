//! Control groups on v1, v2 and hybrid machines behind one face.
//!
//! A group is a path below the root of every hierarchy (`corten/pod<uid>/<container id>`). Where a controller lives on
//! v1, the group gets a directory there; a v2 hierarchy, with or without controllers, always gets one too, for
//! `cgroup.kill`. Devices on v1 are decided by one directory that all confined containers share (`<instance>/confined`):
//! nothing to write when one starts. On v2 a small program per container decides.

mod devices;
mod layout;
mod limits;
mod reveal;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

pub use self::layout::Cgroups;
pub use self::limits::Usage;
pub use self::reveal::reveal;
use crate::plan::{CgroupJoin, CgroupView};

/// Kernel-side limits; None is unlimited or the default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// v1's cpu.shares; v2's weight is derived.
    pub cpu_shares: Option<u64>,
    pub cpu_quota_us: Option<i64>,
    pub cpu_period_us: Option<u64>,
    pub memory_bytes: Option<u64>,
    pub pids: Option<i64>,
}

/// Which devices a container may use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Devices {
    /// The harmless ones, and making nodes of any kind.
    #[default]
    Confined,
    /// Those and these.
    Also(Vec<PathBuf>),
    All,
}

impl Cgroups {
    /// Makes the group with its limits; one that exists gets the limits.
    pub fn create(&self, group: &Path, limits: &Limits) -> io::Result<()> {
        for folder in self.folders(group) {
            make(&folder)?;
        }
        self.delegate(group)?;
        self.limit(group, limits)
    }

    /// Decides about devices for a group that was just made; once, before anything joins it.
    pub fn confine(&self, group: &Path, devices: &Devices) -> io::Result<()> {
        self.restrict_devices(group, devices)
    }

    /// How a process of a container gets in: its first, and every later exec.
    pub fn join(&self, group: &Path, devices: &Devices) -> CgroupJoin {
        let mut folders = self.v1_folders(group);
        folders.extend(self.device_folder(group, devices));
        let v1_tasks = folders.into_iter().map(|folder| folder.join("tasks")).collect();
        CgroupJoin { v2: self.v2().map(|root| root.join(group)), v1_tasks }
    }

    /// What a container sees of its own group.
    pub fn view(&self, group: &Path) -> CgroupView {
        let Some(v2) = self.v2().map(|root| root.join(group)) else { return CgroupView::Split(self.named_v1_folders(group)) };
        if self.is_unified() {
            return CgroupView::Unified(v2);
        }
        let mut hierarchies = self.named_v1_folders(group);
        hierarchies.push(("unified".into(), v2));
        CgroupView::Split(hierarchies)
    }

    /// Kills every process in the group and below, at once where the kernel can (`cgroup.kill`, 5.14).
    pub fn kill(&self, group: &Path) -> io::Result<()> {
        if let Some(v2) = self.v2() {
            match fs::write(v2.join(group).join("cgroup.kill"), "1") {
                Ok(()) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        self.kill_one_by_one(group)
    }

    /// Every process of the group and the groups below, once.
    pub fn processes(&self, group: &Path) -> Vec<u32> {
        let mut all: Vec<u32> = self.folders(group).iter().flat_map(|folder| processes_below(folder)).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// Removes the group and those below it. `Busy` while something runs in it.
    pub fn remove(&self, group: &Path) -> io::Result<()> {
        self.folders(group).iter().chain(self.own_device_folder(group).iter()).try_for_each(|folder| remove_below(folder))
    }

    /// Removes what this instance shares between its containers; call when all are gone.
    pub fn remove_instance(&self, instance: &Path) -> io::Result<()> {
        self.remove(instance)
    }

    /// Names of the groups directly below.
    pub fn children(&self, group: &Path) -> Vec<String> {
        let folders = self.folders(group);
        let mut names: Vec<String> =
            folders.iter().flat_map(|folder| subfolders(folder)).filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())).collect();
        names.sort();
        names.dedup();
        names
    }

    /// A group that forks while it dies is outrun: its pids limit is set to nothing first.
    fn kill_one_by_one(&self, group: &Path) -> io::Result<()> {
        if let Some(pids) = self.controller("pids") {
            let _ = fs::write(pids.join(group).join("pids.max"), "0");
        }
        loop {
            let processes = self.processes(group);
            let killed = processes.iter().filter(|&&pid| kill(pid)).count();
            if killed == 0 {
                return Ok(());
            }
        }
    }
}

/// By pidfd, so that a number that was reused since cannot be hit. False for one that is dying already.
fn kill(pid: u32) -> bool {
    let Some(pid) = rustix::process::Pid::from_raw(pid as i32) else { return false };
    let dying = || sys::process::is_dying(pid.as_raw_nonzero().get() as u32);
    let Ok(pidfd) = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()) else { return false };
    !dying() && rustix::process::pidfd_send_signal(&pidfd, rustix::process::Signal::KILL).is_ok()
}

fn make(folder: &Path) -> io::Result<()> {
    match fs::create_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => fs::create_dir_all(folder).map_err(|error| named(folder, error)),
        done => done.map_err(|error| named(folder, error)),
    }
}

/// Adds the path to an error.
pub(crate) fn named(path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

fn processes_below(folder: &Path) -> Vec<u32> {
    let own = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
    let own = own.lines().filter_map(|line| line.parse().ok());
    own.chain(subfolders(folder).iter().flat_map(|folder| processes_below(folder))).collect()
}

fn subfolders(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path()).collect()
}

fn remove_below(folder: &Path) -> io::Result<()> {
    match fs::remove_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.raw_os_error() == Some(libc::EBUSY) || error.raw_os_error() == Some(libc::ENOTEMPTY) => {
            subfolders(folder).iter().try_for_each(|folder| remove_below(folder))?;
            // Tried again also where nothing is below: somebody else may just have removed what was.
            match fs::remove_dir(folder) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                done => done.map_err(|error| named(folder, error)),
            }
        }
        done => done.map_err(|error| named(folder, error)),
    }
}
