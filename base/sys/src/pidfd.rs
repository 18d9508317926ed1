//! How a process ended, asked of a pidfd that was held before.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// A wait status as `waitpid` gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitStatus(pub i32);

impl WaitStatus {
    /// The exit code; None when a signal ended it.
    pub fn code(self) -> Option<i32> {
        libc::WIFEXITED(self.0).then(|| libc::WEXITSTATUS(self.0))
    }

    /// The signal that ended it.
    pub fn signal(self) -> Option<i32> {
        libc::WIFSIGNALED(self.0).then(|| libc::WTERMSIG(self.0))
    }
}

/// The wait status of an ended and reaped process (kernel >= 6.15); None where the kernel does not know or cannot say.
pub fn exit_status(pidfd: impl AsFd) -> io::Result<Option<WaitStatus>> {
    const WANT_EXIT: u64 = libc::PIDFD_INFO_EXIT as u64;
    // SAFETY: pidfd_info is plain integers; all zeroes is a value of it.
    let mut info: libc::pidfd_info = unsafe { std::mem::zeroed() };
    info.mask = WANT_EXIT;
    // SAFETY: `info` lives through the call and is as large as the request number says.
    let done = unsafe { libc::ioctl(pidfd.as_fd().as_raw_fd(), libc::PIDFD_GET_INFO, &raw mut info) };
    if done != 0 {
        let error = io::Error::last_os_error();
        let unknown = matches!(error.raw_os_error(), Some(libc::ENOTTY | libc::EINVAL | libc::ESRCH));
        return if unknown { Ok(None) } else { Err(error) };
    }
    Ok((info.mask & WANT_EXIT != 0).then_some(WaitStatus(info.exit_code)))
}
