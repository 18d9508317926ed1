//! When a job has failed, when it has succeeded, and when its pods are replaced.

use std::collections::BTreeSet;

use schema::field::Reason;
use schema::{DocExt, FieldErrors, Path, Value};

use crate::rules::{is_given, non_negative, not_supported, qualified_name, sub};

const RULES_MAX: usize = 20;
const EXIT_CODES_MAX: usize = 255;
const PATTERNS_MAX: usize = 20;
const INDEXES_BYTES_MAX: usize = 64 * 1024;
const ACTIONS: &[&str] = &["Count", "FailIndex", "FailJob", "Ignore"];
const OPERATORS: &[&str] = &["In", "NotIn"];
const STATUSES: &[&str] = &["False", "True", "Unknown"];
const REPLACEMENTS: &[&str] = &["Failed", "TerminatingOrFailed"];

pub(super) fn all(spec: &Value, path: &Path, errors: &mut FieldErrors) {
    if is_given(spec, "podFailurePolicy") {
        failure(spec, &path.child("podFailurePolicy.rules"), errors);
    }
    if is_given(spec, "successPolicy") {
        let path = path.child("successPolicy");
        if spec.str_at("completionMode") == "Indexed" {
            success(spec, &path.child("rules"), errors);
        } else {
            errors.invalid(&path, spec["successPolicy"].clone(), "requires indexed completion mode");
        }
    }
    replacement(spec, &path.child("podReplacementPolicy"), errors);
}

fn failure(spec: &Value, path: &Path, errors: &mut FieldErrors) {
    let rules = spec.items_at("podFailurePolicy.rules");
    if rules.len() > RULES_MAX {
        errors.too_many(path, rules.len(), RULES_MAX);
    }
    let pod = sub(spec, "template.spec");
    let containers = ["containers", "initContainers"].into_iter().flat_map(|list| pod.items_at(list));
    let names: BTreeSet<&str> = containers.map(|container| container.str_at("name")).collect();
    for (at, rule) in rules.iter().enumerate() {
        failure_rule(spec, rule, &names, &path.index(at), errors);
    }
}

fn failure_rule(spec: &Value, rule: &Value, containers: &BTreeSet<&str>, path: &Path, errors: &mut FieldErrors) {
    let action = path.child("action");
    match rule.str_at("action") {
        "" => errors.required(&action, &format!("valid values: {}", quoted(ACTIONS))),
        "FailIndex" if !is_given(spec, "backoffLimitPerIndex") => {
            errors.invalid(&action, "FailIndex", "requires the backoffLimitPerIndex to be set");
        }
        given if ACTIONS.contains(&given) => {}
        given => not_supported(&action, &given.into(), ACTIONS, errors),
    }
    let (codes, patterns) = (sub(rule, "onExitCodes"), rule.items_at("onPodConditions"));
    if !codes.is_null() {
        exit_codes(codes, containers, &path.child("onExitCodes"), errors);
    }
    pod_conditions(patterns, &path.child("onPodConditions"), errors);
    let text = match (!codes.is_null(), !patterns.is_empty()) {
        (true, true) => "specifying both OnExitCodes and OnPodConditions is not supported",
        (false, false) => "specifying one of OnExitCodes and OnPodConditions is required",
        _ => return,
    };
    errors.add(path, Reason::Invalid, format!("Invalid value: {text}"));
}

fn exit_codes(codes: &Value, containers: &BTreeSet<&str>, path: &Path, errors: &mut FieldErrors) {
    one_of_listed(codes.str_at("operator"), OPERATORS, &path.child("operator"), errors);
    if let Some(name) = codes.at("containerName").and_then(Value::as_str).filter(|name| !containers.contains(name)) {
        let text = "must be one of the container or initContainer names in the pod template";
        errors.invalid(&path.child("containerName"), name, text);
    }
    let (values, path) = (codes.items_at("values"), path.child("values"));
    if values.is_empty() {
        errors.invalid(&path, values.to_vec(), "at least one value is required");
    } else if values.len() > EXIT_CODES_MAX {
        errors.too_many(&path, values.len(), EXIT_CODES_MAX);
    }
    let mut seen = BTreeSet::new();
    let numbers: Vec<i64> = values.iter().map(|value| value.as_i64().unwrap_or_default()).collect();
    for (at, number) in numbers.iter().enumerate() {
        if *number == 0 && codes.str_at("operator") == "In" {
            errors.invalid(&path.index(at), 0, "must not be 0 for the In operator");
        }
        if !seen.insert(*number) {
            errors.duplicate(&path.index(at), *number);
        }
    }
    if !numbers.is_sorted() {
        errors.invalid(&path, values.to_vec(), "must be ordered");
    }
}

fn pod_conditions(patterns: &[Value], path: &Path, errors: &mut FieldErrors) {
    if patterns.len() > PATTERNS_MAX {
        errors.too_many(path, patterns.len(), PATTERNS_MAX);
    }
    for (at, pattern) in patterns.iter().enumerate() {
        qualified_name(pattern.str_at("type"), &path.index(at).child("type"), errors);
        one_of_listed(pattern.str_at("status"), STATUSES, &path.index(at).child("status"), errors);
    }
}

