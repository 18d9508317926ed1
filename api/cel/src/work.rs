//! A bound on what the cost model does not see: comparing large documents costs by the shorter side's length, a filter that
//! drops everything costs nothing, adding texts of unknown type costs one. Upstream ends such a run when its request times
//! out; here it ends by count, of steps and of bytes made.

use std::cell::Cell;

use crate::fault::Fault;

/// Steps of one run: about a second.
const STEPS_MAX: u64 = 20_000_000;
/// Bytes that one run may make, whether it keeps them or not.
const BYTES_MAX: u64 = 128 << 20;

thread_local! {
    static STEPS: Cell<u64> = const { Cell::new(0) };
    static BYTES: Cell<u64> = const { Cell::new(0) };
    static RUNS: Cell<u32> = const { Cell::new(0) };
}

/// A run on this thread. Runs within it share its bounds.
pub(crate) struct Run;

pub(crate) fn begin() -> Run {
    if RUNS.replace(RUNS.get() + 1) == 0 {
        STEPS.set(0);
        BYTES.set(0);
    }
    Run
}

impl Drop for Run {
    fn drop(&mut self) {
        RUNS.set(RUNS.get() - 1);
    }
}

/// Counts steps; a fault that nothing absorbs where there were too many.
pub(crate) fn spend(steps: u64) -> Result<(), Fault> {
    took(steps);
    check()
}

/// Counts steps that the next [`check`] looks at.
pub(crate) fn took(steps: u64) {
    STEPS.set(STEPS.get().saturating_add(steps));
}

/// Counts bytes that the next [`check`] looks at.
pub(crate) fn made(bytes: usize) {
    BYTES.set(BYTES.get().saturating_add(bytes as u64));
}

pub(crate) fn check() -> Result<(), Fault> {
    if STEPS.get() > STEPS_MAX || BYTES.get() > BYTES_MAX { Err(Fault::interrupted()) } else { Ok(()) }
}
