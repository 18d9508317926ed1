//! What every node driver promises, and the fakes and suites that hold them to it.
//!
//! Calls are idempotent: `ensure_*` succeeds when it is already so, `remove_*` when it is already gone. `observe`
//! re-reads the kernel, so the agent may die and start again at any line.
//!
//! | contract | driver | what |
//! |---|---|---|
//! | [`Runtime`] | `keeper` | sandboxes, containers, exec |
//! | [`Images`] | `images` | names to root file systems |
//! | [`Volumes`] | `volumes` | pod volumes as host paths |
//! | [`PodNet`] | `podnet` | a pod's link and address |
//! | [`Services`] | `services` | service addresses to endpoints |

mod error;
pub mod fake;
mod images;
mod podnet;
mod runtime;
mod services;
mod volumes;

pub use error::{Error, ErrorKind, Result};
pub use images::suite as images_suite;
pub use images::{Image, ImageConfig, Images, Rootfs};
pub use podnet::suite as podnet_suite;
pub use podnet::{PodAddress, PodNet};
pub use runtime::suite as runtime_suite;
pub use runtime::{
    ContainerId, ContainerSpec, ContainerState, Exec, ExecSpec, Exit, IdMap, Mount, Propagation, Resources, Runtime, Sandbox, SandboxSpec,
    Seccomp, Stats, Stdio, Streams, Terminal, User,
};
pub use services::suite as services_suite;
pub use services::{Affinity, Endpoint, PortSpec, Protocol, ServiceSpec, Services};
pub use volumes::suite as volumes_suite;
pub use volumes::{Volume, VolumeContent, VolumeFile, VolumeMedium, VolumeSpec, Volumes};
