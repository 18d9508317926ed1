//! RoleBinding: gives a role to subjects within one namespace.

use schema::{FieldErrors, ObjectMeta, Value, names};
use serde::{Deserialize, Serialize};

use super::rule::{self, RoleRef, Subject};
use crate::kind::{Col, Kind, Meta, Question};
use crate::lens::{is_default, null_default};

/// Gives a role to subjects within one namespace.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RoleBinding {
    pub metadata: ObjectMeta,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub subjects: Vec<Subject>,
    #[serde(deserialize_with = "null_default")]
    pub role_ref: RoleRef,
}

impl Kind for RoleBinding {
    const META: Meta =
        Meta { name: names::is_path_segment_name, ..Meta::namespaced("rbac.authorization.k8s.io", "RoleBinding", "rolebindings") };
    const NOTHING: &[Question] = &[Question::Fields, Question::Subresources, Question::Warnings];
    const COLUMNS: &[Col] = rule::BINDING_COLUMNS;

    fn fill_defaults(doc: &mut Value) {
        rule::fill_binding(doc);
    }

    fn validate(new: &Value, _old: Option<&Value>, errors: &mut FieldErrors) {
        rule::check_binding(new, true, errors);
    }

    fn validate_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
        rule::role_ref_stays(new, old, errors);
    }
}
