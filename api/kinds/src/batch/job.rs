//! Job: runs pods to completion.

use schema::DocExt;

use crate::kind::{Kind, Meta, Selectable, Sub};

/// Runs pods to completion.
pub struct Job;

impl Kind for Job {
    const META: Meta = Meta { categories: &["all"], subresources: &[Sub::STATUS], ..Meta::namespaced("batch", "Job", "jobs") };
    const FIELDS: &[Selectable] =
        &[Selectable::new("status.successful", |doc| doc.i64_at("status.succeeded").unwrap_or_default().to_string())];
}
