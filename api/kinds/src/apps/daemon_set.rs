//! DaemonSet: one pod on every matching node.

use schema::{DocExt, FieldErrors, Path, Value, json};

use crate::cells::{AGE, NAME, labels};
use crate::core::pod::defaults::{self, default_text};
use crate::descriptor::WriteContext;
use crate::kind::{Col, Kind, Meta, Sub, immutable, same};
use crate::rules::{non_negative, not_supported};
use crate::workload;

const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";

/// One pod on every matching node.
pub struct DaemonSet;

impl Kind for DaemonSet {
    const META: Meta = Meta {
        empty_status: r#"{"currentNumberScheduled": 0, "numberMisscheduled": 0, "desiredNumberScheduled": 0, "numberReady": 0}"#,
        short: &["ds"],
        categories: &["all"],
        subresources: &[Sub::STATUS],
        generation: true,
        ..Meta::namespaced("apps", "DaemonSet", "daemonsets")
    };
    const COLUMNS: &[Col] = &[
        NAME,
        Col::path("Desired", "status.desiredNumberScheduled").ty("integer"),
        Col::path("Current", "status.currentNumberScheduled").ty("integer"),
        Col::path("Ready", "status.numberReady").ty("integer"),
        Col::path("Up-to-date", "status.updatedNumberScheduled").ty("integer"),
        Col::path("Available", "status.numberAvailable").ty("integer"),
        Col::of("Node Selector", |doc| labels(doc.map_at("spec.template.spec.nodeSelector"))),
        AGE,
        workload::CONTAINERS,
        workload::IMAGES,
        workload::SELECTOR,
    ];

    fn fill_defaults(doc: &mut Value) {
        default_text(doc, "spec.updateStrategy.type", "RollingUpdate");
        if doc.str_at("spec.updateStrategy.type") == "RollingUpdate" {
            doc.default_at("spec.updateStrategy.rollingUpdate.maxUnavailable", 1);
            doc.default_at("spec.updateStrategy.rollingUpdate.maxSurge", 0);
        }
        doc.default_at("spec.revisionHistoryLimit", 10);
        doc.default_at("spec.template", json!({}));
        defaults::template(&mut doc["spec"]["template"]);
    }

    fn prepare_create(doc: &mut Value, _cx: &WriteContext<'_>) {
        set_template_generation(doc, 1);
    }

    fn prepare_update(new: &mut Value, old: &Value, cx: &WriteContext<'_>) {
        if cx.subresource.is_empty() {
            let changed = !same(&new["spec"]["template"], &old["spec"]["template"]);
            set_template_generation(new, template_generation(old) + i64::from(changed));
        }
    }

    fn validate(new: &Value, _old: Option<&Value>, errors: &mut FieldErrors) {
        let (spec, path) = (new.at("spec").unwrap_or(&Value::Null), Path::new("spec"));
        workload::selector(spec, "daemonset", &path, errors);
        workload::running_template(spec, "DaemonSet", &path, errors);
        non_negative(spec, &["minReadySeconds", "revisionHistoryLimit"], &path, errors);
        let strategy = spec.str_at("updateStrategy.type");
        if !["RollingUpdate", "OnDelete"].contains(&strategy) {
            not_supported(&path.child("updateStrategy"), &strategy.into(), &["RollingUpdate", "OnDelete"], errors);
        }
    }

    fn validate_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
        immutable(&new["spec"], &old["spec"], "selector", &Path::new("spec"), errors);
    }

    fn warnings(new: &Value, _old: Option<&Value>) -> Vec<String> {
        workload::template_warnings(new, "spec.template")
    }
}

fn template_generation(doc: &Value) -> i64 {
    let text = doc.map_at("metadata.annotations").and_then(|map| map.get(TEMPLATE_GENERATION)).and_then(Value::as_str);
    text.and_then(|text| text.parse().ok()).unwrap_or_default()
}

/// The field is gone from v1 and lives on as an annotation.
fn set_template_generation(doc: &mut Value, generation: i64) {
    doc.default_at("metadata.annotations", json!({}));
    doc["metadata"]["annotations"][TEMPLATE_GENERATION] = json!(generation.to_string());
}
