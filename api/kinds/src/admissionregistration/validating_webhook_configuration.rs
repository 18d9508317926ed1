//! ValidatingWebhookConfiguration: who is asked to refuse requests.

use schema::{DocExt, json};

use crate::cells::{AGE, NAME, count};
use crate::kind::{Col, Kind, Meta};

/// Who is asked to refuse requests.
pub struct ValidatingWebhookConfiguration;

impl Kind for ValidatingWebhookConfiguration {
    const META: Meta = Meta {
        categories: &["api-extensions"],
        generation: true,
        ..Meta::cluster("admissionregistration.k8s.io", "ValidatingWebhookConfiguration", "validatingwebhookconfigurations")
    };
    const COLUMNS: &[Col] = &[NAME, Col::of("Webhooks", |doc| json!(count(doc.at("webhooks")))).ty("integer"), AGE];
}
