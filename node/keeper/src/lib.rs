//! The root of a node's process tree: supervisor, parent of containers, holder of descriptors.
//!
//! Three faces: [`run`] is the keeper process itself (no runtime, no threads), [`Control`] asks it from the command
//! line, [`Driver`] is the node's [`contract::Runtime`] over it. Whoever of keeper and node dies, containers go on: the
//! run folder and the kernel say what runs, and the survivor starts the other.

mod config;
mod control;
mod driver;
mod keeper;
mod pipes;
mod protocol;

pub use config::{ChildSpec, KeeperConfig};
pub use control::{ChildStatus, Control, ControlError, Status, spawn_detached};
pub use driver::Driver;
pub use keeper::run;
