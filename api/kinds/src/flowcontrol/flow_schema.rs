//! FlowSchema: sorts requests into priority levels.

use schema::{DocExt, FieldErrors, Path, Value, json, names};

use crate::cells::{AGE, NAME, condition, or_none};
use crate::descriptor::WriteContext;
use crate::kind::{Col, Kind, Meta, Question, Sub};
use crate::rules::{dns_subdomain, each, is_given, not_supported, required, sub};

const PRECEDENCE_MAX: i64 = 10_000;
const METHODS: &[&str] = &["ByNamespace", "ByUser"];
const SUBJECTS: &[&str] = &["Group", "ServiceAccount", "User"];
const VERBS: &[&str] = &["create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch"];

/// Sorts requests into priority levels.
pub struct FlowSchema;

impl Kind for FlowSchema {
    const META: Meta = Meta {
        subresources: &[Sub::STATUS],
        generation: true,
        ..Meta::cluster("flowcontrol.apiserver.k8s.io", "FlowSchema", "flowschemas")
    };
    const NOTHING: &[Question] = &[Question::Fields, Question::Updates, Question::Warnings];
    const COLUMNS: &[Col] = &[
        NAME,
        Col::path("PriorityLevel", "spec.priorityLevelConfiguration.name"),
        Col::of("MatchingPrecedence", |doc| json!(doc.i64_at("spec.matchingPrecedence").unwrap_or_default())),
        Col::of("DistinguisherMethod", |doc| or_none(doc.str_at("spec.distinguisherMethod.type"))),
        AGE,
        Col::of("MissingPL", |doc| {
            json!(match condition(doc, "Dangling") {
                "" => "?",
                status => status,
            })
        }),
    ];

    fn fill_defaults(doc: &mut Value) {
        if doc.i64_at("spec.matchingPrecedence").unwrap_or_default() == 0 {
            doc.set_at("spec.matchingPrecedence", 1000);
        }
    }

    fn validate(new: &Value, _old: Option<&Value>, errors: &mut FieldErrors) {
        let (spec, path) = (sub(new, "spec"), Path::new("spec"));
        precedence(new, &path.child("matchingPrecedence"), errors);
        if is_given(spec, "distinguisherMethod") && !METHODS.contains(&spec.str_at("distinguisherMethod.type")) {
            not_supported(&path.child("distinguisherMethod.type"), &spec["distinguisherMethod"], METHODS, errors);
        }
        match spec.str_at("priorityLevelConfiguration.name") {
            "" => errors.required(&path.child("priorityLevelConfiguration.name"), "must reference a priority level"),
            name => dns_subdomain(name, &path.child("priorityLevelConfiguration.name"), errors),
        }
        for (at, rule) in spec.items_at("rules").iter().enumerate() {
            self::rule(rule, &path.child("rules").index(at), errors);
        }
    }

    fn validate_subresource(new: &Value, _old: &Value, cx: &WriteContext<'_>, errors: &mut FieldErrors) {
        if cx.subresource == "status" {
            conditions(new.items_at("status.conditions"), &Path::new("status.conditions"), errors);
        }
    }
}

/// Conditions of flow control: each type once, and there.
pub(super) fn conditions(conditions: &[Value], path: &Path, errors: &mut FieldErrors) {
    for (at, condition) in conditions.iter().enumerate() {
        let (kind, path) = (condition.str_at("type"), path.index(at).child("type"));
        if conditions[..at].iter().any(|before| before.str_at("type") == kind) {
            errors.duplicate(&path, kind);
        }
        if kind.is_empty() {
            errors.required(&path, "must not be empty");
        }
    }
}

fn precedence(new: &Value, path: &Path, errors: &mut FieldErrors) {
    let number = new.i64_at("spec.matchingPrecedence").unwrap_or_default();
    if number <= 0 {
        errors.invalid(path, number, "must be a positive value");
    }
    if number > PRECEDENCE_MAX {
        errors.invalid(path, number, &format!("must not be greater than {PRECEDENCE_MAX}"));
    }
    if number == 1 && new.str_at("metadata.name") != "exempt" {
        errors.invalid(path, number, "only the schema named 'exempt' may have matchingPrecedence 1");
    }
}

fn rule(rule: &Value, path: &Path, errors: &mut FieldErrors) {
    let subjects = rule.items_at("subjects");
    if subjects.is_empty() {
        errors.required(&path.child("subjects"), "subjects must contain at least one value");
    }
    for (at, given) in subjects.iter().enumerate() {
        subject(given, &path.child("subjects").index(at), errors);
    }
    let (resources, urls) = (rule.items_at("resourceRules"), rule.items_at("nonResourceRules"));
    if resources.is_empty() && urls.is_empty() {
        errors.required(path, "at least one of resourceRules and nonResourceRules has to be non-empty");
    }
    for (at, given) in resources.iter().enumerate() {
        resource_rule(given, &path.child("resourceRules").index(at), errors);
    }
    for (at, given) in urls.iter().enumerate() {
        url_rule(given, &path.child("nonResourceRules").index(at), errors);
    }
}

