//! ResourceClaimTemplate: makes a resource claim for each pod.

use schema::{DocExt, FieldErrors, Path, Value};

use super::{device, resource_claim};
use crate::kind::{Kind, Meta, Question, same};
use crate::rules::{annotations, labels, sub};

/// Makes a resource claim for each pod.
pub struct ResourceClaimTemplate;

impl Kind for ResourceClaimTemplate {
    const META: Meta = Meta::namespaced("resource.k8s.io", "ResourceClaimTemplate", "resourceclaimtemplates");
    const NOTHING: &[Question] = &[Question::Columns, Question::Fields, Question::Subresources, Question::Warnings];

    fn fill_defaults(doc: &mut Value) {
        doc.at_mut("spec.spec").into_iter().for_each(resource_claim::fill);
    }

    fn validate(new: &Value, old: Option<&Value>, errors: &mut FieldErrors) {
        let (template, path) = (sub(new, "spec"), Path::new("spec"));
        labels(template.map_at("metadata.labels"), &path.child("metadata.labels"), errors);
        annotations(template.map_at("metadata.annotations"), &path.child("metadata.annotations"), errors);
        let is_stored = old.is_some_and(|old| same(sub(old, "spec"), template));
        resource_claim::spec(sub(template, "spec"), is_stored, &path.child("spec"), errors);
    }

    fn validate_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
        device::spec_stays(new, old, errors);
    }
}
