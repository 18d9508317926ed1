//! StatefulSet: pods with names and volumes of their own, in order.

use schema::{DocExt, Value, json};

use crate::cells::{AGE, NAME};
use crate::core::pod::defaults::{self, default_text};
use crate::kind::{Col, Kind, Meta, Sub};
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

    fn warnings(new: &Value, _old: Option<&Value>) -> Vec<String> {
        workload::template_warnings(new, "spec.template")
    }
}

fn claim_template(claim: &mut Value) {
    default_text(claim, "apiVersion", "v1");
    default_text(claim, "kind", "PersistentVolumeClaim");
    claim.default_at("metadata", json!({}));
    defaults::claim_spec(claim);
    default_text(claim, "status.phase", "Pending");
}
