//! ServiceAccount: who a pod is.

use schema::{DocExt, ObjectMeta, Value, json};
use serde::{Deserialize, Serialize};

use super::ObjectReference;
use super::pod::spec::LocalObjectReference;
use crate::cells::{AGE, NAME, count};
use crate::descriptor::WriteContext;
use crate::kind::{Col, Kind, Meta, Question, Sub};
use crate::lens::{is_default, null_default};

/// Who a pod is.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceAccount {
    pub metadata: ObjectMeta,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub secrets: Vec<ObjectReference>,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub image_pull_secrets: Vec<LocalObjectReference>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub automount_service_account_token: Option<bool>,
}

impl Kind for ServiceAccount {
    const META: Meta = Meta {
        short: &["sa"],
        subresources: &[Sub::create("token", "authentication.k8s.io", "TokenRequest")],
        ..Meta::namespaced("", "ServiceAccount", "serviceaccounts")
    };
    const NOTHING: &[Question] =
        &[Question::Fields, Question::Defaults, Question::Rules, Question::Updates, Question::Subresources, Question::Warnings];
    const COLUMNS: &[Col] = &[NAME, Col::of("Secrets", |doc| json!(count(doc.at("secrets")))), AGE];

    fn prepare_create(doc: &mut Value, _cx: &WriteContext<'_>) {
        names_only(doc);
    }

    fn prepare_update(new: &mut Value, _old: &Value, _cx: &WriteContext<'_>) {
        names_only(new);
    }
}

/// Secrets are of the account's own namespace: only their names count.
fn names_only(doc: &mut Value) {
    for secret in doc.items_at_mut("secrets") {
        *secret = json!({"name": secret.str_at("name")});
    }
}
