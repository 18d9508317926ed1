//! ResourceClaimTemplate: makes a resource claim for each pod.

use crate::kind::{Kind, Meta};

/// Makes a resource claim for each pod.
pub struct ResourceClaimTemplate;

impl Kind for ResourceClaimTemplate {
    const META: Meta = Meta::namespaced("resource.k8s.io", "ResourceClaimTemplate", "resourceclaimtemplates");
}
