//! What can go wrong with a pod's link.

use std::io;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use contract::ErrorKind;
use sys::{netlink, netns};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("pod network: {0}")]
    Netlink(#[from] netlink::Error),
    #[error("pod network: {0}")]
    Netns(#[from] netns::Error),
    #[error("every address of {0}/{1} is taken: this node cannot hold more pods")]
    Full(Ipv4Addr, u8),
    #[error("link {0} vanished while it was being set up: was its network namespace removed?")]
    Vanished(String),
    #[error(
        "route {to}/{prefix} on link {link} lies inside our range {range}: remove it, or start the cluster with another --instance name"
    )]
    InTheWay { to: Ipv4Addr, prefix: u8, link: String, range: String },
    #[error("{path} was written by a newer version ({version}): upgrade corten, or remove the file once no pod runs")]
    Newer { path: PathBuf, version: u32 },
    #[error("{path}: {cause}")]
    State { path: PathBuf, cause: io::Error },
    #[error("writing {value} to {path}: {cause}")]
    Sysctl { path: PathBuf, value: String, cause: io::Error },
}

impl From<Error> for contract::Error {
    fn from(error: Error) -> Self {
        let kind = match &error {
            Error::Netns(cause) if cause.is_absent() => ErrorKind::NotFound,
            Error::Netlink(cause) if matches!(cause.errno(), libc_errno::EPERM | libc_errno::EOPNOTSUPP) => ErrorKind::Unsupported,
            Error::Full(..) | Error::Vanished(_) => ErrorKind::Busy,
            Error::InTheWay { .. } | Error::Newer { .. } => ErrorKind::Invalid,
            _ => ErrorKind::Io,
        };
        Self::new(kind, error.to_string())
    }
}

/// The two refusals that mean "this machine does not let us", as numbers: the crate needs no other part of libc.
mod libc_errno {
    pub(super) const EPERM: i32 = rustix::io::Errno::PERM.raw_os_error();
    pub(super) const EOPNOTSUPP: i32 = rustix::io::Errno::OPNOTSUPP.raw_os_error();
}
