//! The kinds of `flowcontrol.apiserver.k8s.io`.

pub mod flow_schema;
pub mod priority_level_configuration;

pub use self::flow_schema::FlowSchema;
pub use self::priority_level_configuration::PriorityLevelConfiguration;

use crate::descriptor::Descriptor;

/// The rows of this group.
pub(crate) fn rows() -> Vec<Descriptor> {
    vec![Descriptor::of::<FlowSchema>(), Descriptor::of::<PriorityLevelConfiguration>()]
}
