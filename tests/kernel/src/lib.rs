//! The real-kernel world: drivers, runtime and whole machines in namespaces of their own.
//!
//! Each case is a process of its own: it takes fresh namespaces before any thread exists, and what it breaks or leaves
//! hanging stays its own. A case that lacks a kernel feature or a right says which, and counts as skipped.
//!
//! To add cases: a module with `pub const CASES: &[Case]`, and a row in [`all`].
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a test program talks to a person")]

mod net_cluster;
mod power;
mod runtime;
pub mod world;

use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

/// A named case.
pub struct Case {
    /// `area::what_must_hold`.
    pub name: &'static str,
    /// A network namespace of its own, with nothing but a loopback link that is down.
    pub own_network: bool,
    pub run: fn() -> anyhow::Result<()>,
}

/// Why a case cannot run here; an error like any other until the case returns it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Skip(pub String);

/// No case takes longer.
const CASE_TIMEOUT: Duration = Duration::from_secs(60);
const SKIPPED: u8 = 77;

/// Every area's cases.
fn all() -> Vec<&'static Case> {
    [runtime::CASES, net_cluster::CASES].into_iter().flatten().collect()
}

/// The test binary's main; also the keeper, when started as one.
pub fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["keeper", config] => world::run_keeper(config),
        ["child", ..] => world::run_child(&words[1..]),
        ["case", name] => run_case(name),
        ["bench", ..] => runtime::bench(&words),
        ["power", ..] => power::main(&words[1..]),
        _ => run_all(words.into_iter().find(|word| !word.starts_with('-')).unwrap_or("")),
    }
}

fn run_all(filter: &str) -> ExitCode {
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    for case in all().into_iter().filter(|case| case.name.contains(filter)) {
        match in_a_process(case.name) {
            Outcome::Passed(seconds) => {
                passed += 1;
                println!("ok    {} ({seconds:.2} s)", case.name);
            }
            Outcome::Skipped(reason) => {
                skipped += 1;
                println!("skip  {}: {reason}", case.name);
            }
            Outcome::Failed(reason) => {
                failed += 1;
                println!("FAIL  {}\n{reason}", case.name);
            }
        }
    }
    println!("{passed} passed, {failed} failed, {skipped} skipped");
    ExitCode::from(u8::from(failed > 0))
}

enum Outcome {
    Passed(f64),
    Skipped(String),
    Failed(String),
}

#[expect(clippy::disallowed_methods, reason = "a test program starts itself, and times it for a person")]
fn in_a_process(name: &str) -> Outcome {
    let begun = std::time::Instant::now();
    let exe = std::env::current_exe().expect("a running program has a path");
    let child = Command::new(exe).args(["case", name]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let child = match child {
        Ok(child) => child,
        Err(error) => return Outcome::Failed(error.to_string()),
    };
    let pid = child.id();
    let (done, watch) = std::sync::mpsc::channel::<()>();
    let watchdog = std::thread::spawn(move || {
        let timed_out = watch.recv_timeout(CASE_TIMEOUT).is_err_and(|error| error == std::sync::mpsc::RecvTimeoutError::Timeout);
        if timed_out {
            let _ = sys::signal::kill_child(pid, libc::SIGKILL);
        }
        timed_out
    });
    let output = child.wait_with_output();
    drop(done);
    let timed_out = watchdog.join().unwrap_or(false);
    match output {
        Ok(output) if output.status.success() => Outcome::Passed(begun.elapsed().as_secs_f64()),
        Ok(output) if output.status.code() == Some(i32::from(SKIPPED)) => {
            Outcome::Skipped(String::from_utf8_lossy(&output.stdout).trim().into())
        }
        Ok(output) => {
            let end = if timed_out { "timed out\n" } else { "" };
            Outcome::Failed(format!("{end}{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)))
        }
        Err(error) => Outcome::Failed(error.to_string()),
    }
}

fn run_case(name: &str) -> ExitCode {
    let Some(case) = all().into_iter().find(|case| case.name == name) else {
        eprintln!("no case {name}");
        return ExitCode::FAILURE;
    };
    match world::isolate(case.own_network).and_then(|()| (case.run)()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => match error.downcast_ref::<Skip>() {
            Some(skip) => {
                println!("{skip}");
                ExitCode::from(SKIPPED)
            }
            None => {
                eprintln!("{error:#}");
                ExitCode::FAILURE
            }
        },
    }
}
