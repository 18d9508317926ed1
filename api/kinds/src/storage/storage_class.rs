//! StorageClass: how volumes are provisioned.

use schema::{DocExt, Value, json};

use crate::cells::AGE;
use crate::core::pod::defaults::default_text;
use crate::kind::{Col, Kind, Meta};

/// How volumes are provisioned.
pub struct StorageClass;

impl Kind for StorageClass {
    const META: Meta = Meta { short: &["sc"], ..Meta::cluster("storage.k8s.io", "StorageClass", "storageclasses") };
    const COLUMNS: &[Col] = &[
        Col::of("Name", name).named(),
        Col::path("Provisioner", "provisioner"),
        Col::of("ReclaimPolicy", |doc| json!(text_or(doc.str_at("reclaimPolicy"), "Delete"))),
        Col::of("VolumeBindingMode", |doc| json!(text_or(doc.str_at("volumeBindingMode"), "Immediate"))),
        Col::of("AllowVolumeExpansion", |doc| json!(doc.bool_at("allowVolumeExpansion"))),
        AGE,
    ];

    fn fill_defaults(doc: &mut Value) {
        default_text(doc, "reclaimPolicy", "Delete");
        default_text(doc, "volumeBindingMode", "Immediate");
    }
}

/// The default class says so.
fn name(doc: &Value) -> Value {
    let annotations = doc.map_at("metadata.annotations");
    let marks = ["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"];
    let is_default = annotations.is_some_and(|map| marks.iter().any(|mark| map.get(*mark).is_some_and(|value| value == "true")));
    let name = doc.str_at("metadata.name");
    json!(if is_default { format!("{name} (default)") } else { name.to_owned() })
}

fn text_or<'a>(text: &'a str, default: &'a str) -> &'a str {
    if text.is_empty() { default } else { text }
}
