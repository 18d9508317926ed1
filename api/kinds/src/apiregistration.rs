//! The kinds of `apiregistration.k8s.io`.

pub mod api_service;

pub use self::api_service::ApiService;

use crate::descriptor::Descriptor;

/// The rows of this group.
pub(crate) fn rows() -> Vec<Descriptor> {
    vec![Descriptor::of::<ApiService>()]
}
