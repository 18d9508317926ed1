//! StatefulSet: pods with names and volumes of their own, in order.

use schema::{DocExt, FieldErrors, LabelSelector, Path, Value, json, names};

use crate::cells::{AGE, NAME};
use crate::core::pod::defaults::{self, default_text};
use crate::core::pod::rules;
use crate::descriptor::WriteContext;
use crate::kind::{Col, Kind, Meta, Question, Sub, copy_member, same};
use crate::rules::{amounts, annotations, is_given, labels, non_negative, not_supported, sub};
use crate::workload;

/// What of the spec may change later.
const MUTABLE: &[&str] = &[
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
];
const RETENTION: &[&str] = &["Retain", "Delete"];

/// Pods with names and volumes of their own, in order.
pub struct StatefulSet;

impl Kind for StatefulSet {
    const META: Meta = Meta {
        empty_status: r#"{"replicas": 0}"#,
        short: &["sts"],
        categories: &["all"],
        subresources: &[Sub::SCALE, Sub::STATUS],
        generation: true,
        name: names::is_dns1123_label,
        ..Meta::namespaced("apps", "StatefulSet", "statefulsets")
    };
    const NOTHING: &[Question] = &[Question::Fields];
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
        let (spec, path) = (sub(new, "spec"), Path::new("spec"));
        let policy = spec.str_at("podManagementPolicy");
        if !matches!(policy, "OrderedReady" | "Parallel") {
            errors.invalid(&path.child("podManagementPolicy"), policy, "must be 'OrderedReady' or 'Parallel'");
        }
        update_strategy(sub(spec, "updateStrategy"), &path.child("updateStrategy"), errors);
        retention(spec, &path.child("persistentVolumeClaimRetentionPolicy"), errors);
        non_negative(spec, &["replicas", "minReadySeconds", "ordinals.start"], &path, errors);
        workload::selector(spec, "statefulset", &path, errors);
        template(spec, &path, errors);
    }

    fn validate_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
        let mut kept = sub(new, "spec").clone();
        for member in MUTABLE {
            copy_member(&mut kept, sub(old, "spec"), member);
        }
        if !same(&kept, sub(old, "spec")) {
            let text = "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden";
            errors.forbidden(&Path::new("spec"), text);
        }
    }

    fn validate_subresource(new: &Value, old: &Value, cx: &WriteContext<'_>, errors: &mut FieldErrors) {
        if cx.subresource != "status" {
            return;
        }
        let counters = [
            "replicas",
            "readyReplicas",
            "currentReplicas",
            "updatedReplicas",
            "availableReplicas",
            "observedGeneration",
            "collisionCount",
        ];
        let parts = ["readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas"];
        workload::replica_status(new, &counters, &parts, "status.readyReplicas", errors);
        workload::collisions_only_grow(new, old, errors);
    }

    fn warnings(new: &Value, _old: Option<&Value>) -> Vec<String> {
        let mut texts = workload::template_warnings(new, "spec.template");
        texts.extend(history_warning(new));
        for (at, claim) in new.items_at("spec.volumeClaimTemplates").iter().enumerate() {
            let path = Path::new("spec.volumeClaimTemplates").index(at).child("spec");
            texts.extend(crate::core::persistent_volume_claim::spec_warnings(sub(claim, "spec"), &path));
        }
        texts
    }
}

fn claim_template(claim: &mut Value) {
    default_text(claim, "apiVersion", "v1");
    default_text(claim, "kind", "PersistentVolumeClaim");
    claim.default_at("metadata", json!({}));
    defaults::claim_spec(claim);
    default_text(claim, "status.phase", "Pending");
}

fn update_strategy(strategy: &Value, path: &Path, errors: &mut FieldErrors) {
    let (rolling, rolling_path) = (sub(strategy, "rollingUpdate"), path.child("rollingUpdate"));
    match strategy.str_at("type") {
        "OnDelete" if !rolling.is_null() => {
            errors.invalid(&rolling_path, rolling.clone(), "only allowed for updateStrategy 'RollingUpdate'");
        }
        "OnDelete" => {}
        "RollingUpdate" => {
            non_negative(rolling, &["partition"], &rolling_path, errors);
            if is_given(rolling, "maxUnavailable") {
                max_unavailable(rolling, &rolling_path.child("maxUnavailable"), errors);
            }
        }
        _ => errors.invalid(path, strategy.clone(), "must be 'RollingUpdate' or 'OnDelete'"),
    }
}

fn max_unavailable(rolling: &Value, path: &Path, errors: &mut FieldErrors) {
    let amount = amounts::int_or_percent(rolling, "maxUnavailable");
    amounts::positive_int_or_percent(&amount, path, errors);
    if amounts::is_zero(&amount) {
        errors.invalid(path, amounts::shown(&amount), "cannot be 0");
    }
    amounts::at_most_100_percent(&amount, path, errors);
}

fn retention(spec: &Value, path: &Path, errors: &mut FieldErrors) {
    let policy = sub(spec, "persistentVolumeClaimRetentionPolicy");
    for member in ["whenDeleted", "whenScaled"].into_iter().filter(|_| !policy.is_null()) {
        if !RETENTION.contains(&policy.str_at(member)) {
            not_supported(&path.child(member), &policy.str_at(member).into(), RETENTION, errors);
        }
    }
}

/// Below zero every revision is kept; that is allowed, and rarely meant.
fn history_warning(new: &Value) -> Option<String> {
    let text = "spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is recommended";
    new.i64_at("spec.revisionHistoryLimit").filter(|limit| *limit < 0).map(|_| text.to_owned())
}

/// Of the template only labels, annotations and what a stateful set cannot do are asked: its volumes come from the claims.
fn template(spec: &Value, path: &Path, errors: &mut FieldErrors) {
    let (template, path_of) = (sub(spec, "template"), path.child("template"));
    let own = sub(template, "metadata.labels");
    match LabelSelector::from_value(sub(spec, "selector")) {
        Err(_) => errors.invalid(&path.child("selector"), sub(spec, "selector").clone(), ""),
        Ok(selector) => {
            let is_everything = is_given(spec, "selector") && selector.is_everything();
            if !is_everything && (!is_given(spec, "selector") || !selector.matches(&workload::label_map(own))) {
                errors.invalid(&path_of.child("metadata.labels"), own.clone(), "`selector` does not match template `labels`");
            }
            labels(template.map_at("metadata.labels"), &path_of.child("labels"), errors);
            annotations(template.map_at("metadata.annotations"), &path_of.child("annotations"), errors);
            rules::update::annotations(template, &path_of.child("annotations"), errors);
        }
    }
    workload::always_restarts(template, "StatefulSet", &path_of, errors);
}
