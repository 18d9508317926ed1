//! Pod links over raw netlink, and their addresses.
//!
//! ```text
//!  pod netns                         node netns
//! ┌───────────────────────┐        ┌──────────────────────────────────────────────┐
//! │ eth0 10.244.0.5/32    │  veth  │ corten00af40005   route 10.244.0.5/32 here    │
//! │ default via 169.254.1.1 ──────── ee:ee:ee:ee:ee:ee, permanent neighbour        │
//! └───────────────────────┘        │ corten0  10.244.0.1 (node), 10.96.0.10 (DNS)  │
//!                                  │          route 10.96.0.0/16 (services)        │
//!                                  └──────────────────────────────────────────────┘
//! ```
//!
//! Pure layer 3: no bridge, no ARP, no broadcast domain. A pod's link is named after its address and carries the pod's
//! uid as its alias, so the kernel alone can tell who has which address; what must survive the link (addresses that
//! were freed are given out last) stands in a small versioned file. A pod cannot send from another address, nor to the
//! node's loopback, nor IPv6 at all.
//!
//! The node has a link of its own, because without a default route a connection to a ClusterIP would fail before
//! address translation is reached, and this must work on a machine with nothing but loopback.
//!
//! rp_filter stays as it is: every pod address has its route on the link it comes from, so the strict check passes.

mod addresses;
mod driver;
mod error;
pub mod foreign;
mod link;
mod node;
mod rules;
#[cfg(test)]
mod tests;

pub use driver::Driver;
pub use error::Error;
pub use node::{Teardown, teardown};

use stdx::instance::Instance;

/// What the driver must be told.
#[derive(Clone, Debug)]
pub struct Config {
    /// Names and ranges come from it; the state file is `<node_dir>/podnet.json`.
    pub instance: Instance,
    /// Of pod links; None: that of the link with the default route, or 1500 where there is none.
    pub mtu: Option<u32>,
}

impl Config {
    pub fn new(instance: Instance) -> Self {
        Self { instance, mtu: None }
    }

    fn state_path(&self) -> std::path::PathBuf {
        self.instance.node_dir().join("podnet.json")
    }
}
