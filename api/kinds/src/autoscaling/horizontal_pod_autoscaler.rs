//! HorizontalPodAutoscaler: scales by metrics.

use schema::{DocExt, FieldErrors, Value, json};

use crate::cells::{AGE, NAME};
use crate::descriptor::WriteContext;
use crate::kind::{Col, Kind, Meta, Question, Sub};

mod convert;
mod rules;

/// Of its request, where no metric is named.
const CPU_PERCENT: i64 = 80;

/// Scales by metrics.
pub struct HorizontalPodAutoscalerV1;

impl Kind for HorizontalPodAutoscalerV1 {
    const META: Meta = Meta {
        stored: Some(("autoscaling", "v2")),
        empty_status: r#"{"currentReplicas": 0, "desiredReplicas": 0}"#,
        short: &["hpa"],
        categories: &["all"],
        subresources: &[Sub::STATUS],
        generation: true,
        ..Meta::namespaced("autoscaling", "HorizontalPodAutoscaler", "horizontalpodautoscalers")
    };
    const NOTHING: &[Question] = &[Question::Fields, Question::Updates, Question::Warnings];
    const COLUMNS: &[Col] = &[
        NAME,
        Col::of("Reference", |doc| json!(format!("{}/{}", doc.str_at("spec.scaleTargetRef.kind"), doc.str_at("spec.scaleTargetRef.name")))),
        Col::of("Targets", |doc| targets(&HorizontalPodAutoscalerV1::to_stored(doc.clone()))),
        Col::of("MinPods", |doc| doc.i64_at("spec.minReplicas").map_or(json!("<unset>"), |count| json!(count.to_string()))),
        Col::of("MaxPods", |doc| json!(doc.i64_at("spec.maxReplicas").unwrap_or_default())),
        Col::of("Replicas", |doc| json!(doc.i64_at("status.currentReplicas").unwrap_or_default())),
        AGE,
    ];

    fn fill_defaults(doc: &mut Value) {
        doc.default_at("spec.minReplicas", 1);
    }

    fn validate(new: &Value, old: Option<&Value>, errors: &mut FieldErrors) {
        let old = old.map(|old| Self::to_stored(old.clone()));
        rules::autoscaler(&Self::to_stored(new.clone()), old.as_ref(), errors);
    }

    fn validate_subresource(new: &Value, _old: &Value, cx: &WriteContext<'_>, errors: &mut FieldErrors) {
        if cx.subresource == "status" {
            rules::status(new, errors);
        }
    }

    fn to_stored(doc: Value) -> Value {
        let mut stored = convert::to_v2(doc);
        fill_metrics(&mut stored);
        stored
    }

    fn from_stored(doc: Value) -> Value {
        convert::to_v1(doc)
    }
}

/// The current version, which is stored.
pub struct HorizontalPodAutoscaler;

impl Kind for HorizontalPodAutoscaler {
    const META: Meta = Meta {
        empty_status: r#"{"desiredReplicas": 0, "currentMetrics": null}"#,
        version: "v2",
        short: &["hpa"],
        categories: &["all"],
        subresources: &[Sub::STATUS],
        generation: true,
        ..Meta::namespaced("autoscaling", "HorizontalPodAutoscaler", "horizontalpodautoscalers")
    };
    const NOTHING: &[Question] = &[Question::Fields, Question::Updates, Question::Warnings];
    const COLUMNS: &[Col] = &[
        NAME,
        Col::of("Reference", |doc| json!(format!("{}/{}", doc.str_at("spec.scaleTargetRef.kind"), doc.str_at("spec.scaleTargetRef.name")))),
        Col::of("Targets", targets),
        Col::of("MinPods", |doc| doc.i64_at("spec.minReplicas").map_or(json!("<unset>"), |count| json!(count.to_string()))),
        Col::of("MaxPods", |doc| json!(doc.i64_at("spec.maxReplicas").unwrap_or_default())),
        Col::of("Replicas", |doc| json!(doc.i64_at("status.currentReplicas").unwrap_or_default())),
        AGE,
    ];

