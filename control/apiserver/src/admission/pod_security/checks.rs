//! The table of checks, which of them a level asks for at a version, and how violations are told.

use schema::{DocExt, Map, Value};

use super::policy::{Demand, Level};
use super::{baseline, restricted};

pub(super) const SECCOMP_OF_POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
pub(super) const SECCOMP_OF_CONTAINER: &str = "container.seccomp.security.alpha.kubernetes.io/";

/// A pod, or what a template will make.
pub struct Pod<'a> {
    pub annotations: Option<&'a Map<String, Value>>,
    pub spec: &'a Value,
    /// Its rules are those of v1.MINOR.
    pub minor: u32,
}

/// `privileged (container "a" must not set securityContext.privileged=true)`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    pub reason: &'static str,
    pub detail: String,
}

/// One check: from which v1.MINOR on it is made, and how.
pub(super) struct Check {
    pub since: u32,
    /// A check of `restricted` that is as strict, and from when on it is made instead.
    pub replaced_since: Option<u32>,
    pub look: fn(&Pod<'_>) -> Option<Violation>,
}

impl Check {
    pub(super) const fn new(since: u32, look: fn(&Pod<'_>) -> Option<Violation>) -> Self {
        Self { since, replaced_since: None, look }
    }

    pub(super) const fn replaced(self, since: u32) -> Self {
        Self { replaced_since: Some(since), ..self }
    }
}

/// Everything in which the pod violates `demand`.
pub fn violations(demand: Demand, pod: &Pod<'_>) -> Vec<Violation> {
    let minor = demand.minor.unwrap_or(u32::MAX);
    let pod = Pod { minor, ..*pod };
    let is_restricted = demand.level == Level::Restricted;
    let is_made = |check: &&Check| check.since <= minor;
    let is_replaced = |check: &&Check| is_restricted && check.replaced_since.is_some_and(|since| since <= minor);
    let baseline = baseline::CHECKS.iter().filter(is_made).filter(|check| !is_replaced(check));
    let restricted = restricted::CHECKS.iter().filter(is_made).filter(|_| is_restricted);
    if demand.level == Level::Privileged {
        return Vec::new();
    }
    baseline.chain(restricted).filter_map(|check| (check.look)(&pod)).collect()
}

/// `reason (detail), reason (detail)`
pub fn detail(violations: &[Violation]) -> String {
    violations.iter().map(|one| format!("{} ({})", one.reason, one.detail)).collect::<Vec<_>>().join(", ")
}

/// `reason, reason`
pub fn reasons(violations: &[Violation]) -> String {
    violations.iter().map(|one| one.reason).collect::<Vec<_>>().join(", ")
}

impl<'a> Pod<'a> {
    pub fn new(doc: &'a Value) -> Self {
        Self { annotations: doc.map_at("metadata.annotations"), spec: doc.at("spec").unwrap_or(&Value::Null), minor: u32::MAX }
    }

    /// Init containers, containers, ephemeral ones.
    pub(super) fn containers(&self) -> impl Iterator<Item = &'a Value> + use<'a> {
        let spec = self.spec;
        ["initContainers", "containers", "ephemeralContainers"].into_iter().flat_map(move |list| spec.items_at(list))
    }

    /// Names of the containers of which `is` holds.
    pub(super) fn named(&self, is: impl Fn(&Value) -> bool) -> Vec<&'a str> {
        self.containers().filter(|container| is(container)).map(|container| container.str_at("name")).collect()
    }

    /// The pod's own security context and that of each container: (None: the pod, value at `path`) where it is set.
    pub(super) fn contexts(&self, path: &str) -> Vec<(Option<&'a str>, &'a Value)> {
        let path = format!("securityContext.{path}");
        let own = set(self.spec, &path).map(|value| (None, value));
        own.into_iter().chain(self.containers().filter_map(|one| Some((Some(one.str_at("name")), set(one, &path)?)))).collect()
    }

    pub(super) fn is_windows(&self) -> bool {
        self.spec.str_at("os.name") == "windows"
    }

    /// Root in a user namespace of its own is nobody outside of it.
    pub(super) fn is_in_user_namespace(&self) -> bool {
        self.minor >= USER_NAMESPACES_SINCE && self.spec.at("hostUsers") == Some(&Value::Bool(false))
    }
}

/// From this version of the rules on, a pod in a user namespace may be root there.
const USER_NAMESPACES_SINCE: u32 = 35;

/// What is set and not null.
pub(super) fn set<'a>(doc: &'a Value, path: &str) -> Option<&'a Value> {
    doc.at(path).filter(|value| !value.is_null())
}

/// `container "a"`, `containers "a", "b"`
pub(super) fn containers(names: &[&str]) -> String {
    format!("{} {}", plural("container", names.len()), quoted(names))
}

/// `pod and containers "a", "b"`: whoever of them is there.
pub(super) fn setters(found: &[(Option<&str>, &Value)]) -> String {
    let names: Vec<&str> = found.iter().filter_map(|(name, _)| *name).collect();
    let pod = found.iter().any(|(name, _)| name.is_none()).then(|| "pod".to_owned());
    pod.into_iter().chain((!names.is_empty()).then(|| containers(&names))).collect::<Vec<_>>().join(" and ")
}

pub(super) fn plural(word: &str, count: usize) -> String {
    if count == 1 { word.to_owned() } else { format!("{word}s") }
}

pub(super) fn uses(count: usize) -> &'static str {
    if count == 1 { "uses" } else { "use" }
}

pub(super) fn quoted<T: AsRef<str>>(names: &[T]) -> String {
    names.iter().map(|name| format!("\"{}\"", name.as_ref())).collect::<Vec<_>>().join(", ")
}

/// Sorted, each once.
pub(super) fn distinct<'a>(names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let set: std::collections::BTreeSet<&str> = names.collect();
    set.into_iter().collect()
}

#[cfg(test)]
mod tests;
