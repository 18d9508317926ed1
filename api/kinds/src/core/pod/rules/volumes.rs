//! Volume sources.

use std::collections::BTreeSet;

use schema::{DocExt, FieldErrors, LabelSelector, Path, Quantity, Value};

use super::{Place, env};
use crate::rules::{
    dns_label, dns_subdomain, file_mode, in_range, is_given, local_path, local_unreserved_path, no_backsteps, not_supported, one_of,
    required,
};

/// In the order in which upstream looks at them: the first one given counts, the others are too many.
const SOURCES: &[&str] = &[
    "emptyDir",
    "hostPath",
    "gitRepo",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "secret",
    "nfs",
    "iscsi",
    "glusterfs",
    "flocker",
    "persistentVolumeClaim",
    "rbd",
    "cinder",
    "cephfs",
    "quobyte",
    "downwardAPI",
    "fc",
    "flexVolume",
    "configMap",
    "azureFile",
    "vsphereVolume",
    "photonPersistentDisk",
    "portworxVolume",
    "azureDisk",
    "storageos",
    "projected",
    "scaleIO",
    "csi",
    "ephemeral",
    "image",
];
const HOST_PATH_TYPES: &[&str] = &["", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"];
const VOLUME_FIELDS: &[&str] = &["metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"];
const TOKEN_SECONDS_MIN: i64 = 10 * 60;
const TOKEN_SECONDS_MAX: i64 = 1 << 32;

pub(super) fn volumes(volumes: &[Value], place: Place<'_>, path: &Path, errors: &mut FieldErrors) {
    let mut seen = BTreeSet::new();
    for (at, volume) in volumes.iter().enumerate() {
        let (name, path) = (volume.str_at("name"), path.index(at));
        sources(volume, place, &path, errors);
        if name.is_empty() {
            errors.required(&path.child("name"), "");
            continue;
        }
        dns_label(name, &path.child("name"), errors);
        if !seen.insert(name) {
            errors.duplicate(&path.child("name"), name);
        }
    }
}

fn sources(volume: &Value, place: Place<'_>, path: &Path, errors: &mut FieldErrors) {
    let mut given = SOURCES.iter().copied().filter(|source| is_given(volume, source));
    let Some(first) = given.next() else {
        return errors.required(path, "must specify a volume type");
    };
    source(first, &volume[first], &path.child(first), errors);
    if first == "ephemeral" {
        claim_name(volume.str_at("name"), place, &path.child("name"), errors);
    }
    if first == "image" && place.is_pod() {
        required(&volume["image"], "reference", &path.child("image"), errors);
    }
    for other in given {
        errors.forbidden(&path.child(other), "may not specify more than 1 volume type");
    }
}

fn source(name: &str, source: &Value, path: &Path, errors: &mut FieldErrors) {
    match name {
        "emptyDir" => empty_dir(source, path, errors),
        "hostPath" => host_path(source, path, errors),
        "secret" => files(source, "secretName", path, errors),
        "configMap" => files(source, "name", path, errors),
        "downwardAPI" => downward(source, path, errors),
        "projected" => projected(source, path, errors),
        "persistentVolumeClaim" => required(source, "claimName", path, errors),
        "nfs" => nfs(source, path, errors),
        "iscsi" => iscsi(source, path, errors),
        "image" => one_of(source, "pullPolicy", &["Always", "IfNotPresent", "Never"], path, errors),
        "ephemeral" => ephemeral(source, path, errors),
        "csi" => csi(source, path, errors),
        other => others(other, source, path, errors),
    }
}

/// The sources that ask for a few names and nothing else; nobody mounts them here.
fn others(name: &str, source: &Value, path: &Path, errors: &mut FieldErrors) {
    let members: &[&str] = match name {
        "gitRepo" => &["repository"],
        "gcePersistentDisk" => &["pdName"],
        "awsElasticBlockStore" | "cinder" | "portworxVolume" => &["volumeID"],
        "glusterfs" => &["endpoints", "path"],
        "quobyte" => &["registry", "volume"],
        "rbd" => &["image"],
        "flexVolume" => &["driver"],
        "azureFile" => &["secretName", "shareName"],
        "azureDisk" => &["diskName", "diskURI"],
        "vsphereVolume" => &["volumePath"],
        "photonPersistentDisk" => &["pdID"],
        "storageos" => &["volumeName"],
        "scaleIO" => &["gateway", "system", "volumeName"],
        _ => &[],
    };
    for member in members {
        required(source, member, path, errors);
    }
    if matches!(name, "rbd" | "cephfs") && source.items_at("monitors").is_empty() {
        errors.required(&path.child("monitors"), "");
    }
    if name == "gitRepo" {
        local_path(source.str_at("directory"), &path.child("directory"), errors);
    }
    if name == "flocker" && source.str_at("datasetName").is_empty() == source.str_at("datasetUUID").is_empty() {
        errors.required(path, "one of datasetName and datasetUUID is required");
    }
    if name == "fc" && source.items_at("targetWWNs").is_empty() == source.items_at("wwids").is_empty() {
        errors.required(&path.child("targetWWNs"), "must specify either targetWWNs or wwids, but not both");
    }
}

fn empty_dir(source: &Value, path: &Path, errors: &mut FieldErrors) {
    let limit = source.at("sizeLimit").and_then(|limit| Quantity::from_json(limit).ok());
    if limit.is_some_and(|limit| limit.nano < 0) {
        errors.forbidden(&path.child("sizeLimit"), "SizeLimit field must be a valid resource quantity");
    }
}

fn host_path(source: &Value, path: &Path, errors: &mut FieldErrors) {
    let target = source.str_at("path");
    if target.is_empty() {
        return errors.required(&path.child("path"), "");
    }
    no_backsteps(target, &path.child("path"), errors);
    let sort = source.str_at("type");
    if !HOST_PATH_TYPES.contains(&sort) {
        not_supported(&path.child("type"), &sort.into(), HOST_PATH_TYPES, errors);
    }
}

/// A secret or config map as files.
fn files(source: &Value, name: &str, path: &Path, errors: &mut FieldErrors) {
    required(source, name, path, errors);
    file_mode(source, "defaultMode", path, errors);
    keys_to_paths(source.items_at("items"), &path.child("items"), errors);
}

fn keys_to_paths(items: &[Value], path: &Path, errors: &mut FieldErrors) {
    for (at, item) in items.iter().enumerate() {
        let path = path.index(at);
        required(item, "key", &path, errors);
        required(item, "path", &path, errors);
        local_unreserved_path(item.str_at("path"), &path.child("path"), errors);
        file_mode(item, "mode", &path, errors);
    }
}

/// Upstream names the source, not the item.
fn downward(source: &Value, path: &Path, errors: &mut FieldErrors) {
    file_mode(source, "defaultMode", path, errors);
    for item in source.items_at("items") {
        downward_file(item, path, errors);
    }
}

fn downward_file(item: &Value, path: &Path, errors: &mut FieldErrors) {
    required(item, "path", path, errors);
    local_unreserved_path(item.str_at("path"), &path.child("path"), errors);
    match (is_given(item, "fieldRef"), is_given(item, "resourceFieldRef")) {
        (true, both) => {
            env::field(&item["fieldRef"], VOLUME_FIELDS, &path.child("fieldRef"), errors);
            if both {
                errors.invalid(path, "resource", "fieldRef and resourceFieldRef can not be specified simultaneously");
            }
        }
        (false, true) => env::resource(&item["resourceFieldRef"], true, &path.child("resourceFieldRef"), errors),
        (false, false) => errors.required(path, "one of fieldRef and resourceFieldRef is required"),
    }
    file_mode(item, "mode", path, errors);
}

fn projected(source: &Value, path: &Path, errors: &mut FieldErrors) {
    file_mode(source, "defaultMode", path, errors);
    let mut taken = BTreeSet::new();
    for (at, projection) in source.items_at("sources").iter().enumerate() {
        let source_path = path.child("sources").index(at);
        projected_source(projection, path, &source_path, errors);
        for (file, shown) in projected_files(projection) {
            if !taken.insert(file.to_owned()) {
                errors.invalid(path, shown, "conflicting duplicate paths");
            }
        }
        let names = ["secret", "configMap", "downwardAPI", "serviceAccountToken", "clusterTrustBundle", "podCertificate"];
        if names.iter().filter(|name| is_given(projection, name)).count() > 1 {
            errors.forbidden(&source_path, "may not specify more than 1 volume type per source");
        }
    }
}

fn projected_source(projection: &Value, volume_path: &Path, path: &Path, errors: &mut FieldErrors) {
    for name in ["secret", "configMap"].into_iter().filter(|name| is_given(projection, name)) {
        required(&projection[name], "name", &path.child(name), errors);
        keys_to_paths(projection[name].items_at("items"), &path.child(name).child("items"), errors);
    }
    for item in projection.items_at("downwardAPI.items") {
        downward_file(item, &path.child("downwardAPI"), errors);
    }
    if is_given(projection, "serviceAccountToken") {
        token(&projection["serviceAccountToken"], volume_path, &path.child("serviceAccountToken"), errors);
    }
    if is_given(projection, "clusterTrustBundle") {
        trust_bundle(&projection["clusterTrustBundle"], &path.child("clusterTrustBundle"), errors);
    }
}

fn projected_files(projection: &Value) -> Vec<(&str, &str)> {
    let mut files = Vec::new();
    for name in ["secret", "configMap"] {
        let source = projection.at(name).unwrap_or(&Value::Null);
        files.extend(source.items_at("items").iter().map(|item| (item.str_at("path"), source.str_at("name"))));
    }
    files.extend(projection.items_at("downwardAPI.items").iter().map(|item| (item.str_at("path"), item.str_at("path"))));
    let bundle = projection.str_at("clusterTrustBundle.path");
    files.push((bundle, bundle));
    files.retain(|(file, _)| !file.is_empty());
    files
}

fn token(source: &Value, volume_path: &Path, path: &Path, errors: &mut FieldErrors) {
    let seconds = source.i64_at("expirationSeconds").unwrap_or_default();
    if seconds < TOKEN_SECONDS_MIN {
        errors.invalid(&path.child("expirationSeconds"), seconds, "may not specify a duration less than 10 minutes");
    }
    if seconds > TOKEN_SECONDS_MAX {
        errors.invalid(&path.child("expirationSeconds"), seconds, "may not specify a duration larger than 2^32 seconds");
    }
    required(source, "path", volume_path, errors);
    local_unreserved_path(source.str_at("path"), &volume_path.child("path"), errors);
}

fn trust_bundle(source: &Value, path: &Path, errors: &mut FieldErrors) {
    match (is_given(source, "name"), is_given(source, "signerName")) {
        (true, true) => errors.invalid(path, source.clone(), "only one of name and signerName may be used"),
        (false, false) => errors.required(path, "either name or signerName must be specified"),
        (true, false) if source.str_at("name").is_empty() => errors.required(&path.child("name"), "must be a valid object name"),
        (false, true) => LabelSelector::validate(source.at("labelSelector").unwrap_or(&Value::Null), &path.child("labelSelector"), errors),
        _ => {}
    }
    required(source, "path", path, errors);
    local_unreserved_path(source.str_at("path"), &path.child("path"), errors);
}

fn nfs(source: &Value, path: &Path, errors: &mut FieldErrors) {
    required(source, "server", path, errors);
    required(source, "path", path, errors);
    if !source.str_at("path").starts_with('/') {
        errors.invalid(&path.child("path"), source.str_at("path"), "must be an absolute path");
    }
}

fn iscsi(source: &Value, path: &Path, errors: &mut FieldErrors) {
    required(source, "targetPortal", path, errors);
    required(source, "iqn", path, errors);
    let name = source.str_at("iqn");
    if !name.is_empty() && !["iqn", "eui", "naa"].iter().any(|prefix| name.starts_with(prefix)) {
        errors.invalid(&path.child("iqn"), name, "must be valid format starting with iqn, eui, or naa");
    }
    in_range(source.i64_at("lun").unwrap_or_default(), 0, 255, &path.child("lun"), errors);
    if (source.bool_at("chapAuthDiscovery") || source.bool_at("chapAuthSession")) && !is_given(source, "secretRef") {
        errors.required(&path.child("secretRef"), "");
    }
}

/// A persistent volume's source that a pod's volume can have too.
pub(crate) fn persistent_source(name: &str, given: &Value, path: &Path, errors: &mut FieldErrors) {
    source(name, given, path, errors);
}

/// The name of a storage driver.
pub(crate) fn driver_name(driver: &str, path: &Path, errors: &mut FieldErrors) {
    if driver.is_empty() {
        errors.required(path, "");
    } else {
        dns_subdomain(&driver.to_lowercase(), path, errors);
    }
    if driver.len() > 63 {
        errors.too_long(path, 63);
    }
}

fn csi(source: &Value, path: &Path, errors: &mut FieldErrors) {
    driver_name(source.str_at("driver"), &path.child("driver"), errors);
    if is_given(source, "nodePublishSecretRef") {
        required(&source["nodePublishSecretRef"], "name", &path.child("nodePublishSecretRef "), errors);
    }
}

fn ephemeral(source: &Value, path: &Path, errors: &mut FieldErrors) {
    let path = path.child("volumeClaimTemplate");
    if !is_given(source, "volumeClaimTemplate") {
        return errors.required(&path, "");
    }
    claim_spec(source.at("volumeClaimTemplate.spec").unwrap_or(&Value::Null), &path.child("spec"), errors);
}

/// The claim is named after the pod and the volume, and that name must fit too.
fn claim_name(volume: &str, place: Place<'_>, path: &Path, errors: &mut FieldErrors) {
    let Place::Pod(pod) = place else { return };
    if pod.is_empty() || volume.is_empty() {
        return;
    }
    let name = format!("{pod}-{volume}");
    for text in schema::names::is_dns1123_subdomain(&name) {
        errors.invalid(path, volume, &format!("PVC name {name:?}: {text}"));
    }
}

const ACCESS_MODES: &[&str] = &["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];

/// A `PersistentVolumeClaimSpec`.
pub(crate) fn claim_spec(spec: &Value, path: &Path, errors: &mut FieldErrors) {
    let modes: Vec<&str> = spec.items_at("accessModes").iter().filter_map(Value::as_str).collect();
    if modes.is_empty() {
        errors.required(&path.child("accessModes"), "at least 1 access mode is required");
    }
    if is_given(spec, "selector") {
        LabelSelector::validate(&spec["selector"], &path.child("selector"), errors);
    }
    for mode in modes.iter().filter(|mode| !ACCESS_MODES.contains(mode)) {
        not_supported(&path.child("accessModes"), &(*mode).into(), ACCESS_MODES, errors);
    }
    if modes.contains(&"ReadWriteOncePod") && modes.iter().any(|mode| *mode != "ReadWriteOncePod" && ACCESS_MODES.contains(mode)) {
        errors.forbidden(&path.child("accessModes"), "may not use ReadWriteOncePod with other access modes");
    }
    let storage = path.child("resources").key("storage");
    match spec.at("resources.requests.storage").and_then(|amount| Quantity::from_json(amount).ok()) {
        None => errors.required(&storage, ""),
        Some(amount) if amount.nano <= 0 => errors.invalid(&storage, amount.to_string(), "must be greater than zero"),
        Some(_) => {}
    }
    for member in ["storageClassName", "volumeAttributesClassName"].into_iter().filter(|member| !spec.str_at(member).is_empty()) {
        dns_subdomain(spec.str_at(member), &path.child(member), errors);
    }
    if is_given(spec, "volumeMode") {
        one_of(spec, "volumeMode", &["Block", "Filesystem"], path, errors);
    }
}