    fn fill_defaults(doc: &mut Value) {
        doc.default_at("spec.minReplicas", 1);
        fill_metrics(doc);
        if doc.at("spec.behavior").is_some_and(Value::is_object) {
            fill_behavior(&mut doc["spec"]["behavior"]);
        }
    }

    fn validate(new: &Value, old: Option<&Value>, errors: &mut FieldErrors) {
        rules::autoscaler(new, old, errors);
    }

    fn validate_subresource(new: &Value, _old: &Value, cx: &WriteContext<'_>, errors: &mut FieldErrors) {
        if cx.subresource == "status" {
            rules::status(new, errors);
        }
    }
}

fn fill_metrics(doc: &mut Value) {
    if doc.items_at("spec.metrics").is_empty() {
        let target = json!({"type": "Utilization", "averageUtilization": CPU_PERCENT});
        doc.set_at("spec.metrics", json!([{"type": "Resource", "resource": {"name": "cpu", "target": target}}]));
    }
}

/// `cpu: <unknown>/80%`, two metrics at most.
fn targets(doc: &Value) -> Value {
    let metrics = doc.items_at("spec.metrics");
    let current = doc.items_at("status.currentMetrics");
    let texts: Vec<String> = metrics.iter().enumerate().map(|(at, metric)| target(metric, current.get(at))).collect();
    match texts.len() {
        0 => json!("<none>"),
        1 | 2 => json!(texts.join(", ")),
        count => json!(format!("{} + {} more...", texts[..2].join(", "), count - 2)),
    }
}

fn target(metric: &Value, current: Option<&Value>) -> String {
    let (member, label) = match metric.str_at("type") {
        "Resource" => ("resource", format!("{}: ", metric.str_at("resource.name"))),
        "ContainerResource" => ("containerResource", format!("{}: ", metric.str_at("containerResource.name"))),
        "Pods" => ("pods", String::new()),
        "Object" => ("object", String::new()),
        "External" => ("external", String::new()),
        _ => return "<unknown type>".to_owned(),
    };
    let wanted = metric.at(member).unwrap_or(&Value::Null);
    let now = current.and_then(|current| current.at(member)).unwrap_or(&Value::Null);
    let amount = |value: &Value, name: &str| {
        value.at(name).filter(|amount| !amount.is_null()).map(|amount| amount.as_str().map_or_else(|| amount.to_string(), str::to_owned))
    };
    let percent = wanted.i64_at("target.averageUtilization");
    let (goal, seen) = match percent {
        Some(percent) => (format!("{percent}%"), now.i64_at("current.averageUtilization").map(|percent| format!("{percent}%"))),
        None => match amount(wanted, "target.averageValue") {
            Some(goal) => (goal, amount(now, "current.averageValue")),
            None => (amount(wanted, "target.value").unwrap_or_default(), amount(now, "current.value")),
        },
    };
    let average =
        if member != "resource" && member != "containerResource" && member != "pods" && amount(wanted, "target.averageValue").is_some() {
            " (avg)"
        } else {
            ""
        };
    format!("{label}{}/{goal}{average}", seen.unwrap_or_else(|| "<unknown>".to_owned()))
}

/// Up at once, by 4 pods or 100 % in 15 seconds; down by 100 %, after the controller's own window.
fn fill_behavior(behavior: &mut Value) {
    let percent = json!({"type": "Percent", "value": 100, "periodSeconds": 15});
    behavior.default_at("scaleUp.stabilizationWindowSeconds", 0);
    behavior.default_at("scaleUp.policies", json!([{"type": "Pods", "value": 4, "periodSeconds": 15}, percent]));
    behavior.default_at("scaleDown.policies", json!([percent]));
    for side in ["scaleUp.selectPolicy", "scaleDown.selectPolicy"] {
        behavior.default_at(side, "Max");
    }
}
