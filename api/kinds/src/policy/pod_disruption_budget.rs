//! PodDisruptionBudget: how many pods may be down at once by choice.

use schema::{DocExt, FieldErrors, LabelSelector, Path, Value, json};

use crate::cells::{AGE, NAME};
use crate::descriptor::WriteContext;
use crate::kind::{Col, Kind, Meta, Question, Sub};
use crate::rules::{amounts, conditions, is_given, non_negative, one_of_if_set, sub};

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
    const NOTHING: &[Question] = &[Question::Fields, Question::Updates, Question::Warnings];
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
            let amount = amounts::int_or_percent(spec, member);
            amounts::positive_int_or_percent(&amount, &path.child(member), errors);
            amounts::at_most_100_percent(&amount, &path.child(member), errors);
        }
        LabelSelector::validate(spec.at("selector").unwrap_or(&Value::Null), &path.child("selector"), errors);
        one_of_if_set(spec, "unhealthyPodEvictionPolicy", &["AlwaysAllow", "IfHealthyBudget"], &path, errors);
    }

    fn validate_subresource(new: &Value, _old: &Value, cx: &WriteContext<'_>, errors: &mut FieldErrors) {
        if cx.subresource == "status" {
            let (status, path) = (sub(new, "status"), Path::new("status"));
            conditions(status.items_at("conditions"), &path.child("conditions"), errors);
            non_negative(status, &["disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"], &path, errors);
        }
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
