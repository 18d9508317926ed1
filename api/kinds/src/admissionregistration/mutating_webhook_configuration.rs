//! MutatingWebhookConfiguration: who is asked to change requests.

use schema::{DocExt, json};

use crate::cells::{AGE, NAME, count};
use crate::kind::{Col, Kind, Meta};

/// Who is asked to change requests.
pub struct MutatingWebhookConfiguration;

impl Kind for MutatingWebhookConfiguration {
    const META: Meta = Meta {
        categories: &["api-extensions"],
        generation: true,
        ..Meta::cluster("admissionregistration.k8s.io", "MutatingWebhookConfiguration", "mutatingwebhookconfigurations")
    };
    const COLUMNS: &[Col] = &[NAME, Col::of("Webhooks", |doc| json!(count(doc.at("webhooks")))).ty("integer"), AGE];
}
