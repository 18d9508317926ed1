//! What a person types: commands, their output, their errors.
//!
//! Data goes to standard output, talk to standard error. Colour only on a terminal, `-o json` where a program may read it. A
//! command that fails says what, why and the fix, and exits with a code of its kind ([`Failure`]).
//!
//! The crate speaks to the cluster through [`client::Client`] alone; what it needs of the machine (starting the keeper, keys,
//! images) is behind [`Host`], which the composition root implements.

pub mod apply;
pub mod check;
pub mod commands;
pub mod failure;
pub mod host;
pub mod kubeconfig;
pub mod manifest;
pub mod memory;
pub mod out;
pub mod phases;
pub mod ready;

pub use commands::{Cli, Command, run};
pub use failure::{Failure, Kind};
pub use host::{Admin, ChildState, Host, ImageRow, Invocation, State, StoreArgs};
