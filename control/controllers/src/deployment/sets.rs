//! A Deployment's replica sets: which one is new, what revision each has, and the document of another one.

use std::sync::Arc;

use client::Object;
use kinds::apps::{Deployment, ReplicaSet};
use schema::{DocExt, Map, ObjectMeta, Status, Value, json};

use crate::pods::owner_reference;

pub const REVISION: &str = "deployment.kubernetes.io/revision";
pub const REVISION_HISTORY: &str = "deployment.kubernetes.io/revision-history";
pub const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
pub const MAX: &str = "deployment.kubernetes.io/max-replicas";
/// Label that keeps the pods of different templates apart.
pub const HASH: &str = "pod-template-hash";
/// What a Deployment's annotations do not hand down to its replica sets.
const NOT_INHERITED: [&str; 6] =
    ["kubectl.kubernetes.io/last-applied-configuration", REVISION, REVISION_HISTORY, DESIRED, MAX, "deprecated.deployment.rollback.to"];

#[derive(Clone, Debug)]
pub struct Set {
    pub lens: Arc<ReplicaSet>,
}

impl Set {
    pub fn replicas(&self) -> i32 {
        self.lens.spec.replicas.unwrap_or(1)
    }

    pub fn annotation(&self, name: &str) -> Option<&str> {
        self.lens.metadata.annotations.get(name).map(String::as_str)
    }

    pub fn number(&self, name: &str) -> Option<i32> {
        self.annotation(name)?.parse().ok()
    }

    pub fn revision(&self) -> i64 {
        revision(&self.lens.metadata)
    }
}

/// The revision annotation; 0 where there is none.
pub fn revision(meta: &ObjectMeta) -> i64 {
    meta.annotations.get(REVISION).and_then(|text| text.parse().ok()).unwrap_or_default()
}

/// Sorted by age, oldest first.
#[derive(Clone, Debug, Default)]
pub struct Sets {
    /// The oldest set with the Deployment's template.
    pub new: Option<Set>,
    pub old: Vec<Set>,
}

impl Sets {
    pub fn new(deployment: &Deployment, claimed: &[Arc<Object>]) -> Result<Self, Status> {
        let mut all = claimed.iter().map(|object| Ok(Set { lens: object.lens::<ReplicaSet>()? })).collect::<Result<Vec<_>, Status>>()?;
        all.sort_by(|a, b| age_key(a).cmp(&age_key(b)));
        let new = all.iter().position(|set| same_template(&set.lens.spec.template, &deployment.spec.template));
        let new = new.map(|at| all.remove(at));
        Ok(Self { new, old: all })
    }

    pub fn all(&self) -> impl Iterator<Item = &Set> {
        self.old.iter().chain(&self.new)
    }

    pub fn active(&self) -> Vec<&Set> {
        self.all().filter(|set| set.replicas() > 0).collect()
    }
}

fn age_key(set: &Set) -> (&str, &str) {
    (&set.lens.metadata.creation_timestamp, &set.lens.metadata.name)
}

/// Equal but for the hash label. Both sides were defaulted when they were written.
pub fn same_template(a: &Value, b: &Value) -> bool {
    let rest = |template: &'_ Value| template.as_object().map_or(0, |map| map.keys().filter(|name| *name != "metadata").count());
    let same_rest = |name: &String, value: &Value| name == "metadata" || b.get(name) == Some(value);
    rest(a) == rest(b)
        && a.as_object().is_none_or(|map| map.iter().all(|(name, value)| same_rest(name, value)))
        && template_meta(a) == template_meta(b)
}

/// The members of a template's metadata that mean something, without the hash label.
fn template_meta(template: &Value) -> Map<String, Value> {
    let mut meta = template.get("metadata").and_then(Value::as_object).cloned().unwrap_or_default();
    if let Some(labels) = meta.get_mut("labels").and_then(Value::as_object_mut) {
        labels.remove(HASH);
    }
    meta.retain(|name, value| name != "creationTimestamp" && !value.is_null() && value.as_object().is_none_or(|map| !map.is_empty()));
    meta
}

