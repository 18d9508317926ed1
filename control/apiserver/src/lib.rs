//! The generic API core and its HTTP face.
//!
//! One REST core serves every verb of every kind: [`Core::call`] takes who asks and what, and answers without knowing of
//! HTTP. The components of this process call it through [`Core::transport`], with an identity of their own, through the
//! same authorization and admission as everybody else.
//!
//! ```text
//! call ─► authorize ─► decode ─► defaults ─► prepare ─► admission ─► validate ─► transaction ─► cache shows it ─► answer
//! ```
//!
//! | module | what |
//! |---|---|
//! | [`core`] | the entrance: authorization, dispatch by verb and subresource |
//! | [`flow`] | priority and fairness of what comes over the network |
//! | [`registry`] | which resources exist |
//! | [`custom`] | what definitions of custom kinds ask of the server |
//! | [`convert`], [`conversion`] | from one version of a kind to another, by programs outside where a definition says so |
//! | [`cache`] | every object in memory, events in rings, watchers as cursors |
//! | [`list`], [`watch`], [`page`], [`select`] | reading collections |
//! | [`write`] and its rooms | create, update, patch, delete and the transaction below them |
//! | [`admission`] | the ordered chain of plug-ins |
//! | [`aggregation`] | groups that other API servers answer for |
//! | [`webhook`] | calls to programs outside that are asked |
//! | [`allocate`] | ClusterIPs and node ports, inside the write's own transaction |
//! | [`quota`] | resource quotas, charged inside the write's own transaction |
//! | [`folders`] | how folders are called in etcd |
//! | [`meta`] | the rules of `metadata` |
//! | [`bootstrap`] | what every cluster has from its first second |
//! | [`encryption`] | what is stored encrypted |
//! | [`settings`] | what an operator may set, and where |
//! | [`http`] | the thin face: TLS, paths, media types, tables, discovery |

pub mod admission;
pub mod aggregation;
pub mod allocate;
pub mod assemble;
pub mod body;
pub mod bootstrap;
pub mod cache;
pub mod config;
pub mod conversion;
pub mod convert;
pub mod core;
pub mod custom;
pub mod document;
pub mod encryption;
pub mod failure;
pub mod flow;
pub mod folders;
pub mod follow;
mod gate;
pub mod http;
pub mod list;
pub mod meta;
pub mod page;
pub mod quota;
pub mod registry;
pub mod review;
pub mod select;
pub mod settings;
pub mod sub;
pub mod watch;
pub mod webhook;
pub mod write;

pub use cache::cursor::{Cursor, Delivery, Step};
pub use config::Config;
pub use core::Core;
pub use registry::Registry;

#[cfg(test)]
mod tests;
