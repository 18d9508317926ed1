//! CronJob: starts jobs by the clock.

use schema::{DocExt, FieldErrors, Path, Value, json};

use super::job;
use crate::cells::{AGE, NAME, flag, or_none, since};
use crate::core::pod::defaults::{self, default_text};
use crate::descriptor::WriteContext;
use crate::kind::{Col, Kind, Meta, Question, Sub};
use crate::rules::{cron, is_given, non_negative, not_supported, one_of, sub, zones};
use crate::workload;

/// The time that a job's name ends with needs eleven of the 63.
const NAME_BYTES_MAX: usize = 52;
const POLICIES: &[&str] = &["Allow", "Forbid", "Replace"];
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
    const NOTHING: &[Question] = &[Question::Fields, Question::Updates];
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

    fn validate(new: &Value, old: Option<&Value>, errors: &mut FieldErrors) {
        let (spec, path) = (sub(new, "spec"), Path::new("spec"));
        if old.is_none() && new.str_at("metadata.name").len() > NAME_BYTES_MAX {
            let text = format!("must be no more than {NAME_BYTES_MAX} characters");
            errors.invalid(&Path::new("metadata.name"), new.str_at("metadata.name"), &text);
        }
        schedule(spec, old, &path.child("schedule"), errors);
        non_negative(spec, &["startingDeadlineSeconds"], &path, errors);
        if old.is_none_or(|old| old.at("spec.timeZone") != spec.at("timeZone")) {
            time_zone(spec.at("timeZone"), &path.child("timeZone"), errors);
        }
        one_of(spec, "concurrencyPolicy", POLICIES, &path, errors);
        job_template(sub(spec, "jobTemplate.spec"), &path.child("jobTemplate.spec"), errors);
        non_negative(spec, &["successfulJobsHistoryLimit", "failedJobsHistoryLimit"], &path, errors);
    }

    fn validate_subresource(_new: &Value, _old: &Value, _cx: &WriteContext<'_>, _errors: &mut FieldErrors) {
        // Nothing: upstream asks a cron job's status nothing beside its metadata.
    }

    fn warnings(new: &Value, old: Option<&Value>) -> Vec<String> {
        let mut texts = workload::template_warnings(new, "spec.jobTemplate.spec.template");
        texts.extend(job::spec_warning(sub(new, "spec.jobTemplate.spec"), &Path::new("spec.jobTemplate.spec")).filter(|_| old.is_none()));
        if new.str_at("spec.schedule").contains("TZ") {
            texts.push("cannot use TZ or CRON_TZ in spec.schedule, use timeZone instead, see https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details".to_owned());
        }
        texts
    }
}

/// A zone in the schedule is refused, except where it stood there before.
fn schedule(spec: &Value, old: Option<&Value>, path: &Path, errors: &mut FieldErrors) {
    let schedule = spec.str_at("schedule");
    if schedule.is_empty() {
        return errors.required(path, "");
    }
    if let Err(wrong) = cron::schedule(schedule) {
        errors.invalid(path, schedule, &wrong);
    }
    let had_zone = old.is_some_and(|old| old.str_at("spec.schedule").contains("TZ"));
    match (schedule.contains("TZ"), had_zone) {
        (true, true) if is_given(spec, "timeZone") => {
            errors.invalid(path, schedule, "cannot use both timeZone field and TZ or CRON_TZ in schedule");
        }
        (true, false) => errors.invalid(path, schedule, "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"),
        _ => {}
    }
}

fn time_zone(zone: Option<&Value>, path: &Path, errors: &mut FieldErrors) {
    let Some(zone) = zone.and_then(Value::as_str) else { return };
    if zone.is_empty() {
        return errors.invalid(path, zone, "timeZone must be nil or non-empty string");
    }
    if zone.eq_ignore_ascii_case("local") {
        errors.invalid(path, zone, "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones");
    }
    if !zones::is_known(zone) && zone != "Local" {
        errors.invalid(path, zone, &format!("unknown time zone {zone}"));
    }
}

fn job_template(spec: &Value, path: &Path, errors: &mut FieldErrors) {
    job::job_spec(spec, path, errors);
    if is_given(spec, "selector") {
        errors.invalid(&path.child("selector"), spec["selector"].clone(), "`selector` will be auto-generated");
    }
    if spec.bool_at("manualSelector") {
        not_supported(&path.child("manualSelector"), &true.into(), &["nil", "false"], errors);
    }
}
