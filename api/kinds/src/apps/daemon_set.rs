//! DaemonSet: one pod on every matching node.

use schema::{DocExt, Value, json};

use crate::core::pod::defaults::{self, default_text};
use crate::kind::{Kind, Meta, Sub};

/// One pod on every matching node.
pub struct DaemonSet;

impl Kind for DaemonSet {
    const META: Meta = Meta {
        empty_status: r#"{"currentNumberScheduled": 0, "numberMisscheduled": 0, "desiredNumberScheduled": 0, "numberReady": 0}"#,
        short: &["ds"],
        categories: &["all"],
        subresources: &[Sub::STATUS],
        generation: true,
        ..Meta::namespaced("apps", "DaemonSet", "daemonsets")
    };

    fn fill_defaults(doc: &mut Value) {
        default_text(doc, "spec.updateStrategy.type", "RollingUpdate");
        if doc.str_at("spec.updateStrategy.type") == "RollingUpdate" {
            doc.default_at("spec.updateStrategy.rollingUpdate.maxUnavailable", 1);
            doc.default_at("spec.updateStrategy.rollingUpdate.maxSurge", 0);
        }
        doc.default_at("spec.revisionHistoryLimit", 10);
        doc.default_at("spec.template", json!({}));
        defaults::template(&mut doc["spec"]["template"]);
    }
}
