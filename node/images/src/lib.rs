//! Images: names to root file systems.
//!
//! One content-addressed store. A layer is its plain tar; what a container sees is either an EROFS index mounted over that
//! tar, made in one pass while the archive streams in, or a directory unpacked from it. Both are written from one tree in
//! memory ([`tree`]), where paths, links and whiteouts are resolved once, so both show the same.
//!
//! | file | what |
//! |---|---|
//! | `store.rs` | the trait: names, containers, the lock |
//! | `index.rs` | what is there, in one file |
//! | `name.rs` | spellings of names |
//! | `config.rs`, `bundle.rs`, `builtin.rs` | configurations, image archives, the image that is this binary |
//! | `layers.rs`, `mounts.rs` | layers on disk and in the kernel |
//! | `ingest.rs`, `tarball.rs`, `tree.rs` | from a stream to a tree |
//! | `erofs.rs`, `unpack.rs` | from a tree to an index or a directory |
//! | `bench.rs` | how long that takes |

pub mod bench;
mod builtin;
mod bundle;
mod config;
mod erofs;
mod index;
mod ingest;
mod layers;
mod mounts;
mod name;
mod store;
mod tarball;
#[cfg(test)]
mod tests;
mod tree;
mod unpack;

pub use builtin::Builtin;
pub use layers::Layout;
pub use store::Store;
