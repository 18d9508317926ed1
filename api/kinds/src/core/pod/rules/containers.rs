//! Containers of the three sorts: app, init and ephemeral.

use std::collections::BTreeSet;

use schema::{DocExt, FieldErrors, Path, Value, names};

use super::{env, mounts, probes, requirements, security};
use crate::rules::{dns_label, each, is_given, not_supported, one_of, port_number};

const PROTOCOLS: &[&str] = &["SCTP", "TCP", "UDP"];
const PULL_POLICIES: &[&str] = &["Always", "IfNotPresent", "Never"];
const MESSAGE_POLICIES: &[&str] = &["File", "FallbackToLogsOnError"];
const PROBES: &[&str] = &["livenessProbe", "readinessProbe", "startupProbe"];
const EPHEMERAL_FIELDS_REFUSED: &[&str] =
    &["ports", "resources", "livenessProbe", "readinessProbe", "startupProbe", "lifecycle", "resizePolicy", "restartPolicy"];

/// All containers of a spec.
pub(super) fn all(spec: &Value, path: &Path, errors: &mut FieldErrors) {
    app_containers(spec, &path.child("containers"), errors);
    init_containers(spec, &path.child("initContainers"), errors);
    ephemeral_containers(spec, &path.child("ephemeralContainers"), errors);
}

fn app_containers(spec: &Value, path: &Path, errors: &mut FieldErrors) {
    let containers = spec.items_at("containers");
    if containers.is_empty() {
        return errors.required(path, "");
    }
    let mut seen = BTreeSet::new();
    for (at, container) in containers.iter().enumerate() {
        let path = path.index(at);
        common(container, spec, &path, errors);
        if !seen.insert(container.str_at("name")) {
            errors.duplicate(&path.child("name"), container.str_at("name"));
        }
        probes::of_container(container, spec, &path, errors);
        restart_policy(container, &path, errors);
    }
    host_port_conflicts(containers.iter().enumerate(), path, errors);
}

fn init_containers(spec: &Value, path: &Path, errors: &mut FieldErrors) {
    let mut seen: BTreeSet<&str> = spec.items_at("containers").iter().map(|container| container.str_at("name")).collect();
    for (at, container) in spec.items_at("initContainers").iter().enumerate() {
        let (container_path, name) = (path.index(at), container.str_at("name"));
        common(container, spec, &container_path, errors);
        restart_policy(container, &container_path, errors);
        if seen.contains(name) {
            errors.duplicate(&container_path.child("name"), name);
        } else if !name.is_empty() {
            seen.insert(name);
        }
        host_port_conflicts(std::iter::once((at, container)), path, errors);
        if container.str_at("restartPolicy") == "Always" {
            probes::of_container(container, spec, &container_path, errors);
        } else {
            refuse_in_init_steps(container, &container_path, errors);
        }
    }
}

/// An init step runs to its end: nothing probes it, nothing hooks into its life.
fn refuse_in_init_steps(container: &Value, path: &Path, errors: &mut FieldErrors) {
    for member in std::iter::once(&"lifecycle").chain(PROBES) {
        if is_given(container, member) {
            errors.forbidden(&path.child(member), "may not be set for init containers without restartPolicy=Always");
        }
    }
}

fn ephemeral_containers(spec: &Value, path: &Path, errors: &mut FieldErrors) {
    let others = spec.items_at("containers").iter().chain(spec.items_at("initContainers"));
    let others: BTreeSet<&str> = others.map(|container| container.str_at("name")).collect();
    let mut seen = others.clone();
    for (at, container) in spec.items_at("ephemeralContainers").iter().enumerate() {
        let path = path.index(at);
        common(container, spec, &path, errors);
        super::images_without_padding(std::slice::from_ref(container), &path, errors);
        if !seen.insert(container.str_at("name")) {
            errors.duplicate(&path.child("name"), container.str_at("name"));
        }
        let target = container.str_at("targetContainerName");
        if !target.is_empty() && !others.contains(target) {
            errors.not_found(&path.child("targetContainerName"), target);
        }
        refuse_in_ephemeral(container, &path, errors);
    }
}

fn refuse_in_ephemeral(container: &Value, path: &Path, errors: &mut FieldErrors) {
    const TEXT: &str = "cannot be set for an Ephemeral Container";
    let is_set = |member: &str| match container.at(member) {
        None | Some(Value::Null) => false,
        Some(Value::Array(items)) => !items.is_empty(),
        Some(Value::Object(members)) => member != "resources" || !members.is_empty(),
        Some(_) => true,
    };
    for member in EPHEMERAL_FIELDS_REFUSED.iter().filter(|member| is_set(member)) {
        errors.forbidden(&path.child(member), TEXT);
    }
    for (at, mount) in container.items_at("volumeMounts").iter().enumerate() {
        for member in ["subPath", "subPathExpr"] {
            if !mount.str_at(member).is_empty() {
                errors.forbidden(&path.child("volumeMounts").index(at).child(member), TEXT);
            }
        }
    }
}

