//! MutatingWebhookConfiguration: who is asked to change requests.

use crate::kind::{Kind, Meta};

/// Who is asked to change requests.
pub struct MutatingWebhookConfiguration;

impl Kind for MutatingWebhookConfiguration {
    const META: Meta = Meta {
        categories: &["api-extensions"],
        generation: true,
        ..Meta::cluster("admissionregistration.k8s.io", "MutatingWebhookConfiguration", "mutatingwebhookconfigurations")
    };
}
