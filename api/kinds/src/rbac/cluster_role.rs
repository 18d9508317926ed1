//! ClusterRole: rules everywhere, or wherever a role binding names them.

use schema::{DocExt, FieldErrors, LabelSelector, ObjectMeta, Path, Value, names};
use serde::{Deserialize, Serialize};

use super::rule::{self, PolicyRule};
use crate::cells::NAME_AND_CREATED_AT;
use crate::kind::{Col, Kind, Meta, Question};
use crate::lens::{is_default, null_default};
use crate::rules::is_given;

/// Rules everywhere, or wherever a role binding names them.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClusterRole {
    pub metadata: ObjectMeta,
    #[serde(deserialize_with = "null_default")]
    pub rules: Vec<PolicyRule>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aggregation_rule: Option<AggregationRule>,
}

impl Kind for ClusterRole {
    const META: Meta =
        Meta { name: names::is_path_segment_name, ..Meta::cluster("rbac.authorization.k8s.io", "ClusterRole", "clusterroles") };
    const NOTHING: &[Question] = &[Question::Fields, Question::Updates, Question::Subresources, Question::Warnings];
    const COLUMNS: &[Col] = NAME_AND_CREATED_AT;

    fn fill_defaults(doc: &mut Value) {
        doc.default_at("rules", Value::Null);
    }

    fn validate(new: &Value, _old: Option<&Value>, errors: &mut FieldErrors) {
        rule::check_rules(new, false, errors);
        if is_given(new, "aggregationRule") {
            check_aggregation(new.items_at("aggregationRule.clusterRoleSelectors"), errors);
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AggregationRule {
    /// Each a `metav1.LabelSelector`.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub cluster_role_selectors: Vec<Value>,
}

fn check_aggregation(selectors: &[Value], errors: &mut FieldErrors) {
    let path = Path::new("aggregationRule.clusterRoleSelectors");
    if selectors.is_empty() {
        errors.required(&path, "at least one clusterRoleSelector required if aggregationRule is non-nil");
    }
    for (at, selector) in selectors.iter().enumerate() {
        LabelSelector::validate(selector, &path.index(at), errors);
        if LabelSelector::from_value(selector).is_err() {
            errors.invalid(&path.index(at), selector.clone(), "invalid label selector.");
        }
    }
}
