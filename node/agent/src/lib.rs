//! The node agent: one task per pod around an explicit state, probes, status, and the node's API on 10250.
//!
//! What is decided is pure and stands apart from what is done:
//!
//! | pure | does |
//! |---|---|
//! | [`plan`]: what a pod needs next | `pod`: its task |
//! | [`status`]: what the API should show | `status_writer`: the one writer |
//! | [`admission`]: who may run here | `agent`: node, pods, events in and out |
//! | `blueprint`, `environment`, `content`, `files`: what a container gets | `drivers` of `node/contract` |
//!
//! Restarting the agent touches no container: everything is read again from the runtime and the API.

pub mod admission;
mod agent;
mod blueprint;
mod config;
mod content;
mod context;
mod downward;
mod environment;
mod execute;
mod expand;
mod files;
mod hook;
mod http_get;
mod inotify;
mod lease;
pub mod logs;
mod machine;
mod mirror;
mod node;
mod objects;
pub mod plan;
mod pod;
mod probe;
pub mod registry;
mod resources;
mod rotation;
pub mod server;
pub mod slot;
pub mod status;
mod status_writer;
#[cfg(test)]
mod stub;
mod tokens;

pub use agent::Agent;
pub use config::{AgentConfig, Drivers};
pub use mirror::SystemPart;
pub use server::{Review, Server};
