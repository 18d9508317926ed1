//! Job: runs pods to completion.

use env::Env;
use schema::{DocExt, FieldErrors, Map, Path, Value, json};

use crate::cells::{AGE, NAME, condition};
use crate::core::pod::defaults::{self, default_text};
use crate::descriptor::WriteContext;
use crate::kind::{Col, Kind, Meta, Selectable, Sub, immutable};
use crate::rules::{non_negative, not_supported};
use crate::workload;

/// Runs pods to completion.
pub struct Job;

impl Kind for Job {
    const META: Meta =
        Meta { generation: true, categories: &["all"], subresources: &[Sub::STATUS], ..Meta::namespaced("batch", "Job", "jobs") };
    const COLUMNS: &[Col] = &[
        NAME,
        Col::of("Status", status),
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
        spec.default_at("template", json!({}));
        defaults::template(&mut spec["template"]);
    }

    fn prepare_create(doc: &mut Value, _cx: &WriteContext<'_>) {
        if !doc.bool_at("spec.manualSelector") {
            select_own_pods(doc);
        }
    }

    fn validate(new: &Value, _old: Option<&Value>, errors: &mut FieldErrors) {
        let (spec, path) = (new.at("spec").unwrap_or(&Value::Null), Path::new("spec"));
        workload::given_selector(spec, &path, errors);
        spec_rules(spec, &path, errors);
    }

    fn validate_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
        immutable(&new["spec"], &old["spec"], "selector", &Path::new("spec"), errors);
        immutable(&new["spec"], &old["spec"], "completionMode", &Path::new("spec"), errors);
    }

    fn warnings(new: &Value, _old: Option<&Value>) -> Vec<String> {
        workload::template_warnings(new, "spec.template")
    }
}

/// What must hold of a job, also of one that a cron job has yet to make.
pub(super) fn spec_rules(spec: &Value, path: &Path, errors: &mut FieldErrors) {
    let counts = ["parallelism", "completions", "activeDeadlineSeconds", "backoffLimit", "backoffLimitPerIndex", "ttlSecondsAfterFinished"];
    non_negative(spec, &counts, path, errors);
    let mode = spec.str_at("completionMode");
    if !["", "NonIndexed", "Indexed"].contains(&mode) {
        not_supported(&path.child("completionMode"), &mode.into(), &["NonIndexed", "Indexed"], errors);
    }
    workload::ending_template(spec.at("template").unwrap_or(&Value::Null), &path.child("template"), errors);
}

fn status(doc: &Value) -> Value {
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
