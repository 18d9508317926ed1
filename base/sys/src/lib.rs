//! Safe wrappers over Linux: the one home of unsafe code.
//!
//! Only what rustix does not have (or has only as `unsafe`) stands here. Each function says what its caller must have
//! arranged for the call to make sense; none can break memory safety when called otherwise.
#![expect(unsafe_code, reason = "this crate exists so that no other needs it")]

pub mod beneath;
pub mod bpf;
pub mod daemon;
pub mod fd;
pub mod inotify;
pub mod memfd;
pub mod memory;
pub mod mount;
pub mod netlink;
pub mod netns;
pub mod ns;
pub mod pidfd;
pub mod process;
pub mod reactor;
pub mod seccomp;
pub mod seqpacket;
pub mod signal;
