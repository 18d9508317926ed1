//! What may change in a pod, and through which door.

use schema::{DocExt, FieldErrors, Path, Value, json};

use super::scheduling;
use crate::core::pod::resources::{amounts, qos_class};
use crate::kind::same;
use crate::rules::{dns_subdomain, in_range, ip, is_given, qualified_name};

const MIRROR: &str = "kubernetes.io/config.mirror";
const UPDATABLE: &str = "`spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

/// Annotations with a meaning of their own.
pub(crate) fn annotations(doc: &Value, path: &Path, errors: &mut FieldErrors) {
    let value = doc.map_at("metadata.annotations").and_then(|map| map.get(MIRROR)).and_then(Value::as_str);
    if let Some(value) = value.filter(|_| doc.str_at("spec.nodeName").is_empty()) {
        errors.invalid(&path.key(MIRROR), value, "must set spec.nodeName if mirror pod annotation is set");
    }
}

/// A write to the pod itself.
pub(crate) fn pod(new: &Value, old: &Value, errors: &mut FieldErrors) {
    mirror_annotation(new, old, errors);
    let path = Path::new("spec");
    for list in ["containers", "initContainers"] {
        if !images(new, old, list, &path.child(list), errors) {
            return;
        }
    }
    if !deadline(new, old, &path.child("activeDeadlineSeconds"), errors) {
        return;
    }
    tolerations(new, old, &path.child("tolerations"), errors);
    gates(new, old, &path.child("schedulingGates"), errors);
    the_rest_is_same(new, old, &path, errors);
}

fn mirror_annotation(new: &Value, old: &Value, errors: &mut FieldErrors) {
    let of = |doc: &Value| doc.map_at("metadata.annotations").and_then(|map| map.get(MIRROR)).cloned();
    let path = Path::new("metadata.annotations").key(MIRROR);
    match (of(old), of(new)) {
        (Some(old), new) if new.as_ref() != Some(&old) => errors.forbidden(&path, "may not remove or update mirror pod annotation"),
        (None, Some(_)) => errors.forbidden(&path, "may not add mirror pod annotation"),
        _ => {}
    }
}

/// Images may change, the number of containers may not. False: nothing more can be compared.
fn images(new: &Value, old: &Value, list: &str, path: &Path, errors: &mut FieldErrors) -> bool {
    let (new, old) = (new["spec"].items_at(list), old["spec"].items_at(list));
    if new.len() != old.len() {
        errors.forbidden(path, "pod updates may not add or remove containers");
        return false;
    }
    for (at, container) in new.iter().enumerate() {
        let (image, path) = (container.str_at("image"), path.index(at).child("image"));
        if image.is_empty() {
            errors.required(&path, "");
        }
        if image.trim() != image {
            errors.invalid(&path, image, "must not have leading or trailing whitespace");
        }
    }
    true
}

/// From none to some, and from some to less. False: upstream looks no further.
fn deadline(new: &Value, old: &Value, path: &Path, errors: &mut FieldErrors) -> bool {
    let found = errors.0.len();
    match (new.i64_at("spec.activeDeadlineSeconds"), old.i64_at("spec.activeDeadlineSeconds")) {
        (None, Some(_)) => {
            errors.invalid(path, Value::Null, "must not update from a positive integer to nil value");
            return true;
        }
        (Some(new), Some(old)) if new > old => errors.invalid(path, new, "must be less than or equal to previous value"),
        (Some(new), _) => in_range(new, 0, i64::from(i32::MAX), path, errors),
        (None, None) => {}
    }
    errors.0.len() == found
}

fn tolerations(new: &Value, old: &Value, path: &Path, errors: &mut FieldErrors) {
    let new = new.items_at("spec.tolerations");
    let timeless = |toleration: &Value| {
        let mut toleration = toleration.clone();
        toleration.remove_at("tolerationSeconds");
        toleration
    };
    let kept = |old: &Value| new.iter().any(|new| same(&timeless(new), &timeless(old)));
    if !old.items_at("spec.tolerations").iter().all(kept) {
        return errors.forbidden(path, "existing toleration can not be modified except its tolerationSeconds");
    }
    scheduling::tolerations(new, path, errors);
}

fn gates(new: &Value, old: &Value, path: &Path, errors: &mut FieldErrors) {
    let old: Vec<&str> = old.items_at("spec.schedulingGates").iter().map(|gate| gate.str_at("name")).collect();
    for (at, gate) in new.items_at("spec.schedulingGates").iter().enumerate() {
        let name = gate.str_at("name");
        if !old.contains(&name) {
            let text = format!("only deletion is allowed, but found new scheduling gate '{name}'");
            errors.forbidden(&path.index(at).child("name"), &text);
        }
    }
}

