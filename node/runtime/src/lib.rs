//! The OCI runtime: a plan made by the daemon, a child that allocates nothing.
//!
//! ```text
//! driver (node)          keeper                launcher (fork, some ms)             container
//! Plan::seal ──memfd──►  fork ───────────────► launch(): mounts, users, pivot_root
//!                                              clone3(PARENT, NEWPID, INTO_CGROUP) ─► child::run: no allocation
//!                        ◄──── Report ──────── waits for the exec or its error ◄────── close-on-exec pipe
//! ```
//!
//! A container with a PID namespace of its own needs no second process: the keeper clones the launcher into that namespace
//! and its v2 cgroup, and it becomes the program itself.
//!
//! ```text
//! keeper                                        container
//! clone3(NEWPID, INTO_CGROUP) ────────────────► become_container(): mounts, users, pivot_root, exec
//!                        ◄── Ready, then the end of the socket: its exec
//! ```
//!
//! The launcher runs in the container's mount namespace before anything of the container runs, so ordinary code with
//! an allocator does the work there; what must happen in the new PID namespace is a short list of system calls.

pub mod capability;
pub mod cgroup;
mod child;
mod container;
mod exec;
mod launch;
mod mounts;
pub mod plan;
mod program;
mod root;
pub mod seccomp;
mod user;

pub use launch::{Failure, FailureKind, Report, become_container, launch};
