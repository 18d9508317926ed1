//! PodSecurity: what the labels of a namespace demand of its pods.
//!
//! ```text
//! pod-security.kubernetes.io/{enforce,audit,warn}[-version]: {privileged,baseline,restricted} ("latest", "v1.30")
//!
//! pod ───────────────► enforce: refused; audit: told to the audit log; warn: let in with a Warning
//! workload template ─► audit and warn only: its pods are refused when they are made
//! namespace ─────────► labels must be valid; a stricter level warns of the pods that are there and violate it
//! ```
//! Labels that cannot be read demand `restricted` where something is refused and nothing where it is only told.

pub mod baseline;
pub mod checks;
pub mod policy;
pub mod restricted;

use std::collections::{BTreeMap, HashSet};

use async_trait::async_trait;
use kinds::Descriptor;
use schema::{DocExt, FieldErrors, Status, Value};

use self::checks::{Pod, violations};
pub use self::policy::{Demand, Level, Policy};
use super::{Admission, Operation, Plugin};
use crate::list;

pub struct PodSecurity;

/// What holds where the labels say nothing, and for whom nothing holds.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    pub defaults: Policy,
    pub exempt_users: Vec<String>,
    pub exempt_namespaces: Vec<String>,
    pub exempt_runtime_classes: Vec<String>,
}

/// Of more pods in a namespace whose level is raised, these many are looked at.
const PODS_MAX: usize = 3_000;
const PODS: &str = "/pods/";
/// Keys of audit annotations.
const ENFORCED: &str = "pod-security.kubernetes.io/enforce-policy";
const VIOLATIONS: &str = "pod-security.kubernetes.io/audit-violations";
const EXEMPT: &str = "pod-security.kubernetes.io/exempt";
const ERROR: &str = "pod-security.kubernetes.io/error";
/// Subresources of pods that do not change what a pod may do.
const IGNORED: &[&str] = &["attach", "binding", "eviction", "exec", "log", "portforward", "proxy", "status"];

#[async_trait]
impl Plugin for PodSecurity {
    async fn validate(&self, request: &mut Admission<'_>, new: Option<&Value>, old: Option<&Value>) -> Result<(), Status> {
        let Some(new) = new.filter(|_| matches!(request.operation, Operation::Create | Operation::Update)) else { return Ok(()) };
        if request.is_object("", "namespaces") {
            return of_namespace(request, new, old);
        }
        if request.is("", "pods") {
            return if IGNORED.contains(&request.subresource) { Ok(()) } else { of_pod(request, new, old) };
        }
        if let Some(template) = template_path(&request.kind).filter(|_| request.subresource.is_empty()) {
            of_template(request, new.at(template).unwrap_or(&Value::Null));
        }
        Ok(())
    }
}

/// Where a workload keeps what its pods will be.
fn template_path(kind: &Descriptor) -> Option<&'static str> {
    match (kind.group.as_ref(), kind.resource.as_ref()) {
        ("", "podtemplates") => Some("template"),
        ("", "replicationcontrollers") | ("apps", "deployments" | "replicasets" | "statefulsets" | "daemonsets") | ("batch", "jobs") => {
            Some("spec.template")
        }
        ("batch", "cronjobs") => Some("spec.jobTemplate.spec.template"),
        _ => None,
    }
}

fn of_pod(request: &mut Admission<'_>, new: &Value, old: Option<&Value>) -> Result<(), Status> {
    let Some(policy) = policy(request, new.str_at("spec.runtimeClassName")) else { return Ok(()) };
    if policy.demands_nothing() {
        note(request, ENFORCED, policy.enforce.to_string());
        return Ok(());
    }
    if old.is_some_and(|old| !is_significant(new, old)) {
        return Ok(());
    }
    note(request, ENFORCED, policy.enforce.to_string());
    let pod = Pod::new(new);
    let found = violations(policy.enforce, &pod);
    audit(request, policy.audit, &pod);
    if !found.is_empty() {
        return Err(request.forbidden(&format!("violates PodSecurity {:?}: {}", policy.enforce.to_string(), checks::detail(&found))));
    }
    warn(request, policy.warn, &pod);
    Ok(())
}

fn of_template(request: &mut Admission<'_>, template: &Value) {
    if template.at("spec").is_none_or(Value::is_null) {
        return;
    }
    if let Some(policy) = policy(request, template.str_at("spec.runtimeClassName")).filter(|policy| !policy.demands_nothing()) {
        let pod = Pod::new(template);
        audit(request, policy.audit, &pod);
        warn(request, policy.warn, &pod);
    }
}

