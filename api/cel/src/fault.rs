//! What goes wrong while an expression runs.

use std::fmt;

/// A run-time error. `||` and `&&` may absorb it; running out of budget they may not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    message: Box<str>,
    budget: bool,
}

impl Fault {
    pub fn new(message: impl Into<Box<str>>) -> Self {
        Self { message: message.into(), budget: false }
    }

    pub(crate) fn no_such_overload() -> Self {
        Self::new("no such overload")
    }

    pub(crate) fn out_of_budget() -> Self {
        Self { message: "operation cancelled: actual cost limit exceeded".into(), budget: true }
    }

    /// Too much work for its cost; ends a run as running out of budget does.
    pub(crate) fn interrupted() -> Self {
        Self { message: "operation interrupted".into(), budget: true }
    }

    /// Whether the expression cost more than it may.
    pub fn is_out_of_budget(&self) -> bool {
        self.budget
    }

    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Fault {}
