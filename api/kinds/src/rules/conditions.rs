//! Conditions of a status (`metav1.Condition`).

use schema::{DocExt, FieldErrors, Path, Value, names};

use super::{each, not_supported, qualified_name};

const STATUSES: &[&str] = &["False", "True", "Unknown"];
const REASON_BYTES_MAX: usize = 1024;
const MESSAGE_BYTES_MAX: usize = 32 * 1024;

/// Each type once, each condition complete.
pub(crate) fn conditions(conditions: &[Value], path: &Path, errors: &mut FieldErrors) {
    for (at, condition) in conditions.iter().enumerate() {
        let (kind, path) = (condition.str_at("type"), path.index(at));
        if conditions[..at].iter().any(|before| before.str_at("type") == kind) {
            errors.duplicate(&path.child("type"), kind);
        }
        one(condition, &path, errors);
    }
}

fn one(condition: &Value, path: &Path, errors: &mut FieldErrors) {
    qualified_name(condition.str_at("type"), &path.child("type"), errors);
    if !STATUSES.contains(&condition.str_at("status")) {
        not_supported(&path.child("status"), &condition.str_at("status").into(), STATUSES, errors);
    }
    if let Some(generation) = condition.i64_at("observedGeneration").filter(|generation| *generation < 0) {
        errors.invalid(&path.child("observedGeneration"), generation, "must be greater than or equal to zero");
    }
    if condition.str_at("lastTransitionTime").is_empty() {
        errors.required(&path.child("lastTransitionTime"), "must be set");
    }
    match condition.str_at("reason") {
        "" => errors.required(&path.child("reason"), "must be set"),
        reason => {
            each(&path.child("reason"), reason, names::is_condition_reason(reason), errors);
            if reason.len() > REASON_BYTES_MAX {
                errors.too_long(&path.child("reason"), REASON_BYTES_MAX);
            }
        }
    }
    if condition.str_at("message").len() > MESSAGE_BYTES_MAX {
        errors.too_long(&path.child("message"), MESSAGE_BYTES_MAX);
    }
}

#[cfg(test)]
mod tests {
    use schema::json;

    use super::*;

    #[test]
    fn a_condition_is_complete_and_its_type_stands_once() {
        let good = json!({"type": "Ready", "status": "True", "reason": "Fine", "lastTransitionTime": "2026-01-01T00:00:00Z"});
        let bare = json!({"type": "Ready", "status": "Maybe"});
        let mut errors = FieldErrors::default();
        conditions(&[good, bare], &Path::new("c"), &mut errors);
        let texts: Vec<String> = errors.0.iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            [
                r#"c[1].type: Duplicate value: "Ready""#,
                r#"c[1].status: Unsupported value: "Maybe": supported values: "False", "True", "Unknown""#,
                "c[1].lastTransitionTime: Required value: must be set",
                "c[1].reason: Required value: must be set",
            ]
        );
    }
}
