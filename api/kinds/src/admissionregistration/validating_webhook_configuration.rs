//! ValidatingWebhookConfiguration: who is asked to refuse requests.

use crate::kind::{Kind, Meta};

/// Who is asked to refuse requests.
pub struct ValidatingWebhookConfiguration;

impl Kind for ValidatingWebhookConfiguration {
    const META: Meta = Meta {
        categories: &["api-extensions"],
        generation: true,
        ..Meta::cluster("admissionregistration.k8s.io", "ValidatingWebhookConfiguration", "validatingwebhookconfigurations")
    };
}
