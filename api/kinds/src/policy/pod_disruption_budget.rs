//! PodDisruptionBudget: how many pods may be down at once by choice.

use schema::{DocExt, FieldErrors, LabelSelector, Path, Value, json, names};

use crate::cells::{AGE, NAME};
use crate::kind::{Col, Kind, Meta, Sub};
use crate::rules::{NEGATIVE, each, is_given};

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

    fn validate(new: &Value, _old: Option<&Value>, errors: &mut FieldErrors) {
        let (spec, path) = (new.at("spec").unwrap_or(&Value::Null), Path::new("spec"));
        if is_given(spec, "minAvailable") && is_given(spec, "maxUnavailable") {
            errors.invalid(&path, spec.clone(), "minAvailable and maxUnavailable cannot be both set");
        }
        for member in ["minAvailable", "maxUnavailable"].into_iter().filter(|member| is_given(spec, member)) {
            share(&spec[member], &path.child(member), errors);
        }
        LabelSelector::validate(spec.at("selector").unwrap_or(&Value::Null), &path.child("selector"), errors);
    }

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

/// A number of pods, or a percentage of at most all.
fn share(value: &Value, path: &Path, errors: &mut FieldErrors) {
    match value {
        Value::String(text) => {
            let wrong = names::is_percent(text);
            let is_over = wrong.is_empty() && text.trim_end_matches('%').parse::<i64>().map_or(true, |percent| percent > 100);
            each(path, text.as_str(), wrong, errors);
            if is_over {
                errors.invalid(path, text.as_str(), "must not be greater than 100%");
            }
        }
        number if number.as_i64().is_some_and(|number| number < 0) => errors.invalid(path, number.clone(), NEGATIVE),
        _ => {}
    }
}
