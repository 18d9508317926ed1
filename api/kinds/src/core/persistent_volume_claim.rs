//! PersistentVolumeClaim: asks for a persistent volume.

use schema::{DocExt, FieldErrors, Path, Value, json};

use crate::cells::{AGE, NAME, access_modes, or_unset, phase};
use crate::core::pod::{defaults, rules};
use crate::kind::{Col, Kind, Meta, Sub};

/// Asks for a persistent volume.
pub struct PersistentVolumeClaim;

impl Kind for PersistentVolumeClaim {
    const META: Meta = Meta {
        empty_status: r#"{"phase": "Pending"}"#,
        short: &["pvc"],
        subresources: &[Sub::STATUS],
        ..Meta::namespaced("", "PersistentVolumeClaim", "persistentvolumeclaims")
    };
    const COLUMNS: &[Col] = &[
        NAME,
        Col::of("Status", phase),
        Col::path("Volume", "spec.volumeName"),
        Col::of("Capacity", |doc| json!(if is_bound(doc) { doc.str_at("status.capacity.storage") } else { "" })),
        Col::of("Access Modes", |doc| json!(if is_bound(doc) { access_modes(doc.items_at("status.accessModes")) } else { String::new() })),
        Col::path("StorageClass", "spec.storageClassName"),
        Col::of("VolumeAttributesClass", |doc| or_unset(doc.str_at("spec.volumeAttributesClassName"))),
        AGE,
        Col::of("VolumeMode", |doc| or_unset(doc.str_at("spec.volumeMode"))).wide(),
    ];

    fn fill_defaults(doc: &mut Value) {
        doc.default_at("spec", json!({}));
        defaults::claim_spec(doc);
        defaults::default_text(doc, "status.phase", "Pending");
    }

    fn validate(new: &Value, _old: Option<&Value>, errors: &mut FieldErrors) {
        rules::volumes::claim_spec(new.at("spec").unwrap_or(&Value::Null), &Path::new("spec"), errors);
    }
}

fn is_bound(doc: &Value) -> bool {
    !doc.str_at("spec.volumeName").is_empty()
}
