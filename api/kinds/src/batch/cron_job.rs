//! CronJob: starts jobs by the clock.

use schema::{DocExt, Value, json};

use crate::cells::{AGE, NAME, flag, or_none, since};
use crate::core::pod::defaults::{self, default_text};
use crate::kind::{Col, Kind, Meta, Sub};
use crate::workload;

const CONTAINERS: &str = "spec.jobTemplate.spec.template.spec.containers";

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
    const COLUMNS: &[Col] = &[
        NAME,
        Col::path("Schedule", "spec.schedule"),
        Col::of("Timezone", |doc| or_none(doc.str_at("spec.timeZone"))),
        Col::of("Suspend", |doc| flag(doc.at("spec.suspend"))).ty("boolean"),
        Col::of("Active", |doc| json!(doc.items_at("status.active").len())).ty("integer"),
        Col::timed("Last Schedule", |doc, env| match doc.str_at("status.lastScheduleTime") {
            "" => json!("<none>"),
            time => since(time, env),
        }),
        AGE,
        Col::of("Containers", |doc| workload::list_of(doc.items_at(CONTAINERS), "name")).wide(),
        Col::of("Images", |doc| workload::list_of(doc.items_at(CONTAINERS), "image")).wide(),
        Col::of("Selector", |doc| workload::selector_text(doc.at("spec.jobTemplate.spec.selector"))).wide(),
    ];

    fn fill_defaults(doc: &mut Value) {
        default_text(doc, "spec.concurrencyPolicy", "Allow");
        doc.default_at("spec.suspend", false);
        doc.default_at("spec.successfulJobsHistoryLimit", 3);
        doc.default_at("spec.failedJobsHistoryLimit", 1);
        doc.default_at("spec.jobTemplate.metadata", json!({}));
        doc.default_at("spec.jobTemplate.spec.template", json!({}));
        defaults::template(&mut doc["spec"]["jobTemplate"]["spec"]["template"]);
    }

    fn warnings(new: &Value, _old: Option<&Value>) -> Vec<String> {
        workload::template_warnings(new, "spec.jobTemplate.spec.template")
    }
}
