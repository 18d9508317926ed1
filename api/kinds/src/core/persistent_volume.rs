//! PersistentVolume: a piece of storage that outlives pods.

pub(crate) mod rules;

use schema::{DocExt, FieldErrors, Path, Value, json, time};

use crate::cells::{AGE, NAME, access_modes, or_unset, phase};
use crate::core::pod::defaults::default_text;
use crate::descriptor::WriteContext;
use crate::kind::{Col, Kind, Meta, Question, Sub};

/// A piece of storage that outlives pods.
pub struct PersistentVolume;

impl Kind for PersistentVolume {
    const META: Meta = Meta {
        empty_status: r#"{"phase": "Pending"}"#,
        short: &["pv"],
        subresources: &[Sub::STATUS],
        ..Meta::cluster("", "PersistentVolume", "persistentvolumes")
    };
    const NOTHING: &[Question] = &[Question::Fields, Question::Subresources];
    const COLUMNS: &[Col] = &[
        NAME,
        Col::path("Capacity", "spec.capacity.storage"),
        Col::of("Access Modes", |doc| json!(access_modes(doc.items_at("spec.accessModes")))),
        Col::path("Reclaim Policy", "spec.persistentVolumeReclaimPolicy"),
        Col::of("Status", phase),
        Col::of("Claim", claim),
        Col::path("StorageClass", "spec.storageClassName"),
        Col::of("VolumeAttributesClass", |doc| or_unset(doc.str_at("spec.volumeAttributesClassName"))),
        Col::path("Reason", "status.reason"),
        AGE,
        Col::of("VolumeMode", |doc| or_unset(doc.str_at("spec.volumeMode"))).wide(),
    ];

    fn fill_defaults(doc: &mut Value) {
        default_text(doc, "status.phase", "Pending");
        default_text(doc, "spec.persistentVolumeReclaimPolicy", "Retain");
        default_text(doc, "spec.volumeMode", "Filesystem");
        for (source, member, value) in SOURCE_DEFAULTS {
            if doc.at("spec").and_then(|spec| spec.at(source)).is_some_and(Value::is_object) {
                default_text(doc, &format!("spec.{source}.{member}"), value);
            }
        }
    }

    fn validate(new: &Value, _old: Option<&Value>, errors: &mut FieldErrors) {
        rules::volume(new, errors);
    }

    fn validate_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
        rules::update(new, old, errors);
    }

    fn prepare_create(doc: &mut Value, cx: &WriteContext<'_>) {
        doc.set_at("status.lastPhaseTransitionTime", time::format(cx.env.now()));
    }

    /// The time of a phase is the server's where the writer leaves it as it was.
    fn prepare_update(new: &mut Value, old: &Value, cx: &WriteContext<'_>) {
        if cx.subresource != "status" || new.str_at("status.phase") == old.str_at("status.phase") {
            return;
        }
        let moved = new.at("status.lastPhaseTransitionTime").filter(|at| !at.is_null());
        if moved.is_none() || moved == old.at("status.lastPhaseTransitionTime") {
            new.set_at("status.lastPhaseTransitionTime", time::format(cx.env.now()));
        }
    }

    fn warnings(new: &Value, _old: Option<&Value>) -> Vec<String> {
        warnings(new)
    }
}

const SOURCE_DEFAULTS: &[(&str, &str, &str)] = &[
    ("iscsi", "iscsiInterface", "default"),
    ("rbd", "pool", "rbd"),
    ("rbd", "user", "admin"),
    ("rbd", "keyring", "/etc/ceph/keyring"),
    ("azureDisk", "cachingMode", "ReadWrite"),
    ("azureDisk", "fsType", "ext4"),
    ("azureDisk", "kind", "Shared"),
    ("scaleIO", "storageMode", "ThinProvisioned"),
    ("scaleIO", "fsType", "xfs"),
];

/// Sources that are gone or going, with upstream's sentence after the field.
const GOING: &[(&str, &str)] = &[
    ("photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+"),
    ("scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
    ("storageos", "deprecated in v1.22, non-functional in v1.25+"),
    ("glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
    ("rbd", "deprecated in v1.28, non-functional in v1.31+"),
    ("cephfs", "deprecated in v1.28, non-functional in v1.31+"),
];

fn warnings(doc: &Value) -> Vec<String> {
    let mut texts = Vec::new();
    for (name, instead) in [
        ("volume.beta.kubernetes.io/storage-class", "deprecated since v1.8; use \"storageClassName\" attribute instead"),
        ("volume.beta.kubernetes.io/mount-options", "deprecated since v1.31; use \"mountOptions\" attribute instead"),
    ] {
        if doc.map_at("metadata.annotations").is_some_and(|map| map.contains_key(name)) {
            texts.push(format!("metadata.annotations[{name}]: {instead}"));
        }
    }
    if doc.str_at("spec.persistentVolumeReclaimPolicy") == "Recycle" {
        let text = "spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. Instead, the recommended approach is to use dynamic provisioning.";
        texts.push(text.to_owned());
    }
    for (at, term) in doc.items_at("spec.nodeAffinity.required.nodeSelectorTerms").iter().enumerate() {
        if is_empty_term(term) {
            let path = Path::new("spec.nodeAffinity.required.nodeSelectorTerms").index(at);
            texts.push(format!("{path}: a null or empty node selector term matches no objects"));
        }
    }
    let given = |name: &&str| doc.at("spec").and_then(|spec| spec.at(name)).is_some_and(|source| !source.is_null());
    texts.extend(GOING.iter().filter(|(name, _)| given(name)).map(|(name, text)| format!("spec.{name}: {text}")));
    texts
}

fn is_empty_term(term: &Value) -> bool {
    term.items_at("matchExpressions").is_empty() && term.items_at("matchFields").is_empty()
}

fn claim(doc: &Value) -> Value {
    match doc.at("spec.claimRef").filter(|claim| claim.is_object()) {
        Some(claim) => json!(format!("{}/{}", claim.str_at("namespace"), claim.str_at("name"))),
        None => json!(""),
    }
}
