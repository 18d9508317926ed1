//! Real programs, unchanged, each from its registry, against a running cluster on loopback alone: `cargo xtask test programs`.
//!
//! Their sources, and the programs of ours that use their libraries, are pinned in `tests/programs`; what is fetched and built
//! stays in `target/programs`, so that a rerun needs no network. A case whose toolchain is absent, or whose packages cannot be
//! had, says so and is skipped. An argument names the only cases to run.
#![expect(clippy::disallowed_methods, reason = "these tests start processes: that is what they test")]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "the verdicts are what it is run for")]

#[path = "cluster/busybox.rs"]
mod busybox;
#[path = "programs/helm.rs"]
mod helm;
#[path = "programs/leader.rs"]
mod leader;
#[path = "cluster/machine.rs"]
#[expect(dead_code, reason = "the machine world asks for more")]
mod machine;
#[path = "programs/operator.rs"]
mod operator;
#[path = "cluster/session.rs"]
#[expect(dead_code, reason = "the machine world asks for more")]
mod session;
#[path = "programs/toolchains.rs"]
mod toolchains;

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use machine::Machine;
use toolchains::{Program, Trouble};

const HELLO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/hello");
/// Clusters at the same time.
const WORKERS: usize = 2;
/// For a client that hangs.
const CLIENT_SECONDS: &str = "240";

struct Case {
    /// At most nine characters: the cluster's name.
    name: &'static str,
    covers: &'static str,
    tools: &'static [&'static str],
    prepare: fn() -> Result<Program, Trouble>,
    run: fn(&Machine, &Program),
}

/// Those that are quick to prepare first: the others build meanwhile.
const ALL: &[Case] = &[
    Case {
        name: "leader",
        covers: "client-go's leader election by a Lease: the leader is killed, the API restarts, the leader hands over",
        tools: &["kubectl"],
        prepare: || toolchains::go("leader"),
        run: leader::run,
    },
    Case {
        name: "python",
        covers: "the Python client: typed, dynamic, apply, watches that resume, exec, port-forward, tokens",
        tools: &[],
        prepare: toolchains::python,
        run: client,
    },
    Case {
        name: "node",
        covers: "the Node client: typed, dynamic, apply, informer, watches that resume, exec, port-forward, logs",
        tools: &[],
        prepare: toolchains::node,
        run: client,
    },
    Case {
        name: "java",
        covers: "the Java client: typed, dynamic, apply, shared informers, watches that resume, exec, port-forward",
        tools: &[],
        prepare: toolchains::java,
        run: client,
    },
    Case {
        name: "protobuf",
        covers: "client-go with protobuf: typed clients, informers, every kind, metadata, scale, apply, SPDY and WebSocket streams",
        tools: &[],
        prepare: || toolchains::go("dispatcher"),
        run: client,
    },
    Case {
        name: "cbor",
        covers: "client-go that prefers CBOR finds a server without it, and goes on in JSON",
        tools: &[],
        prepare: || toolchains::go("dispatcher").map(|program| program.with("offers-cbor")),
        run: client,
    },
    Case {
        name: "operator",
        covers: "a controller built with controller-runtime: custom kind, owned objects, finalizer, status, webhooks, events, election",
        tools: &["kubectl"],
        prepare: || toolchains::go("operator"),
        run: operator::run,
    },
    Case {
        name: "helm",
        covers: "Helm 3: install, test, upgrade, rollback, uninstall of a chart with hooks, a custom kind and lookups; failures undone",
        tools: &["kubectl"],
        prepare: || toolchains::go("helm"),
        run: helm::run,
    },
];

enum Verdict {
    Passed,
    Failed(String),
    Skipped(String),
}

fn main() -> ExitCode {
    let only = std::env::args().skip(1).find(|word| !word.starts_with('-')).unwrap_or_default();
    let queue: Mutex<VecDeque<&Case>> = Mutex::new(ALL.iter().filter(|case| case.name.contains(&only)).collect());
    // A function of its own, so that the queue is free while a case runs.
    let next = || locked(&queue).pop_front();
    let verdicts = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                while let Some(case) = next() {
                    let verdict = judge(case);
                    locked(&verdicts).push(verdict);
                }
            });
        }
    });
    let verdicts = verdicts.into_inner().unwrap_or_else(PoisonError::into_inner);
    let count = |of: fn(&Verdict) -> bool| verdicts.iter().filter(|verdict| of(verdict)).count();
    let failed = count(|verdict| matches!(verdict, Verdict::Failed(_)));
    let (passed, skipped) = (count(|verdict| matches!(verdict, Verdict::Passed)), count(|verdict| matches!(verdict, Verdict::Skipped(_))));
    println!("{passed} passed, {failed} failed, {skipped} skipped");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs one case and says what came of it.
fn judge(case: &Case) -> Verdict {
    let begun = Instant::now();
    let verdict = attempt(case);
    let took = begun.elapsed().as_secs_f32();
    match &verdict {
        Verdict::Passed => println!("ok    {} ({took:.1} s): {}", case.name, case.covers),
        Verdict::Skipped(why) => println!("skip  {}: {why}", case.name),
        Verdict::Failed(why) => println!("FAIL  {} ({took:.1} s): {why}", case.name),
    }
    verdict
}

fn attempt(case: &Case) -> Verdict {
    let program = match (case.prepare)() {
        Ok(program) => program,
        Err(Trouble::Absent(why)) => return Verdict::Skipped(why),
        Err(Trouble::Broken(why)) => return Verdict::Failed(why),
    };
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let Some(machine) = Machine::new(case.name, case.tools) else { return false };
        machine.corten(&["up", "--no-kubeconfig", HELLO]).expect_ok("up");
        let home = machine.folder().join(".kube");
        std::fs::create_dir(&home).expect("our own folder");
        std::fs::copy(machine.kubeconfig(), home.join("config")).expect("where every client looks");
        (case.run)(&machine, &program);
        machine.reset_leaves_nothing();
        true
    }));
    match outcome {
        Ok(true) => Verdict::Passed,
        Ok(false) => Verdict::Skipped("no cluster can be had here: it needs root, ip, nsenter".into()),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned().or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            Verdict::Failed(text.unwrap_or_else(|| "it panicked".into()))
        }
    }
}

/// A program that checks by itself, and says of each of its parts `ok` or `FAIL`.
fn client(machine: &Machine, program: &Program) {
    let words: Vec<&str> = [CLIENT_SECONDS, program.path()].into_iter().chain(program.arguments()).collect();
    let outcome = machine.run("timeout", &words);
    let parts: Vec<&str> = outcome.stdout.lines().filter(|line| line.starts_with("ok ")).collect();
    assert!(outcome.success && !parts.is_empty(), "ended with {:?}:\n{}{}", outcome.code, outcome.stdout, outcome.stderr);
    println!("      {}", parts.join("\n      "));
}

fn locked<T>(of: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}
