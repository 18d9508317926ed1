//! PodTopologyLabels: a pod that is put on a node takes on the labels of the node's place, so that its programs can read them.

use async_trait::async_trait;
use schema::{DocExt, Status, Value, json};

use super::{Admission, Operation, Plugin};
use crate::Core;

pub struct PodTopologyLabels;

const LABELS: &[&str] = &["topology.kubernetes.io/zone", "topology.kubernetes.io/region"];

#[async_trait]
impl Plugin for PodTopologyLabels {
    async fn mutate(&self, request: &mut Admission<'_>, new: &mut Value, _old: Option<&Value>) -> Result<(), Status> {
        if request.operation == Operation::Create && request.is_object("", "pods") && !new.str_at("spec.nodeName").is_empty() {
            let node = new.str_at("spec.nodeName").to_owned();
            label(request.core, new, &node);
        }
        Ok(())
    }
}

/// Copies the labels of `node`'s place; those that the pod has already stay.
pub(crate) fn label(core: &Core, pod: &mut Value, node: &str) {
    let Some(node) = core.cache.kind("/nodes/").and_then(|nodes| nodes.get(&format!("/nodes/{node}"))) else { return };
    for label in LABELS {
        if let Some(value) = node.object.meta.labels.get(*label) {
            pod.default_at("metadata.labels", json!({}));
            let labels = pod.at_mut("metadata.labels").and_then(Value::as_object_mut).expect("made an object just above");
            labels.entry(*label).or_insert_with(|| json!(value));
        }
    }
}
