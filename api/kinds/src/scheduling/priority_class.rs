//! PriorityClass: a named pod priority.

use schema::{DocExt, FieldErrors, Path, Value};

use crate::cells::{AGE, NAME};
use crate::core::pod::defaults::default_text;
use crate::kind::{Col, Kind, Meta, Question};
use crate::rules::one_of;

/// A named pod priority.
pub struct PriorityClass;

impl Kind for PriorityClass {
    const META: Meta = Meta { short: &["pc"], generation: true, ..Meta::cluster("scheduling.k8s.io", "PriorityClass", "priorityclasses") };
    const NOTHING: &[Question] = &[Question::Fields, Question::Subresources, Question::Warnings];
    const COLUMNS: &[Col] = &[
        NAME,
        Col::path("Value", "value").ty("integer"),
        Col::path("Global-Default", "globalDefault").ty("boolean"),
        AGE,
        Col::path("PreemptionPolicy", "preemptionPolicy"),
    ];

    fn validate(new: &Value, _old: Option<&Value>, errors: &mut FieldErrors) {
        let (name, value) = (new.str_at("metadata.name"), new.i64_at("value").unwrap_or_default());
        if let Some(why) = name.strip_prefix("system-").and_then(|_| not_of_the_system(name, value)) {
            let why = format!("priority class names with 'system-' prefix are reserved for system use only. error: {why}");
            errors.forbidden(&Path::new("metadata.name"), &why);
        } else if !name.starts_with("system-") && value > USER_MAX {
            let why = format!("maximum allowed value of a user defined priority is {USER_MAX}");
            errors.forbidden(&Path::new("value"), &why);
        }
        one_of(new, "preemptionPolicy", &["PreemptLowerPriority", "Never"], &Path::root(), errors);
    }

    fn validate_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
        if new.i64_at("value") != old.i64_at("value") {
            errors.forbidden(&Path::new("Value"), "may not be changed in an update.");
        }
        if new.str_at("preemptionPolicy") != old.str_at("preemptionPolicy") {
            errors.invalid(&Path::new("preemptionPolicy"), new.str_at("preemptionPolicy"), "field is immutable");
        }
    }

    fn bumps_generation(_new: &Value, _old: &Value) -> bool {
        false
    }

    fn fill_defaults(doc: &mut Value) {
        default_text(doc, "preemptionPolicy", "PreemptLowerPriority");
    }
}

/// Above this the system's own begin.
const USER_MAX: i64 = 1_000_000_000;
const OF_THE_SYSTEM: &[(&str, i64)] = &[("system-node-critical", 2_000_001_000), ("system-cluster-critical", 2_000_000_000)];

fn not_of_the_system(name: &str, value: i64) -> Option<String> {
    match OF_THE_SYSTEM.iter().find(|(known, _)| *known == name) {
        None => Some(format!("{name} is not a known system priority class")),
        Some((_, right)) if *right != value => Some(format!("value of {name} PriorityClass must be {right}")),
        Some(_) => None,
    }
}
