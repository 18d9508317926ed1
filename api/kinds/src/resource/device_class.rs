//! DeviceClass: a sort of devices.

use schema::{DocExt, FieldErrors, Path, Value};

use super::device;
use crate::core::pod::rules::requirements::resource_name;
use crate::kind::{Kind, Meta, Question, same};
use crate::rules::sub;

const CONFIG_MAX: usize = 32;

/// A sort of devices.
pub struct DeviceClass;

impl Kind for DeviceClass {
    const META: Meta = Meta { generation: true, ..Meta::cluster("resource.k8s.io", "DeviceClass", "deviceclasses") };
    const NOTHING: &[Question] =
        &[Question::Columns, Question::Fields, Question::Defaults, Question::Updates, Question::Subresources, Question::Warnings];

    fn validate(new: &Value, old: Option<&Value>, errors: &mut FieldErrors) {
        let (spec, path) = (sub(new, "spec"), Path::new("spec"));
        let is_stored = |member: &str| old.is_some_and(|old| same(sub(sub(old, "spec"), member), sub(spec, member)));
        device::selectors(spec.items_at("selectors"), is_stored("selectors"), &path.child("selectors"), errors);
        device::list(spec.items_at("config"), CONFIG_MAX, &path.child("config"), errors, |config, path, errors| {
            device::configuration(config, is_stored("config"), path, errors);
        });
        if let Some(name) = spec.at("extendedResourceName").and_then(Value::as_str) {
            extended_name(name, &path.child("extendedResourceName"), errors);
        }
    }
}

/// The name under which a pod may ask for the class as a resource: one with a foreign domain.
fn extended_name(name: &str, path: &Path, errors: &mut FieldErrors) {
    let found = errors.0.len();
    resource_name(name, path, errors);
    if errors.0.len() == found && (!name.contains('/') || name.contains("kubernetes.io/") || name.starts_with("requests.")) {
        errors.invalid(path, name, "must be a valid extended resource name");
    }
}
