//! The store: the system's only clock.
//!
//! A [`Store`] keeps the newest value of each key and a bounded history. Every committed transaction takes the next
//! [`Revision`]; all its writes carry that one revision. `resourceVersion` is a revision, never a time.
//!
//! | file | what |
//! |---|---|
//! | `contract.rs` | the trait, its types and errors |
//! | `suite.rs` | what every backend passes |
//! | `mvcc.rs` | the in-memory map with history that all backends share |
//! | `hub.rs` | its readers: the lock, the watchers' cursors |
//! | `hole.rs` | a document on its way to a store that cannot fill its hole |
//! | `history.rs` | how long history is kept |
//! | `expiry.rs` | the one owner of keys with a time to live |
//! | `bench.rs` | its figures, beside those of a bare log |
//! | `memory.rs` | for tests |
//! | `log.rs`, `log/` | the embedded default: segmented append-only log, group commit, snapshots |
//! | `etcd.rs`, `etcd/` | the distributed engine: an etcd cluster, with a picture of it in memory |
//! | `etcd_server.rs` | a real etcd for tests, where the machine has one |

pub mod bench;
mod contract;
mod etcd;
pub mod etcd_server;
mod expiry;
mod history;
pub mod hole;
mod hub;
mod log;
mod memory;
#[cfg(test)]
mod model;
mod mvcc;
pub mod suite;

pub use contract::{Committed, Entry, Event, EventKind, Guard, Key, Op, Range, Revision, Store, StoreError, Txn, WatchStream};
pub use etcd::{Etcd, EtcdConfig, EtcdError, TlsFiles};
pub use history::HistoryConfig;
pub use log::{Log, LogConfig, OpenError, Repair};
pub use memory::Memory;
