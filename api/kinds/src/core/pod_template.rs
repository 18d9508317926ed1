//! PodTemplate: a pod template kept on its own.

use schema::{DocExt, FieldErrors, Path, Value, json};

use crate::core::pod::defaults;
use crate::core::pod::rules;
use crate::kind::{Kind, Meta};

/// A pod template kept on its own.
pub struct PodTemplate;

impl Kind for PodTemplate {
    const META: Meta = Meta { generation: true, ..Meta::namespaced("", "PodTemplate", "podtemplates") };

    fn fill_defaults(doc: &mut Value) {
        doc.default_at("template", json!({}));
        defaults::template(&mut doc["template"]);
    }

    fn validate(new: &Value, _old: Option<&Value>, errors: &mut FieldErrors) {
        rules::template(new.at("template").unwrap_or(&Value::Null), &Path::new("template"), errors);
    }
}
