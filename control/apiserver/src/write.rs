//! Writing objects: one path for every kind.
//!
//! ```text
//! create  decode ─► place, stamp, name ─► defaults ─► owners ─► prepare ─┐
//! update  decode ─┐                                                      ├─► admission ─► validate ─► transaction
//! patch   ────────┴─► carry over ─► defaults ─► prepare ─► owners ───────┘        ▲                        │
//! apply   merged, with its owners ─► one of both ways                             └── a guard did not hold ┘
//! ```
//! Every attempt is one store transaction guarded by what it was computed from: the object's own revision, the namespace's,
//! the allocations it takes. Nothing is locked; who loses a race computes again.

mod apply;
mod commit;
mod create;
mod delete;
mod ownership;
mod patch;
mod update;

pub(crate) use self::apply::Config as Applied;
pub(crate) use self::commit::{Current, Outcome, commit, current, transact};
pub(crate) use self::create::{create, create_as, create_document};
pub(crate) use self::delete::{Also, delete, delete_also, delete_collection, overlaid};
pub(crate) use self::ownership::{Ownership, refused};
pub(crate) use self::patch::{Parsed, patch};
pub(crate) use self::update::{modify, modify_as, update};

/// Attempts of a write that loses races before the caller hears of the conflict.
pub(crate) const ATTEMPTS_MAX: usize = 16;
