//! CustomResourceDefinition: a kind that users bring.

use schema::{DocExt, Value, json};

use crate::cells::NAME_AND_CREATED_AT;
use crate::core::pod::defaults::default_text;
use crate::descriptor::WriteContext;
use crate::kind::{Col, Kind, Meta, Question, Sub};

/// A kind that users bring.
pub struct CustomResourceDefinition;

impl Kind for CustomResourceDefinition {
    const META: Meta = Meta {
        short: &["crd", "crds"],
        categories: &["api-extensions"],
        subresources: &[Sub::STATUS],
        generation: true,
        ..Meta::cluster("apiextensions.k8s.io", "CustomResourceDefinition", "customresourcedefinitions")
    };
    const NOTHING: &[Question] = &[Question::Fields, Question::Rules, Question::Updates, Question::Subresources, Question::Warnings];
    const COLUMNS: &[Col] = NAME_AND_CREATED_AT;

    fn fill_defaults(doc: &mut Value) {
        let kind = doc.str_at("spec.names.kind").to_owned();
        default_text(doc, "spec.names.singular", &kind.to_lowercase());
        default_text(doc, "spec.names.listKind", &format!("{kind}List"));
        default_text(doc, "spec.conversion.strategy", "None");
        if doc.at("spec.conversion.webhook.clientConfig.service").is_some_and(Value::is_object) {
            doc.default_at("spec.conversion.webhook.clientConfig.service.port", 443);
        }
    }

    fn prepare_create(doc: &mut Value, _cx: &WriteContext<'_>) {
        let stored = doc.items_at("spec.versions").iter().find(|version| version.bool_at("storage"));
        let stored: Vec<Value> = stored.into_iter().map(|version| version["name"].clone()).collect();
        doc.set_at("status", json!({"conditions": null, "acceptedNames": {"plural": "", "kind": ""}, "storedVersions": stored}));
    }
}
