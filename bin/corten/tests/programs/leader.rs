//! Two candidates for one Lease.

use rustix::process::Signal;

use crate::machine::{Machine, Running};
use crate::toolchains::Program;

pub(crate) fn run(machine: &Machine, program: &Program) {
    let candidate = |id: &str| machine.start(program.path(), &["--id", id]);
    let a = candidate("a");
    says(&a, "a leads");
    let b = candidate("b");
    says(&b, "b follows a");
    a.signal(Signal::KILL);
    says(&b, "b leads");
    assert_eq!(lease(machine), "b 1", "the other took over");

    machine.replace_part("control");
    let a = candidate("a");
    says(&a, "a follows b");
    assert_eq!(lease(machine), "b 1", "a leader keeps its lease while the API restarts");
    b.signal(Signal::TERM);
    says(&b, "b leads no more");
    says(&a, "a leads");
    assert_eq!(lease(machine), "a 2");
}

fn says(candidate: &Running, words: &str) {
    assert!(candidate.line_with(words).is_some(), "nobody said {words:?}");
}

/// Who holds it, and how often it changed hands.
fn lease(machine: &Machine) -> String {
    let fields = "jsonpath={.spec.holderIdentity} {.spec.leaseTransitions}";
    machine.kubectl(&["get", "lease", "election", "-o", fields]).expect_ok("the lease")
}
