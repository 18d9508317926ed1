//! Processes: fork, clone3, exec, and the small calls between them.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// libc has it as an int, which it overflows.
const INTO_CGROUP: u64 = 0x2_0000_0000;

/// Which side of a fork or clone this is.
#[derive(Debug)]
pub enum Side {
    Child,
    /// The new process's id, as this process's PID namespace counts.
    Parent(u32),
}

/// Forks. Meant for single-threaded processes: with other threads around, the child may only make system calls, as
/// a lock held by one of them stays locked for ever.
pub fn fork() -> io::Result<Side> {
    // SAFETY: fork has no memory-safety precondition; the documented one is about locks.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Side::Child),
        pid => Ok(Side::Parent(pid as u32)),
    }
}

/// What a [`clone3`] gives its child.
#[derive(Debug, Default)]
pub struct Clone<'fd> {
    /// Namespaces of [`crate::ns`].
    pub namespaces: i32,
    /// The new process is a sibling: child of the caller's parent.
    pub parent: bool,
    /// Join this v2 cgroup directory from the first instruction on.
    pub into_cgroup: Option<BorrowedFd<'fd>>,
}

/// Clones with an own copy of the memory; the parent gets the id and a pidfd. glibc knows nothing of the child: it
/// should only make system calls, then exec or [`exit_now`]; that of a process with a single thread may do all but start
/// threads.
pub fn clone3(what: &Clone<'_>) -> io::Result<Option<(u32, OwnedFd)>> {
    let mut pidfd: libc::c_int = -1;
    // SAFETY: clone_args is plain integers; all zeroes is a value of it.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = (libc::CLONE_PIDFD | what.namespaces) as u64;
    args.pidfd = (&raw mut pidfd) as u64;
    if what.parent {
        args.flags |= libc::CLONE_PARENT as u64;
    } else {
        args.exit_signal = libc::SIGCHLD as u64;
    }
    if let Some(cgroup) = what.into_cgroup {
        args.flags |= INTO_CGROUP;
        args.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: without CLONE_VM the child runs on a copy of this stack, so returning twice is as with fork.
    match unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<libc::clone_args>()) } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(None),
        // SAFETY: the kernel has just made this descriptor for us alone.
        pid => Ok(Some((pid as u32, unsafe { OwnedFd::from_raw_fd(pidfd) }))),
    }
}

/// Ends the process without running destructors or exit handlers: the only proper end of a forked helper.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: _exit does not return and touches no memory of ours.
    unsafe { libc::_exit(code) }
}

/// A NULL-terminated array of C strings, made before a clone and used after it without allocating.
pub struct CStringArray {
    _owned: Vec<CString>,
    pointers: Vec<*const libc::c_char>,
}

impl CStringArray {
    pub fn new(owned: Vec<CString>) -> Self {
        let pointers = owned.iter().map(|text| text.as_ptr()).chain([std::ptr::null()]).collect();
        Self { _owned: owned, pointers }
    }
}

/// Replaces the program; returns only with the reason why not.
pub fn execve(path: &CStr, argv: &CStringArray, env: &CStringArray) -> io::Error {
    // SAFETY: all three are NUL-terminated strings or NULL-terminated arrays of them, alive through the call.
    unsafe { libc::execve(path.as_ptr(), argv.pointers.as_ptr(), env.pointers.as_ptr()) };
    io::Error::last_os_error()
}

/// The init of a PID namespace that does nothing else: closes every descriptor, reaps whatever ends, ends itself on
/// SIGTERM or SIGINT.
pub fn pause_forever() -> ! {
    crate::signal::block_all();
    // SAFETY: this function never returns, so no owner of these descriptors is ever run again.
    unsafe { libc::syscall(libc::SYS_close_range, 0, u32::MAX, 0) };
    loop {
        if crate::signal::wait_for(&[libc::SIGCHLD, libc::SIGTERM, libc::SIGINT]) != libc::SIGCHLD {
            exit_now(0);
        }
        // SAFETY: no status is asked for.
        while unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG) } > 0 {}
    }
}

/// The working directory as the kernel names it: `(unreachable)…` when it is outside of the root. Allocates nothing.
pub fn current_directory(buffer: &mut [u8]) -> io::Result<&[u8]> {
    // SAFETY: the kernel writes at most `len` bytes to the buffer.
    let length = unsafe { libc::syscall(libc::SYS_getcwd, buffer.as_mut_ptr(), buffer.len()) };
    if length <= 0 { Err(io::Error::last_os_error()) } else { Ok(&buffer[..length as usize - 1]) }
}

/// A new session keyring, so that the host's keys do not leak in. Kernels without keyrings have nothing to leak.
pub fn new_session_keyring() {
    const JOIN_SESSION_KEYRING: libc::c_int = 1;
    // SAFETY: a NULL name asks for an anonymous keyring; nothing of ours is read.
    unsafe { libc::syscall(libc::SYS_keyctl, JOIN_SESSION_KEYRING, std::ptr::null::<libc::c_char>()) };
}

/// When the process of `pid` started, in clock ticks since boot: with the pid, its identity. None when it is gone.
pub fn start_ticks(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat_field(&stat, 22)?.parse().ok()
}

/// The wait status of a process that ended and nobody has reaped; None when it runs, or is gone.
pub fn zombie_status(pid: u32) -> Option<crate::pidfd::WaitStatus> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let dead = matches!(stat_field(&stat, 3)?, "Z" | "X");
    dead.then(|| stat_field(&stat, 52)?.parse().ok().map(crate::pidfd::WaitStatus)).flatten()
}

/// Whether a process is ending: it is a zombie, gone, or was killed and not yet scheduled.
pub fn is_dying(pid: u32) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { return true };
    matches!(stat_field(&stat, 3), None | Some("Z" | "X")) || killed(pid)
}

/// SIGKILL is pending for the whole process.
fn killed(pid: u32) -> bool {
    const SIGKILL_BIT: u64 = 1 << (libc::SIGKILL - 1);
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let pending = status.lines().find_map(|line| line.strip_prefix("ShdPnd:"));
    pending.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & SIGKILL_BIT != 0)
}

/// Field `number` as proc(5) counts, with care for names that contain blanks and brackets. From 3 on.
fn stat_field(stat: &str, number: usize) -> Option<&str> {
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_ascii_whitespace().nth(number - 3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_does_not_shift_the_fields() {
        assert_eq!(stat_field("7 (a) b) S 1 7", 3), Some("S"));
        assert_eq!(stat_field("7 (a) b) S 1 7", 4), Some("1"));
    }

    #[test]
    fn our_own_start_is_known_and_stable() {
        let pid = std::process::id();
        assert_eq!(start_ticks(pid), start_ticks(pid));
        assert!(start_ticks(pid).is_some());
        assert_eq!(zombie_status(pid), None);
    }
}
