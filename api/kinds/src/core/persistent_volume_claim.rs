//! PersistentVolumeClaim: asks for a persistent volume.

mod rules;

use schema::{DocExt, FieldErrors, Path, Value, json};

use crate::cells::{AGE, NAME, access_modes, or_unset, phase};
use crate::core::pod::defaults;
use crate::core::pod::rules::volumes;
use crate::descriptor::WriteContext;
use crate::kind::{Col, Kind, Meta, Question, Sub};
use crate::rules::amounts;

/// Asks for a persistent volume.
pub struct PersistentVolumeClaim;

impl Kind for PersistentVolumeClaim {
    const META: Meta = Meta {
        empty_status: r#"{"phase": "Pending"}"#,
        short: &["pvc"],
        subresources: &[Sub::STATUS],
        ..Meta::namespaced("", "PersistentVolumeClaim", "persistentvolumeclaims")
    };
    const NOTHING: &[Question] = &[Question::Fields];
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
        volumes::claim_spec(new.at("spec").unwrap_or(&Value::Null), &Path::new("spec"), errors);
    }

    fn validate_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
        rules::update(new, old, errors);
    }

    fn validate_subresource(new: &Value, _old: &Value, cx: &WriteContext<'_>, errors: &mut FieldErrors) {
        if cx.subresource == "status" {
            rules::status(new, errors);
        }
    }

    fn prepare_create(doc: &mut Value, _cx: &WriteContext<'_>) {
        one_source(doc);
    }

    fn prepare_update(new: &mut Value, _old: &Value, cx: &WriteContext<'_>) {
        if cx.subresource.is_empty() {
            one_source(new);
        }
    }

    fn warnings(new: &Value, _old: Option<&Value>) -> Vec<String> {
        let beta = "volume.beta.kubernetes.io/storage-class";
        let has_beta = new.map_at("metadata.annotations").is_some_and(|map| map.contains_key(beta));
        let old_way =
            has_beta.then(|| format!("metadata.annotations[{beta}]: deprecated since v1.8; use \"storageClassName\" attribute instead"));
        let mut texts: Vec<String> = old_way.into_iter().collect();
        texts.extend(spec_warnings(new.at("spec").unwrap_or(&Value::Null), &Path::new("spec")));
        texts
    }
}

/// Bytes come whole. `path` is the spec's.
pub(crate) fn spec_warnings(spec: &Value, path: &Path) -> Vec<String> {
    let mut texts = Vec::new();
    for member in ["requests", "limits"] {
        let amount = spec.at("resources").and_then(|resources| amounts::quantity(resources.at(member)?, "storage"));
        if let Some(amount) = amount.filter(|amount| amount.milli_value() % 1000 != 0) {
            let path = path.child("resources").child(member).key("storage");
            texts.push(format!("{path}: fractional byte value {:?} is invalid, must be an integer", amount.to_string()));
        }
    }
    texts
}

/// A claim's data comes from one source, which is shown under the old name and the new one.
fn one_source(doc: &mut Value) {
    let (old, new) = (doc.at("spec.dataSource").cloned(), doc.at("spec.dataSourceRef").cloned());
    let given = |source: &Option<Value>| source.as_ref().is_some_and(Value::is_object);
    if given(&old) && !given(&new) {
        doc.set_at("spec.dataSourceRef", old.unwrap_or_default());
    } else if let Some(new) = new.filter(|new| new.is_object() && !given(&old)) {
        let is_old = matches!(
            (new.str_at("apiGroup"), new.str_at("kind")),
            ("", "PersistentVolumeClaim") | ("snapshot.storage.k8s.io", "VolumeSnapshot")
        );
        if is_old && new.str_at("namespace").is_empty() {
            doc.set_at("spec.dataSource", new);
        }
    }
}

fn is_bound(doc: &Value) -> bool {
    !doc.str_at("spec.volumeName").is_empty()
}