fn the_rest_is_same(new: &Value, old: &Value, path: &Path, errors: &mut FieldErrors) {
    let mut masked = new["spec"].clone();
    let old_spec = &old["spec"];
    for list in ["containers", "initContainers"] {
        for (at, container) in masked.items_at_mut(list).iter_mut().enumerate() {
            container["image"] = old_spec[list][at]["image"].clone();
        }
    }
    for member in ["activeDeadlineSeconds", "schedulingGates", "tolerations"] {
        crate::kind::copy_member(&mut masked, old_spec, member);
    }
    let was_negative = old_spec.i64_at("terminationGracePeriodSeconds").is_some_and(|seconds| seconds < 0);
    if was_negative && masked.i64_at("terminationGracePeriodSeconds") == Some(1) {
        masked["terminationGracePeriodSeconds"] = old_spec["terminationGracePeriodSeconds"].clone();
    }
    if !old_spec.items_at("schedulingGates").is_empty() {
        narrow_gated(&mut masked, old_spec, path, errors);
    }
    if !same(&masked, old_spec) {
        let text = format!("pod updates may not change fields other than {UPDATABLE}\n{}", difference(&masked, old_spec));
        errors.forbidden(path, &text);
    }
}

/// A gated pod's node selector and node affinity may become narrower.
fn narrow_gated(masked: &mut Value, old: &Value, path: &Path, errors: &mut FieldErrors) {
    let selector = masked.at("nodeSelector").cloned().unwrap_or_else(|| json!({}));
    let kept = old.map_at("nodeSelector").into_iter().flatten().all(|(key, value)| selector.get(key) == Some(value));
    if !kept {
        let text = "only additions to spec.nodeSelector are allowed (no mutations or deletions)";
        errors.invalid(&path.child("nodeSelector"), selector, text);
    }
    crate::kind::copy_member(masked, old, "nodeSelector");
    const TERMS: &str = "affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms";
    let (new_terms, old_terms) = (masked.items_at(TERMS).to_vec(), old.items_at(TERMS));
    if !old_terms.is_empty() && new_terms.len() != old_terms.len() {
        let text = "no additions/deletions to non-empty NodeSelectorTerms list are allowed";
        errors.invalid(&path.child(TERMS), new_terms, text);
    } else {
        for (at, (new, old)) in new_terms.iter().zip(old_terms).enumerate() {
            if !only_adds(new, old) {
                errors.invalid(&path.child(TERMS).index(at), new.clone(), "only additions are allowed (no mutations or deletions)");
            }
        }
    }
    crate::kind::copy_member(masked, old, "affinity.nodeAffinity");
}

fn only_adds(new: &Value, old: &Value) -> bool {
    let lists = ["matchExpressions", "matchFields"];
    if lists.iter().all(|list| old.items_at(list).is_empty()) {
        return lists.iter().all(|list| new.items_at(list).is_empty());
    }
    lists.iter().all(|list| {
        let (new, old) = (new.items_at(list), old.items_at(list));
        new.len() >= old.len() && new.iter().zip(old).all(|(new, old)| same(new, old))
    })
}

/// Which members differ, for the reader of the refusal.
fn difference(new: &Value, old: &Value) -> String {
    let mut lines = Vec::new();
    let mut names: Vec<&String> = new.as_object().into_iter().chain(old.as_object()).flat_map(|map| map.keys()).collect();
    names.sort();
    names.dedup();
    for name in names {
        let (new, old) = (new.get(name).unwrap_or(&Value::Null), old.get(name).unwrap_or(&Value::Null));
        if !same(new, old) {
            lines.push(format!("- {name}: {old}\n+ {name}: {new}"));
        }
    }
    lines.join("\n")
}

/// A write to the pod's status.
pub(crate) fn status(new: &Value, old: &Value, errors: &mut FieldErrors) {
    mirror_annotation(new, old, errors);
    conditions(new.items_at("status.conditions"), &Path::new("metadata.conditions"), errors);
    let path = Path::new("status");
    let nominated = new.str_at("status.nominatedNodeName");
    if nominated != old.str_at("status.nominatedNodeName") && !nominated.is_empty() {
        dns_subdomain(nominated, &path.child("nominatedNodeName"), errors);
    }
    if new.str_at("status.qosClass") != old.str_at("status.qosClass") {
        errors.invalid(&path.child("qosClass"), new.str_at("status.qosClass"), "field is immutable");
    }
    let policy = old.str_at("spec.restartPolicy");
    let is_sidecar = |name: &str| {
        let mut steps = old.items_at("spec.initContainers").iter();
        steps.any(|step| step.str_at("name") == name && step.str_at("restartPolicy") == "Always")
    };
    no_resurrection(new, old, "containerStatuses", policy, |_| false, &path, errors);
    no_resurrection(new, old, "initContainerStatuses", policy, is_sidecar, &path, errors);
    no_resurrection(new, old, "ephemeralContainerStatuses", "Never", |_| false, &path, errors);
    addresses(new, "podIPs", &path, errors);
    addresses(new, "hostIPs", &path, errors);
    host_ip_matches(new, &path, errors);
}

fn conditions(conditions: &[Value], path: &Path, errors: &mut FieldErrors) {
    for (at, condition) in conditions.iter().enumerate() {
        let name = condition.str_at("type");
        if !["PodScheduled", "Ready", "Initialized"].contains(&name) {
            qualified_name(name, &path.index(at).child("Type"), errors);
        }
    }
}

