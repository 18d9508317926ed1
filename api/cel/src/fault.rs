//! What goes wrong while an expression runs.

use std::fmt;

/// A run-time error. `||` and `&&` may absorb it; running out of budget they may not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    message: Box<str>,
    sort: Sort,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sort {
    Plain,
    /// A function has no meaning for its arguments; the call puts its name to it.
    Unnamed,
    Budget,
}

impl Fault {
    pub fn new(message: impl Into<Box<str>>) -> Self {
        Self { message: message.into(), sort: Sort::Plain }
    }

    pub(crate) fn no_such_overload() -> Self {
        Self::new("no such overload")
    }

    pub(crate) fn unnamed_overload() -> Self {
        Self { message: "no such overload".into(), sort: Sort::Unnamed }
    }

    pub(crate) fn out_of_budget() -> Self {
        Self { message: "operation cancelled: actual cost limit exceeded".into(), sort: Sort::Budget }
    }

    /// Too much work for its cost; ends a run as running out of budget does.
    pub(crate) fn interrupted() -> Self {
        Self { message: "operation interrupted".into(), sort: Sort::Budget }
    }

    pub(crate) fn is_unnamed(&self) -> bool {
        self.sort == Sort::Unnamed
    }

    /// Whether the expression cost more than it may.
    pub fn is_out_of_budget(&self) -> bool {
        self.sort == Sort::Budget
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
