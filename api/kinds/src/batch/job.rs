//! Job: runs pods to completion.

use schema::{DocExt, Value, json};

use crate::core::pod::defaults::{self, default_text};
use crate::kind::{Kind, Meta, Selectable, Sub};

/// Runs pods to completion.
pub struct Job;

impl Kind for Job {
    const META: Meta = Meta { categories: &["all"], subresources: &[Sub::STATUS], ..Meta::namespaced("batch", "Job", "jobs") };
    const FIELDS: &[Selectable] =
        &[Selectable::new("status.successful", |doc| doc.i64_at("status.succeeded").unwrap_or_default().to_string())];

    fn fill_defaults(doc: &mut Value) {
        doc.default_at("spec", json!({}));
        let spec = &mut doc["spec"];
        if spec.i64_at("completions").is_none() && spec.i64_at("parallelism").is_none() {
            spec.set_at("completions", 1);
        }
        spec.default_at("parallelism", 1);
        let per_index = spec.i64_at("backoffLimitPerIndex").is_some();
        spec.default_at("backoffLimit", if per_index { i64::from(i32::MAX) } else { 6 });
        default_text(spec, "completionMode", "NonIndexed");
        spec.default_at("suspend", false);
        let replacement = if spec.at("podFailurePolicy").is_some_and(Value::is_object) { "Failed" } else { "TerminatingOrFailed" };
        default_text(spec, "podReplacementPolicy", replacement);
        spec.default_at("template", json!({}));
        defaults::template(&mut spec["template"]);
    }
}