fn warn(request: &mut Admission<'_>, demand: Demand, pod: &Pod<'_>) {
    request.warnings.extend(complaint(demand, pod));
}

fn audit(request: &Admission<'_>, demand: Demand, pod: &Pod<'_>) {
    if let Some(text) = complaint(demand, pod) {
        note(request, VIOLATIONS, text);
    }
}

fn complaint(demand: Demand, pod: &Pod<'_>) -> Option<String> {
    let found = violations(demand, pod);
    (!found.is_empty()).then(|| format!("would violate PodSecurity {:?}: {}", demand.to_string(), checks::detail(&found)))
}

/// For the audit log.
fn note(request: &Admission<'_>, key: &str, value: impl Into<String>) {
    request.annotations.add(key, value);
}

/// What holds for this request; None for whom nothing does.
fn policy(request: &Admission<'_>, runtime_class: &str) -> Option<Policy> {
    let settings = &request.core.config.pod_security;
    let is_one_of = |name: &str, names: &[String]| !name.is_empty() && names.iter().any(|one| one == name);
    let exempt = [
        ("namespace", request.namespace, &settings.exempt_namespaces),
        ("user", &request.user.name, &settings.exempt_users),
        ("runtimeClass", runtime_class, &settings.exempt_runtime_classes),
    ];
    if let Some((reason, ..)) = exempt.into_iter().find(|(_, name, names)| is_one_of(name, names)) {
        note(request, EXEMPT, reason);
        return None;
    }
    let namespace = request.core.cache.kind("/namespaces/")?.get(&format!("/namespaces/{}", request.namespace))?;
    let labels = &namespace.object.meta.labels;
    let (policy, wrong) = Policy::of(|label| labels.get(label).map(String::as_str), settings.defaults);
    if !wrong.is_empty() {
        let texts: Vec<String> = wrong.0.iter().map(ToString::to_string).collect();
        let texts = if let [one] = texts.as_slice() { one.clone() } else { format!("[{}]", texts.join(", ")) };
        note(request, ERROR, format!("Failed to parse policy: {texts}"));
    }
    Some(policy)
}

/// Whether an update changes anything that a check looks at: images, containers, the annotations for seccomp.
fn is_significant(new: &Value, old: &Value) -> bool {
    let annotation = |doc: &Value, key: &str| doc.map_at("metadata.annotations").and_then(|all| all.get(key)).cloned();
    let differs = |key: &str| annotation(new, key) != annotation(old, key);
    let changed = |one: &Value, other: &Value| {
        one.at("image") != other.at("image") || differs(&format!("{}{}", checks::SECCOMP_OF_CONTAINER, one.str_at("name")))
    };
    let replaced = |list: &str| {
        let (new, old) = (new.items_at(list), old.items_at(list));
        new.len() != old.len() || new.iter().zip(old).any(|(one, other)| changed(one, other))
    };
    let added = |one: &Value| {
        let held = old.items_at("spec.ephemeralContainers").iter().find(|other| other.str_at("name") == one.str_at("name"));
        held.is_none_or(|held| changed(one, held))
    };
    differs(checks::SECCOMP_OF_POD)
        || replaced("spec.containers")
        || replaced("spec.initContainers")
        || new.items_at("spec.ephemeralContainers").iter().any(added)
}

fn of_namespace(request: &mut Admission<'_>, new: &Value, old: Option<&Value>) -> Result<(), Status> {
    let defaults = request.core.config.pod_security.defaults;
    let of = |doc: &Value| {
        let labels = doc.map_at("metadata.labels");
        Policy::of(|label| labels.and_then(|labels| labels.get(label)).and_then(Value::as_str), defaults)
    };
    let ((policy, wrong), before) = (of(new), old.map(of));
    let is_known = |before: &(Policy, FieldErrors)| before.1 == wrong;
    if !wrong.is_empty() && !before.as_ref().is_some_and(is_known) {
        return Err(Status::invalid("", "Namespace", request.name, &wrong));
    }
    let is_raised = before.is_some_and(|(before, _)| policy.enforce.is_stricter_than(before.enforce));
    let is_exempt = request.core.config.pod_security.exempt_namespaces.iter().any(|name| name == request.name);
    if is_raised && !is_exempt {
        let texts = of_pods_that_are_there(request, policy.enforce);
        request.warnings.extend(texts);
    }
    Ok(())
}

