//! What webhooks of both sorts must hold, and which rules an older object need not.

use std::collections::BTreeSet;

use schema::{DocExt, FieldErrors, LabelSelector, Path, Value, names};

use super::matching;
use crate::rules::{each, is_given, not_supported, one_of_if_set, sub, webhook};

const REVIEW_VERSIONS: &[&str] = &["v1", "v1beta1"];
const HARMLESS: &[&str] = &["None", "NoneOnDryRun"];
const ALL_SIDE_EFFECTS: &[&str] = &["None", "NoneOnDryRun", "Some", "Unknown"];

/// What an object of before may keep doing wrong.
struct Strictness {
    harmless: bool,
    known_versions: bool,
    unique_names: bool,
    match_conditions: bool,
    selectors: bool,
}

/// A list without webhooks is not kept, as upstream's storage drops it. A change to such a list is one all the same, also where
/// there was none before: upstream tells what is empty from what is not there when it counts generations.
pub(super) fn drop_empty(new: &mut Value, old: Option<&Value>) {
    if !new.at("webhooks").is_some_and(|hooks| hooks.as_array().is_some_and(Vec::is_empty)) {
        return;
    }
    new.remove_at("webhooks");
    if let Some(old) = old.filter(|old| old.items_at("webhooks").is_empty()) {
        new.set_at("metadata.generation", old.i64_at("metadata.generation").unwrap_or_default() + 1);
    }
}

/// All webhooks of a configuration.
pub(super) fn webhooks(new: &Value, old: Option<&Value>, errors: &mut FieldErrors) {
    let (hooks, strict) = (new.items_at("webhooks"), strictness(new, old));
    let mut seen = BTreeSet::new();
    for (at, hook) in hooks.iter().enumerate() {
        let path = Path::new("webhooks").index(at);
        one(hook, &strict, &path, errors);
        review_versions(hook, &strict, &path.child("admissionReviewVersions"), errors);
        let name = hook.str_at("name");
        if strict.unique_names && !name.is_empty() && !seen.insert(name) {
            errors.duplicate(&path.child("name"), name);
        }
    }
}

fn strictness(new: &Value, old: Option<&Value>) -> Strictness {
    let Some(old) = old else {
        return Strictness { harmless: true, known_versions: true, unique_names: true, match_conditions: true, selectors: true };
    };
    let hooks = old.items_at("webhooks");
    let names: BTreeSet<&str> = hooks.iter().map(|hook| hook.str_at("name")).collect();
    let knows = |hook: &Value| {
        let versions = hook.items_at("admissionReviewVersions");
        versions.is_empty() || versions.iter().any(|version| REVIEW_VERSIONS.iter().any(|known| version == known))
    };
    let conditions = |doc: &Value| doc.items_at("webhooks").iter().map(|hook| hook.at("matchConditions").cloned()).collect::<Vec<_>>();
    Strictness {
        harmless: hooks.iter().all(|hook| HARMLESS.contains(&hook.str_at("sideEffects"))),
        known_versions: hooks.iter().all(knows),
        unique_names: names.len() == hooks.len(),
        match_conditions: conditions(new) != conditions(old),
        selectors: !hooks.iter().any(has_wrong_selector),
    }
}

fn has_wrong_selector(hook: &Value) -> bool {
    let mut errors = FieldErrors::default();
    selectors(hook, &Path::root(), &mut errors);
    !errors.is_empty()
}

fn one(hook: &Value, strict: &Strictness, path: &Path, errors: &mut FieldErrors) {
    fully_qualified(hook.str_at("name"), &path.child("name"), errors);
    for (at, rule) in hook.items_at("rules").iter().enumerate() {
        matching::rule(rule, &path.child("rules").index(at), errors);
    }
    one_of_if_set(hook, "failurePolicy", &["Fail", "Ignore"], path, errors);
    one_of_if_set(hook, "matchPolicy", &["Equivalent", "Exact"], path, errors);
    side_effects(hook, strict, &path.child("sideEffects"), errors);
    if let Some(seconds) = hook.i64_at("timeoutSeconds").filter(|seconds| !(1..=30).contains(seconds)) {
        errors.invalid(&path.child("timeoutSeconds"), seconds, "the timeout value must be between 1 and 30 seconds");
    }
    if strict.selectors {
        selectors(hook, path, errors);
    }
    one_of_if_set(hook, "reinvocationPolicy", &["IfNeeded", "Never"], path, errors);
    webhook::client_config(sub(hook, "clientConfig"), &path.child("clientConfig"), errors);
    if strict.match_conditions {
        matching::conditions(hook.items_at("matchConditions"), false, &path.child("matchConditions"), errors);
    }
}

fn selectors(hook: &Value, path: &Path, errors: &mut FieldErrors) {
    for member in ["namespaceSelector", "objectSelector"] {
        LabelSelector::validate(sub(hook, member), &path.child(member), errors);
    }
}

fn side_effects(hook: &Value, strict: &Strictness, path: &Path, errors: &mut FieldErrors) {
    let allowed = if strict.harmless { HARMLESS } else { ALL_SIDE_EFFECTS };
    if !is_given(hook, "sideEffects") {
        return errors.required(path, &format!("must specify one of {}", allowed.join(", ")));
    }
    if !allowed.contains(&hook.str_at("sideEffects")) {
        not_supported(path, &hook.str_at("sideEffects").into(), allowed, errors);
    }
}

fn review_versions(hook: &Value, strict: &Strictness, path: &Path, errors: &mut FieldErrors) {
    let versions = hook.items_at("admissionReviewVersions");
    if versions.is_empty() {
        return errors.required(path, &format!("must specify one of {}", REVIEW_VERSIONS.join(", ")));
    }
    for (at, version) in versions.iter().enumerate() {
        if versions[..at].contains(version) {
            errors.invalid(&path.index(at), version.clone(), "duplicate version");
            continue;
        }
        let text = version.as_str().unwrap_or_default();
        each(&path.index(at), text, names::is_dns1035_label(text), errors);
    }
    if strict.known_versions && !versions.iter().any(|version| REVIEW_VERSIONS.iter().any(|known| version == known)) {
        errors.invalid(path, versions.to_vec(), &format!("must include at least one of {}", REVIEW_VERSIONS.join(", ")));
    }
}

/// A domain of three labels or more.
fn fully_qualified(name: &str, path: &Path, errors: &mut FieldErrors) {
    if name.is_empty() {
        return errors.required(path, "");
    }
    let wrong = names::is_dns1123_subdomain(name);
    if !wrong.is_empty() {
        errors.invalid(path, name, &wrong.join(","));
    } else if name.split('.').count() < 3 {
        errors.invalid(path, name, "should be a domain with at least three segments separated by dots");
    }
}
