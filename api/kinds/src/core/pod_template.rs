//! PodTemplate: a pod template kept on its own.

use schema::{DocExt, FieldErrors, Path, Value, json};

use crate::cells::{NAME, labels};
use crate::core::pod::{defaults, rules};
use crate::kind::{Col, Kind, Meta, Question};
use crate::workload;

/// A pod template kept on its own.
pub struct PodTemplate;

impl Kind for PodTemplate {
    const META: Meta = Meta { generation: true, ..Meta::namespaced("", "PodTemplate", "podtemplates") };
    const NOTHING: &[Question] = &[Question::Fields, Question::Updates, Question::Subresources];
    const COLUMNS: &[Col] = &[
        NAME,
        Col::of("Containers", |doc| workload::list_of(doc.items_at("template.spec.containers"), "name")),
        Col::of("Images", |doc| workload::list_of(doc.items_at("template.spec.containers"), "image")),
        Col::of("Pod Labels", |doc| labels(doc.map_at("template.metadata.labels"))),
    ];

    fn fill_defaults(doc: &mut Value) {
        doc.default_at("template", json!({}));
        defaults::template(&mut doc["template"]);
    }

    fn validate(new: &Value, _old: Option<&Value>, errors: &mut FieldErrors) {
        rules::template(new.at("template").unwrap_or(&Value::Null), &Path::new("template"), errors);
    }

    fn warnings(new: &Value, _old: Option<&Value>) -> Vec<String> {
        workload::template_warnings(new, "template")
    }
}
