//! The launcher's way from a plan to a started process, and what it reports.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::pipe::{PipeFlags, pipe_with};
use serde::{Deserialize, Serialize};
use sys::process::Clone;

use crate::child::{self, Child, ChildError};
use crate::plan::{Kind, Plan};
use crate::{container, exec};

/// What a launcher tells the keeper.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Report {
    /// The program runs. The pidfd travels with it, then the pseudo-terminal's master if there is one.
    Started { pid: u32 },
    /// The launcher is about to become the program: its exec is the end of the socket. The pseudo-terminal's master
    /// travels with it if there is one.
    Ready,
    /// Also after `Ready`, when the exec is refused.
    Failed(Failure),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FailureKind {
    /// The process or its root cannot be as the plan says.
    Start,
    /// This kernel cannot.
    Unsupported,
    Io,
}

/// Why nothing was started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    pub kind: FailureKind,
    /// Lower case, with the path.
    pub message: String,
}

impl Failure {
    pub(crate) fn start(message: impl Into<String>) -> Self {
        Self { kind: FailureKind::Start, message: message.into() }
    }

    pub(crate) fn io(what: impl std::fmt::Display, error: impl Into<io::Error>) -> Self {
        let error = error.into();
        let kind = match error.raw_os_error() {
            Some(libc::ENOSYS | libc::EOPNOTSUPP | libc::ENODEV) => FailureKind::Unsupported,
            _ => FailureKind::Io,
        };
        Self { kind, message: format!("{what}: {}", plain(&error)) }
    }
}

/// Adds the object to an I/O error.
pub(crate) trait Context<T> {
    fn context(self, what: impl std::fmt::Display) -> Result<T, Failure>;
}

impl<T, E: Into<io::Error>> Context<T> for Result<T, E> {
    fn context(self, what: impl std::fmt::Display) -> Result<T, Failure> {
        self.map_err(|error| Failure::io(what, error))
    }
}

/// `no such file or directory`: the system's text without number and capital, as Go prints it.
pub(crate) fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut letters = text.chars();
    letters.next().map(|first| first.to_lowercase().chain(letters).collect()).unwrap_or_default()
}

/// Does what `plan` says in a fresh fork of the keeper, reports on `report`, and ends the process.
pub fn launch(plan: OwnedFd, fds: Vec<OwnedFd>, report: &OwnedFd) -> ! {
    let (message, fds) = match start(plan, fds) {
        Ok(started) => (Report::Started { pid: started.pid }, started.fds),
        Err(failure) => (Report::Failed(failure), Vec::new()),
    };
    let bytes = serde_json::to_vec(&message).unwrap_or_default();
    let fds: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
    // A keeper that is gone takes no report; the process just started is then found by the next one.
    let _ = sys::seqpacket::send(report, &bytes, &fds);
    sys::process::exit_now(0)
}

/// Does what `plan` says and becomes the program itself: one process less than [`launch`] needs, where this is already
/// the init of the container's own PID namespace, a fresh clone of the single-threaded keeper in the container's v2 cgroup.
pub fn become_container(plan: OwnedFd, fds: Vec<OwnedFd>, report: &OwnedFd) -> ! {
    let failure = match prepare(plan, fds) {
        Ok(ready) => {
            let bytes = serde_json::to_vec(&Report::Ready).unwrap_or_default();
            let terminal: Vec<_> = ready.terminal.iter().map(AsFd::as_fd).collect();
            let _ = sys::seqpacket::send(report, &bytes, &terminal);
            child::become_program(&ready.child).explain(&ready.child.program_name())
        }
        Err(failure) => failure,
    };
    let bytes = serde_json::to_vec(&Report::Failed(failure)).unwrap_or_default();
    // A system call filter that is in place already may forbid more than a write.
    let _ = rustix::io::write(report, &bytes);
    sys::process::exit_now(127)
}

struct Started {
    pid: u32,
    fds: Vec<OwnedFd>,
}

/// A child ready to be cloned.
pub(crate) struct Ready {
    pub(crate) child: Child,
    pub(crate) namespaces: i32,
    pub(crate) v2_cgroup: Option<OwnedFd>,
    pub(crate) terminal: Option<OwnedFd>,
}

fn start(plan: OwnedFd, fds: Vec<OwnedFd>) -> Result<Started, Failure> {
    let (errors, errors_tx) = pipe_with(PipeFlags::CLOEXEC).context("error pipe")?;
    run(prepare(plan, fds)?, errors, errors_tx)
}

fn prepare(plan: OwnedFd, fds: Vec<OwnedFd>) -> Result<Ready, Failure> {
    let plan = Plan::read(plan).context("plan")?;
    if fds.len() != plan.fds() {
        return Err(Failure::start(format!("plan came with {} descriptors instead of {}", fds.len(), plan.fds())));
    }
    match plan.kind {
        Kind::Container(container) => container::prepare(*container, plan.process, plan.filter, fds),
        Kind::Exec => exec::prepare(plan.process, plan.filter, fds),
        Kind::Pause => container::prepare_pause(&plan.process),
    }
}

fn run(ready: Ready, errors: OwnedFd, errors_tx: OwnedFd) -> Result<Started, Failure> {
    let Ready { child, namespaces, v2_cgroup, terminal } = ready;
    let clone = Clone { namespaces, parent: true, into_cgroup: v2_cgroup.as_ref().map(AsFd::as_fd) };
    let Some((pid, pidfd)) = sys::process::clone3(&clone).context("clone")? else { child::run(&child, &errors_tx) };
    let program = child.program_name();
    // Only the child may hold the pipe's writing end, so that its exec is our end of file.
    drop((child, errors_tx));
    if let Some(error) = ChildError::receive(errors) {
        return Err(error.explain(&program));
    }
    let mut fds = vec![pidfd];
    fds.extend(terminal);
    Ok(Started { pid, fds })
}