fn subject(subject: &Value, path: &Path, errors: &mut FieldErrors) {
    let kind = subject.str_at("kind");
    if !SUBJECTS.contains(&kind) {
        return not_supported(&path.child("kind"), &kind.into(), SUBJECTS, errors);
    }
    for (of, member) in [("ServiceAccount", "serviceAccount"), ("User", "user"), ("Group", "group")] {
        let (given, path) = (sub(subject, member), path.child(member));
        match (of == kind, given.is_null()) {
            (true, true) => errors.required(&path, &format!("{member} is required when subject kind is '{of}'")),
            (false, false) => errors.forbidden(&path, &format!("{member} is forbidden when subject kind is not '{of}'")),
            (true, false) if of == "ServiceAccount" => account(given, &path, errors),
            (true, false) => required(given, "name", &path, errors),
            (false, true) => {}
        }
    }
}

fn account(account: &Value, path: &Path, errors: &mut FieldErrors) {
    match account.str_at("name") {
        "" => errors.required(&path.child("name"), ""),
        "*" => {}
        name => dns_subdomain(name, &path.child("name"), errors),
    }
    match account.str_at("namespace") {
        "" => errors.required(&path.child("namespace"), "must specify namespace for service account"),
        name => each(&path.child("namespace"), name, names::is_dns1123_label(name), errors),
    }
}

/// A list that is not empty and holds `*` alone; `true` where its elements are still to be looked at.
fn listed(rule: &Value, member: &str, missing: &str, noun: &str, path: &Path, errors: &mut FieldErrors) -> bool {
    let (items, path) = (sub(rule, member).as_array().map(Vec::as_slice).unwrap_or_default(), path.child(member));
    let has_all = items.iter().any(|item| item == "*");
    if items.is_empty() {
        errors.required(&path, missing);
    } else if has_all && items.len() > 1 {
        errors.invalid(&path, items.to_vec(), &format!("if '*' is present, must not specify other {noun}"));
    }
    !items.is_empty() && !has_all
}

fn verbs(rule: &Value, path: &Path, errors: &mut FieldErrors) {
    let named = listed(rule, "verbs", "verbs must contain at least one value", "verbs", path, errors);
    if named && !rule.items_at("verbs").iter().all(|verb| VERBS.iter().any(|known| verb == known)) {
        not_supported(&path.child("verbs"), sub(rule, "verbs"), VERBS, errors);
    }
}

fn resource_rule(rule: &Value, path: &Path, errors: &mut FieldErrors) {
    verbs(rule, path, errors);
    listed(rule, "apiGroups", "resource rules must supply at least one api group", "api groups", path, errors);
    listed(rule, "resources", "resource rules must supply at least one resource", "resources", path, errors);
    let missing = "resource rules that are not cluster scoped must supply at least one namespace";
    if rule.items_at("namespaces").is_empty() && rule.bool_at("clusterScope") {
        return;
    }
    if listed(rule, "namespaces", missing, "namespaces", path, errors) {
        for (at, name) in rule.items_at("namespaces").iter().filter_map(Value::as_str).enumerate() {
            for wrong in names::is_dns1123_label(name) {
                let text = format!("each member of this list must be '*' or a DNS-1123 label; {wrong}");
                errors.invalid(&path.child("namespaces").index(at), name, &text);
            }
        }
    }
}

fn url_rule(rule: &Value, path: &Path, errors: &mut FieldErrors) {
    verbs(rule, path, errors);
    if listed(rule, "nonResourceURLs", "nonResourceURLs must contain at least one value", "non-resource URLs", path, errors) {
        for (at, url) in rule.items_at("nonResourceURLs").iter().filter_map(Value::as_str).enumerate() {
            if let Some(wrong) = wrong_url(url) {
                errors.invalid(&path.child("nonResourceURLs").index(at), url, wrong);
            }
        }
    }
}

/// Slashes alone between segments, and a `*` as the last segment only.
fn wrong_url(url: &str) -> Option<&'static str> {
    let stars = url.matches('*').count();
    match url {
        "" => Some("must not be empty"),
        "/" => None,
        _ if !url.starts_with('/') => Some("must start with slash"),
        _ if url.contains(' ') => Some("must not contain white-space"),
        _ if url.contains("//") => Some("must not contain double slash"),
        _ if stars > 1 || (stars == 1 && !url.ends_with("/*")) => Some("wildcard can only do suffix matching"),
        _ => None,
    }
}
