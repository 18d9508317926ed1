//! ValidatingWebhookConfiguration: who is asked to refuse requests.

use schema::{DocExt, FieldErrors, Value, json};

use super::webhook;
use crate::cells::{AGE, NAME, count};
use crate::core::pod::defaults::default_text;
use crate::descriptor::WriteContext;
use crate::kind::{Col, Kind, Meta, Question};

/// Who is asked to refuse requests.
pub struct ValidatingWebhookConfiguration;

impl Kind for ValidatingWebhookConfiguration {
    const META: Meta = Meta {
        categories: &["api-extensions"],
        generation: true,
        ..Meta::cluster("admissionregistration.k8s.io", "ValidatingWebhookConfiguration", "validatingwebhookconfigurations")
    };
    const NOTHING: &[Question] = &[Question::Fields, Question::Updates, Question::Subresources, Question::Warnings];
    const COLUMNS: &[Col] = &[NAME, Col::of("Webhooks", |doc| json!(count(doc.at("webhooks")))).ty("integer"), AGE];

    fn prepare_create(doc: &mut Value, _cx: &WriteContext<'_>) {
        webhook::drop_empty(doc, None);
    }

    fn prepare_update(new: &mut Value, old: &Value, _cx: &WriteContext<'_>) {
        webhook::drop_empty(new, Some(old));
    }

    fn validate(new: &Value, old: Option<&Value>, errors: &mut FieldErrors) {
        webhook::webhooks(new, old, errors);
    }

    fn fill_defaults(doc: &mut Value) {
        for webhook in doc.items_at_mut("webhooks") {
            default_text(webhook, "failurePolicy", "Fail");
            default_text(webhook, "matchPolicy", "Equivalent");
            webhook.default_at("namespaceSelector", json!({}));
            webhook.default_at("objectSelector", json!({}));
            webhook.default_at("timeoutSeconds", 10);
            if webhook.at("clientConfig.service").is_some_and(Value::is_object) {
                webhook.default_at("clientConfig.service.port", 443);
            }
            webhook.items_at_mut("rules").iter_mut().for_each(|rule| default_text(rule, "scope", "*"));
        }
    }
}
