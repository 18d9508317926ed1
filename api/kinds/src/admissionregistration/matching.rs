//! What requests a webhook or policy is asked about: rules, selectors, conditions, parameters.

use std::collections::BTreeSet;

use schema::{DocExt, FieldErrors, LabelSelector, Path, Value, json, names};

use crate::core::pod::defaults::default_text;
use crate::expressions::{Compiler, Use, is_identifier};
use crate::rules::{dns_subdomain, each, is_given, not_supported, one_of, one_of_if_set, qualified_name, sub};

const OPERATIONS: &[&str] = &["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];
const SCOPES: &[&str] = &["*", "Cluster", "Namespaced"];
const MATCH_POLICIES: &[&str] = &["Equivalent", "Exact"];
const CONDITIONS_MAX: usize = 64;

/// The defaults of a `MatchResources`.
pub(super) fn fill(resources: &mut Value) {
    default_text(resources, "matchPolicy", "Equivalent");
    resources.default_at("namespaceSelector", json!({}));
    resources.default_at("objectSelector", json!({}));
    for list in ["resourceRules", "excludeResourceRules"] {
        resources.items_at_mut(list).iter_mut().for_each(|rule| default_text(rule, "scope", "*"));
    }
}

/// A `MatchResources`.
pub(super) fn resources(resources: &Value, path: &Path, errors: &mut FieldErrors) {
    one_of(resources, "matchPolicy", MATCH_POLICIES, path, errors);
    for member in ["namespaceSelector", "objectSelector"] {
        if is_given(resources, member) {
            LabelSelector::validate(&resources[member], &path.child(member), errors);
        } else {
            errors.required(&path.child(member), "");
        }
    }
    for list in ["resourceRules", "excludeResourceRules"] {
        for (at, rule) in resources.items_at(list).iter().enumerate() {
            named_rule(rule, &path.child(list).index(at), errors);
        }
    }
}

fn named_rule(given: &Value, path: &Path, errors: &mut FieldErrors) {
    let resource_names = given.items_at("resourceNames");
    for (at, name) in resource_names.iter().enumerate() {
        let (text, path) = (name.as_str().unwrap_or_default(), path.child("resourceNames").index(at));
        each(&path, text, names::is_path_segment_name(text), errors);
        if resource_names[..at].contains(name) {
            errors.duplicate(&path, text);
        }
    }
    rule(given, path, errors);
}

/// A `RuleWithOperations`.
pub(super) fn rule(rule: &Value, path: &Path, errors: &mut FieldErrors) {
    alone(rule, "operations", "operations", path, errors);
    for (at, operation) in rule.items_at("operations").iter().enumerate() {
        if !OPERATIONS.iter().any(|known| operation == known) {
            not_supported(&path.child("operations").index(at), operation, OPERATIONS, errors);
        }
    }
    alone(rule, "apiGroups", "API groups", path, errors);
    alone(rule, "apiVersions", "API versions", path, errors);
    for (at, version) in rule.items_at("apiVersions").iter().enumerate() {
        if version.as_str().unwrap_or_default().is_empty() {
            errors.required(&path.child("apiVersions").index(at), "");
        }
    }
    resource_names(rule.items_at("resources"), &path.child("resources"), errors);
    one_of_if_set(rule, "scope", SCOPES, path, errors);
}

/// A list that is not empty, and `*` in it alone.
fn alone(rule: &Value, list: &str, noun: &str, path: &Path, errors: &mut FieldErrors) {
    let (items, path) = (sub(rule, list).as_array().map(Vec::as_slice).unwrap_or_default(), path.child(list));
    if items.is_empty() {
        errors.required(&path, "");
    }
    if items.len() > 1 && items.iter().any(|item| item == "*") {
        errors.invalid(&path, items.to_vec(), &format!("if '*' is present, must not specify other {noun}"));
    }
}

/// `pods`, `pods/status`, `pods/*`, `*/scale`, `*`, `*/*`: none that another one holds already.
fn resource_names(resources: &[Value], path: &Path, errors: &mut FieldErrors) {
    if resources.is_empty() {
        errors.required(path, "");
    }
    let (mut whole, mut everywhere) = (BTreeSet::new(), BTreeSet::new());
    let mut has_plain = false;
    for (at, text) in resources.iter().map(|item| item.as_str().unwrap_or_default()).enumerate() {
        if text.is_empty() {
            errors.required(&path.index(at), "");
            continue;
        }
        let Some((resource, part)) = text.split_once('/') else {
            has_plain = text != "*";
            continue;
        };
        if whole.contains(resource) {
            errors.invalid(&path.index(at), text, &format!("if '{resource}/*' is present, must not specify {text}"));
        }
        if everywhere.contains(part) {
            errors.invalid(&path.index(at), text, &format!("if '*/{part}' is present, must not specify {text}"));
        }
        if part == "*" {
            whole.insert(resource);
        }
        if resource == "*" {
            everywhere.insert(part);
        }
    }
    let has = |text: &str| resources.iter().any(|item| item == text);
    if resources.len() > 1 && has("*/*") {
        errors.invalid(path, resources.to_vec(), "if '*/*' is present, must not specify other resources");
    }
    if has("*") && has_plain {
        errors.invalid(path, resources.to_vec(), "if '*' is present, must not specify other resources without subresources");
    }
}

/// Match conditions: named once each, with an expression.
pub(super) fn conditions(conditions: &[Value], has_params: bool, path: &Path, errors: &mut FieldErrors) {
    if conditions.len() > CONDITIONS_MAX {
        errors.too_many(path, conditions.len(), CONDITIONS_MAX);
    }
    for (at, condition) in conditions.iter().enumerate() {
        let (name, path) = (condition.str_at("name"), path.index(at));
        let text = condition.str_at("expression").trim();
        Compiler::new(has_params).check(Use::MatchCondition, text, "", &path.child("expression"), errors);
        if name.is_empty() {
            errors.required(&path.child("name"), "");
            continue;
        }
        qualified_name(name, &path.child("name"), errors);
        if conditions[..at].iter().any(|before| before.str_at("name") == name) {
            errors.duplicate(&path.child("name"), name);
        }
    }
}

/// The variables of a policy, each with what came before it; what compiles the policy's other expressions.
pub(super) fn variables(spec: &Value, path: &Path, errors: &mut FieldErrors) -> Compiler {
    let mut compiler = Compiler::new(is_given(spec, "paramKind"));
    for (at, variable) in spec.items_at("variables").iter().enumerate() {
        let (name, path) = (variable.str_at("name"), path.child("variables").index(at));
        if name.trim().is_empty() {
            errors.required(&path.child("name"), "name is not specified");
        } else if !is_identifier(name) {
            errors.invalid(&path.child("name"), name, "name is not a valid CEL identifier");
        }
        compiler.check_variable(name, variable.str_at("expression"), &path.child("expression"), errors);
    }
    compiler
}

/// The kind of a policy's parameters.
pub(super) fn param_kind(kind: &Value, path: &Path, errors: &mut FieldErrors) {
    let (version, version_path) = (kind.str_at("apiVersion"), path.child("apiVersion"));
    match version.split('/').collect::<Vec<_>>().as_slice() {
        [""] => errors.required(&version_path, ""),
        [version] => api_version("", version, &version_path, errors),
        [group, version] => api_version(group, version, &version_path, errors),
        _ => errors.invalid(&version_path, version, &format!("unexpected GroupVersion string: {version}")),
    }
    let name = kind.str_at("kind");
    let wrong = names::is_dns1035_label(&name.to_lowercase());
    if name.is_empty() {
        errors.required(&path.child("kind"), "");
    } else if !wrong.is_empty() {
        let text = format!("may have mixed case, but should otherwise match: {}", wrong.join(","));
        errors.invalid(&path.child("kind"), name, &text);
    }
}

fn api_version(group: &str, version: &str, path: &Path, errors: &mut FieldErrors) {
    let wrong = if group.is_empty() { Vec::new() } else { names::is_dns1123_subdomain(group) };
    if !wrong.is_empty() {
        errors.invalid(path, group, &wrong.join(","));
    }
    let wrong = names::is_dns1035_label(version);
    if version.is_empty() {
        errors.invalid(path, format!("{group}/{version}"), "version must be specified");
    } else if !wrong.is_empty() {
        errors.invalid(path, version, &wrong.join(","));
    }
}

/// What policies of both sorts have: failure policy, parameters, constraints, conditions and variables. The conditions
/// are not asked again where they and the parameters are as they were. Answers with what compiles the other expressions.
pub(super) fn policy(new: &Value, old: Option<&Value>, errors: &mut FieldErrors) -> Compiler {
    let (spec, path) = (sub(new, "spec"), Path::new("spec"));
    one_of(spec, "failurePolicy", &["Fail", "Ignore"], &path, errors);
    let has_params = is_given(spec, "paramKind");
    if has_params {
        param_kind(&spec["paramKind"], &path.child("paramKind"), errors);
    }
    let (constraints, constraints_path) = (sub(spec, "matchConstraints"), path.child("matchConstraints"));
    if constraints.is_null() {
        errors.required(&constraints_path, "");
    } else {
        resources(constraints, &constraints_path, errors);
        if constraints.items_at("resourceRules").is_empty() {
            errors.required(&constraints_path.child("resourceRules"), "");
        }
    }
    let untouched = |old: &Value| ["paramKind", "matchConditions"].iter().all(|member| sub(old, "spec").at(member) == spec.at(member));
    if !old.is_some_and(untouched) {
        conditions(spec.items_at("matchConditions"), has_params, &path.child("matchConditions"), errors);
    }
    variables(spec, &path, errors)
}

/// What bindings of both sorts have: the policy's name, a reference to parameters, and what is matched.
pub(super) fn binding(spec: &Value, path: &Path, errors: &mut FieldErrors) {
    match spec.str_at("policyName") {
        "" => errors.required(&path.child("policyName"), ""),
        name => dns_subdomain(name, &path.child("policyName"), errors),
    }
    if is_given(spec, "paramRef") {
        param_ref(&spec["paramRef"], &path.child("paramRef"), errors);
    }
    if is_given(spec, "matchResources") {
        resources(&spec["matchResources"], &path.child("matchResources"), errors);
    }
}

fn param_ref(reference: &Value, path: &Path, errors: &mut FieldErrors) {
    const EXCLUSIVE: &str = "name and selector are mutually exclusive";
    let (name, has_selector) = (reference.str_at("name"), is_given(reference, "selector"));
    if !name.is_empty() {
        each(&path.child("name"), name, names::is_path_segment_name(name), errors);
        if has_selector {
            errors.forbidden(&path.child("name"), EXCLUSIVE);
        }
    }
    if has_selector {
        LabelSelector::validate(&reference["selector"], &path.child("selector"), errors);
        if !name.is_empty() {
            errors.forbidden(&path.child("selector"), EXCLUSIVE);
        }
    }
    if name.is_empty() && !has_selector {
        errors.required(path, "one of name or selector must be specified");
    }
    one_of(reference, "parameterNotFoundAction", &["Deny", "Allow"], path, errors);
}
