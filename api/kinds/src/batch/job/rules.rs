//! What a job's spec must hold, alone and in a cron job, and what of it may change.

use schema::{DocExt, FieldErrors, LabelSelector, Path, Value, names};

use super::policies;
use crate::core::pod::rules;
use crate::kind::{copy_member, immutable, same};
use crate::rules::{domain_prefixed_path, immutable_pointer, is_given, non_negative, not_supported, sub};
use crate::workload::label_map;

const INDEXED_PARALLELISM_MAX: i64 = 100_000;
const FAILED_INDEXES_MAX: i64 = 100_000;
/// Above so many completions the next two bounds hold.
const MANY_COMPLETIONS: i64 = 100_000;
const MANY_PARALLELISM_MAX: i64 = 10_000;
const MANY_FAILED_INDEXES_MAX: i64 = 10_000;
const MANAGED_BY_BYTES_MAX: usize = 63;
/// What may change in the template while a job is suspended and has not started.
const SCHEDULING: &[&str] =
    &["spec.nodeSelector", "spec.affinity", "spec.tolerations", "spec.schedulingGates", "metadata.annotations", "metadata.labels"];

pub(super) fn job(new: &Value, old: Option<&Value>, errors: &mut FieldErrors) {
    own_selector(new, old, errors);
    whole_spec(sub(new, "spec"), &Path::new("spec"), errors);
    if old.is_none() {
        host_names(new, errors);
    }
}

/// A spec and the selector that goes with its template.
fn whole_spec(spec: &Value, path: &Path, errors: &mut FieldErrors) {
    job_spec(spec, path, errors);
    let selector = sub(spec, "selector");
    if selector.is_null() {
        errors.required(&path.child("selector"), "");
    } else {
        LabelSelector::validate(selector, &path.child("selector"), errors);
    }
    let own = sub(spec, "template.metadata.labels");
    let matches = |read: LabelSelector| !selector.is_null() && read.matches(&label_map(own));
    if LabelSelector::from_value(selector).is_ok_and(|read| !matches(read)) {
        errors.invalid(&path.child("template.metadata.labels"), own.clone(), "`selector` does not match template `labels`");
    }
}

/// A spec without its selector, which a cron job's does not have.
pub(in crate::batch) fn job_spec(spec: &Value, path: &Path, errors: &mut FieldErrors) {
    let counts = ["parallelism", "completions", "activeDeadlineSeconds", "backoffLimit", "ttlSecondsAfterFinished", "backoffLimitPerIndex"];
    non_negative(spec, &counts, path, errors);
    if is_given(spec, "maxFailedIndexes") {
        non_negative(spec, &["maxFailedIndexes"], path, errors);
        if !is_given(spec, "backoffLimitPerIndex") {
            errors.required(&path.child("backoffLimitPerIndex"), "when maxFailedIndexes is specified");
        }
    }
    match spec.str_at("completionMode") {
        "Indexed" => indexed(spec, path, errors),
        mode => {
            if !matches!(mode, "" | "NonIndexed") {
                not_supported(&path.child("completionMode"), &mode.into(), &["NonIndexed", "Indexed"], errors);
            } else {
                not_indexed(spec, path, errors);
            }
        }
    }
    policies::all(spec, path, errors);
    if is_given(spec, "managedBy") {
        let (manager, path) = (spec.str_at("managedBy"), path.child("managedBy"));
        domain_prefixed_path(manager, &path, errors);
        if manager.len() > MANAGED_BY_BYTES_MAX {
            errors.too_long(&path, MANAGED_BY_BYTES_MAX);
        }
    }
    rules::template(sub(spec, "template"), &path.child("template"), errors);
    restart_policy(spec, &path.child("template.spec.restartPolicy"), errors);
}

fn indexed(spec: &Value, path: &Path, errors: &mut FieldErrors) {
    let (completions, parallelism) = (spec.i64_at("completions"), spec.i64_at("parallelism"));
    let failed = spec.i64_at("maxFailedIndexes");
    let (parallelism_path, failed_path) = (path.child("parallelism"), path.child("maxFailedIndexes"));
    if completions.is_none() {
        errors.required(&path.child("completions"), "when completion mode is Indexed");
    }
    if let Some(count) = parallelism.filter(|count| *count > INDEXED_PARALLELISM_MAX) {
        let text = format!("must be less than or equal to {INDEXED_PARALLELISM_MAX} when completion mode is Indexed");
        errors.invalid(&parallelism_path, count, &text);
    }
    if let (Some(failed), Some(_)) = (failed, completions.filter(|completions| failed > Some(*completions))) {
        errors.invalid(&failed_path, failed, "must be less than or equal to completions");
    }
    if let Some(failed) = failed.filter(|failed| *failed > FAILED_INDEXES_MAX) {
        errors.invalid(&failed_path, failed, &format!("must be less than or equal to {FAILED_INDEXES_MAX}"));
    }
    if completions.is_none_or(|completions| completions <= MANY_COMPLETIONS) || !is_given(spec, "backoffLimitPerIndex") {
        return;
    }
    if failed.is_none() {
        errors.required(&failed_path, &format!("must be specified when completions is above {MANY_COMPLETIONS}"));
    }
    let many = |max: i64| {
        format!("must be less than or equal to {max} when completions are above {MANY_COMPLETIONS} and used with backoff limit per index")
    };
    if let Some(count) = parallelism.filter(|count| *count > MANY_PARALLELISM_MAX) {
        errors.invalid(&parallelism_path, count, &many(MANY_PARALLELISM_MAX));
    }
    if let Some(failed) = failed.filter(|failed| *failed > MANY_FAILED_INDEXES_MAX) {
        errors.invalid(&failed_path, failed, &many(MANY_FAILED_INDEXES_MAX));
    }
}

