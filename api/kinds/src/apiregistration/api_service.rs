//! APIService: a group version, served here or by an extension server.

use crate::kind::{Kind, Meta, Sub};

/// A group version, served here or by an extension server.
pub struct ApiService;

impl Kind for ApiService {
    const META: Meta = Meta {
        categories: &["api-extensions"],
        subresources: &[Sub::STATUS],
        ..Meta::cluster("apiregistration.k8s.io", "APIService", "apiservices")
    };
}
