//! Namespaces of the calling thread.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

pub const MOUNT: i32 = libc::CLONE_NEWNS;
pub const PID: i32 = libc::CLONE_NEWPID;
pub const NET: i32 = libc::CLONE_NEWNET;
pub const IPC: i32 = libc::CLONE_NEWIPC;
pub const UTS: i32 = libc::CLONE_NEWUTS;
pub const CGROUP: i32 = libc::CLONE_NEWCGROUP;

/// Gives the calling thread fresh namespaces. `MOUNT` also ends the sharing of the working directory with other threads.
pub fn unshare(kinds: i32) -> io::Result<()> {
    let kinds = kinds & (MOUNT | PID | NET | IPC | UTS | CGROUP);
    // SAFETY: the mask keeps CLONE_FILES and CLONE_VM out, so no descriptor table or memory is split under Rust's feet.
    if unsafe { libc::unshare(kinds) } == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Moves the calling thread into the namespace that `fd` names, or into those of the process behind a pidfd.
pub fn enter(fd: impl AsFd, kinds: i32) -> io::Result<()> {
    // SAFETY: setns changes kernel state of this thread only.
    if unsafe { libc::setns(fd.as_fd().as_raw_fd(), kinds) } == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Brings the loopback link of the thread's network namespace up.
pub fn loopback_up() -> io::Result<()> {
    // SAFETY: ifreq is plain integers and bytes; all zeroes is a value of it.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_name[0] = b'l' as libc::c_char;
    request.ifr_name[1] = b'o' as libc::c_char;
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    let socket = rustix::net::socket_with(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::DGRAM,
        rustix::net::SocketFlags::CLOEXEC,
        None,
    )?;
    // SAFETY: `request` is a whole ifreq that lives through the call.
    let done = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
