//! Services in one nftables table: flat maps, atomic changes.
//!
//! A **front** is what a client connects to: an address with protocol and port, or a node port. Its endpoints stand in
//! numbered slots of one map; a second map says how many there are. No chain belongs to a service, so 10,000 services
//! load in a fraction of a second and one endpoint's change is a few map elements.
//!
//! ```text
//!                    svc                      svc-classes               chain vip-3
//! 10.96.0.7:tcp:80 ──────► class "vip, 3 slots" ──────────► slot = random % 3
//!                                                            eps[10.96.0.7:tcp:80:slot] ──► dnat 10.244.0.5:8080
//! ```
//!
//! A class is how a connection is distributed: over how many slots, by which map, with which affinity. Classes are few
//! and shared, and a change of a service's class is a change of plain data. (A verdict per service would have the
//! kernel re-check the whole table at each change.)
//!
//! One change of a service is one transaction, computed against what we know of the kernel; `replace` at the start
//! dumps the kernel and touches only what differs, so a restart is no gap in service. Nothing is ever flushed.
//!
//! | traffic | answer |
//! |---|---|
//! | to an address of a service, from pods, the node and outside | one of its endpoints |
//! | to a node port, on every address of the node, 127.0.0.1 included | one of its endpoints |
//! | to a service without endpoints, or to an unknown port of the service range | refused at once |
//! | under a `Local` policy without a local endpoint | dropped, as upstream does |
//!
//! The cluster DNS address is served by the node itself and never translated. IPv4 only.

mod driver;
mod error;
mod front;
mod layout;
pub mod plan;
mod state;
#[cfg(test)]
mod tests;
pub mod watch;

pub use driver::Driver;
pub use error::Error;

use stdx::instance::Instance;

/// What the driver must be told.
#[derive(Clone, Debug)]
pub struct Config {
    /// Table name, ranges, node address and mark come from it.
    pub instance: Instance,
}