/// What has ended and is not to be restarted stays ended.
fn no_resurrection(
    new: &Value,
    old: &Value,
    list: &str,
    policy: &str,
    may_restart: impl Fn(&str) -> bool,
    path: &Path,
    errors: &mut FieldErrors,
) {
    if policy == "Always" {
        return;
    }
    let (new, old) = (new["status"].items_at(list), old["status"].items_at(list));
    for (at, status) in old.iter().enumerate().filter(|(_, status)| is_given(status, "state.terminated")) {
        let (name, code) = (status.str_at("name"), status.i64_at("state.terminated.exitCode").unwrap_or_default());
        if (code != 0 && policy == "OnFailure") || may_restart(name) {
            continue;
        }
        if new.iter().any(|new| new.str_at("name") == name && !is_given(new, "state.terminated")) {
            errors.forbidden(&path.child(list).index(at).child("state"), "may not be transitioned to non-terminated state");
        }
    }
}

fn addresses(doc: &Value, list: &str, path: &Path, errors: &mut FieldErrors) {
    let (items, path) = (doc["status"].items_at(list), path.child(list));
    let mut parsed = Vec::new();
    for (at, item) in items.iter().enumerate() {
        parsed.extend(ip(item.str_at("ip"), &path.index(at), errors));
        if items[..at].contains(item) {
            errors.duplicate(&path.index(at), item.clone());
        }
    }
    let is_dual = parsed.iter().any(std::net::IpAddr::is_ipv4) && parsed.iter().any(std::net::IpAddr::is_ipv6);
    if items.len() > 1 && (!is_dual || items.len() > 2) {
        errors.invalid(&path, items.to_vec(), "may specify no more than one IP for each IP family");
    }
}

fn host_ip_matches(doc: &Value, path: &Path, errors: &mut FieldErrors) {
    let Some(first) = doc.items_at("status.hostIPs").first() else { return };
    if first.str_at("ip") != doc.str_at("status.hostIP") {
        errors.invalid(&path.child("hostIPs").index(0).child("ip"), first.str_at("ip"), "must be equal to `hostIP`");
    }
}

/// A write to `ephemeralcontainers`: they can be added, never changed or removed.
pub(crate) fn ephemeral_containers(new: &Value, old: &Value, errors: &mut FieldErrors) {
    let path = Path::new("spec.ephemeralContainers");
    if old.map_at("metadata.annotations").is_some_and(|map| map.contains_key(MIRROR)) {
        return errors.forbidden(&Path::root(), "static pods do not support ephemeral containers");
    }
    let new = new.items_at("spec.ephemeralContainers");
    for container in old.items_at("spec.ephemeralContainers") {
        let name = container.str_at("name");
        match new.iter().find(|new| new.str_at("name") == name) {
            None => errors.forbidden(&path, &format!("existing ephemeral containers {name:?} may not be removed\n")),
            Some(new) if !same(new, container) => {
                let text = format!("existing ephemeral containers {name:?} may not be changed\n{}", difference(new, container));
                errors.forbidden(&path, &text);
            }
            Some(_) => {}
        }
    }
}

/// A write to `resize`: processor time and memory of running containers, nothing that changes the quality of service.
pub(crate) fn resize(new: &Value, old: &Value, errors: &mut FieldErrors) {
    let path = Path::new("spec");
    if old.map_at("metadata.annotations").is_some_and(|map| map.contains_key(MIRROR)) {
        return errors.forbidden(&Path::root(), "static pods cannot be resized");
    }
    if qos_class(&new["spec"]) != qos_class(&old["spec"]) {
        errors.invalid(&path, new.str_at("status.qosClass"), "Pod QOS Class may not change as a result of resizing");
    }
    let mut masked = new["spec"].clone();
    for list in ["containers", "initContainers"] {
        let (new, old) = (new["spec"].items_at(list), old["spec"].items_at(list));
        for (at, (new, old)) in new.iter().zip(old).enumerate() {
            if list == "initContainers" && old.str_at("restartPolicy") != "Always" {
                continue;
            }
            resized(new, old, &path.child(list).index(at).child("resources"), errors);
            keep_compute(&mut masked[list][at], old);
        }
    }
    if errors.is_empty() && !same(&masked, &old["spec"]) {
        errors.forbidden(&path, "only cpu and memory resources are mutable");
    }
}

fn resized(new: &Value, old: &Value, path: &Path, errors: &mut FieldErrors) {
    for (list, noun) in [("requests", "requests"), ("limits", "limits")] {
        let of = |container: &Value| amounts(container, &format!("resources.{list}"));
        let new = of(new);
        if of(old).keys().any(|name| !new.contains_key(name)) {
            errors.forbidden(&path.child(list), &format!("resource {noun} cannot be removed"));
        }
    }
}

/// Puts the old processor time and memory back, so that the rest can be compared.
fn keep_compute(container: &mut Value, old: &Value) {
    for list in ["requests", "limits"] {
        for name in ["cpu", "memory"] {
            crate::kind::copy_member(container, old, &format!("resources.{list}.{name}"));
        }
    }
    crate::kind::copy_member(container, old, "resizePolicy");
}
