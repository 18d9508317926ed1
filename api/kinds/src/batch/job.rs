//! Job: runs pods to completion.

mod policies;
mod rules;
mod status;

use env::Env;
use schema::{DocExt, FieldErrors, Map, Path, Value, json};

pub(super) use rules::job_spec;

use crate::cells::{AGE, NAME, condition};
use crate::core::pod::defaults::{self, default_text};
use crate::descriptor::WriteContext;
use crate::kind::{Col, Kind, Meta, Selectable, Sub};
use crate::rules::sub;
use crate::workload;

/// Runs pods to completion.
pub struct Job;

impl Kind for Job {
    const META: Meta =
        Meta { generation: true, categories: &["all"], subresources: &[Sub::STATUS], ..Meta::namespaced("batch", "Job", "jobs") };
    const COLUMNS: &[Col] = &[
        NAME,
        Col::of("Status", state),
        Col::of("Completions", completions),
        Col::timed("Duration", duration),
        AGE,
        workload::CONTAINERS,
        workload::IMAGES,
        workload::SELECTOR,
    ];
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
        for rule in spec.items_at_mut("podFailurePolicy.rules") {
            for pattern in rule.items_at_mut("onPodConditions") {
                default_text(pattern, "status", "True");
            }
        }
        spec.default_at("template", json!({}));
        defaults::template(&mut spec["template"]);
    }

    fn prepare_create(doc: &mut Value, _cx: &WriteContext<'_>) {
        if !doc.bool_at("spec.manualSelector") {
            select_own_pods(doc);
        }
    }

    fn validate(new: &Value, old: Option<&Value>, errors: &mut FieldErrors) {
        rules::job(new, old, errors);
    }

    fn validate_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
        rules::update(new, old, errors);
    }

    fn validate_subresource(new: &Value, old: &Value, cx: &WriteContext<'_>, errors: &mut FieldErrors) {
        if cx.subresource == "status" {
            status::status(new, old, errors);
        }
    }

    fn warnings(new: &Value, old: Option<&Value>) -> Vec<String> {
        let mut texts = workload::template_warnings(new, "spec.template");
        texts.extend(old.is_none().then(|| spec_warning(sub(new, "spec"), &Path::new("spec"))).flatten());
        texts
    }
}

/// So many completions at once cost the server more than it should give.
pub(super) fn spec_warning(spec: &Value, path: &Path) -> Option<String> {
    let (completions, parallelism) = (spec.i64_at("completions").unwrap_or(0), spec.i64_at("parallelism").unwrap_or(0));
    let many = spec.str_at("completionMode") == "Indexed" && completions > 100_000 && parallelism > 10_000;
    many.then(|| {
        let reason = "In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4, Kubernetes might not be able to track completedIndexes when a big number of indexes fail";
        format!("{path}: {reason}")
    })
}

fn state(doc: &Value) -> Value {
    let is = |name: &str| condition(doc, name) == "True";
    let ended = ["Complete", "Failed"].into_iter().find(|name| is(name));
    let leaving = (!doc.str_at("metadata.deletionTimestamp").is_empty()).then_some("Terminating");
    let stopping = ["Suspended", "FailureTarget", "SuccessCriteriaMet"].into_iter().find(|name| is(name));
    json!(ended.or(leaving).or(stopping).unwrap_or("Running"))
}
/// `1/3`, or `0/1 of 3` for a work queue.
fn completions(doc: &Value) -> Value {
    let succeeded = doc.i64_at("status.succeeded").unwrap_or_default();
    let workers = doc.i64_at("spec.parallelism").unwrap_or_default();
    match doc.i64_at("spec.completions") {
        Some(wanted) => json!(format!("{succeeded}/{wanted}")),
        None if workers > 1 => json!(format!("{succeeded}/1 of {workers}")),
        None => json!(format!("{succeeded}/1")),
    }
}

fn duration(doc: &Value, env: &Env) -> Value {
    let Some(start) = schema::time::parse(doc.str_at("status.startTime")) else { return json!("") };
    let end = schema::time::parse(doc.str_at("status.completionTime")).unwrap_or_else(|| env.now());
    json!(schema::duration::human_seconds(end.as_second() - start.as_second()))
}

/// A selector that no other job can have: the job's own uid.
fn select_own_pods(doc: &mut Value) {
    let (uid, name) = (doc.str_at("metadata.uid").to_owned(), doc.str_at("metadata.name").to_owned());
    let labels = json!({
        "batch.kubernetes.io/controller-uid": uid, "controller-uid": uid, "batch.kubernetes.io/job-name": name, "job-name": name,
    });
    doc.default_at("spec.template.metadata.labels", json!({}));
    let own = doc["spec"]["template"]["metadata"]["labels"].as_object_mut();
    own.into_iter().for_each(|own| own.extend(labels.as_object().cloned().unwrap_or_default()));
    if doc.map_at("metadata.labels").is_none_or(Map::is_empty) {
        let labels = doc["spec"]["template"]["metadata"]["labels"].clone();
        doc.set_at("metadata.labels", labels);
    }
    doc.default_at("spec.selector.matchLabels", json!({}));
    doc["spec"]["selector"]["matchLabels"]["batch.kubernetes.io/controller-uid"] = json!(uid);
}
