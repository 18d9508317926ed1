//! When what endpoints show last happened: the annotation by which programs measure how late they are told.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use kinds::core::{Pod, Service};
use schema::Value;

use crate::pods;

pub const ANNOTATION: &str = "endpoints.kubernetes.io/last-change-trigger-time";

/// What the last look at each service saw, by its key.
#[derive(Default)]
pub struct Triggers {
    seen: Mutex<HashMap<String, Seen>>,
}

#[derive(Default)]
struct Seen {
    service: Option<Timestamp>,
    pods: HashMap<String, Timestamp>,
}

impl Triggers {
    /// The earliest of the changes that this look is the first to see; None where none has a time (a pod that went).
    pub fn earliest(&self, key: &str, service: &Service, pods: &[Arc<Pod>]) -> Option<String> {
        let fresh = Seen {
            service: schema::time::parse(&service.metadata.creation_timestamp),
            pods: pods.iter().filter_map(|pod| Some((pod.metadata.name.clone(), pods::ready_transition(pod)?))).collect(),
        };
        let mut seen = self.seen.lock().expect("no holder of the trigger times panics");
        let before = seen.remove(key).unwrap_or_default();
        let of_pods = fresh.pods.iter().filter(|(name, at)| before.pods.get(*name).is_none_or(|held| *at > held)).map(|(_, at)| *at);
        let of_service = fresh.service.filter(|at| before.service.is_none_or(|held| *at > held));
        let earliest = of_pods.chain(of_service).min();
        seen.insert(key.to_owned(), fresh);
        earliest.map(schema::time::format)
    }

    pub fn forget(&self, key: &str) {
        self.seen.lock().expect("no holder of the trigger times panics").remove(key);
    }
}

/// Sets one annotation of a document or takes it off; no empty map is left.
pub fn annotate(doc: &mut Value, name: &str, value: Option<&str>) {
    let mut annotations = doc["metadata"]["annotations"].as_object().cloned().unwrap_or_default();
    match value {
        Some(value) => annotations.insert(name.into(), value.into()),
        None => annotations.remove(name),
    };
    let metadata = doc["metadata"].as_object_mut().expect("the document of an object has metadata");
    if annotations.is_empty() {
        metadata.remove("annotations");
    } else {
        metadata.insert("annotations".into(), Value::Object(annotations));
    }
}

#[cfg(test)]
mod tests {
    use schema::json;

    use super::*;

    fn pod(name: &str, since: &str) -> Arc<Pod> {
        let doc = json!({"metadata": {"name": name}, "status": {"conditions": [{"type": "Ready", "status": "False", "lastTransitionTime": since}]}});
        Arc::new(serde_json::from_value(doc).unwrap())
    }

    #[test]
    fn only_what_is_new_since_the_last_look_counts() {
        let service: Service =
            serde_json::from_value(json!({"metadata": {"name": "s", "creationTimestamp": "2026-01-01T00:00:00Z"}})).unwrap();
        let triggers = Triggers::default();
        let look = |pods: &[Arc<Pod>]| triggers.earliest("d/s", &service, pods);
        assert_eq!(look(&[]).as_deref(), Some("2026-01-01T00:00:00Z"));
        assert_eq!(look(&[]), None);
        assert_eq!(look(&[pod("a", "2026-01-01T00:02:00Z"), pod("b", "2026-01-01T00:01:00Z")]).as_deref(), Some("2026-01-01T00:01:00Z"));
        assert_eq!(look(&[pod("a", "2026-01-01T00:03:00Z"), pod("b", "2026-01-01T00:01:00Z")]).as_deref(), Some("2026-01-01T00:03:00Z"));
        assert_eq!(look(&[pod("b", "2026-01-01T00:01:00Z")]), None, "a pod that goes has no time");
        triggers.forget("d/s");
        assert!(triggers.seen.lock().unwrap().is_empty());
    }
}
