//! Sandboxes and containers.
//!
//! A **sandbox** is a pod's shared world: its network, IPC and UTS namespaces (pinned, no pause process unless the pod
//! shares its PID namespace) and its cgroup. A **container** is one process tree in it. A container's id never comes
//! back: a restart is a new container. Exited containers stay known, with their exit, until removed.
//!
//! ```text
//! ensure_sandbox ──► start ──► Running ──exit──► Exited ──remove──► gone
//!                      └─ Err(Start): never ran, nothing to remove
//! ```
//!
//! Nothing here ever stops a container because a daemon restarts.

pub mod suite;

use std::collections::BTreeMap;
use std::path::PathBuf;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use crate::{Result, Rootfs};

/// 64 hex characters.
pub type ContainerId = String;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SandboxSpec {
    pub pod_uid: String,
    pub namespace: String,
    pub name: String,
    /// At most 63 bytes.
    pub hostname: String,
    pub host_network: bool,
    pub host_pid: bool,
    pub host_ipc: bool,
    /// `shareProcessNamespace`.
    pub share_pid: bool,
    /// Limits of the whole pod.
    pub resources: Resources,
    pub sysctls: BTreeMap<String, String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sandbox {
    pub pod_uid: String,
    /// A path that can be opened and `setns`ed while the sandbox lives; None with host network.
    pub netns: Option<PathBuf>,
}

/// Kernel-side limits; None and 0 mean unlimited/default.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Resources {
    /// cpu.shares (2–262144); v2 weight is derived.
    pub cpu_shares: Option<u64>,
    /// Microseconds of CPU per `cpu_period_us`.
    pub cpu_quota_us: Option<i64>,
    pub cpu_period_us: Option<u64>,
    pub memory_limit_bytes: Option<u64>,
    pub pids_limit: Option<i64>,
    /// Clamped to what the kernel allows us.
    pub oom_score_adj: Option<i32>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    pub uid: u32,
    pub gid: u32,
    pub additional_gids: Vec<u32>,
    pub umask: Option<u32>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdMap {
    pub container: u32,
    pub host: u32,
    pub count: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Propagation {
    #[default]
    Private,
    HostToContainer,
    Bidirectional,
}

/// A bind mount into the container. `source` is resolved on the host, `destination` inside the root only.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    pub source: PathBuf,
    pub destination: PathBuf,
    pub read_only: bool,
    pub recursive_read_only: bool,
    pub propagation: Propagation,
    /// A path below `source`, resolved without leaving it (subPath).
    pub sub_path: Option<PathBuf>,
    /// `sub_path` is made as a directory when absent.
    pub create_sub_path: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Seccomp {
    Unconfined,
    #[default]
    RuntimeDefault,
    /// A docker-format JSON profile on the node.
    Localhost(PathBuf),
}

/// Where the container's output goes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stdio {
    /// Keep standard input open for attach.
    pub stdin: bool,
    /// The first attach that ends closes standard input.
    pub stdin_once: bool,
    pub tty: bool,
    /// The CRI-format log file (`<dir>/<restart>.log`), made and rotated by the driver's log writer.
    pub log_path: PathBuf,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ContainerSpec {
    pub id: ContainerId,
    pub pod_uid: String,
    /// The container's name in the pod spec.
    pub name: String,
    pub rootfs: Rootfs,
    /// Never empty.
    pub argv: Vec<String>,
    pub env: Vec<(String, String)>,
    /// Made if absent (as the CRI runtimes do), resolved inside the root.
    pub cwd: String,
    pub user: User,
    /// Name or `name:group` of the image's config, looked up in the container's own /etc/passwd; overrides nothing that `user` says explicitly.
    pub user_name: Option<String>,
    pub read_only_root: bool,
    pub privileged: bool,
    pub allow_privilege_escalation: bool,
    /// Without `CAP_`; the complete bounding set.
    pub capabilities: Vec<String>,
    pub seccomp: Seccomp,
    pub mounts: Vec<Mount>,
    /// Host devices of privileged containers are all; these are extra.
    pub devices: Vec<PathBuf>,
    /// `/proc` paths: Default masks them, Unmasked does not.
    pub unmasked_proc: bool,
    pub resources: Resources,
    pub stdio: Stdio,
    /// (path in the container, host file): `/dev/termination-log` or another path, bind-mounted from the host file.
    pub termination_log: Option<(PathBuf, PathBuf)>,
    /// Shares the PID namespace of this running container of the pod (an ephemeral container and its target). None: as the
    /// sandbox says.
    pub pid_target: Option<ContainerId>,
    /// What the agent wants to find again after a restart; opaque to the driver.
    pub labels: BTreeMap<String, String>,
}

/// How a container ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    pub id: ContainerId,
    /// 0–255; 128 + signal for signals.
    pub code: i32,
    pub signal: Option<i32>,
    pub oom_killed: bool,
    /// Unix nanoseconds.
    pub finished_at: i64,
    /// Nobody saw the exit (killed keeper on an old kernel): upstream's `ContainerStatusUnknown`, code 137.
    pub unknown: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ContainerState {
    pub id: ContainerId,
    pub pod_uid: String,
    pub name: String,
    pub pid: u32,
    /// Unix nanoseconds.
    pub started_at: i64,
    pub exit: Option<Exit>,
    pub labels: BTreeMap<String, String>,
    pub log_path: PathBuf,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terminal {
    pub columns: u16,
    pub rows: u16,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExecSpec {
    pub argv: Vec<String>,
    pub stdin: bool,
    pub tty: bool,
    /// Extra variables.
    pub env: Vec<(String, String)>,
}

/// Bytes to and from a process. Closing a sender closes that stream; receivers end when the process closes it.
pub struct Streams {
    pub stdin: Option<mpsc::Sender<bytes::Bytes>>,
    pub stdout: mpsc::Receiver<bytes::Bytes>,
    /// Closed at once with a terminal.
    pub stderr: mpsc::Receiver<bytes::Bytes>,
    pub resize: Option<mpsc::Sender<Terminal>>,
}

/// A process inside a container. Dropping it kills the process.
pub struct Exec {
    pub streams: Streams,
    pub exit: tokio::sync::oneshot::Receiver<Exit>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    pub cpu_nanos: u64,
    pub memory_bytes: u64,
    /// Memory less inactive file pages.
    pub working_set_bytes: u64,
    pub rss_bytes: u64,
    pub pids: u64,
}

#[async_trait]
pub trait Runtime: Send + Sync + 'static {
    async fn ensure_sandbox(&self, spec: &SandboxSpec) -> Result<Sandbox>;
    /// Kills what is left in it, then frees it.
    async fn remove_sandbox(&self, pod_uid: &str) -> Result<()>;
    async fn sandboxes(&self) -> Result<Vec<Sandbox>>;

    /// Returns when the process has been exec'ed; a failure before that is `ErrorKind::Start` with runc's words
    /// (`exec: "x": executable file not found in $PATH`).
    async fn start(&self, spec: &ContainerSpec) -> Result<ContainerState>;
    /// To the container's first process; success if it is already gone. `None` of a container is `NotFound`.
    async fn signal(&self, id: &str, signal: i32) -> Result<()>;
    /// Every process of the container, at once.
    async fn kill(&self, id: &str) -> Result<()>;
    /// Forgets an exited container (its log file stays).
    async fn remove(&self, id: &str) -> Result<()>;
    /// All containers, running and exited, as the kernel and the keeper know them now.
    async fn observe(&self) -> Result<Vec<ContainerState>>;
    /// Every exit from now on, and first those that nobody has taken yet. One reader.
    async fn exits(&self) -> Result<mpsc::Receiver<Exit>>;

    async fn exec(&self, id: &str, spec: &ExecSpec) -> Result<Exec>;
    /// The container's own streams from now on.
    async fn attach(&self, id: &str) -> Result<Streams>;
    /// Re-reads the cgroup.
    async fn stats(&self, id: &str) -> Result<Stats>;
    /// Closes the current log file and opens a new one at the same path (after the agent renamed it).
    async fn reopen_log(&self, id: &str) -> Result<()>;
    /// Changes limits in place.
    async fn update(&self, id: &str, resources: &Resources) -> Result<()>;
}