fn common(container: &Value, spec: &Value, path: &Path, errors: &mut FieldErrors) {
    match container.str_at("name") {
        "" => errors.required(&path.child("name"), ""),
        name => dns_label(name, &path.child("name"), errors),
    }
    if container.str_at("image").is_empty() {
        errors.required(&path.child("image"), "");
    }
    one_of(container, "terminationMessagePolicy", MESSAGE_POLICIES, path, errors);
    ports(container.items_at("ports"), &path.child("ports"), errors);
    env::variables(container.items_at("env"), &path.child("env"), errors);
    env::sources(container.items_at("envFrom"), &path.child("envFrom"), errors);
    mounts::mounts(container, spec, &path.child("volumeMounts"), errors);
    mounts::devices(container, spec, &path.child("volumeDevices"), errors);
    one_of(container, "imagePullPolicy", PULL_POLICIES, path, errors);
    requirements::of_container(container, spec, &path.child("resources"), errors);
    resize_policy(container, spec, &path.child("resizePolicy"), errors);
    security::of_container(container, spec, &path.child("securityContext"), errors);
}

/// A container's own restart policy: `Always` makes an init container a sidecar; others want rules with it.
fn restart_policy(container: &Value, path: &Path, errors: &mut FieldErrors) {
    if is_given(container, "restartPolicy") {
        one_of(container, "restartPolicy", &["Always", "OnFailure", "Never"], path, errors);
    }
    let rules = container.items_at("restartPolicyRules");
    if !rules.is_empty() && container.str_at("restartPolicy").is_empty() {
        errors.required(&path.child("restartPolicy"), "must specify restartPolicy when restart rules are used");
    }
    for (at, rule) in rules.iter().enumerate() {
        let path = path.child("restartPolicyRules").index(at);
        one_of(rule, "action", &["Restart", "RestartAllContainers"], &path, errors);
        if is_given(rule, "exitCodes") {
            one_of(&rule["exitCodes"], "operator", &["In", "NotIn"], &path.child("exitCodes"), errors);
        } else {
            errors.required(&path.child("exitCodes"), "must be specified");
        }
    }
}

fn ports(ports: &[Value], path: &Path, errors: &mut FieldErrors) {
    let mut seen = BTreeSet::new();
    for (at, port) in ports.iter().enumerate() {
        let (path, name) = (path.index(at), port.str_at("name"));
        if !name.is_empty() {
            let wrong = names::is_port_name(name);
            if wrong.is_empty() && !seen.insert(name) {
                errors.duplicate(&path.child("name"), name);
            }
            each(&path.child("name"), name, wrong, errors);
        }
        match port.i64_at("containerPort").unwrap_or_default() {
            0 => errors.required(&path.child("containerPort"), ""),
            number => port_number(number, &path.child("containerPort"), errors),
        }
        if let Some(number) = port.i64_at("hostPort").filter(|number| *number != 0) {
            port_number(number, &path.child("hostPort"), errors);
        }
        one_of(port, "protocol", PROTOCOLS, &path, errors);
    }
}

fn host_port_conflicts<'a>(containers: impl Iterator<Item = (usize, &'a Value)>, path: &Path, errors: &mut FieldErrors) {
    let mut seen = BTreeSet::new();
    for (at, container) in containers {
        for (port_at, port) in container.items_at("ports").iter().enumerate() {
            let Some(number) = port.i64_at("hostPort").filter(|number| *number != 0) else { continue };
            let taken = format!("{}/{}/{number}", port.str_at("protocol"), port.str_at("hostIP"));
            if !seen.insert(taken.clone()) {
                errors.duplicate(&path.index(at).child("ports").index(port_at).child("hostPort"), taken);
            }
        }
    }
}

fn resize_policy(container: &Value, spec: &Value, path: &Path, errors: &mut FieldErrors) {
    let mut seen = BTreeSet::new();
    for (at, policy) in container.items_at("resizePolicy").iter().enumerate() {
        let (resource, restart) = (policy.str_at("resourceName"), policy.str_at("restartPolicy"));
        if !seen.insert(resource) {
            errors.duplicate(&path.index(at), resource);
        }
        for (text, supported) in [(resource, ["cpu", "memory"]), (restart, ["NotRequired", "RestartContainer"])] {
            match text {
                "" => errors.required(path, ""),
                text if supported.contains(&text) => {}
                text => not_supported(path, &text.into(), &supported, errors),
            }
        }
        if spec.str_at("restartPolicy") == "Never" && restart != "NotRequired" {
            errors.invalid(path, restart, "must be 'NotRequired' when `restartPolicy` is 'Never'");
        }
    }
}
