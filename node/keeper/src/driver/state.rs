//! One container as the node knows it, in memory and in its folder below the run folder.
//!
//! | file | written | says |
//! |---|---|---|
//! | `spec.json` | before the start | what was asked for |
//! | `process.json` | after it | which process it is: what makes it adoptable |
//! | `exit.json` | after its end | how it ended, OOM included |

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use contract::{ContainerSpec, ContainerState, Exit};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::sync::watch;

use super::streams::Output;
use crate::protocol::ProcessFile;

pub(super) const SPEC_FILE: &str = "spec.json";
pub(super) const EXIT_FILE: &str = "exit.json";

pub(super) struct Container {
    pub(super) spec: ContainerSpec,
    /// Its cgroup.
    pub(super) group: PathBuf,
    pub(super) folder: PathBuf,
    /// Set once, when it runs (or is found to have run).
    running: OnceLock<Running>,
    started: watch::Sender<bool>,
    exit: watch::Sender<Option<Exit>>,
}

pub(super) struct Running {
    pub(super) process: ProcessFile,
    /// None for one that had ended before this node found it.
    pub(super) pidfd: Option<OwnedFd>,
    pub(super) terminal: Option<OwnedFd>,
    pub(super) output: Arc<Output>,
}

impl Container {
    pub(super) fn new(spec: ContainerSpec, group: PathBuf, folder: &Path) -> Arc<Self> {
        Arc::new(Self {
            spec,
            group,
            folder: folder.to_owned(),
            running: OnceLock::new(),
            started: watch::channel(false).0,
            exit: watch::channel(None).0,
        })
    }

    pub(super) fn set_running(&self, running: Running) {
        let _ = self.running.set(running);
        self.started.send_replace(true);
    }

    /// None while it is being started.
    pub(super) fn running(&self) -> Option<&Running> {
        self.running.get()
    }

    /// Until it has been started.
    pub(super) async fn wait_running(&self) -> Option<&Running> {
        let _ = self.started.subscribe().wait_for(|started| *started).await;
        self.running.get()
    }

    pub(super) fn exit(&self) -> Option<Exit> {
        self.exit.borrow().clone()
    }

    pub(super) fn set_exit(&self, exit: Exit) {
        self.exit.send_replace(Some(exit));
    }

    pub(super) async fn wait_exit(&self) {
        let _ = self.exit.subscribe().wait_for(Option::is_some).await;
    }

    /// None while it is being started.
    pub(super) fn state(&self) -> Option<ContainerState> {
        let running = self.running()?;
        Some(ContainerState {
            id: self.spec.id.clone(),
            pod_uid: self.spec.pod_uid.clone(),
            name: self.spec.name.clone(),
            pid: running.process.pid,
            started_at: running.process.started_at,
            exit: self.exit(),
            labels: self.spec.labels.clone(),
            log_path: self.spec.stdio.log_path.clone(),
        })
    }
}

/// The process, if it is still the one that was meant.
pub(super) fn open_process(pid: u32, start_ticks: u64) -> Option<OwnedFd> {
    let pidfd = pidfd_open(Pid::from_raw(pid as i32)?, PidfdFlags::empty()).ok()?;
    (sys::process::start_ticks(pid)? == start_ticks).then_some(pidfd)
}
