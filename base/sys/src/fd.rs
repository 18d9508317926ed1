//! Descriptors: closing all but a few.

use std::io;

/// Marks every descriptor from `first` on close-on-exec: what exec then passes on is exactly the descriptors below.
pub fn cloexec_from(first: u32) -> io::Result<()> {
    // SAFETY: with CLOSE_RANGE_CLOEXEC the call only sets flags; no descriptor that Rust owns becomes invalid.
    let done = unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
