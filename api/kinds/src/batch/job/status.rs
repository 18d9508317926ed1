//! What a write to a job's status must hold: an end is announced, dated and final.

use schema::field::Reason;
use schema::{DocExt, FieldErrors, Path, Value, time};

use crate::cells::condition;
use crate::kind::same;
use crate::rules::{is_given, non_negative, sub};

/// A rule that is asked only where the write changes what it speaks of, so that older objects can still be written.
pub(super) fn status(new: &Value, old: &Value, errors: &mut FieldErrors) {
    let (status, path) = (sub(new, "status"), Path::new("status"));
    non_negative(status, &["active", "succeeded", "failed", "ready", "terminating"], &path, errors);
    uncounted(status, &path.child("uncountedTerminatedPods"), errors);
    let newly = |name: &str| condition(new, name) == "True" && condition(old, name) != "True";
    let (complete, failed) = (newly("Complete"), newly("Failed"));
    if complete || failed {
        finished(new, &path, errors);
    }
    conditions(new, complete, failed, &path.child("conditions"), errors);
    completion_time(new, old, complete, &path.child("completionTime"), errors);
    stays(new, old, &path, errors);
}

fn uncounted(status: &Value, path: &Path, errors: &mut FieldErrors) {
    let mut seen = Vec::new();
    for list in ["succeeded", "failed"] {
        for (at, uid) in sub(status, "uncountedTerminatedPods").items_at(list).iter().enumerate() {
            let (uid, path) = (uid.as_str().unwrap_or_default(), path.child(list).index(at));
            if uid.is_empty() {
                errors.invalid(&path, uid, "must not be empty");
            } else if seen.contains(&uid) {
                errors.duplicate(&path, uid);
            } else {
                seen.push(uid);
            }
        }
    }
}

/// Nothing runs any more, nothing waits to be counted.
fn finished(new: &Value, path: &Path, errors: &mut FieldErrors) {
    let status = sub(new, "status");
    for member in ["active", "terminating"] {
        if let Some(count) = status.i64_at(member).filter(|count| *count > 0) {
            errors.invalid(&path.child(member), count, &format!("{member}>0 is invalid for finished job"));
        }
    }
    if !is_given(status, "startTime") {
        errors.required(&path.child("startTime"), "startTime is required for finished job");
    }
    let waiting = sub(status, "uncountedTerminatedPods");
    if !same(waiting, &Value::Null) {
        let text = "uncountedTerminatedPods needs to be empty for finished job";
        errors.invalid(&path.child("uncountedTerminatedPods"), waiting.clone(), text);
    }
}

fn conditions(new: &Value, complete: bool, failed: bool, path: &Path, errors: &mut FieldErrors) {
    let is = |name: &str| condition(new, name) == "True";
    let mut refuse = |text: &str| errors.add(path, Reason::Invalid, format!("Invalid value: {text}"));
    if (complete || failed) && is("Complete") && is("Failed") {
        refuse("cannot set Complete=True and Failed=true conditions");
    }
    if complete && is("FailureTarget") {
        refuse("cannot set Complete=True and FailureTarget=true conditions");
    }
    if failed && !is("FailureTarget") {
        refuse("cannot set Failed=True condition without the FailureTarget=true condition");
    }
    if failed && is("SuccessCriteriaMet") {
        refuse("cannot set Failed=True and SuccessCriteriaMet=true conditions");
    }
    if complete && !is("SuccessCriteriaMet") {
        refuse("cannot set Complete=True condition without the SuccessCriteriaMet=true condition");
    }
}

fn completion_time(new: &Value, old: &Value, complete: bool, path: &Path, errors: &mut FieldErrors) {
    let (ended, started) = (new.str_at("status.completionTime"), new.str_at("status.startTime"));
    if complete && ended.is_empty() {
        errors.required(path, "completionTime is required for Complete jobs");
    }
    if ended.is_empty() || ended == old.str_at("status.completionTime") {
        return;
    }
    if condition(new, "Complete") != "True" {
        errors.invalid(path, ended, "completionTime cannot be set when there is no Complete=True condition");
    }
    let is_before = |start| time::parse(ended).is_some_and(|end| end < start);
    if time::parse(started).is_some_and(is_before) {
        errors.invalid(path, ended, "completionTime cannot be set before startTime");
    }
}

/// What is over stays over, and what is counted stays counted.
fn stays(new: &Value, old: &Value, path: &Path, errors: &mut FieldErrors) {
    for name in ["Failed", "Complete", "FailureTarget", "SuccessCriteriaMet"] {
        if condition(old, name) == "True" && condition(new, name) != "True" {
            let text = format!("Invalid value: cannot disable the terminal {name}=True condition");
            errors.add(&path.child("conditions"), Reason::Invalid, text);
        }
    }
    let running = old.str_at("status.startTime");
    if !running.is_empty() && running != new.str_at("status.startTime") && !new.bool_at("spec.suspend") {
        let text = match new.str_at("status.startTime") {
            "" => "startTime cannot be removed for unsuspended job",
            _ => "startTime cannot be modified for unsuspended job",
        };
        let shown = crate::rules::pointer(new.at("status.startTime"));
        match text.contains("removed") {
            true => errors.required(&path.child("startTime"), text),
            false => errors.invalid(&path.child("startTime"), shown, text),
        }
    }
    for member in ["failed", "succeeded"] {
        let count = |doc: &Value| sub(doc, "status").i64_at(member).unwrap_or_default();
        let shrinks = if member == "succeeded" { new.str_at("spec.completionMode") != "Indexed" } else { true };
        if shrinks && count(new) < count(old) {
            errors.invalid(&path.child(member), count(new), &format!("cannot decrease the {member} counter"));
        }
    }
}