/// FNV-1a of the template's canonical JSON, in the alphabet of generated names.
pub fn template_hash(template: &Value, collisions: Option<i32>) -> String {
    const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let mut bytes = template.to_string().into_bytes();
    bytes.extend(collisions.iter().flat_map(|count| count.to_le_bytes()));
    let hash = bytes.iter().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193));
    hash.to_string().bytes().map(|digit| char::from(ALPHABET[usize::from(digit) % ALPHABET.len()])).collect()
}

/// The document of a new replica set.
pub fn document(deployment: &Deployment, template: &Value, replicas: i32, revision: i64) -> Value {
    let hash = template_hash(template, deployment.status.collision_count);
    let mut template = template.clone();
    template.set_at("metadata.labels", with_hash(template.at("metadata.labels"), &hash));
    let mut selector = deployment.spec.selector.clone();
    selector.set_at("matchLabels", with_hash(selector.get("matchLabels"), &hash));
    let mut annotations = inherited(deployment);
    let (desired, max) = super::scale::sizes(deployment);
    annotations.insert(REVISION.into(), revision.to_string().into());
    annotations.insert(DESIRED.into(), desired.to_string().into());
    annotations.insert(MAX.into(), max.to_string().into());
    json!({
        "apiVersion": "apps/v1", "kind": "ReplicaSet",
        "metadata": {
            "name": format!("{}-{hash}", deployment.metadata.name),
            "namespace": deployment.metadata.namespace,
            "labels": template.at("metadata.labels"),
            "annotations": annotations,
            "ownerReferences": [owner_reference("apps/v1", "Deployment", &deployment.metadata)],
        },
        "spec": {"replicas": replicas, "minReadySeconds": deployment.spec.min_ready_seconds, "selector": selector, "template": template},
    })
}

fn with_hash(labels: Option<&Value>, hash: &str) -> Value {
    let mut labels = labels.and_then(Value::as_object).cloned().unwrap_or_default();
    labels.insert(HASH.into(), hash.into());
    Value::Object(labels)
}

fn inherited(deployment: &Deployment) -> Map<String, Value> {
    let all = deployment.metadata.annotations.iter().filter(|(name, _)| !NOT_INHERITED.contains(&name.as_str()));
    all.map(|(name, value)| (name.clone(), value.clone().into())).collect()
}

/// What the new set's annotations lack: the Deployment's own ones, and a revision that was overtaken (a roll-back makes an old
/// set new again; its former revisions are kept in the history). Empty: nothing.
pub fn missing_annotations(deployment: &Deployment, set: &Set, revision: i64) -> Map<String, Value> {
    let mut missing = inherited(deployment);
    missing.retain(|name, value| set.annotation(name) != value.as_str());
    if set.revision() < revision {
        missing.insert(REVISION.into(), revision.to_string().into());
        if let Some(former) = set.annotation(REVISION) {
            let history = set.annotation(REVISION_HISTORY).unwrap_or_default();
            let history: Vec<&str> = history.split(',').chain([former]).filter(|one| !one.is_empty()).collect();
            missing.insert(REVISION_HISTORY.into(), history.join(",").into());
        }
    }
    missing
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_are_the_same_but_for_hash_and_emptiness() {
        let base = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "a:1"}]}});
        let mut hashed = base.clone();
        hashed["metadata"] = json!({"creationTimestamp": null, "annotations": {}, "labels": {"a": "b", HASH: "x"}});
        assert!(same_template(&base, &hashed) && same_template(&hashed, &base));
        for other in [
            json!({"metadata": {"labels": {"a": "c"}}, "spec": base["spec"]}),
            json!({"metadata": {"labels": {"a": "b"}, "annotations": {"kubectl.kubernetes.io/restartedAt": "t"}}, "spec": base["spec"]}),
            json!({"metadata": base["metadata"], "spec": {"containers": []}}),
            json!({"metadata": base["metadata"]}),
        ] {
            assert!(!same_template(&base, &other) && !same_template(&other, &base), "{other}");
        }
    }
}
