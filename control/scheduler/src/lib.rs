//! Which node a pod goes to.
//!
//! The decision is a pure function, [`schedule::schedule`], of a [`snapshot::Snapshot`] and a pod; it keeps its reasons per
//! node. [`run`] feeds it: informers keep the snapshot current in place, a priority [`queue`] says who is next, binds
//! go out side by side while the snapshot already counts them.
//!
//! ```text
//! pod unbound ─► active ─► schedule ─► assume ─► bind ─► (informer shows it bound)
//!                  ▲          │ nothing fits        │ failed: forget
//!                  │          ▼                     ▼
//!                  └─ event that may help ◄─ unschedulable / back-off
//! ```

pub mod filter;
pub mod metrics;
pub mod queue;
pub mod resources;
pub mod run;
pub mod schedule;
pub mod score;
pub mod snapshot;

pub use metrics::Metrics;
pub use run::run;
pub use schedule::{Decision, schedule};
pub use snapshot::Snapshot;
