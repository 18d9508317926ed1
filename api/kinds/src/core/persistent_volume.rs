//! PersistentVolume: a piece of storage that outlives pods.

use schema::{DocExt, Value, json};

use crate::cells::{AGE, NAME, access_modes, or_unset, phase};
use crate::core::pod::defaults::default_text;
use crate::kind::{Col, Kind, Meta, Sub};

/// A piece of storage that outlives pods.
pub struct PersistentVolume;

impl Kind for PersistentVolume {
    const META: Meta = Meta {
        empty_status: r#"{"phase": "Pending"}"#,
        short: &["pv"],
        subresources: &[Sub::STATUS],
        ..Meta::cluster("", "PersistentVolume", "persistentvolumes")
    };
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
    }
}

fn claim(doc: &Value) -> Value {
    match doc.at("spec.claimRef").filter(|claim| claim.is_object()) {
        Some(claim) => json!(format!("{}/{}", claim.str_at("namespace"), claim.str_at("name"))),
        None => json!(""),
    }
}
