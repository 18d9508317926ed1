//! What can go wrong with a service's addresses.

use std::net::IpAddr;

use contract::ErrorKind;
use sys::netlink;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("services: {0}")]
    Netlink(#[from] netlink::Error),
    #[error("service {service}: address {ip}: this build serves IPv4 alone")]
    Ipv6 { service: String, ip: IpAddr },
}

impl From<Error> for contract::Error {
    fn from(error: Error) -> Self {
        let kind = match &error {
            Error::Ipv6 { .. } => ErrorKind::Unsupported,
            Error::Netlink(_) => ErrorKind::Io,
        };
        Self::new(kind, error.to_string())
    }
}
