//! A bound on work that the cost model does not see: comparing large documents costs by the shorter side's length, a
//! filter that drops everything costs nothing. Upstream ends such a run when its request times out; here it ends by count.

use std::cell::Cell;

use crate::fault::Fault;

/// Steps of one run: about a second.
const STEPS_MAX: u64 = 20_000_000;

thread_local! {
    static STEPS: Cell<u64> = const { Cell::new(0) };
    static RUNS: Cell<u32> = const { Cell::new(0) };
}

/// A run on this thread. Runs within it share its bound.
pub(crate) struct Run;

pub(crate) fn begin() -> Run {
    if RUNS.replace(RUNS.get() + 1) == 0 {
        STEPS.set(0);
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
    let spent = STEPS.get() + steps;
    STEPS.set(spent);
    if spent > STEPS_MAX { Err(Fault::interrupted()) } else { Ok(()) }
}
