//! The command line's side of the keeper: start it, ask it, stop it. Blocking, for processes without a runtime.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A connection to a running keeper.
pub struct Control {
    _run_dir: PathBuf,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    pub pid: u32,
    pub children: Vec<ChildStatus>,
    /// Containers that run now.
    pub containers: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChildStatus {
    pub name: String,
    /// None while it waits for its next start.
    pub pid: Option<u32>,
    /// How often it ended without being asked to.
    pub restarts: u32,
    /// How it ended last: `exit 1`, `signal 9`.
    pub last_exit: Option<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    #[error("no keeper answers at {0}: start it with `corten up`")]
    NotRunning(PathBuf),
    #[error("keeper at {0}: {1}")]
    Io(PathBuf, std::io::Error),
    #[error("the keeper refused: {0}")]
    Refused(String),
    #[error("the keeper did not start: {0}")]
    Start(String),
}

impl Control {
    /// Connects to the keeper of `run_dir`; [`ControlError::NotRunning`] when there is none.
    pub fn connect(run_dir: &Path) -> Result<Self, ControlError> {
        Err(ControlError::NotRunning(run_dir.to_owned()))
    }

    pub fn status(&mut self) -> Result<Status, ControlError> {
        Err(ControlError::Refused("not answered".into()))
    }

    /// Ends the supervised processes (SIGTERM, after `grace` SIGKILL) and does not start them again; containers stay.
    pub fn stop_children(&mut self, _grace: Duration) -> Result<(), ControlError> {
        Err(ControlError::Refused("not answered".into()))
    }

    /// Ends the children, kills every container, removes cgroups and the run folder, then the keeper itself ends.
    pub fn shutdown(&mut self, _grace: Duration) -> Result<(), ControlError> {
        Err(ControlError::Refused("not answered".into()))
    }
}

/// Starts `argv` (a `corten keeper …` command line with `detach`) and returns when that keeper answers on its socket.
pub fn spawn_detached(_argv: &[String], _env: &[(String, String)]) -> Result<(), ControlError> {
    Err(ControlError::Start("not answered".into()))
}
