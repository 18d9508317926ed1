//! The runtime that every controller shares.
//!
//! A controller says what it watches and what it does with one key; everything generic lives here, once:
//!
//! | file | what |
//! |---|---|
//! | [`collections`] | every collection that there is, custom ones as they come and go |
//! | [`informers`] | one informer per collection, shared by all controllers and the scheduler |
//! | [`queue`] | de-duplicating queue with delays and per-key back-off |
//! | [`controller`] | the trait, the wiring from events to keys, the workers |
//! | [`metrics`] | queue depth, retries and durations by controller |
//! | [`writes`] | slow-start batches, and what a reconcile must see of its own writes before it runs again |
//!
//! Nothing polls and nothing resyncs: a key is looked at because something about it changed, because a reconcile asked for
//! it at a time, or because it failed and its back-off is over.

pub mod collections;
pub mod controller;
pub mod informers;
pub mod metrics;
pub mod queue;
pub mod writes;

pub use collections::Collections;
pub use controller::{Action, Controller, Cx, Manager, Retry, Wiring};
pub use informers::Informers;
pub use queue::Queue;
