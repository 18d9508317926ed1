//! The store: the system's only clock.
//!
//! A [`Store`] keeps the newest value of each key and a bounded history. Every committed transaction takes the next
//! [`Revision`]; all its writes carry that one revision. `resourceVersion` is a revision, never a time.
//!
//! | file | what |
//! |---|---|
//! | `contract.rs` | the trait, its types and errors, and the suite that every backend passes |
//! | `mvcc.rs` | the in-memory map with history that both backends share |
//! | `memory.rs` | for tests |
//! | `log.rs`, `log/` | the embedded default: segmented append-only log, group commit, snapshots |

mod contract;

pub use contract::{Committed, Entry, Event, EventKind, Guard, Key, Op, Range, Revision, Store, StoreError, Txn, WatchStream};
