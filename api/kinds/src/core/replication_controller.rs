//! ReplicationController: the older way to keep N copies of a pod.

use schema::{DocExt, FieldErrors, Map, Path, Value};

use crate::cells::{AGE, NAME, labels};
use crate::core::pod::{defaults, rules};
use crate::descriptor::WriteContext;
use crate::kind::{Col, Kind, Meta, Question, Selectable, Sub};
use crate::rules::{non_negative, sub};
use crate::workload;

/// The older way to keep N copies of a pod.
pub struct ReplicationController;

impl Kind for ReplicationController {
    const META: Meta = Meta {
        empty_status: r#"{"replicas": 0}"#,
        short: &["rc"],
        categories: &["all"],
        subresources: &[Sub::SCALE, Sub::STATUS],
        generation: true,
        ..Meta::namespaced("", "ReplicationController", "replicationcontrollers")
    };
    const NOTHING: &[Question] = &[Question::Updates];
    const COLUMNS: &[Col] = &[
        NAME,
        Col::path("Desired", "spec.replicas").ty("integer"),
        Col::path("Current", "status.replicas").ty("integer"),
        Col::path("Ready", "status.readyReplicas").ty("integer"),
        AGE,
        workload::CONTAINERS,
        workload::IMAGES,
        Col::of("Selector", |doc| labels(doc.map_at("spec.selector"))).wide(),
    ];
    const FIELDS: &[Selectable] =
        &[Selectable::new("status.replicas", |doc| doc.i64_at("status.replicas").unwrap_or_default().to_string())];

    fn fill_defaults(doc: &mut Value) {
        doc.default_at("spec.replicas", 1);
        let Some(template) = doc.at_mut("spec.template").filter(|template| template.is_object()) else { return };
        defaults::template(template);
        let Some(labels) = template.at("metadata.labels").cloned() else { return };
        for path in ["spec.selector", "metadata.labels"] {
            if doc.map_at(path).is_none_or(Map::is_empty) {
                doc.set_at(path, labels.clone());
            }
        }
    }

    fn validate(new: &Value, _old: Option<&Value>, errors: &mut FieldErrors) {
        let (spec, path) = (sub(new, "spec"), Path::new("spec"));
        non_negative(spec, &["minReadySeconds"], &path, errors);
        let selector = spec.map_at("selector").filter(|selector| !selector.is_empty());
        if selector.is_none() {
            errors.required(&path.child("selector"), "");
        }
        non_negative(spec, &["replicas"], &path, errors);
        let (template, path) = (sub(spec, "template"), path.child("template"));
        if template.is_null() {
            return errors.required(&path, "");
        }
        let own = sub(template, "metadata.labels");
        if selector.is_some_and(|selector| selector.iter().any(|(key, value)| own.get(key) != Some(value))) {
            errors.invalid(&path.child("metadata.labels"), own.clone(), "`selector` does not match template `labels`");
        }
        rules::template(template, &path, errors);
        workload::always_restarts(template, "ReplicationController", &path, errors);
    }

    fn validate_subresource(new: &Value, _old: &Value, cx: &WriteContext<'_>, errors: &mut FieldErrors) {
        if cx.subresource == "status" {
            let counters = ["replicas", "fullyLabeledReplicas", "readyReplicas", "availableReplicas", "observedGeneration"];
            let parts = ["fullyLabeledReplicas", "readyReplicas", "availableReplicas"];
            workload::replica_status(new, &counters, &parts, "readyReplicas", errors);
        }
    }

    fn warnings(new: &Value, _old: Option<&Value>) -> Vec<String> {
        workload::template_warnings(new, "spec.template")
    }
}
