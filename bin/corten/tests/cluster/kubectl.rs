//! An unmodified kubectl, several minors, against a running cluster: each command and what its output must show.
//!
//! One cluster per minor; the themes run one after another on it, and every wrong command is told, not only the first.

mod access;
mod custom;
mod debug;
mod discovery;
mod drain;
mod faults;
mod inside;
mod objects;
mod rollout;
mod session;

use std::path::{Path, PathBuf};

use crate::HELLO;
use crate::machine::Machine;
use session::Session;

/// Where `cargo xtask kubectl` puts those that it fetches.
const FETCHED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/kubectl");

/// Its streams are SPDY/3.1 without a WebSocket around it.
#[test]
fn kubectl_1_27_works_unchanged() {
    run("kubectl.1.27", "k27");
}

#[test]
fn kubectl_1_29_works_unchanged() {
    run("kubectl.1.29", "k29");
}

#[test]
fn kubectl_1_31_works_unchanged() {
    run("kubectl.1.31", "k31");
}

#[test]
fn kubectl_1_33_works_unchanged() {
    run("kubectl.1.33", "k33");
}

#[test]
fn kubectl_1_36_works_unchanged() {
    run("kubectl.1.36", "k36");
}

fn run(program: &str, name: &str) {
    let Some(path) = find(program) else {
        eprintln!("skipped: no {program} on this machine");
        return;
    };
    let Some(machine) = Machine::new(name, &["base64", "busybox", "curl", "ldd", "openssl", "script", "tar"]) else { return };
    machine.corten(&["up", "--no-kubeconfig", HELLO]).expect_ok("up");
    machine.import_busybox();
    let mut session = Session::new(&machine, &path);
    let themes = [
        faults::begin,
        objects::run,
        access::run,
        discovery::run,
        custom::run,
        rollout::run,
        inside::run,
        debug::run,
        faults::run,
        drain::run,
    ];
    for theme in themes {
        theme(&mut session);
    }
    session.finish();
    machine.reset_leaves_nothing();
}

/// In PATH, or beside what `kubectl` there leads to, or fetched.
fn find(program: &str) -> Option<String> {
    let folders: Vec<PathBuf> = std::env::split_paths(&std::env::var_os("PATH")?).collect();
    let beside = folders.iter().filter_map(|folder| folder.join("kubectl").canonicalize().ok()?.parent().map(Path::to_owned));
    let all: Vec<PathBuf> = folders.iter().cloned().chain(beside).chain([PathBuf::from(FETCHED)]).collect();
    all.into_iter().map(|folder| folder.join(program)).find(|path| path.exists()).map(|path| path.to_string_lossy().into_owned())
}
