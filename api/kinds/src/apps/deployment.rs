//! Deployment: rolls replica sets from one pod template to the next.

use schema::{DocExt, FieldErrors, ObjectMeta, Path, Value, json};
use serde::{Deserialize, Serialize};

use crate::cells::{AGE, NAME};
use crate::core::pod::defaults::{self, default_text};
use crate::descriptor::WriteContext;
use crate::kind::{Col, Kind, Meta, Question, Sub, copy_member, immutable};
use crate::lens::{IntOrString, is_default, null_default};
use crate::rules::{amounts, is_given, non_negative, not_supported};
use crate::workload;

/// Rolls replica sets from one pod template to the next.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Deployment {
    pub metadata: ObjectMeta,
    #[serde(deserialize_with = "null_default")]
    pub spec: DeploymentSpec,
    #[serde(deserialize_with = "null_default")]
    pub status: DeploymentStatus,
}

impl Kind for Deployment {
    const META: Meta = Meta {
        short: &["deploy"],
        categories: &["all"],
        subresources: &[Sub::SCALE, Sub::STATUS],
        generation: true,
        ..Meta::namespaced("apps", "Deployment", "deployments")
    };
    const NOTHING: &[Question] = &[Question::Fields];
    const COLUMNS: &[Col] = &[
        NAME,
        Col::of("Ready", workload::ready),
        Col::of("Up-to-date", |doc| json!(doc.i64_at("status.updatedReplicas").unwrap_or_default())),
        Col::of("Available", |doc| json!(doc.i64_at("status.availableReplicas").unwrap_or_default())),
        AGE,
        workload::CONTAINERS,
        workload::IMAGES,
        workload::SELECTOR,
    ];

    fn fill_defaults(doc: &mut Value) {
        doc.default_at("spec.replicas", 1);
        default_text(doc, "spec.strategy.type", "RollingUpdate");
        if doc.str_at("spec.strategy.type") == "RollingUpdate" {
            doc.default_at("spec.strategy.rollingUpdate.maxUnavailable", "25%");
            doc.default_at("spec.strategy.rollingUpdate.maxSurge", "25%");
        }
        doc.default_at("spec.revisionHistoryLimit", 10);
        doc.default_at("spec.progressDeadlineSeconds", 600);
        doc.default_at("spec.template", json!({}));
        defaults::template(&mut doc["spec"]["template"]);
    }

    fn validate(new: &Value, _old: Option<&Value>, errors: &mut FieldErrors) {
        let (spec, path) = (new.at("spec").unwrap_or(&Value::Null), Path::new("spec"));
        workload::selector(spec, "deployment", &path, errors);
        workload::running_template(spec, "ReplicaSet", &path, errors);
        non_negative(spec, &["replicas", "minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds"], &path, errors);
        strategy(spec, &path.child("strategy"), errors);
        if let Some(deadline) =
            spec.i64_at("progressDeadlineSeconds").filter(|deadline| *deadline <= spec.i64_at("minReadySeconds").unwrap_or_default())
        {
            errors.invalid(&path.child("progressDeadlineSeconds"), deadline, "must be greater than minReadySeconds");
        }
    }

    fn validate_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
        immutable(&new["spec"], &old["spec"], "selector", &Path::new("spec"), errors);
    }

    fn validate_subresource(new: &Value, old: &Value, cx: &WriteContext<'_>, errors: &mut FieldErrors) {
        if cx.subresource != "status" {
            return;
        }
        let counters = [
            "observedGeneration",
            "replicas",
            "updatedReplicas",
            "readyReplicas",
            "availableReplicas",
            "unavailableReplicas",
            "collisionCount",
        ];
        workload::replica_status(new, &counters, &["updatedReplicas", "readyReplicas", "availableReplicas"], "readyReplicas", errors);
        workload::collisions_only_grow(new, old, errors);
    }

    fn warnings(new: &Value, _old: Option<&Value>) -> Vec<String> {
        workload::template_warnings(new, "spec.template")
    }

    fn prepare_update(new: &mut Value, old: &Value, cx: &WriteContext<'_>) {
        if cx.subresource == "status" {
            copy_member(new, old, "metadata.labels");
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DeploymentSpec {
    pub replicas: Option<i32>,
    /// A `metav1.LabelSelector`.
    #[serde(deserialize_with = "null_default")]
    pub selector: Value,
    /// The pod template as a document: what is copied into replica sets and hashed is never a lens.
    #[serde(deserialize_with = "null_default")]
    pub template: Value,
    #[serde(deserialize_with = "null_default")]
    pub strategy: DeploymentStrategy,
    #[serde(deserialize_with = "null_default")]
    pub min_ready_seconds: i32,
    pub revision_history_limit: Option<i32>,
    #[serde(deserialize_with = "null_default")]
    pub paused: bool,
    pub progress_deadline_seconds: Option<i32>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DeploymentStrategy {
    /// `RollingUpdate` or `Recreate`.
    #[serde(deserialize_with = "null_default")]
    pub r#type: String,
    pub rolling_update: Option<RollingUpdateDeployment>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RollingUpdateDeployment {
    pub max_unavailable: Option<IntOrString>,
    pub max_surge: Option<IntOrString>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DeploymentStatus {
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub observed_generation: i64,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub replicas: i32,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub updated_replicas: i32,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub ready_replicas: i32,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub available_replicas: i32,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub unavailable_replicas: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub terminating_replicas: Option<i32>,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub conditions: Vec<DeploymentCondition>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub collision_count: Option<i32>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DeploymentCondition {
    #[serde(deserialize_with = "null_default")]
    pub r#type: String,
    #[serde(deserialize_with = "null_default")]
    pub status: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_update_time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_transition_time: Option<String>,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub reason: String,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub message: String,
}

fn strategy(spec: &Value, path: &Path, errors: &mut FieldErrors) {
    let strategy = spec.at("strategy").unwrap_or(&Value::Null);
    match strategy.str_at("type") {
        "Recreate" if is_given(strategy, "rollingUpdate") => {
            errors.forbidden(&path.child("rollingUpdate"), "may not be specified when strategy `type` is 'Recreate'");
        }
        "Recreate" => {}
        "RollingUpdate" if is_given(strategy, "rollingUpdate") => {
            rolling_update(&strategy["rollingUpdate"], &path.child("rollingUpdate"), errors)
        }
        "RollingUpdate" => errors.required(&path.child("rollingUpdate"), "this should be defaulted and never be nil"),
        _ => not_supported(path, strategy, &["Recreate", "RollingUpdate"], errors),
    }
}

fn rolling_update(rolling: &Value, path: &Path, errors: &mut FieldErrors) {
    let (unavailable, surge) = (amounts::int_or_percent(rolling, "maxUnavailable"), amounts::int_or_percent(rolling, "maxSurge"));
    for (name, given) in [("maxUnavailable", &unavailable), ("maxSurge", &surge)] {
        amounts::positive_int_or_percent(given, &path.child(name), errors);
    }
    if amounts::is_zero(&unavailable) && amounts::is_zero(&surge) {
        errors.invalid(&path.child("maxUnavailable"), amounts::shown(&unavailable), "may not be 0 when `maxSurge` is 0");
    }
    amounts::at_most_100_percent(&unavailable, &path.child("maxUnavailable"), errors);
}
