//! The kinds of `apiextensions.k8s.io`.

pub mod custom_resource_definition;

pub use self::custom_resource_definition::CustomResourceDefinition;

use crate::descriptor::Descriptor;

/// The rows of this group.
pub(crate) fn rows() -> Vec<Descriptor> {
    vec![Descriptor::of::<CustomResourceDefinition>()]
}
