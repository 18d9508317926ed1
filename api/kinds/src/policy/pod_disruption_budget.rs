//! PodDisruptionBudget: how many pods may be down at once by choice.

use schema::{DocExt, Value, json};

use crate::cells::{AGE, NAME};
use crate::kind::{Col, Kind, Meta, Sub};

/// How many pods may be down at once by choice.
pub struct PodDisruptionBudget;

impl Kind for PodDisruptionBudget {
    const META: Meta = Meta {
        empty_status: r#"{"disruptionsAllowed": 0, "currentHealthy": 0, "desiredHealthy": 0, "expectedPods": 0}"#,
        short: &["pdb"],
        subresources: &[Sub::STATUS],
        generation: true,
        ..Meta::namespaced("policy", "PodDisruptionBudget", "poddisruptionbudgets")
    };
    const COLUMNS: &[Col] = &[
        NAME,
        Col::of("Min Available", |doc| amount(doc.at("spec.minAvailable"))),
        Col::of("Max Unavailable", |doc| amount(doc.at("spec.maxUnavailable"))),
        Col::path("Allowed Disruptions", "status.disruptionsAllowed").ty("integer"),
        AGE,
    ];

    fn fill_defaults(doc: &mut Value) {
        doc.default_at("spec", json!({}));
    }
}

fn amount(value: Option<&Value>) -> Value {
    match value {
        Some(Value::Number(number)) => json!(number.to_string()),
        Some(Value::String(text)) => json!(text),
        _ => json!("N/A"),
    }
}
