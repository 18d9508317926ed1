//! The kinds of `node.k8s.io`.

pub mod runtime_class;

pub use self::runtime_class::RuntimeClass;

use crate::descriptor::Descriptor;

/// The rows of this group.
pub(crate) fn rows() -> Vec<Descriptor> {
    vec![Descriptor::of::<RuntimeClass>()]
}
