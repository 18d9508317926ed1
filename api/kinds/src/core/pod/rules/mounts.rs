//! Volume mounts and devices of a container.

use std::collections::BTreeSet;

use schema::{DocExt, FieldErrors, Path, Value};

use crate::rules::{is_given, local_path, not_supported};

const PROPAGATIONS: &[&str] = &["Bidirectional", "HostToContainer", "None"];

pub(super) fn mounts(container: &Value, spec: &Value, path: &Path, errors: &mut FieldErrors) {
    let devices = container.items_at("volumeDevices");
    let mut seen = BTreeSet::new();
    for (at, mount) in container.items_at("volumeMounts").iter().enumerate() {
        let (name, target, mount_path) = (mount.str_at("name"), mount.str_at("mountPath"), path.index(at));
        let volume = volume(spec, name);
        if name.is_empty() {
            errors.required(&mount_path.child("name"), "");
        }
        if volume.is_none() {
            errors.not_found(&mount_path.child("name"), name);
        }
        if target.is_empty() {
            errors.required(&mount_path.child("mountPath"), "");
        }
        if !seen.insert(target) {
            errors.invalid(&mount_path.child("mountPath"), target, "must be unique");
        }
        if devices.iter().any(|device| device.str_at("name") == name) {
            errors.invalid(&mount_path.child("name"), name, "must not already exist in volumeDevices");
        }
        if devices.iter().any(|device| device.str_at("devicePath") == target) {
            errors.invalid(&mount_path.child("mountPath"), target, "must not already exist as a path in volumeDevices");
        }
        sub_paths(mount, path, at, errors);
        propagation(mount, container, path, errors);
    }
}

/// Upstream names the list, not the mount, where it speaks of the path itself.
fn sub_paths(mount: &Value, path: &Path, at: usize, errors: &mut FieldErrors) {
    let (plain, expanded) = (mount.str_at("subPath"), mount.str_at("subPathExpr"));
    if !plain.is_empty() {
        local_path(plain, &path.child("subPath"), errors);
    }
    if expanded.is_empty() {
        return;
    }
    if !plain.is_empty() {
        errors.invalid(&path.index(at).child("subPathExpr"), expanded, "subPathExpr and subPath are mutually exclusive");
    }
    local_path(expanded, &path.child("subPathExpr"), errors);
}

fn propagation(mount: &Value, container: &Value, path: &Path, errors: &mut FieldErrors) {
    let (mode, at) = (mount.str_at("mountPropagation"), path.child("mountPropagation"));
    if is_given(mount, "mountPropagation") {
        if !PROPAGATIONS.contains(&mode) {
            not_supported(&at, &mode.into(), PROPAGATIONS, errors);
        }
        if mode == "Bidirectional" && !container.bool_at("securityContext.privileged") {
            errors.forbidden(&at, "Bidirectional mount propagation is available only to privileged containers");
        }
    }
    recursive_read_only(mount, &path.child("recursiveReadOnly"), errors);
}

fn recursive_read_only(mount: &Value, path: &Path, errors: &mut FieldErrors) {
    match mount.at("recursiveReadOnly").and_then(Value::as_str) {
        None | Some("Disabled") => {}
        Some("Enabled" | "IfPossible") => {
            if !mount.bool_at("readOnly") {
                errors.forbidden(path, "may only be specified when readOnly is true");
            }
            if !matches!(mount.str_at("mountPropagation"), "" | "None") {
                errors.forbidden(path, "may only be specified when mountPropagation is None or not specified");
            }
        }
        Some(other) => not_supported(path, &other.into(), &["Disabled", "Enabled", "IfPossible"], errors),
    }
}

pub(super) fn devices(container: &Value, spec: &Value, path: &Path, errors: &mut FieldErrors) {
    let mounts = container.items_at("volumeMounts");
    let (mut names, mut paths) = (BTreeSet::new(), BTreeSet::new());
    for (at, device) in container.items_at("volumeDevices").iter().enumerate() {
        let (name, target, path) = (device.str_at("name"), device.str_at("devicePath"), path.index(at));
        if name.is_empty() {
            errors.required(&path.child("name"), "");
        } else if !names.insert(name) {
            errors.invalid(&path.child("name"), name, "must be unique");
        }
        match volume(spec, name) {
            None => errors.not_found(&path.child("name"), name),
            Some(volume) if !is_given(volume, "persistentVolumeClaim") && !is_given(volume, "ephemeral") => {
                let text = "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode";
                errors.invalid(&path.child("name"), name, text);
            }
            Some(_) => {}
        }
        if target.is_empty() {
            errors.required(&path.child("devicePath"), "");
        }
        if !paths.insert(target) {
            errors.invalid(&path.child("devicePath"), target, "must be unique");
        }
        if target.split('/').any(|part| part == "..") {
            errors.invalid(&path.child("devicePath"), target, "can not contain backsteps ('..')");
        }
        if mounts.iter().any(|mount| mount.str_at("name") == name) {
            errors.invalid(&path.child("name"), name, "must not already exist in volumeMounts");
        }
        if mounts.iter().any(|mount| mount.str_at("mountPath") == target) {
            errors.invalid(&path.child("devicePath"), target, "must not already exist as a path in volumeMounts");
        }
    }
}

fn volume<'a>(spec: &'a Value, name: &str) -> Option<&'a Value> {
    spec.items_at("volumes").iter().find(|volume| volume.str_at("name") == name)
}
