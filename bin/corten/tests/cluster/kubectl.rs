//! An unmodified kubectl, several minors, against a running cluster: each command and what its output must show.
//!
//! One cluster per minor; the themes run one after another on it, and every wrong command is told, not only the first.

mod custom;
mod faults;
mod inside;
mod objects;
mod rollout;
mod session;

use crate::HELLO;
use crate::machine::Machine;
use session::Session;

#[test]
fn kubectl_1_31_works_unchanged() {
    run("kubectl.1.31", "k31");
}

#[test]
fn kubectl_1_33_works_unchanged() {
    run("kubectl.1.33", "k33");
}

fn run(program: &str, name: &str) {
    let Some(path) = find(program) else {
        eprintln!("skipped: no {program} on this machine");
        return;
    };
    let Some(machine) = Machine::new(name, &["busybox", "curl", "ldd", "script", "tar"]) else { return };
    machine.corten(&["up", "--no-kubeconfig", HELLO]).expect_ok("up");
    machine.import_busybox();
    let mut session = Session::new(&machine, &path);
    for theme in [faults::begin, objects::run, custom::run, rollout::run, inside::run, faults::run] {
        theme(&mut session);
    }
    session.finish();
    machine.reset_leaves_nothing();
}

/// In PATH, or beside what `kubectl` there leads to.
fn find(program: &str) -> Option<String> {
    let folders: Vec<_> = std::env::split_paths(&std::env::var_os("PATH")?).collect();
    let beside = folders.iter().filter_map(|folder| folder.join("kubectl").canonicalize().ok()?.parent().map(std::path::Path::to_owned));
    let all: Vec<_> = folders.iter().cloned().chain(beside).collect();
    all.into_iter().map(|folder| folder.join(program)).find(|path| path.exists()).map(|path| path.to_string_lossy().into_owned())
}
