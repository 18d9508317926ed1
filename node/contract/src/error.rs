//! One error type for all drivers; callers branch on the kind only.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    NotFound,
    /// Try again: something else holds it.
    Busy,
    /// This kernel or build cannot; the message names what.
    Unsupported,
    /// What was asked for makes no sense; retrying is useless.
    Invalid,
    /// The container's process could not be started (missing binary, bad working directory …).
    Start,
    Io,
}

#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    pub kind: ErrorKind,
    /// Lower case, with the path or object, the cause included.
    pub message: String,
}

pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    pub fn io(what: impl std::fmt::Display, cause: impl std::fmt::Display) -> Self {
        Self::new(ErrorKind::Io, format!("{what}: {cause}"))
    }
}
