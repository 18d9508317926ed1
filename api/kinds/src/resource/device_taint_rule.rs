//! DeviceTaintRule: keeps pods off devices.

use schema::{DocExt, FieldErrors, Path, Value, time};

use super::device;
use crate::descriptor::WriteContext;
use crate::kind::{Kind, Meta, Question, Sub};
use crate::rules::{conditions, dns_label, is_given, sub};

const CONDITIONS_MAX: usize = 8;

/// Keeps pods off devices.
pub struct DeviceTaintRule;

impl Kind for DeviceTaintRule {
    const META: Meta =
        Meta { subresources: &[Sub::STATUS], generation: true, ..Meta::cluster("resource.k8s.io", "DeviceTaintRule", "devicetaintrules") };
    const NOTHING: &[Question] = &[Question::Columns, Question::Fields, Question::Defaults, Question::Updates, Question::Warnings];

    fn prepare_create(doc: &mut Value, cx: &WriteContext<'_>) {
        let now = time::format(cx.env.now());
        doc.at_mut("spec.taint").into_iter().for_each(|taint| device::stamp(taint, &now));
    }

    fn prepare_update(new: &mut Value, _old: &Value, cx: &WriteContext<'_>) {
        Self::prepare_create(new, cx);
    }

    fn validate(new: &Value, _old: Option<&Value>, errors: &mut FieldErrors) {
        let (selector, path) = (sub(new, "spec.deviceSelector"), Path::new("spec.deviceSelector"));
        if is_given(selector, "driver") {
            device::driver_name(selector.str_at("driver"), &path.child("driver"), errors);
        }
        if is_given(selector, "pool") {
            device::pool_name(selector.str_at("pool"), &path.child("pool"), errors);
        }
        if is_given(selector, "device") {
            dns_label(selector.str_at("device"), &path.child("device"), errors);
        }
        device::taint(sub(new, "spec.taint"), &Path::new("spec.taint"), errors);
    }

    fn validate_subresource(new: &Value, _old: &Value, cx: &WriteContext<'_>, errors: &mut FieldErrors) {
        if cx.subresource == "status" {
            let (found, path) = (new.items_at("status.conditions"), Path::new("status.conditions"));
            if found.len() > CONDITIONS_MAX {
                errors.too_many(&path, found.len(), CONDITIONS_MAX);
            }
            conditions(found, &path, errors);
        }
    }
}
