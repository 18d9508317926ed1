//! ResourceSlice: the devices of a node or pool.

mod rules;

use schema::{DocExt, FieldErrors, Path, Value, time};

use super::device;

use crate::cells::{AGE, NAME, or_unset};
use crate::descriptor::WriteContext;
use crate::kind::{Col, Kind, Meta, Question, Selectable, immutable};
use crate::rules::{immutable_pointer, sub};

/// The devices of a node or pool.
pub struct ResourceSlice;

impl Kind for ResourceSlice {
    const META: Meta = Meta { generation: true, ..Meta::cluster("resource.k8s.io", "ResourceSlice", "resourceslices") };
    const NOTHING: &[Question] = &[Question::Defaults, Question::Subresources, Question::Warnings];
    const COLUMNS: &[Col] = &[
        NAME,
        Col::of("Node", |doc| or_unset(doc.str_at("spec.nodeName"))),
        Col::path("Driver", "spec.driver"),
        Col::path("Pool", "spec.pool.name"),
        AGE,
    ];
    const FIELDS: &[Selectable] = &[
        Selectable::new("spec.nodeName", |doc| doc.str_at("spec.nodeName").to_owned()),
        Selectable::new("spec.driver", |doc| doc.str_at("spec.driver").to_owned()),
    ];

    fn prepare_create(doc: &mut Value, cx: &WriteContext<'_>) {
        stamp_taints(doc, cx);
    }

    fn prepare_update(new: &mut Value, _old: &Value, cx: &WriteContext<'_>) {
        stamp_taints(new, cx);
    }

    fn validate(new: &Value, _old: Option<&Value>, errors: &mut FieldErrors) {
        rules::slice(new, errors);
    }

    fn validate_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
        let (spec, before, path) = (sub(new, "spec"), sub(old, "spec"), Path::new("spec"));
        immutable(sub(spec, "pool"), sub(before, "pool"), "name", &path.child("pool"), errors);
        immutable(spec, before, "driver", &path, errors);
        immutable_pointer(spec, before, "nodeName", &path, errors);
    }
}

fn stamp_taints(doc: &mut Value, cx: &WriteContext<'_>) {
    let now = time::format(cx.env.now());
    for device in doc.items_at_mut("spec.devices") {
        device.items_at_mut("taints").iter_mut().for_each(|taint| device::stamp(taint, &now));
    }
}
