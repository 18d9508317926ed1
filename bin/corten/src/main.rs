//! The composition root: argv to a role, a role to its parts. Knows every crate; nobody knows it.
//!
//! ```text
//! corten up … ─► keeper ─┬─► control   store, API server, controllers, scheduler
//!                        ├─► node      agent, images, volumes, network, services, DNS
//!                        └─► containers
//! ```

mod admin;
mod control;
mod engine;
mod hello;
mod host;
mod logging;
mod node;
mod owner;
mod renewal;
mod role;
mod sweep;

use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use cli::{Cli, Invocation};
use env::Env;

#[global_allocator]
static HEAP: sys::memory::Heap = sys::memory::HEAP;

fn main() -> ExitCode {
    let argv: Vec<String> = std::env::args().collect();
    // The keeper must be alone in its process, so the role is found before anything starts a thread.
    match role::Role::parse(&argv) {
        Some(Ok(role)) => role.run(&argv),
        Some(Err(error)) => {
            cli::out::talk(format!("error: {error}"));
            ExitCode::from(2)
        }
        None => command(),
    }
}

/// A command of a person.
fn command() -> ExitCode {
    let cli = Cli::parse();
    // Before there are threads. Where it cannot be done, `corten check` and `up` say what is missing.
    if rustix::process::geteuid().is_root() {
        let _ = runtime::cgroup::reveal();
    }
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            cli::out::talk(format!("error: no runtime: {error}"));
            return ExitCode::from(1);
        }
    };
    let host = host::Machine::new();
    match runtime.block_on(async { cli::run(cli, &host, &invocation(), Env::real()).await }) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            cli::out::talk(&failure);
            ExitCode::from(failure.kind.exit_code())
        }
    }
}

/// The one look at the environment.
#[expect(clippy::disallowed_methods, reason = "the environment is read here, once")]
fn invocation() -> Invocation {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u32>().ok();
    let owner = number("SUDO_UID").zip(number("SUDO_GID"));
    let home = match owner {
        Some((uid, _)) => home_of(uid),
        None => std::env::var_os("HOME").map(PathBuf::from),
    };
    let kubeconfig = std::env::var_os("KUBECONFIG").and_then(|paths| std::env::split_paths(&paths).next());
    let colour = std::env::var_os("NO_COLOR").is_none() && rustix::termios::isatty(std::io::stderr().as_fd());
    Invocation {
        home,
        owner,
        kubeconfig: kubeconfig.filter(|path| !path.as_os_str().is_empty()),
        is_root: rustix::process::geteuid().is_root(),
        colour,
    }
}

/// From /etc/passwd; other name services are not asked (the binary is static).
fn home_of(uid: u32) -> Option<PathBuf> {
    let passwd = std::fs::read_to_string("/etc/passwd").ok()?;
    let mut rows = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>());
    rows.find(|row| row.get(2).and_then(|field| field.parse().ok()) == Some(uid)).and_then(|row| row.get(5).map(PathBuf::from))
}
