//! Security contexts of pods and containers.

use schema::{DocExt, FieldErrors, Path, Value};

use crate::rules::{in_range, is_given, local_path, not_supported, one_of_if_set};

const PROFILES: &[&str] = &["Localhost", "RuntimeDefault", "Unconfined"];
const ID_MAX: i64 = i32::MAX as i64;
const SYSCTL_BYTES_MAX: usize = 253;
const SYSCTL_TEXT: &str =
    "must have at most 253 characters and match regex ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$";
/// Sysctls that belong to a namespace which a pod may share with the host.
const IPC_SYSCTLS: &[&str] = &["kernel.shm", "kernel.msg", "kernel.sem", "fs.mqueue."];

pub(super) fn of_pod(spec: &Value, spec_path: &Path, errors: &mut FieldErrors) {
    let (path, context) = (spec_path.child("securityContext"), spec.at("securityContext").unwrap_or(&Value::Null));
    ids(context, &["fsGroup", "runAsUser", "runAsGroup"], &path, errors);
    for (at, group) in context.items_at("supplementalGroups").iter().enumerate() {
        in_range(group.as_i64().unwrap_or_default(), 0, ID_MAX, &path.child("supplementalGroups").index(at), errors);
    }
    if spec.bool_at("shareProcessNamespace") && spec.bool_at("hostPID") {
        let text = "ShareProcessNamespace and HostPID cannot both be enabled";
        errors.invalid(&path.child("shareProcessNamespace"), true, text);
    }
    sysctls(context.items_at("sysctls"), spec, &path.child("sysctls"), errors);
    one_of_if_set(context, "fsGroupChangePolicy", &["Always", "OnRootMismatch"], &path, errors);
    one_of_if_set(context, "supplementalGroupsPolicy", &["Merge", "Strict"], &path, errors);
    one_of_if_set(context, "seLinuxChangePolicy", &["MountOption", "Recursive"], &path, errors);
    profiles(context, &path, errors);
}

pub(super) fn of_container(container: &Value, spec: &Value, path: &Path, errors: &mut FieldErrors) {
    let Some(context) = container.at("securityContext").filter(|context| context.is_object()) else { return };
    ids(context, &["runAsUser", "runAsGroup"], path, errors);
    one_of_if_set(context, "procMount", &["Default", "Unmasked"], path, errors);
    if context.str_at("procMount") == "Unmasked" && spec.at("hostUsers") != Some(&Value::Bool(false)) {
        errors.invalid(&path.child("procMount"), "Unmasked", "`hostUsers` must be false to use `Unmasked`");
    }
    if context.at("allowPrivilegeEscalation") == Some(&Value::Bool(false)) {
        escalation(context, path, errors);
    }
    profiles(context, path, errors);
}

/// Who may not gain privileges may not have them either.
fn escalation(context: &Value, path: &Path, errors: &mut FieldErrors) {
    if context.bool_at("privileged") {
        errors.invalid(path, context.clone(), "cannot set `allowPrivilegeEscalation` to false and `privileged` to true");
    }
    if context.items_at("capabilities.add").iter().any(|capability| capability == "CAP_SYS_ADMIN") {
        let text = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN";
        errors.invalid(path, context.clone(), text);
    }
}

/// A pod that says it is for Linux carries no options for Windows.
pub(super) fn no_windows_options(spec: &Value, path: &Path, errors: &mut FieldErrors) {
    const TEXT: &str = "windows options cannot be set for a linux pod";
    if is_given(spec, "securityContext.windowsOptions") {
        errors.forbidden(&path.child("securityContext.windowsOptions"), TEXT);
    }
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        for (at, container) in spec.items_at(list).iter().enumerate() {
            if is_given(container, "securityContext.windowsOptions") {
                errors.forbidden(&path.child(list).index(at).child("securityContext.windowsOptions"), TEXT);
            }
        }
    }
}

fn ids(context: &Value, members: &[&str], path: &Path, errors: &mut FieldErrors) {
    for member in members {
        if let Some(id) = context.i64_at(member) {
            in_range(id, 0, ID_MAX, &path.child(member), errors);
        }
    }
}

fn profiles(context: &Value, path: &Path, errors: &mut FieldErrors) {
    for (member, noun) in [("seccompProfile", "seccomp"), ("appArmorProfile", "AppArmor")] {
        if let Some(given) = context.at(member).filter(|given| given.is_object()) {
            profile(given, member, noun, &path.child(member), errors);
        }
    }
}

fn profile(profile: &Value, member: &str, noun: &str, path: &Path, errors: &mut FieldErrors) {
    let file = profile.at("localhostProfile").and_then(Value::as_str);
    let file_path = path.child("localhostProfile");
    match profile.str_at("type") {
        "" => errors.required(&path.child("type"), &format!("type is required when {member} is set")),
        "Localhost" => match file {
            None => errors.required(&file_path, &format!("must be set when {noun} type is Localhost")),
            Some(file) if noun == "seccomp" => local_path(file, &file_path, errors),
            Some(file) if file.trim().is_empty() => errors.required(&file_path, "must be set when AppArmor type is Localhost"),
            Some(file) if file.trim() != file => errors.invalid(&file_path, file, "must not be padded with whitespace"),
            Some(_) => {}
        },
        other if !PROFILES.contains(&other) => not_supported(&path.child("type"), &other.into(), PROFILES, errors),
        _ if file.is_some() => errors.invalid(&file_path, profile.clone(), &format!("can only be set when {noun} type is Localhost")),
        _ => {}
    }
}

fn sysctls(sysctls: &[Value], spec: &Value, path: &Path, errors: &mut FieldErrors) {
    let mut seen = Vec::new();
    for (at, sysctl) in sysctls.iter().enumerate() {
        let (name, path) = (sysctl.str_at("name"), path.index(at).child("name"));
        if name.is_empty() {
            errors.required(&path, "");
        } else if !is_sysctl_name(name) {
            errors.invalid(&path, name, SYSCTL_TEXT);
        } else if seen.contains(&name) {
            errors.duplicate(&path, name);
        }
        shared_with_host(name, spec, &path, errors);
        seen.push(name);
    }
}

fn is_sysctl_name(name: &str) -> bool {
    let is_edge = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    let is_segment = |segment: &str| {
        let bytes = segment.as_bytes();
        let inner = bytes.iter().all(|byte| is_edge(Some(*byte)) || matches!(byte, b'-' | b'_'));
        is_edge(bytes.first().copied()) && is_edge(bytes.last().copied()) && inner
    };
    name.len() <= SYSCTL_BYTES_MAX && name.split(['.', '/']).all(is_segment)
}

fn shared_with_host(name: &str, spec: &Value, path: &Path, errors: &mut FieldErrors) {
    let dotted = name.replace('/', ".");
    if spec.bool_at("hostNetwork") && dotted.starts_with("net.") {
        errors.invalid(path, name, "may not be specified when 'hostNetwork' is true");
    }
    if spec.bool_at("hostIPC") && IPC_SYSCTLS.iter().any(|prefix| dotted.starts_with(prefix)) {
        errors.invalid(path, name, "may not be specified when 'hostIPC' is true");
    }
}
