//! Lease: who holds a role, and when it was last renewed.

use schema::{DocExt, FieldErrors, ObjectMeta, Path, Value, json};
use serde::{Deserialize, Serialize};

use crate::cells::{AGE, NAME};
use crate::kind::{Col, Kind, Meta, Question};
use crate::lens::{is_default, null_default};
use crate::rules::{non_negative, qualified_name};

/// Who holds a role, and since when it has not been renewed.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Lease {
    pub metadata: ObjectMeta,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub spec: LeaseSpec,
}

impl Kind for Lease {
    const META: Meta = Meta::namespaced("coordination.k8s.io", "Lease", "leases");
    const NOTHING: &[Question] = &[Question::Fields, Question::Updates, Question::Subresources, Question::Warnings];
    const COLUMNS: &[Col] = &[NAME, Col::path("Holder", "spec.holderIdentity"), AGE];

    fn fill_defaults(doc: &mut Value) {
        doc.default_at("spec", json!({}));
    }

    fn validate(new: &Value, _old: Option<&Value>, errors: &mut FieldErrors) {
        let (spec, path) = (&new["spec"], Path::new("spec"));
        if let Some(seconds) = spec.i64_at("leaseDurationSeconds").filter(|seconds| *seconds <= 0) {
            errors.invalid(&path.child("leaseDurationSeconds"), seconds, "must be greater than 0");
        }
        non_negative(spec, &["leaseTransitions"], &path, errors);
        if let Some(strategy) = spec.at("strategy").and_then(Value::as_str) {
            qualified_name(strategy, &path.child("strategy"), errors);
        }
        if !spec.str_at("preferredHolder").is_empty() && spec.str_at("strategy").is_empty() {
            let text = "may only be specified when strategy is defined";
            errors.invalid(&path.child("preferredHolder"), spec.str_at("preferredHolder"), text);
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LeaseSpec {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub holder_identity: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease_duration_seconds: Option<i32>,
    /// RFC 3339 with six digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acquire_time: Option<String>,
    /// RFC 3339 with six digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub renew_time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease_transitions: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strategy: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preferred_holder: Option<String>,
}
