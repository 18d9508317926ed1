//! Role: rules within one namespace.

use schema::{DocExt, FieldErrors, ObjectMeta, Value, names};
use serde::{Deserialize, Serialize};

use super::rule::{self, PolicyRule};
use crate::cells::NAME_AND_CREATED_AT;
use crate::kind::{Col, Kind, Meta, Question};
use crate::lens::null_default;

/// Rules within one namespace.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Role {
    pub metadata: ObjectMeta,
    #[serde(deserialize_with = "null_default")]
    pub rules: Vec<PolicyRule>,
}

impl Kind for Role {
    const META: Meta = Meta { name: names::is_path_segment_name, ..Meta::namespaced("rbac.authorization.k8s.io", "Role", "roles") };
    const NOTHING: &[Question] = &[Question::Fields, Question::Updates, Question::Subresources, Question::Warnings];
    const COLUMNS: &[Col] = NAME_AND_CREATED_AT;

    fn fill_defaults(doc: &mut Value) {
        doc.default_at("rules", Value::Null);
    }

    fn validate(new: &Value, _old: Option<&Value>, errors: &mut FieldErrors) {
        rule::check_rules(new, true, errors);
    }
}
