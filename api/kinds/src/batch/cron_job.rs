//! CronJob: starts jobs by the clock.

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
}
