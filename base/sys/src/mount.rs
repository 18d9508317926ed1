//! The mount calls that rustix lacks.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// What [`set_attributes`] changes about a mount.
#[derive(Clone, Copy, Debug, Default)]
pub struct Attributes {
    /// `MOUNT_ATTR_*` bits to set.
    pub set: u64,
    /// `MOUNT_ATTR_*` bits to clear.
    pub clear: u64,
    /// `MS_PRIVATE`, `MS_SLAVE`, `MS_SHARED`, or 0 to leave it.
    pub propagation: u64,
    /// Also everything mounted below.
    pub recursive: bool,
}

pub const READ_ONLY: u64 = libc::MOUNT_ATTR_RDONLY;
pub const NO_SUID: u64 = libc::MOUNT_ATTR_NOSUID;
pub const NO_DEV: u64 = libc::MOUNT_ATTR_NODEV;
pub const NO_EXEC: u64 = libc::MOUNT_ATTR_NOEXEC;
pub const PRIVATE: u64 = libc::MS_PRIVATE;
pub const SLAVE: u64 = libc::MS_SLAVE;
pub const SHARED: u64 = libc::MS_SHARED;

/// `mount_setattr` on the mount that `fd` names (`path` empty) or on one below it.
pub fn set_attributes(fd: impl AsFd, path: &CStr, attributes: Attributes) -> io::Result<()> {
    let attr = libc::mount_attr { attr_set: attributes.set, attr_clr: attributes.clear, propagation: attributes.propagation, userns_fd: 0 };
    let flags = libc::AT_EMPTY_PATH | if attributes.recursive { libc::AT_RECURSIVE } else { 0 };
    let fd = fd.as_fd().as_raw_fd();
    // SAFETY: `path` ends with a NUL and `attr` is a whole mount_attr; the kernel only reads both.
    let done = unsafe { libc::syscall(libc::SYS_mount_setattr, fd, path.as_ptr(), flags, &raw const attr, size_of::<libc::mount_attr>()) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
