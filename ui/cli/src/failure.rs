//! Why a command failed: what, why, the fix, and the exit code of its kind.

use std::fmt;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The command line or a file of the caller's is wrong: 2.
    Usage,
    /// The machine lacks something: 3.
    Machine,
    /// The cluster is not running: 4.
    NotRunning,
    /// It did not become ready in time: 5.
    Timeout,
    /// Everything else: 1.
    Other,
}

impl Kind {
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Other => 1,
            Self::Usage => 2,
            Self::Machine => 3,
            Self::NotRunning => 4,
            Self::Timeout => 5,
        }
    }
}

#[derive(Debug)]
pub struct Failure {
    pub kind: Kind,
    /// What failed and why; lower case, no full stop.
    pub what: String,
    /// What to do about it.
    pub fix: Option<String>,
    /// The last relevant lines of a log.
    pub log: Vec<String>,
}

impl Failure {
    pub fn new(kind: Kind, what: impl fmt::Display) -> Self {
        Self { kind, what: what.to_string(), fix: None, log: Vec::new() }
    }

    #[must_use]
    pub fn fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = Some(fix.into());
        self
    }

    #[must_use]
    pub fn log(mut self, lines: Vec<String>) -> Self {
        self.log = lines;
        self
    }

    /// A failed read or write of `path`.
    pub fn io(path: &std::path::Path, error: impl fmt::Display) -> Self {
        Self::new(Kind::Other, format!("{}: {error}", path.display()))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.what)?;
        for line in &self.log {
            write!(f, "\n  | {line}")?;
        }
        match &self.fix {
            Some(fix) => write!(f, "\nhint: {fix}"),
            None => Ok(()),
        }
    }
}

impl From<schema::Status> for Failure {
    fn from(status: schema::Status) -> Self {
        Self::new(Kind::Other, status)
    }
}
