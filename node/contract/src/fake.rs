//! Drivers that keep everything in memory and pass the suites: the nodes of the in-process cluster.
//!
//! Containers run until they are told otherwise: [`FakeRuntime::script`] says how the next containers of a name behave,
//! [`FakeRuntime::exit`] ends one now. Nothing here touches the kernel or the disk.

mod images;
mod podnet;
mod runtime;
mod services;
mod volumes;

pub use images::FakeImages;
pub use podnet::FakePodNet;
pub use runtime::{ExecReply, FakeRuntime, Script};
pub use services::FakeServices;
pub use volumes::FakeVolumes;
