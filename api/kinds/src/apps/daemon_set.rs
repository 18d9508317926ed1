//! DaemonSet: one pod on every matching node.

use schema::{DocExt, FieldErrors, LabelSelector, Map, Path, Value, json};

use crate::cells::{AGE, NAME, labels};
use crate::core::pod::defaults::{self, default_text};
use crate::core::pod::rules;
use crate::descriptor::WriteContext;
use crate::kind::{Col, Kind, Meta, Question, Sub, same};
use crate::rules::{amounts, immutable_pointer, is_given, non_negative, not_supported, sub};
use crate::workload;

const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";

/// What a status counts.
const COUNTERS: &[&str] = &[
    "currentNumberScheduled",
    "numberMisscheduled",
    "desiredNumberScheduled",
    "numberReady",
    "observedGeneration",
    "updatedNumberScheduled",
    "numberAvailable",
    "numberUnavailable",
    "collisionCount",
];

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
    const NOTHING: &[Question] = &[Question::Fields];
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
        let (spec, path) = (sub(new, "spec"), Path::new("spec"));
        selector(spec, &path, errors);
        let template = sub(spec, "template");
        rules::template(template, &path.child("template"), errors);
        workload::always_restarts(template, "DaemonSet", &path.child("template"), errors);
        non_negative(spec, &["minReadySeconds"], &path, errors);
        update_strategy(sub(spec, "updateStrategy"), &path.child("updateStrategy"), errors);
        non_negative(spec, &["revisionHistoryLimit"], &path, errors);
    }

    /// Upstream asks the whole object again where it changes, and tells what is wrong twice.
    fn validate_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
        Self::validate(new, None, errors);
        immutable_pointer(sub(new, "spec"), sub(old, "spec"), "selector", &Path::new("spec"), errors);
    }

    fn validate_subresource(new: &Value, old: &Value, cx: &WriteContext<'_>, errors: &mut FieldErrors) {
        if cx.subresource == "status" {
            non_negative(sub(new, "status"), COUNTERS, &Path::new("status"), errors);
            workload::collisions_only_grow(new, old, errors);
        }
    }

    fn warnings(new: &Value, _old: Option<&Value>) -> Vec<String> {
        workload::template_warnings(new, "spec.template")
    }
}

/// No selector at all matches no template; an empty one would take every pod.
fn selector(spec: &Value, path: &Path, errors: &mut FieldErrors) {
    let (given, path_of) = (sub(spec, "selector"), path.child("selector"));
    LabelSelector::validate(given, &path_of, errors);
    let own = sub(spec, "template.metadata.labels");
    if LabelSelector::from_value(given).is_ok_and(|selector| given.is_null() || !selector.matches(&workload::label_map(own))) {
        errors.invalid(&path.child("template.metadata.labels"), own.clone(), "`selector` does not match template `labels`");
    }
    if !given.is_null() && given.map_at("matchLabels").is_none_or(Map::is_empty) && given.items_at("matchExpressions").is_empty() {
        errors.invalid(&path_of, given.clone(), "empty selector is invalid for daemonset");
    }
}

fn update_strategy(strategy: &Value, path: &Path, errors: &mut FieldErrors) {
    match strategy.str_at("type") {
        "OnDelete" => {}
        "RollingUpdate" if is_given(strategy, "rollingUpdate") => {
            rolling_update(&strategy["rollingUpdate"], &path.child("rollingUpdate"), errors);
        }
        "RollingUpdate" => errors.required(&path.child("rollingUpdate"), ""),
        _ => not_supported(path, strategy, &["RollingUpdate", "OnDelete"], errors),
    }
}

fn rolling_update(rolling: &Value, path: &Path, errors: &mut FieldErrors) {
    let (unavailable, surge) = (amounts::int_or_percent(rolling, "maxUnavailable"), amounts::int_or_percent(rolling, "maxSurge"));
    let both = [("maxUnavailable", &unavailable), ("maxSurge", &surge)];
    both.iter().for_each(|(name, amount)| amounts::positive_int_or_percent(amount, &path.child(name), errors));
    both.iter().for_each(|(name, amount)| amounts::at_most_100_percent(amount, &path.child(name), errors));
    match (amounts::is_zero(&unavailable), amounts::is_zero(&surge)) {
        (false, false) => {
            errors.invalid(&path.child("maxSurge"), amounts::shown(&surge), "may not be set when maxUnavailable is non-zero");
        }
        (true, true) => errors.required(&path.child("maxUnavailable"), "cannot be 0 when maxSurge is 0"),
        _ => {}
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
