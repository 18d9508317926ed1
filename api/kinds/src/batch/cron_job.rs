//! CronJob: starts jobs by the clock.

use schema::{DocExt, FieldErrors, Path, Value, json};

use crate::cells::{AGE, NAME, flag, or_none, since};
use crate::core::pod::defaults::{self, default_text};
use crate::kind::{Col, Kind, Meta, Sub};
use crate::rules::{non_negative, one_of};
use crate::workload;

const CONTAINERS: &str = "spec.jobTemplate.spec.template.spec.containers";

/// What leaves room for the job's own suffix.
const NAME_MAX: usize = 52;

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

    fn validate(new: &Value, _old: Option<&Value>, errors: &mut FieldErrors) {
        let (spec, path) = (new.at("spec").unwrap_or(&Value::Null), Path::new("spec"));
        let name = new.str_at("metadata.name");
        if name.len() > NAME_MAX {
            errors.invalid(&Path::new("metadata.name"), name, &format!("must be no more than {NAME_MAX} characters"));
        }
        schedule(spec.str_at("schedule"), &path.child("schedule"), errors);
        non_negative(spec, &["startingDeadlineSeconds", "successfulJobsHistoryLimit", "failedJobsHistoryLimit"], &path, errors);
        one_of(spec, "concurrencyPolicy", &["Allow", "Forbid", "Replace"], &path, errors);
        let job = spec.at("jobTemplate.spec").unwrap_or(&Value::Null);
        super::job::spec_rules(job, &path.child("jobTemplate.spec"), errors);
    }

    fn warnings(new: &Value, _old: Option<&Value>) -> Vec<String> {
        workload::template_warnings(new, "spec.jobTemplate.spec.template")
    }
}

/// Five fields (minute, hour, day, month, weekday), or a word such as `@daily`.
fn schedule(text: &str, path: &Path, errors: &mut FieldErrors) {
    const FIELDS: [(i64, i64, &[&str]); 5] = [(0, 59, &[]), (0, 23, &[]), (1, 31, &[]), (1, 12, MONTHS), (0, 6, DAYS)];
    if text.is_empty() {
        return errors.required(path, "");
    }
    if text.contains("TZ=") {
        return errors.invalid(path, text, "cannot use TZ or CRON_TZ in schedule, use timeZone field instead");
    }
    let fields: Vec<&str> = text.split_whitespace().collect();
    match fields.as_slice() {
        ["@yearly" | "@annually" | "@monthly" | "@weekly" | "@daily" | "@midnight" | "@hourly"] | ["@every", _] => {}
        [word] if word.starts_with('@') => errors.invalid(path, text, &format!("unrecognized descriptor: {word}")),
        five if five.len() == FIELDS.len() => {
            for (field, (low, high, names)) in five.iter().zip(FIELDS) {
                if !field.split(',').all(|term| is_term(term, low, high, names)) {
                    errors.invalid(path, text, &format!("field {field:?} must be within {low} to {high}"));
                }
            }
        }
        other => errors.invalid(path, text, &format!("expected exactly 5 fields, found {}: {text}", other.len())),
    }
}

const MONTHS: &[&str] = &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const DAYS: &[&str] = &["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// `*`, `?`, `5`, `1-5`, `mon-fri`, each with an optional `/step`.
fn is_term(term: &str, low: i64, high: i64, names: &[&str]) -> bool {
    let (range, step) = term.split_once('/').map_or((term, None), |(range, step)| (range, Some(step)));
    if step.is_some_and(|step| !step.parse::<i64>().is_ok_and(|step| step > 0)) {
        return false;
    }
    let number = |text: &str| {
        let named = names.iter().position(|name| name.eq_ignore_ascii_case(text)).and_then(|at| i64::try_from(at).ok());
        named.map(|at| at + low).or_else(|| text.parse().ok()).filter(|number| (low..=high).contains(number))
    };
    match range.split_once('-') {
        _ if range == "*" || range == "?" => true,
        Some((from, to)) => matches!((number(from), number(to)), (Some(from), Some(to)) if from <= to),
        None => number(range).is_some(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedule_is_five_fields_or_a_word() {
        let wrong = |text: &str| {
            let mut errors = FieldErrors::default();
            schedule(text, &Path::new("spec"), &mut errors);
            errors.0.len()
        };
        for good in ["* * * * *", "*/5 0-6,12 1 jan-mar MON", "@hourly", "@every 1h", "0 0 31 12 6", "5/15 * ? * *"] {
            assert_eq!(wrong(good), 0, "{good}");
        }
        for bad in ["", "x", "* * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "*/0 * * * *", "5-1 * * * *", "@never", "TZ=UTC * * * * *"]
        {
            assert_eq!(wrong(bad), 1, "{bad}");
        }
    }
}
