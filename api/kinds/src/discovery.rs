//! The kinds of `discovery.k8s.io`.

pub mod endpoint_slice;

pub use self::endpoint_slice::{Endpoint, EndpointConditions, EndpointHints, EndpointPort, EndpointSlice, ForNode, ForZone};

use crate::descriptor::Descriptor;

/// The rows of this group.
pub(crate) fn rows() -> Vec<Descriptor> {
    vec![Descriptor::of::<EndpointSlice>()]
}
