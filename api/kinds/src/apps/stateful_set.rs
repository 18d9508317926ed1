//! StatefulSet: pods with names and volumes of their own, in order.

use schema::{DocExt, FieldErrors, LabelSelector, Path, Value, json};

use crate::cells::{AGE, NAME};
use crate::core::pod::defaults::{self, default_text};
use crate::kind::{Col, Kind, Meta, Sub, same};
use crate::rules::{annotations, is_given, labels, non_negative, not_supported};
use crate::workload;

/// Pods with names and volumes of their own, in order.
pub struct StatefulSet;

impl Kind for StatefulSet {
    const META: Meta = Meta {
        empty_status: r#"{"replicas": 0}"#,
        short: &["sts"],
        categories: &["all"],
        subresources: &[Sub::SCALE, Sub::STATUS],
        generation: true,
        ..Meta::namespaced("apps", "StatefulSet", "statefulsets")
    };
    const COLUMNS: &[Col] = &[NAME, Col::of("Ready", workload::ready), AGE, workload::CONTAINERS, workload::IMAGES];

    fn fill_defaults(doc: &mut Value) {
        doc.default_at("spec.replicas", 1);
        default_text(doc, "spec.podManagementPolicy", "OrderedReady");
        default_text(doc, "spec.updateStrategy.type", "RollingUpdate");
        if doc.str_at("spec.updateStrategy.type") == "RollingUpdate" {
            doc.default_at("spec.updateStrategy.rollingUpdate.partition", 0);
        }
        doc.default_at("spec.revisionHistoryLimit", 10);
        default_text(doc, "spec.persistentVolumeClaimRetentionPolicy.whenDeleted", "Retain");
        default_text(doc, "spec.persistentVolumeClaimRetentionPolicy.whenScaled", "Retain");
        doc.default_at("spec.template", json!({}));
        defaults::template(&mut doc["spec"]["template"]);
        doc.items_at_mut("spec.volumeClaimTemplates").iter_mut().for_each(claim_template);
    }

    fn validate(new: &Value, _old: Option<&Value>, errors: &mut FieldErrors) {
        let (spec, path) = (new.at("spec").unwrap_or(&Value::Null), Path::new("spec"));
        match spec.str_at("podManagementPolicy") {
            "OrderedReady" | "Parallel" => {}
            other => errors.invalid(&path.child("podManagementPolicy"), other, "must be 'OrderedReady' or 'Parallel'"),
        }
        strategy(spec, &path.child("updateStrategy"), errors);
        non_negative(spec, &["replicas", "minReadySeconds", "revisionHistoryLimit"], &path, errors);
        workload::given_selector(spec, &path, errors);
        if is_given(spec, "selector") && LabelSelector::from_value(&spec["selector"]).is_ok_and(|selector| selector.is_everything()) {
            errors.invalid(&path.child("selector"), spec["selector"].clone(), "empty selector is invalid for statefulset");
        }
        template(spec.at("template").unwrap_or(&Value::Null), &path.child("template"), errors);
    }

    fn validate_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
        let fixed = |doc: &Value| {
            let members = doc.map_at("spec").into_iter().flatten().filter(|(name, _)| !CHANGEABLE.contains(&name.as_str()));
            Value::Object(members.map(|(name, value)| (name.clone(), value.clone())).collect())
        };
        if !same(&fixed(new), &fixed(old)) {
            errors.forbidden(
                &Path::new("spec"),
                "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden",
            );
        }
    }

    fn warnings(new: &Value, _old: Option<&Value>) -> Vec<String> {
        workload::template_warnings(new, "spec.template")
    }
}

/// What an update may change.
const CHANGEABLE: &[&str] = &[
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
];

fn strategy(spec: &Value, path: &Path, errors: &mut FieldErrors) {
    match spec.str_at("updateStrategy.type") {
        "" => errors.required(path, ""),
        "RollingUpdate" => {
            let rolling = spec.at("updateStrategy.rollingUpdate").unwrap_or(&Value::Null);
            non_negative(rolling, &["partition"], &path.child("rollingUpdate"), errors);
        }
        "OnDelete" if is_given(spec, "updateStrategy.rollingUpdate") => {
            let rolling = spec["updateStrategy"]["rollingUpdate"].clone();
            errors.invalid(&path.child("rollingUpdate"), rolling, "only allowed for updateStrategy 'RollingUpdate'");
        }
        "OnDelete" => {}
        _ => errors.invalid(path, spec["updateStrategy"].clone(), "must be 'RollingUpdate' or 'OnDelete'"),
    }
}

/// Not the whole pod: its volumes may come from the claim templates.
fn template(template: &Value, path: &Path, errors: &mut FieldErrors) {
    labels(template.map_at("metadata.labels"), &path.child("metadata.labels"), errors);
    annotations(template.map_at("metadata.annotations"), &path.child("metadata.annotations"), errors);
    let policy = template.str_at("spec.restartPolicy");
    if policy != "Always" {
        not_supported(&path.child("spec.restartPolicy"), &policy.into(), &["Always"], errors);
    }
    if is_given(template, "spec.activeDeadlineSeconds") {
        errors.forbidden(&path.child("spec.activeDeadlineSeconds"), "activeDeadlineSeconds in StatefulSet is not Supported");
    }
}

fn claim_template(claim: &mut Value) {
    default_text(claim, "apiVersion", "v1");
    default_text(claim, "kind", "PersistentVolumeClaim");
    claim.default_at("metadata", json!({}));
    defaults::claim_spec(claim);
    default_text(claim, "status.phase", "Pending");
}
