//! The command line's side of the keeper: start it, ask it, stop it. Blocking, for processes without a runtime.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sys::seqpacket;

use crate::protocol::{Answer, Call, Message, Places, Request};

/// A connection to a running keeper.
pub struct Control {
    socket: OwnedFd,
    path: PathBuf,
    number: u64,
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
    Io(PathBuf, io::Error),
    #[error("the keeper refused: {0}")]
    Refused(String),
    #[error("the keeper did not start: {0}")]
    Start(String),
}

impl Control {
    /// Connects to the keeper of `run_dir`; [`ControlError::NotRunning`] when there is none.
    pub fn connect(run_dir: &Path) -> Result<Self, ControlError> {
        let path = Places::new(run_dir).socket();
        match seqpacket::connect(&path) {
            Ok(socket) => Ok(Self { socket, path, number: 0 }),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
                Err(ControlError::NotRunning(path))
            }
            Err(error) => Err(ControlError::Io(path, error)),
        }
    }

    pub fn status(&mut self) -> Result<Status, ControlError> {
        match self.ask(Request::Status)? {
            Answer::Status(status) => Ok(status),
            other => Err(ControlError::Refused(format!("{other:?}"))),
        }
    }

    /// Ends the supervised processes (SIGTERM, after `grace` SIGKILL) and does not start them again; containers stay.
    pub fn stop_children(&mut self, grace: Duration) -> Result<(), ControlError> {
        self.order(Request::StopChildren { grace_ms: grace.as_millis() as u64 })
    }

    /// Starts the children that were stopped.
    pub fn start_children(&mut self) -> Result<(), ControlError> {
        self.order(Request::StartChildren)
    }

    /// Ends the children, kills every container, removes cgroups and the run folder, then the keeper itself ends.
    pub fn shutdown(&mut self, grace: Duration) -> Result<(), ControlError> {
        self.order(Request::Shutdown { grace_ms: grace.as_millis() as u64 })
    }

    fn order(&mut self, request: Request) -> Result<(), ControlError> {
        match self.ask(request)? {
            Answer::Done => Ok(()),
            Answer::Refused(reason) => Err(ControlError::Refused(reason)),
            other => Err(ControlError::Refused(format!("{other:?}"))),
        }
    }

    fn ask(&mut self, request: Request) -> Result<Answer, ControlError> {
        self.number += 1;
        let call = Call { number: self.number, request };
        let bytes = serde_json::to_vec(&call).expect("calls are plain data");
        seqpacket::send(&self.socket, &bytes, &[]).map_err(|error| ControlError::Io(self.path.clone(), error))?;
        loop {
            let message = seqpacket::receive(&self.socket).map_err(|error| ControlError::Io(self.path.clone(), error))?;
            if message.is_end() {
                return Err(ControlError::Io(self.path.clone(), io::Error::new(io::ErrorKind::UnexpectedEof, "it closed the connection")));
            }
            match serde_json::from_slice(&message.bytes) {
                Ok(Message::Answer { number, answer }) if number == self.number => return Ok(answer),
                // Exits are told to everybody.
                Ok(_) => {}
                Err(error) => return Err(ControlError::Refused(error.to_string())),
            }
        }
    }
}

/// Starts `argv` (a `corten keeper …` command line with `detach`) and returns when that keeper answers on its socket.
pub fn spawn_detached(argv: &[String], env: &[(String, String)]) -> Result<(), ControlError> {
    let ran = sys::daemon::run(argv, env).map_err(|error| ControlError::Start(format!("{}: {error}", argv.join(" "))))?;
    match ran.code {
        Some(0) => Ok(()),
        Some(code) if ran.stderr.is_empty() => Err(ControlError::Start(format!("exit {code}"))),
        None if ran.stderr.is_empty() => Err(ControlError::Start("killed by a signal".into())),
        _ => Err(ControlError::Start(ran.stderr)),
    }
}
