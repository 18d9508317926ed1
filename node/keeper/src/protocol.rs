//! What travels between the keeper, the node and the command line: JSON in SOCK_SEQPACKET messages, descriptors beside.

use std::path::{Path, PathBuf};

use runtime::Failure;
use serde::{Deserialize, Serialize};

use crate::control::Status;

/// Entries of one [`Answer::Entries`], so that a message stays far below its limit.
pub(crate) const PAGE: usize = 200;

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Call {
    /// Comes back in the answer.
    pub(crate) number: u64,
    pub(crate) request: Request,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    /// Descriptors: the plan, those of the plan, those of the launcher, then `held` ones that the keeper keeps until
    /// `Remove`.
    Start {
        id: String,
        launcher: Launcher,
        /// Ends with the connection and is forgotten at its exit.
        exec: bool,
        held: usize,
    },
    /// Entries after this id.
    Observe {
        after: Option<String>,
    },
    /// The exit has reached its reader.
    Taken {
        id: String,
    },
    Remove {
        id: String,
    },
    /// Lets go of the writing end of standard input.
    CloseStdin {
        id: String,
    },
    /// Asks for the master of its pseudo-terminal.
    Terminal {
        id: String,
    },
    /// Keeps one descriptor under a name, replacing an older one.
    Put {
        name: String,
    },
    Get {
        name: String,
    },
    Status,
    /// Starts what `StopChildren` stopped.
    StartChildren,
    StopChildren {
        grace_ms: u64,
    },
    Shutdown {
        grace_ms: u64,
    },
}

/// What becomes of a launcher.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Launcher {
    /// It clones the process as its sibling and ends.
    Parent,
    /// It is the process: the init of a PID namespace of its own, cloned into the v2 cgroup whose directory comes with it
    /// if `cgroup` says so.
    Init { cgroup: bool },
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Message {
    Answer { number: u64, answer: Answer },
    Exited(Ended),
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Answer {
    Done,
    /// The pidfd travels with it, then the terminal's master if there is one.
    Started {
        pid: u32,
        start_ticks: u64,
        started_at: i64,
    },
    Failed(Failure),
    Entries(Vec<Entry>),
    Status(Status),
    /// With the descriptor, or without when there is none.
    Descriptor,
    Refused(String),
}

/// One container as the keeper knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) id: String,
    pub(crate) pid: u32,
    pub(crate) start_ticks: u64,
    pub(crate) started_at: i64,
    pub(crate) ended: Option<Ended>,
    /// Its reader has the exit.
    pub(crate) taken: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ended {
    pub(crate) id: String,
    /// As `waitpid` gives it; None when nobody can know.
    pub(crate) status: Option<i32>,
    /// Unix nanoseconds.
    pub(crate) finished_at: i64,
}

/// Where things are below the run folder.
pub(crate) struct Places(pub(crate) PathBuf);

impl Places {
    pub(crate) fn new(run_dir: &Path) -> Self {
        Self(run_dir.to_owned())
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.0.join("keeper.sock")
    }

    /// Locked by the keeper that runs.
    pub(crate) fn lock(&self) -> PathBuf {
        self.0.join("keeper.lock")
    }

    /// How to start a keeper, and which children it has: what the next one needs.
    pub(crate) fn memory(&self) -> PathBuf {
        self.0.join("keeper.json")
    }

    /// An empty directory where roots are put together, each in a mount namespace of its own.
    pub(crate) fn scratch(&self) -> PathBuf {
        self.0.join("root")
    }

    /// The binary, mounted read-only: what containers can see of us cannot be written.
    pub(crate) fn binary(&self) -> PathBuf {
        self.0.join("corten")
    }

    pub(crate) fn containers(&self) -> PathBuf {
        self.0.join("containers")
    }

    pub(crate) fn container(&self, id: &str) -> PathBuf {
        self.containers().join(id)
    }

    pub(crate) fn sandboxes(&self) -> PathBuf {
        self.0.join("sandboxes")
    }
}

/// `containers/<id>/process.json`: what makes a container adoptable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProcessFile {
    pub(crate) pid: u32,
    pub(crate) start_ticks: u64,
    pub(crate) started_at: i64,
}

pub(crate) const PROCESS_FILE: &str = "process.json";

/// `keeper.json`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Memory {
    pub(crate) argv: Vec<String>,
    pub(crate) env: Vec<(String, String)>,
    pub(crate) children: Vec<ChildMemory>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ChildMemory {
    pub(crate) name: String,
    pub(crate) pid: u32,
    pub(crate) start_ticks: u64,
}

/// Writes a small file so that a reader sees all of it or the old one.
pub(crate) fn write_whole(path: &Path, content: &impl Serialize) -> std::io::Result<()> {
    let new = path.with_extension("new");
    std::fs::write(&new, serde_json::to_vec(content)?)?;
    std::fs::rename(new, path)
}

/// Reads what [`write_whole`] wrote; None when absent or of a form this build does not know.
pub(crate) fn read_whole<T: for<'de> Deserialize<'de>>(path: &Path) -> Option<T> {
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}