/// Left out, the refusal lists what is valid.
fn one_of_listed(text: &str, supported: &[&str], path: &Path, errors: &mut FieldErrors) {
    match text {
        "" => errors.required(path, &format!("valid values: {}", quoted(supported))),
        text if supported.contains(&text) => {}
        text => not_supported(path, &text.into(), supported, errors),
    }
}

/// `["a" "b"]`, as Go prints a list of texts.
fn quoted(texts: &[&str]) -> String {
    let quoted: Vec<String> = texts.iter().map(|text| format!("{text:?}")).collect();
    format!("[{}]", quoted.join(" "))
}

fn success(spec: &Value, path: &Path, errors: &mut FieldErrors) {
    let rules = spec.items_at("successPolicy.rules");
    if rules.is_empty() {
        errors.required(path, "at least one rules must be specified when the successPolicy is specified");
    }
    if rules.len() > RULES_MAX {
        errors.too_many(path, rules.len(), RULES_MAX);
    }
    let completions = spec.i64_at("completions").unwrap_or_default();
    for (at, rule) in rules.iter().enumerate() {
        success_rule(rule, completions, &path.index(at), errors);
    }
}

fn success_rule(rule: &Value, completions: i64, path: &Path, errors: &mut FieldErrors) {
    let (indexes, count) = (rule.at("succeededIndexes").and_then(Value::as_str), rule.i64_at("succeededCount"));
    if indexes.is_none() && count.is_none() {
        errors.required(path, "at least one of succeededCount or succeededIndexes must be specified");
    }
    let mut total = 0;
    if let Some(text) = indexes {
        let path = path.child("succeededIndexes");
        if text.len() > INDEXES_BYTES_MAX {
            errors.too_long(&path, INDEXES_BYTES_MAX);
        }
        match count_indexes(text, completions) {
            Ok(count) => total = count,
            Err(wrong) => errors.invalid(&path, text, &format!("error parsing succeededIndexes: {wrong}")),
        }
    }
    let Some(count) = count else { return };
    non_negative(rule, &["succeededCount"], path, errors);
    let path = path.child("succeededCount");
    if count > completions {
        let text = format!("must be less than or equal to {completions} (the number of specified completions)");
        errors.invalid(&path, count, &text);
    }
    if indexes.is_some() && count > total {
        let text = format!("must be less than or equal to {total} (the number of indexes in the specified succeededIndexes field)");
        errors.invalid(&path, count, &text);
    }
}

/// How many indexes `1,3-5,7` names; they rise and are below `completions`.
fn count_indexes(text: &str, completions: i64) -> Result<i64, String> {
    let (mut last, mut total) = (None, 0);
    for fragment in text.split(',').filter(|_| !text.is_empty()) {
        let limits: Vec<&str> = fragment.split('-').collect();
        if limits.len() > 2 {
            return Err(format!(
                "the fragment {fragment:?} violates the requirement that an index interval can have at most two parts separated by '-'"
            ));
        }
        let first = next_index(limits[0], last, completions)?;
        last = Some(first);
        total += 1;
        if let Some(end) = limits.get(1) {
            let end = next_index(end, last, completions)?;
            total += end - first;
            last = Some(end);
        }
    }
    Ok(total)
}

fn next_index(text: &str, last: Option<i64>, completions: i64) -> Result<i64, String> {
    let index: i64 = text.parse().map_err(|_| format!("cannot convert string to integer for index: {text:?}"))?;
    if index >= completions {
        return Err(format!("too large index: {text:?}"));
    }
    match last.filter(|last| *last >= index) {
        Some(last) => Err(format!("non-increasing order, previous: {last}, current: {index}")),
        None => Ok(index),
    }
}

/// With a failure policy a pod is replaced once it has failed for good.
fn replacement(spec: &Value, path: &Path, errors: &mut FieldErrors) {
    if !is_given(spec, "podReplacementPolicy") {
        return;
    }
    let supported = if is_given(spec, "podFailurePolicy") { &REPLACEMENTS[..1] } else { REPLACEMENTS };
    let policy = spec.str_at("podReplacementPolicy");
    if !supported.contains(&policy) {
        not_supported(path, &policy.into(), supported, errors);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indexes_rise_and_are_counted() {
        assert_eq!(count_indexes("0,2-4,6", 7), Ok(5));
        assert_eq!(count_indexes("", 7), Ok(0));
        assert_eq!(count_indexes("7", 7), Err(r#"too large index: "7""#.to_owned()));
        assert_eq!(count_indexes("3,2", 7), Err("non-increasing order, previous: 3, current: 2".to_owned()));
        assert_eq!(count_indexes("a", 7), Err(r#"cannot convert string to integer for index: "a""#.to_owned()));
    }
}
