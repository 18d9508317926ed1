//! StorageVersionMigration: rewrites stored objects in the newest version.

use schema::field::Reason;
use schema::{DocExt, FieldErrors, Path, Value};

use crate::cells::condition;
use crate::descriptor::WriteContext;
use crate::kind::{Kind, Meta, Question, Sub};
use crate::rules::{NEGATIVE, conditions, sub};

/// Rewrites stored objects in the newest version.
pub struct StorageVersionMigration;

impl Kind for StorageVersionMigration {
    const META: Meta = Meta {
        subresources: &[Sub::STATUS],
        generation: true,
        ..Meta::cluster("storagemigration.k8s.io", "StorageVersionMigration", "storageversionmigrations")
    };
    const NOTHING: &[Question] = &[Question::Columns, Question::Fields, Question::Defaults, Question::Warnings];

    fn validate(new: &Value, _old: Option<&Value>, errors: &mut FieldErrors) {
        if new.str_at("spec.resource.resource").is_empty() {
            errors.required(&Path::new("spec.resource.resource"), "resource is required");
        }
    }

    fn validate_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
        for member in ["group", "resource"] {
            let (now, before) = (sub(new, "spec.resource").str_at(member), sub(old, "spec.resource").str_at(member));
            if now != before {
                errors.invalid(&Path::new(member), now, "field is immutable");
            }
        }
    }

    fn validate_subresource(new: &Value, old: &Value, cx: &WriteContext<'_>, errors: &mut FieldErrors) {
        if cx.subresource != "status" {
            return;
        }
        let path = Path::new("status");
        revision(new.str_at("status.resourceVersion"), old.str_at("status.resourceVersion"), &path.child("resourceVersion"), errors);
        conditions(new.items_at("status.conditions"), &path.child("conditions"), errors);
        ends(new, old, &path.child("conditions"), errors);
    }
}

/// The revision up to which objects are rewritten is a number and set once.
fn revision(now: &str, before: &str, path: &Path, errors: &mut FieldErrors) {
    match now.parse::<i64>() {
        Ok(number) if number < 0 => errors.invalid(path, number, NEGATIVE),
        Err(_) if !now.is_empty() => {
            let why = format!("failed to parse resource version {now:?}: strconv.ParseInt: parsing {now:?}: invalid syntax");
            errors.invalid(path, now, &why);
        }
        _ => {}
    }
    if !before.is_empty() && now != before {
        errors.invalid(path, now, "resourceVersion cannot be updated");
    }
}

/// It ends once, one way, and does not run after that.
fn ends(new: &Value, old: &Value, path: &Path, errors: &mut FieldErrors) {
    let is = |doc: &Value, name: &str| condition(doc, name) == "True";
    let shown = sub(new, "status.conditions");
    let mut refuse = |text: &str| errors.add(path, Reason::Invalid, format!("Invalid value: {shown}: {text}"));
    if is(new, "Succeeded") && is(new, "Failed") {
        refuse("Both success and failed conditions cannot be true at the same time");
    }
    for (name, word) in [("Succeeded", "success"), ("Failed", "failed")] {
        if is(new, name) && is(new, "Running") {
            refuse(&format!("Running condition cannot be true when {word} condition is true"));
        }
    }
    for (name, word) in [("Succeeded", "Success"), ("Failed", "Failed")] {
        if is(old, name) && !is(new, name) {
            refuse(&format!("{word} condition cannot be set to false once it is true"));
        }
    }
}
