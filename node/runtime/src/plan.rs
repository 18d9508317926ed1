//! Everything a launcher needs to start one process, decided beforehand.
//!
//! A plan travels in a sealed memory file: the length of its JSON, the JSON, then the system call filter's
//! instructions. Descriptors travel beside it in the order that [`Plan::fds`] documents.

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::seccomp::Instruction;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Plan {
    pub process: Process,
    pub kind: Kind,
    /// Filter instructions, outside the JSON.
    #[serde(skip)]
    pub filter: Vec<Instruction>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Kind {
    Container(Box<Container>),
    /// One more process in the namespaces of the process behind the first descriptor.
    Exec,
    /// The init of a pod's shared PID namespace: reaps, does nothing else, and execs nothing.
    Pause,
}

/// What the program gets, container or exec.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Process {
    pub argv: Vec<String>,
    pub env: Vec<(String, String)>,
    /// Absolute; made when missing (containers only).
    pub cwd: String,
    pub user: UserSpec,
    pub umask: Option<u32>,
    /// Bounding set; also effective and permitted for root.
    pub capabilities: u64,
    pub no_new_privileges: bool,
    pub tty: bool,
    /// `-1000..=1000`, clamped to what the kernel allows.
    pub oom_score_adj: Option<i32>,
    pub cgroup: CgroupJoin,
}

/// Who it runs as.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserSpec {
    pub uid: u32,
    pub gid: u32,
    pub additional_gids: Vec<u32>,
    /// `name`, `uid`, `name:group` …, looked up in the container's own files; a `uid` or `gid` other than 0 above wins.
    pub name: Option<String>,
}

/// How a process gets into its cgroups without waiting for a grace period of the kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CgroupJoin {
    /// v2 directory, joined by the clone itself.
    pub v2: Option<PathBuf>,
    /// v1 `tasks` files, to each of which the process writes its own 0.
    pub v1_tasks: Vec<PathBuf>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Container {
    /// An empty directory where the root is put together, in a mount namespace of its own.
    pub scratch: PathBuf,
    pub rootfs: Rootfs,
    pub read_only_root: bool,
    pub privileged: bool,
    /// Leave `/proc` and `/sys` unmasked and writable.
    pub unmasked: bool,
    /// Namespaces to enter; None keeps the host's.
    pub net_ns: Option<PathBuf>,
    pub ipc_ns: Option<PathBuf>,
    pub uts_ns: Option<PathBuf>,
    pub pid: PidNamespace,
    /// What `/dev/shm` shows.
    pub shm: PathBuf,
    pub mounts: Vec<Mount>,
    pub devices: Vec<PathBuf>,
    pub cgroup_view: CgroupView,
    /// The host's own mount namespace, for mounts that propagate both ways.
    pub host_mount_ns: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum PidNamespace {
    #[default]
    Own,
    Host,
    /// That of the process behind the pidfd that is the first descriptor.
    Shared,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rootfs {
    /// Topmost first.
    pub lowers: Vec<PathBuf>,
    /// Empty: no writable layer.
    pub upper: PathBuf,
    pub work: PathBuf,
    /// Nothing of it must survive a crash of the machine: exits then never wait for the disk.
    pub volatile: bool,
}

/// What the container sees at `/sys/fs/cgroup`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum CgroupView {
    #[default]
    None,
    /// One v2 directory.
    Unified(PathBuf),
    /// A directory per hierarchy, by the name it has below `/sys/fs/cgroup`.
    Split(Vec<(String, PathBuf)>),
    /// The host's tree, writable.
    Host,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Propagation {
    #[default]
    Private,
    HostToContainer,
    Bidirectional,
}

/// A bind mount; `source` as the host sees it, `destination` inside the root only.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    pub source: PathBuf,
    pub destination: PathBuf,
    pub read_only: bool,
    pub recursive_read_only: bool,
    pub propagation: Propagation,
    /// Below `source`, resolved without leaving it.
    pub sub_path: Option<PathBuf>,
    pub create_sub_path: bool,
}

impl Plan {
    /// Descriptors that travel with a plan: for `Exec` and a shared PID namespace first the pidfd, then (without a
    /// terminal) standard input, output and error.
    pub fn fds(&self) -> usize {
        usize::from(self.wants_pidfd()) + if self.process.tty || matches!(self.kind, Kind::Pause) { 0 } else { 3 }
    }

    pub fn wants_pidfd(&self) -> bool {
        match &self.kind {
            Kind::Exec => true,
            Kind::Container(container) => container.pid == PidNamespace::Shared,
            Kind::Pause => false,
        }
    }

    /// The plan as a sealed memory file.
    pub fn seal(&self) -> io::Result<OwnedFd> {
        let json = serde_json::to_vec(self)?;
        let mut bytes = Vec::with_capacity(4 + json.len() + 8 * self.filter.len());
        bytes.extend_from_slice(&(json.len() as u32).to_ne_bytes());
        bytes.extend_from_slice(&json);
        for instruction in &self.filter {
            bytes.extend_from_slice(&instruction.code.to_ne_bytes());
            bytes.extend_from_slice(&[instruction.jump_true, instruction.jump_false]);
            bytes.extend_from_slice(&instruction.value.to_ne_bytes());
        }
        sys::memfd::sealed("plan", &bytes)
    }

    /// Reads what [`Plan::seal`] wrote.
    pub fn read(fd: OwnedFd) -> io::Result<Self> {
        let bad = || io::Error::new(io::ErrorKind::InvalidData, "plan is cut off");
        let bytes = sys::memfd::read_sealed(fd)?;
        let (length, rest) = bytes.split_first_chunk().ok_or_else(bad)?;
        let (json, filter) = rest.split_at_checked(u32::from_ne_bytes(*length) as usize).ok_or_else(bad)?;
        let mut plan: Self = serde_json::from_slice(json)?;
        plan.filter = filter.chunks_exact(8).map(instruction).collect();
        Ok(plan)
    }
}

fn instruction(bytes: &[u8]) -> Instruction {
    Instruction {
        code: u16::from_ne_bytes([bytes[0], bytes[1]]),
        jump_true: bytes[2],
        jump_false: bytes[3],
        value: u32::from_ne_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_arrives_as_it_was_sent() {
        let plan = Plan {
            process: Process { argv: vec!["true".into()], ..Process::default() },
            kind: Kind::Exec,
            filter: crate::seccomp::runtime_default(0).to_vec(),
        };
        let read = Plan::read(plan.seal().unwrap()).unwrap();
        assert_eq!((read.process.argv, read.filter), (plan.process.argv, plan.filter));
    }
}
