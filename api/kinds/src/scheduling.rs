//! The kinds of `scheduling.k8s.io`.

pub mod priority_class;

pub use self::priority_class::PriorityClass;

use crate::descriptor::Descriptor;

/// The rows of this group.
pub(crate) fn rows() -> Vec<Descriptor> {
    vec![Descriptor::of::<PriorityClass>()]
}
