//! VolumeAttachment: attaches a volume to a node.

use schema::{DocExt, FieldErrors, Path, Value};

use crate::cells::{AGE, NAME};
use crate::core::persistent_volume;
use crate::core::pod::rules::volumes::driver_name;
use crate::descriptor::WriteContext;
use crate::kind::{Col, Kind, Meta, Question, Sub, same};
use crate::rules::{dns_subdomain, is_given, sub};

const EXACTLY_ONE: &str = "must specify exactly one of inlineVolumeSpec and persistentVolumeName";
const METADATA_BYTES_MAX: usize = 256 * 1024;
const MESSAGE_BYTES_MAX: usize = 1024;

/// Attaches a volume to a node.
pub struct VolumeAttachment;

impl Kind for VolumeAttachment {
    const META: Meta = Meta {
        empty_status: r#"{"attached": false}"#,
        subresources: &[Sub::STATUS],
        ..Meta::cluster("storage.k8s.io", "VolumeAttachment", "volumeattachments")
    };
    const NOTHING: &[Question] = &[Question::Fields, Question::Defaults, Question::Warnings];
    const COLUMNS: &[Col] = &[
        NAME,
        Col::path("Attacher", "spec.attacher").named(),
        Col::path("PV", "spec.source.persistentVolumeName"),
        Col::path("Node", "spec.nodeName"),
        Col::path("Attached", "status.attached").ty("boolean"),
        AGE,
    ];

    fn validate(new: &Value, _old: Option<&Value>, errors: &mut FieldErrors) {
        let (spec, path) = (sub(new, "spec"), Path::new("spec"));
        driver_name(spec.str_at("attacher"), &path.child("attacher"), errors);
        source(sub(spec, "source"), &path.child("source"), errors);
        dns_subdomain(spec.str_at("nodeName"), &path.child("nodeName"), errors);
        status(new, errors);
    }

    fn validate_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
        if !same(sub(new, "spec"), sub(old, "spec")) {
            errors.invalid(&Path::new("spec"), sub(new, "spec").clone(), "field is immutable");
        }
    }

    fn validate_subresource(new: &Value, _old: &Value, cx: &WriteContext<'_>, errors: &mut FieldErrors) {
        if cx.subresource == "status" {
            status(new, errors);
        }
    }
}

fn source(source: &Value, path: &Path, errors: &mut FieldErrors) {
    let name = source.at("persistentVolumeName").and_then(Value::as_str);
    match (name, is_given(source, "inlineVolumeSpec")) {
        (None, false) => errors.required(path, EXACTLY_ONE),
        (Some(_), true) => errors.forbidden(path, EXACTLY_ONE),
        (Some(""), false) => {
            errors.required(&path.child("persistentVolumeName"), "must specify non empty persistentVolumeName");
        }
        (Some(name), false) => dns_subdomain(name, &path.child("persistentVolumeName"), errors),
        (None, true) => {
            persistent_volume::rules::spec(&source["inlineVolumeSpec"], &path.child("inlineVolumeSpec"), true, errors);
        }
    }
}

fn status(new: &Value, errors: &mut FieldErrors) {
    let metadata = new.map_at("status.attachmentMetadata");
    let bytes: usize = metadata.into_iter().flatten().map(|(key, value)| key.len() + value.as_str().map_or(0, str::len)).sum();
    if bytes > METADATA_BYTES_MAX {
        errors.too_long(&Path::new("status.attachmentMetadata"), METADATA_BYTES_MAX);
    }
    for member in ["attachError", "detachError"] {
        if sub(new, "status").at(member).is_some_and(|error| error.str_at("message").len() > MESSAGE_BYTES_MAX) {
            errors.too_long(&Path::new("status").child(member).child("message"), MESSAGE_BYTES_MAX);
        }
    }
}
