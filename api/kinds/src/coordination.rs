//! The kinds of `coordination.k8s.io`.

pub mod lease;

pub use self::lease::{Lease, LeaseSpec};

use crate::descriptor::Descriptor;

/// The rows of this group.
pub(crate) fn rows() -> Vec<Descriptor> {
    vec![Descriptor::of::<Lease>()]
}