/// Warnings about the pods of the request's namespace that violate a new level.
fn of_pods_that_are_there(request: &Admission<'_>, demand: Demand) -> Vec<String> {
    let Some(cache) = request.core.cache.kind(PODS) else { return Vec::new() };
    let (start, end) = list::bounds(PODS, request.name);
    let items: Vec<_> = cache.read().range(&start, &end).map(|(_, item)| std::sync::Arc::clone(&item.object)).collect();
    let docs = one_of_each_owner_first(&items).into_iter().take(PODS_MAX).map(|pod| pod.value());
    let mut found: BTreeMap<String, (String, usize)> = BTreeMap::new();
    for pod in docs {
        let class = pod.str_at("spec.runtimeClassName");
        let exempt = !class.is_empty() && request.core.config.pod_security.exempt_runtime_classes.iter().any(|name| name == class);
        let violations = if exempt { Vec::new() } else { violations(demand, &Pod::new(&pod)) };
        if !violations.is_empty() {
            let name = pod.str_at("metadata.name");
            let (first, count) = found.entry(checks::reasons(&violations)).or_insert_with(|| (name.to_owned(), 0));
            if name < first.as_str() {
                *first = name.to_owned();
            }
            *count += 1;
        }
    }
    told(request.name, demand, items.len(), found)
}

/// Pods of one owner are alike: one of each comes before the others.
fn one_of_each_owner_first(pods: &[std::sync::Arc<client::Object>]) -> Vec<&client::Object> {
    let mut owners = HashSet::new();
    let is_first = |pod: &&client::Object| pod.meta.controller().is_none_or(|owner| owners.insert(owner.uid.clone()));
    let (mut first, rest): (Vec<_>, Vec<_>) = pods.iter().map(std::sync::Arc::as_ref).partition(is_first);
    first.extend(rest);
    first
}

fn told(namespace: &str, demand: Demand, total: usize, found: BTreeMap<String, (String, usize)>) -> Vec<String> {
    let mut texts = Vec::new();
    if total > PODS_MAX {
        texts.push(format!("new PodSecurity enforce level only checked against the first {PODS_MAX} of {total} existing pods"));
    }
    if !found.is_empty() {
        texts.push(format!("existing pods in namespace {namespace:?} violate the new PodSecurity enforce level {:?}", demand.to_string()));
    }
    let mut of_pods: Vec<String> = found
        .into_iter()
        .map(|(reasons, (name, count))| match count {
            1 => format!("{name}: {reasons}"),
            2 => format!("{name} (and 1 other pod): {reasons}"),
            count => format!("{name} (and {} other pods): {reasons}", count - 1),
        })
        .collect();
    of_pods.sort();
    texts.extend(of_pods);
    texts
}

#[cfg(test)]
mod tests {
    use schema::json;

    use super::*;

    #[test]
    fn only_changes_that_a_check_looks_at_are_looked_at() {
        let pod = json!({"metadata": {}, "spec": {"containers": [{"name": "c", "image": "a"}]}});
        let with = |path: &str, value: Value| {
            let mut pod = pod.clone();
            pod.set_at(path, value);
            pod
        };
        assert!(!is_significant(&with("metadata.labels", json!({"a": "b"})), &pod));
        assert!(!is_significant(&with("spec.tolerations", json!([{"operator": "Exists"}])), &pod));
        assert!(is_significant(&with("spec.containers", json!([{"name": "c", "image": "b"}])), &pod));
        assert!(is_significant(&with("spec.ephemeralContainers", json!([{"name": "debug", "image": "b"}])), &pod));
        assert!(is_significant(&with("metadata.annotations", json!({checks::SECCOMP_OF_POD: "unconfined"})), &pod));
    }

    #[test]
    fn existing_pods_are_told_by_reason_with_the_first_name_and_their_number() {
        let found = BTreeMap::from([("privileged".to_owned(), ("a".to_owned(), 3)), ("hostPort".to_owned(), ("b".to_owned(), 2))]);
        let demand = Demand { level: Level::Baseline, minor: None };
        assert_eq!(
            told("n", demand, 3_001, found),
            [
                "new PodSecurity enforce level only checked against the first 3000 of 3001 existing pods",
                "existing pods in namespace \"n\" violate the new PodSecurity enforce level \"baseline:latest\"",
                "a (and 2 other pods): privileged",
                "b (and 1 other pod): hostPort",
            ]
        );
    }
}