fn not_indexed(spec: &Value, path: &Path, errors: &mut FieldErrors) {
    for member in ["backoffLimitPerIndex", "maxFailedIndexes"] {
        if let Some(number) = spec.i64_at(member) {
            errors.invalid(&path.child(member), number, "requires indexed completion mode");
        }
    }
}

/// Left out it would have become `Always`, which no job can have.
fn restart_policy(spec: &Value, path: &Path, errors: &mut FieldErrors) {
    match spec.str_at("template.spec.restartPolicy") {
        "" | "Always" => errors.required(path, r#"valid values: "OnFailure", "Never""#),
        "Never" => {}
        "OnFailure" if is_given(spec, "podFailurePolicy") => {
            errors.invalid(path, "OnFailure", r#"only "Never" is supported when podFailurePolicy is specified"#);
        }
        "OnFailure" => {}
        other => not_supported(path, &other.into(), &["OnFailure", "Never"], errors),
    }
}

/// A selector that the server made must be what it made, and the template carry its labels.
fn own_selector(new: &Value, old: Option<&Value>, errors: &mut FieldErrors) {
    let spec = sub(new, "spec");
    if spec.bool_at("manualSelector") || !is_given(spec, "selector") {
        return;
    }
    let (uid, name) = (new.str_at("metadata.uid"), new.str_at("metadata.name"));
    let mut expected = vec![("controller-uid", uid), ("job-name", name)];
    if old.is_none_or(|old| has_label(old, "batch.kubernetes.io/controller-uid")) {
        expected.extend([("batch.kubernetes.io/controller-uid", uid), ("batch.kubernetes.io/job-name", name)]);
    }
    let (own, path) = (sub(spec, "template.metadata.labels"), Path::new("spec.template.metadata.labels"));
    for (key, value) in &expected {
        let found = own.get(*key).and_then(Value::as_str);
        if found.is_none() {
            errors.required(&path.key(key), &format!("must be '{value}'"));
        }
        if found != Some(value) {
            errors.invalid(&path.key(key), own.clone(), &format!("must be '{value}'"));
        }
    }
    let expected = expected.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    if LabelSelector::from_value(&spec["selector"]).is_ok_and(|selector| !selector.matches(&expected)) {
        errors.invalid(&Path::new("spec.selector"), spec["selector"].clone(), "`selector` not auto-generated");
    }
}

fn has_label(doc: &Value, key: &str) -> bool {
    doc.map_at("spec.template.metadata.labels").is_some_and(|labels| labels.contains_key(key))
}

/// The last index of an indexed job ends the name of its pod's host.
fn host_names(new: &Value, errors: &mut FieldErrors) {
    let (name, completions) = (new.str_at("metadata.name"), new.i64_at("spec.completions").unwrap_or_default());
    if new.str_at("spec.completionMode") != "Indexed" || completions <= 0 {
        return;
    }
    let host = format!("{name}-{}", completions - 1);
    if !names::is_dns1123_label(&host).is_empty() {
        errors.invalid(&Path::new("metadata.name"), name, &format!("will not able to create pod with invalid DNS label: {host}"));
    }
}

/// What of a job stays as it was. Upstream asks the spec again, and tells what is wrong twice.
pub(super) fn update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    let path = Path::new("spec");
    let (spec, before) = (sub(new, "spec"), sub(old, "spec"));
    whole_spec(spec, &path, errors);
    completions(spec, before, &path, errors);
    immutable_pointer(spec, before, "selector", &path, errors);
    template(spec, old, &path, errors);
    immutable_pointer(spec, before, "completionMode", &path, errors);
    for member in ["podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy"] {
        immutable_pointer(spec, before, member, &path, errors);
    }
}

/// An indexed job grows and shrinks together with its parallelism.
fn completions(spec: &Value, before: &Value, path: &Path, errors: &mut FieldErrors) {
    if spec.str_at("completionMode") != "Indexed" {
        return immutable_pointer(spec, before, "completions", path, errors);
    }
    let Some(wanted) = spec.i64_at("completions").filter(|wanted| Some(*wanted) != before.i64_at("completions")) else { return };
    if Some(wanted) != spec.i64_at("parallelism") {
        errors.invalid(&path.child("completions"), wanted, "can only be modified in tandem with spec.parallelism");
    }
}

fn template(spec: &Value, old: &Value, path: &Path, errors: &mut FieldErrors) {
    let mut kept = sub(old, "spec.template").clone();
    if old.bool_at("spec.suspend") && !is_given(old, "status.startTime") {
        for member in SCHEDULING {
            copy_member(&mut kept, sub(spec, "template"), member);
        }
    }
    if !same(sub(spec, "template"), &kept) {
        immutable(spec, &Value::Null, "template", path, errors);
    }
}
