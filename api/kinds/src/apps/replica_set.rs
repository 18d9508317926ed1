//! ReplicaSet: keeps N copies of a pod.

use schema::{DocExt, FieldErrors, ObjectMeta, Path, Value, json};
use serde::{Deserialize, Serialize};

use crate::cells::{AGE, NAME};
use crate::core::pod::defaults;
use crate::descriptor::WriteContext;
use crate::kind::{Col, Kind, Meta, Selectable, Sub, immutable};
use crate::lens::{is_default, null_default};
use crate::rules::non_negative;
use crate::workload;

/// Keeps N copies of a pod.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ReplicaSet {
    pub metadata: ObjectMeta,
    #[serde(deserialize_with = "null_default")]
    pub spec: ReplicaSetSpec,
    #[serde(deserialize_with = "null_default")]
    pub status: ReplicaSetStatus,
}

impl Kind for ReplicaSet {
    const META: Meta = Meta {
        empty_status: r#"{"replicas": 0}"#,
        short: &["rs"],
        categories: &["all"],
        subresources: &[Sub::SCALE, Sub::STATUS],
        generation: true,
        ..Meta::namespaced("apps", "ReplicaSet", "replicasets")
    };
    const COLUMNS: &[Col] = &[
        NAME,
        Col::path("Desired", "spec.replicas").ty("integer"),
        Col::path("Current", "status.replicas").ty("integer"),
        Col::path("Ready", "status.readyReplicas").ty("integer"),
        AGE,
        workload::CONTAINERS,
        workload::IMAGES,
        workload::SELECTOR,
    ];
    const FIELDS: &[Selectable] =
        &[Selectable::new("status.replicas", |doc| doc.i64_at("status.replicas").unwrap_or_default().to_string())];

    fn fill_defaults(doc: &mut Value) {
        doc.default_at("spec.replicas", 1);
        doc.default_at("spec.template", json!({}));
        defaults::template(&mut doc["spec"]["template"]);
    }

    fn validate(new: &Value, _old: Option<&Value>, errors: &mut FieldErrors) {
        let (spec, path) = (new.at("spec").unwrap_or(&Value::Null), Path::new("spec"));
        non_negative(spec, &["replicas", "minReadySeconds"], &path, errors);
        workload::selector(spec, "deployment", &path, errors);
        workload::running_template(spec, "ReplicaSet", &path, errors);
    }

    fn validate_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
        immutable(&new["spec"], &old["spec"], "selector", &Path::new("spec"), errors);
    }

    fn validate_subresource(new: &Value, _old: &Value, cx: &WriteContext<'_>, errors: &mut FieldErrors) {
        if cx.subresource == "status" {
            let counters = ["replicas", "fullyLabeledReplicas", "readyReplicas", "availableReplicas", "observedGeneration"];
            workload::replica_status(
                new,
                &counters,
                &["fullyLabeledReplicas", "readyReplicas", "availableReplicas"],
                "readyReplicas",
                errors,
            );
        }
    }

    fn warnings(new: &Value, _old: Option<&Value>) -> Vec<String> {
        workload::template_warnings(new, "spec.template")
    }
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ReplicaSetSpec {
    pub replicas: Option<i32>,
    #[serde(deserialize_with = "null_default")]
    pub min_ready_seconds: i32,
    /// A `metav1.LabelSelector`.
    #[serde(deserialize_with = "null_default")]
    pub selector: Value,
    /// The pod template as a document.
    #[serde(deserialize_with = "null_default")]
    pub template: Value,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ReplicaSetStatus {
    #[serde(deserialize_with = "null_default")]
    pub replicas: i32,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub fully_labeled_replicas: i32,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub ready_replicas: i32,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub available_replicas: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub terminating_replicas: Option<i32>,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub observed_generation: i64,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub conditions: Vec<ReplicaSetCondition>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ReplicaSetCondition {
    #[serde(deserialize_with = "null_default")]
    pub r#type: String,
    #[serde(deserialize_with = "null_default")]
    pub status: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_transition_time: Option<String>,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub reason: String,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub message: String,
}
