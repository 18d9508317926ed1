//! What a persistent volume must hold, and what of it stays as it was.

use schema::{DocExt, FieldErrors, Map, Path, Value};

use crate::core::pod::rules::{scheduling, volumes};
use crate::kind::same;
use crate::rules::{amounts, dns_subdomain, immutable_pointer, is_given, no_backsteps, not_supported, required, sub};

const ACCESS_MODES: &[&str] = &["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];
const RECLAIM_POLICIES: &[&str] = &["Delete", "Recycle", "Retain"];
const VOLUME_MODES: &[&str] = &["Block", "Filesystem"];
/// In the order in which upstream looks at them: the first one given counts, the others are too many.
const SOURCES: &[&str] = &[
    "hostPath",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "glusterfs",
    "flocker",
    "nfs",
    "rbd",
    "quobyte",
    "cephfs",
    "iscsi",
    "cinder",
    "fc",
    "flexVolume",
    "azureFile",
    "vsphereVolume",
    "photonPersistentDisk",
    "portworxVolume",
    "azureDisk",
    "scaleIO",
    "local",
    "storageos",
    "csi",
];

pub(super) fn volume(new: &Value, errors: &mut FieldErrors) {
    spec(sub(new, "spec"), &Path::new("spec"), false, errors);
}

/// A `PersistentVolumeSpec`; one that stands inside an attachment says nothing of size, modes and classes.
pub(crate) fn spec(spec: &Value, path: &Path, is_inline: bool, errors: &mut FieldErrors) {
    if is_inline {
        only_a_source(spec, path, errors);
    } else {
        access_modes(spec, path, errors);
        capacity(spec, path, errors);
        if let policy @ 1.. = spec.str_at("persistentVolumeReclaimPolicy").len() {
            let policy = &spec.str_at("persistentVolumeReclaimPolicy")[..policy];
            if !RECLAIM_POLICIES.contains(&policy) {
                not_supported(&path.child("persistentVolumeReclaimPolicy"), &policy.into(), RECLAIM_POLICIES, errors);
            }
        }
    }
    let has_affinity = node_affinity(spec.at("nodeAffinity"), &path.child("nodeAffinity"), errors);
    sources(spec, has_affinity, path, errors);
    if spec.str_at("persistentVolumeReclaimPolicy") == "Recycle" && is_root(spec.str_at("hostPath.path")) {
        let text = "may not be 'recycle' for a hostPath mount of '/'";
        errors.forbidden(&path.child("persistentVolumeReclaimPolicy"), text);
    }
    if is_inline {
        return;
    }
    if !spec.str_at("storageClassName").is_empty() {
        dns_subdomain(spec.str_at("storageClassName"), &path.child("storageClassName"), errors);
    }
    if is_given(spec, "volumeMode") && !VOLUME_MODES.contains(&spec.str_at("volumeMode")) {
        not_supported(&path.child("volumeMode"), &spec.str_at("volumeMode").into(), VOLUME_MODES, errors);
    }
    attributes_class(spec, path, errors);
}

fn only_a_source(spec: &Value, path: &Path, errors: &mut FieldErrors) {
    let members = ["claimRef", "capacity", "persistentVolumeReclaimPolicy", "storageClassName", "volumeMode", "volumeAttributesClassName"];
    for member in members.into_iter().filter(|member| !same(sub(spec, member), &Value::Null)) {
        errors.forbidden(&path.child(member), "may not be specified in the context of inline volumes");
    }
    if !is_given(spec, "csi") {
        errors.required(&path.child("csi"), "has to be specified in the context of inline volumes");
    }
}

/// Known modes, and `ReadWriteOncePod` alone.
fn access_modes(spec: &Value, path: &Path, errors: &mut FieldErrors) {
    let (modes, path): (Vec<&str>, Path) =
        (spec.items_at("accessModes").iter().filter_map(Value::as_str).collect(), path.child("accessModes"));
    if modes.is_empty() {
        errors.required(&path, "");
    }
    for mode in modes.iter().filter(|mode| !ACCESS_MODES.contains(mode)) {
        not_supported(&path, &(*mode).into(), ACCESS_MODES, errors);
    }
    if modes.contains(&"ReadWriteOncePod") && modes.iter().any(|mode| *mode != "ReadWriteOncePod" && ACCESS_MODES.contains(mode)) {
        errors.forbidden(&path, "may not use ReadWriteOncePod with other access modes");
    }
}

fn capacity(spec: &Value, path: &Path, errors: &mut FieldErrors) {
    let (path, amounts) = (path.child("capacity"), amounts::quantities(spec, "capacity"));
    if amounts.is_empty() {
        errors.required(&path, "");
    }
    if amounts.len() != 1 || amounts[0].0 != "storage" {
        not_supported(&path, sub(spec, "capacity"), &["storage"], errors);
    }
    for (name, amount) in amounts {
        let path = path.key(name);
        if amount.nano < 0 {
            errors.invalid(&path, amount.value(), "must be a valid resource quantity");
        }
        if amount.nano <= 0 {
            errors.invalid(&path, amount.to_string(), "must be greater than zero");
        }
    }
}

/// Whether there is one at all.
fn node_affinity(affinity: Option<&Value>, path: &Path, errors: &mut FieldErrors) -> bool {
    let Some(affinity) = affinity.filter(|affinity| affinity.is_object()) else { return false };
    match affinity.at("required").filter(|required| required.is_object()) {
        Some(required) => scheduling::node_selector(required, &path.child("required"), errors),
        None => errors.required(&path.child("required"), "must specify required node constraints"),
    }
    true
}

fn sources(spec: &Value, has_affinity: bool, path: &Path, errors: &mut FieldErrors) {
    let mut given = SOURCES.iter().copied().filter(|source| is_given(spec, source));
    let Some(first) = given.next() else { return errors.required(path, "must specify a volume type") };
    let (source, path_of) = (&spec[first], path.child(first));
    match first {
        "local" => {
            local(source, &path_of, errors);
            if !has_affinity {
                errors.required(&path.child("nodeAffinity"), "Local volume requires node affinity");
            }
        }
        "csi" => csi(source, &path_of, errors),
        first => volumes::persistent_source(first, source, &path_of, errors),
    }
    for other in given {
        errors.forbidden(&path.child(other), "may not specify more than 1 volume type");
    }
}

fn local(source: &Value, path: &Path, errors: &mut FieldErrors) {
    match source.str_at("path") {
        "" => errors.required(&path.child("path"), ""),
        text => no_backsteps(text, &path.child("path"), errors),
    }
}

const SECRETS: &[&str] = &["controllerPublishSecretRef", "controllerExpandSecretRef", "nodePublishSecretRef", "nodeExpandSecretRef"];

fn csi(source: &Value, path: &Path, errors: &mut FieldErrors) {
    volumes::driver_name(source.str_at("driver"), &path.child("driver"), errors);
    required(source, "volumeHandle", path, errors);
    for member in SECRETS.iter().filter(|member| is_given(source, member)) {
        required(&source[*member], "name", &path.child(member), errors);
        required(&source[*member], "namespace", &path.child(member), errors);
    }
}

fn attributes_class(spec: &Value, path: &Path, errors: &mut FieldErrors) {
    let Some(class) = spec.at("volumeAttributesClassName").and_then(Value::as_str) else { return };
    let path_of = path.child("volumeAttributesClassName");
    if class.is_empty() {
        errors.required(&path_of, "an empty string is disallowed");
    } else {
        dns_subdomain(class, &path_of, errors);
    }
    if !is_given(spec, "csi") {
        errors.required(&path.child("csi"), "has to be specified when using volumeAttributesClassName");
    }
}

/// `/`, however it is written.
fn is_root(path: &str) -> bool {
    path.starts_with('/') && path.split('/').all(|part| matches!(part, "" | "." | ".."))
}

/// The source stays; an affinity stays once it is there.
pub(super) fn update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    let (spec, before) = (sub(new, "spec"), sub(old, "spec"));
    let source = |spec: &Value| -> Map<String, Value> {
        SOURCES.iter().filter_map(|name| Some(((*name).to_owned(), spec.at(name)?.clone()))).collect()
    };
    let may_expand = |spec: &Value| {
        let mut source = Value::Object(source(spec));
        // Who had no secret for expansion may get one.
        if !is_given(before, "csi.controllerExpandSecretRef") {
            source.remove_at("csi.controllerExpandSecretRef");
        }
        source
    };
    if !same(&may_expand(spec), &may_expand(before)) {
        let text = "spec.persistentvolumesource is immutable after creation";
        errors.forbidden(&Path::new("spec.persistentvolumesource"), text);
    }
    immutable_pointer(spec, before, "volumeMode", &Path::root(), errors);
    if is_given(before, "nodeAffinity") {
        immutable_pointer(spec, before, "nodeAffinity", &Path::root(), errors);
    }
    if is_given(before, "volumeAttributesClassName") && !is_given(spec, "volumeAttributesClassName") {
        let path = Path::new("spec.volumeAttributesClassName");
        errors.forbidden(&path, "update from non-nil value to nil is forbidden");
    }
}
