//! Between v1, which knows one metric, and v2. What v1 cannot say travels in annotations, so that nothing is lost.

use schema::{DocExt, Value, json};

const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const CURRENT_METRICS: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";
const TARGET: &str = "spec.targetCPUUtilizationPercentage";
const CURRENT: &str = "status.currentCPUUtilizationPercentage";

/// A v1 document as v2 has it. The metric that v1 knows comes last, as upstream puts it.
pub(super) fn to_v2(mut doc: Value) -> Value {
    let mut metrics = list(take_annotation(&mut doc, METRICS));
    if let Some(percent) = doc.remove_at(TARGET).and_then(|value| value.as_i64()) {
        metrics.push(cpu_metric("target", json!({"type": "Utilization", "averageUtilization": percent})));
    }
    put_list(&mut doc, "spec.metrics", metrics);
    if let Some(behavior) = take_annotation(&mut doc, BEHAVIOR) {
        doc.set_at("spec.behavior", behavior);
    }
    let mut current = list(take_annotation(&mut doc, CURRENT_METRICS));
    if let Some(percent) = doc.remove_at(CURRENT).and_then(|value| value.as_i64()) {
        current.push(cpu_metric("current", json!({"averageUtilization": percent})));
    }
    put_list(&mut doc, "status.currentMetrics", current);
    if doc.at("status").is_some_and(Value::is_object) {
        // What v1 always says and v2 only if there are any, and the other way round.
        doc.default_at("status.currentMetrics", Value::Null);
        if doc.i64_at("status.currentReplicas") == Some(0) {
            doc.remove_at("status.currentReplicas");
        }
    }
    let conditions = list(take_annotation(&mut doc, CONDITIONS));
    put_list(&mut doc, "status.conditions", conditions);
    doc
}

/// A v2 document as v1 has it.
pub(super) fn to_v1(mut doc: Value) -> Value {
    let (percent, metrics) = split(list(doc.remove_at("spec.metrics")), "resource.target.averageUtilization");
    if let Some(percent) = percent {
        doc.set_at(TARGET, percent);
    }
    annotate(&mut doc, METRICS, metrics.into());
    let behavior = doc.remove_at("spec.behavior").unwrap_or_default();
    annotate(&mut doc, BEHAVIOR, behavior);
    let (percent, current) = split(list(doc.remove_at("status.currentMetrics")), "resource.current.averageUtilization");
    if let Some(percent) = percent {
        doc.set_at(CURRENT, percent);
    }
    annotate(&mut doc, CURRENT_METRICS, current.into());
    if doc.at("status").is_some_and(Value::is_object) {
        doc.default_at("status.currentReplicas", 0);
    }
    let conditions = doc.remove_at("status.conditions").unwrap_or_default();
    annotate(&mut doc, CONDITIONS, conditions);
    doc
}

fn cpu_metric(member: &str, value: Value) -> Value {
    let mut metric = json!({"type": "Resource", "resource": {"name": "cpu"}});
    metric["resource"][member] = value;
    metric
}

/// Takes the utilization of the processor out of the list; the rest stays.
fn split(mut metrics: Vec<Value>, path: &str) -> (Option<i64>, Vec<Value>) {
    let is_cpu =
        |metric: &Value| metric.str_at("type") == "Resource" && metric.str_at("resource.name") == "cpu" && metric.i64_at(path).is_some();
    let found = metrics.iter().position(is_cpu);
    let percent = found.and_then(|at| metrics.remove(at).i64_at(path));
    (percent, metrics)
}

fn list(value: Option<Value>) -> Vec<Value> {
    match value {
        Some(Value::Array(items)) => items,
        _ => Vec::new(),
    }
}

fn put_list(doc: &mut Value, path: &str, items: Vec<Value>) {
    if !items.is_empty() {
        doc.set_at(path, items);
    }
}

fn take_annotation(doc: &mut Value, name: &str) -> Option<Value> {
    let annotations = doc.at_mut("metadata.annotations")?.as_object_mut()?;
    let text = annotations.remove(name)?;
    if annotations.is_empty() {
        doc.remove_at("metadata.annotations");
    }
    serde_json::from_str(text.as_str()?).ok()
}

/// Writes a value that is not empty as JSON.
fn annotate(doc: &mut Value, name: &str, value: Value) {
    let is_empty = value.as_array().is_some_and(Vec::is_empty) || value.as_object().is_some_and(schema::Map::is_empty) || value.is_null();
    if is_empty {
        return;
    }
    doc.default_at("metadata.annotations", json!({}));
    doc["metadata"]["annotations"][name] = json!(value.to_string());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn v2_survives_the_way_through_v1() {
        let metric = |name: &str| json!({"type": "Resource", "resource": {"name": name, "target": {"type": "Utilization", "averageUtilization": 60}}});
        let doc = json!({
            "metadata": {"name": "web"},
            "spec": {"maxReplicas": 3, "metrics": [metric("memory"), metric("cpu")], "behavior": {"scaleUp": {"selectPolicy": "Max"}}},
            "status": {"conditions": [{"type": "AbleToScale", "status": "True"}], "currentMetrics": null},
        });
        let old = to_v1(doc.clone());
        assert_eq!(old["spec"]["targetCPUUtilizationPercentage"], 60);
        assert_eq!(to_v2(old), doc);
    }
}
