//! Everything that the system knows about each resource type: one file a kind, one row in [`all`].
//!
//! Routes, discovery, OpenAPI, storage prefixes, table columns, short names, the owner graph and the "for every kind"
//! tests iterate the table. A custom resource makes the same [`Descriptor`] at run time.

pub mod apps;
pub mod coordination;
pub mod core;
pub mod descriptor;
pub mod discovery;
pub mod lens;
pub mod rbac;

pub use descriptor::{Acts, Column, Descriptor, FieldLookup, KindRef, Scope, Strategy, Subresource, Verbs, WriteContext};
pub use lens::{IntOrString, Resources};
