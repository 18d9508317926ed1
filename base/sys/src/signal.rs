//! Signals as descriptors, and the clean slate that a child starts from.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// Blocks `signals` for this thread and makes a non-blocking descriptor that reads them instead.
pub fn signal_fd(signals: &[i32]) -> io::Result<OwnedFd> {
    let set = set_of(signals);
    // SAFETY: `set` is an initialised signal set.
    unsafe { libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) };
    // SAFETY: as above; -1 asks for a new descriptor.
    let fd = unsafe { libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor for us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The next signal that waits in a [`signal_fd`]; None when there is none.
pub fn next_signal(fd: &OwnedFd) -> io::Result<Option<i32>> {
    // SAFETY: signalfd_siginfo is plain integers; all zeroes is a value of it.
    let mut info: libc::signalfd_siginfo = unsafe { std::mem::zeroed() };
    let size = size_of::<libc::signalfd_siginfo>();
    // SAFETY: `info` is writable for exactly `size` bytes.
    let read = unsafe { libc::read(fd.as_raw_fd(), (&raw mut info).cast(), size) };
    if read == size as isize {
        return Ok(Some(info.ssi_signo as i32));
    }
    let error = io::Error::last_os_error();
    if error.kind() == io::ErrorKind::WouldBlock { Ok(None) } else { Err(error) }
}

/// Default handling of every signal and an empty mask: what an exec'ed program may expect. Allocates nothing.
pub fn reset_all() {
    for signal in 1..=64 {
        // SAFETY: SIG_DFL is always a valid disposition; numbers that cannot be set fail without effect.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    let empty = set_of(&[]);
    // SAFETY: `empty` is an initialised signal set.
    unsafe { libc::sigprocmask(libc::SIG_SETMASK, &raw const empty, std::ptr::null_mut()) };
}

/// Waits for one of `signals` (which must be blocked).
pub fn wait_for(signals: &[i32]) -> i32 {
    let set = set_of(signals);
    // SAFETY: `set` is an initialised signal set; no siginfo is asked for.
    unsafe { libc::sigwaitinfo(&raw const set, std::ptr::null_mut()) }
}

/// Blocks every signal for this thread.
pub fn block_all() {
    // SAFETY: sigfillset initialises the set before it is read.
    unsafe {
        let mut set = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
        libc::sigfillset(set.as_mut_ptr());
        libc::sigprocmask(libc::SIG_SETMASK, set.as_ptr(), std::ptr::null_mut());
    }
}

/// Sends `signal` to a process by number: only for processes that this one must reap, whose number so cannot be reused.
pub fn kill_child(pid: u32, signal: i32) -> io::Result<()> {
    // SAFETY: kill touches no memory of ours.
    if unsafe { libc::kill(pid as i32, signal) } == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn set_of(signals: &[i32]) -> libc::sigset_t {
    // SAFETY: sigemptyset initialises the set before anything is added; invalid numbers are refused without effect.
    unsafe {
        let mut set = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
        libc::sigemptyset(set.as_mut_ptr());
        let mut set = set.assume_init();
        for &signal in signals {
            libc::sigaddset(&raw mut set, signal);
        }
        set
    }
}
