//! CronJob: starts jobs by the clock.

use schema::{DocExt, Value, json};

use crate::core::pod::defaults::{self, default_text};
use crate::kind::{Kind, Meta, Sub};

/// Starts jobs by the clock.
pub struct CronJob;

impl Kind for CronJob {
    const META: Meta = Meta {
        short: &["cj"],
        categories: &["all"],
        subresources: &[Sub::STATUS],
        generation: true,
        ..Meta::namespaced("batch", "CronJob", "cronjobs")
    };

    fn fill_defaults(doc: &mut Value) {
        default_text(doc, "spec.concurrencyPolicy", "Allow");
        doc.default_at("spec.suspend", false);
        doc.default_at("spec.successfulJobsHistoryLimit", 3);
        doc.default_at("spec.failedJobsHistoryLimit", 1);
        doc.default_at("spec.jobTemplate.metadata", json!({}));
        doc.default_at("spec.jobTemplate.spec.template", json!({}));
        defaults::template(&mut doc["spec"]["jobTemplate"]["spec"]["template"]);
    }
}
