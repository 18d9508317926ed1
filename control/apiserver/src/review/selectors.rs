//! Selectors in access reviews: `fieldSelector` and `labelSelector` of the resource attributes, as requirements or as a text.
//!
//! A selector only narrows what is asked for: what cannot be read of it is left out and told of, and the broader question is answered.

use schema::selector::LabelSelector;
use schema::{DocExt, FieldErrors, FieldSelector, Path, Value};

/// Both selectors as texts.
#[derive(Default)]
pub(super) struct Selectors {
    pub fields: String,
    pub labels: String,
    pub faults: Vec<&'static str>,
}

/// Those of a review that [`check`] found nothing wrong with.
pub(super) fn of(doc: &Value) -> Selectors {
    let mut selectors = Selectors::default();
    let asked = |name: &str| doc.at("spec.resourceAttributes").and_then(|attributes| attributes.get(name)).filter(|one| one.is_object());
    if let Some(fields) = asked("fieldSelector") {
        let (text, whole) = fields_text(fields);
        selectors.fields = text;
        let ignored = if selectors.fields.is_empty() { "ignored" } else { "partially ignored" };
        if !whole {
            selectors.faults.push(match ignored {
                "ignored" => "spec.resourceAttributes.fieldSelector ignored due to parse error",
                _ => "spec.resourceAttributes.fieldSelector partially ignored due to parse error",
            });
        }
    }
    if let Some(labels) = asked("labelSelector") {
        let (text, whole) = labels_text(labels);
        selectors.labels = text;
        if !whole {
            selectors.faults.push(match selectors.labels.is_empty() {
                true => "spec.resourceAttributes.labelSelector ignored due to parse error",
                false => "spec.resourceAttributes.labelSelector partially ignored due to parse error",
            });
        }
    }
    selectors
}

/// The selector's text, and whether all of it could be read.
fn fields_text(selector: &Value) -> (String, bool) {
    let raw = selector.str_at("rawSelector");
    if !raw.is_empty() {
        return match FieldSelector::parse(raw) {
            Ok(_) => (raw.to_owned(), true),
            Err(_) => (String::new(), false),
        };
    }
    let requirements = selector.items_at("requirements");
    let one = |requirement: &Value| match (requirement.str_at("operator"), requirement.items_at("values")) {
        ("In", [value]) => Some(format!("{}={}", requirement.str_at("key"), value.as_str()?)),
        ("NotIn", [value]) => Some(format!("{}!={}", requirement.str_at("key"), value.as_str()?)),
        _ => None,
    };
    let texts: Vec<String> = requirements.iter().filter_map(one).collect();
    let whole = texts.len() == requirements.len();
    (texts.join(","), whole)
}

fn labels_text(selector: &Value) -> (String, bool) {
    let raw = selector.str_at("rawSelector");
    if !raw.is_empty() {
        return match LabelSelector::parse(raw) {
            Ok(_) => (raw.to_owned(), true),
            Err(_) => (String::new(), false),
        };
    }
    let requirements = selector.items_at("requirements");
    let one = |requirement: &Value| {
        let (key, values) =
            (requirement.str_at("key"), requirement.items_at("values").iter().filter_map(Value::as_str).collect::<Vec<_>>());
        let text = match requirement.str_at("operator") {
            "In" => format!("{key} in ({})", values.join(",")),
            "NotIn" => format!("{key} notin ({})", values.join(",")),
            "Exists" => key.to_owned(),
            "DoesNotExist" => format!("!{key}"),
            _ => return None,
        };
        LabelSelector::parse(&text).is_ok().then_some(text)
    };
    let texts: Vec<String> = requirements.iter().filter_map(one).collect();
    let whole = texts.len() == requirements.len();
    (texts.join(","), whole)
}

/// What is wrong with the form of the selectors.
pub(super) fn check(doc: &Value, errors: &mut FieldErrors) {
    let root = Path::new("spec").child("resourceAttributes");
    for name in ["fieldSelector", "labelSelector"] {
        let selector = doc.at("spec.resourceAttributes").and_then(|attributes| attributes.get(name)).filter(|one| one.is_object());
        if let Some(selector) = selector {
            check_one(selector, &root.child(name), errors);
        }
    }
}

fn check_one(selector: &Value, path: &Path, errors: &mut FieldErrors) {
    let (raw, requirements) = (selector.str_at("rawSelector"), selector.items_at("requirements"));
    match (raw.is_empty(), requirements.is_empty()) {
        (false, false) => errors.invalid(&path.child("rawSelector"), raw, "may not specified at the same time as requirements"),
        (true, true) => {
            errors.required(&path.child("requirements"), &format!("when {path} is specified, requirements or rawSelector is required"));
        }
        _ => {}
    }
    for (index, requirement) in requirements.iter().enumerate() {
        let at = path.child("requirements").index(index);
        if requirement.str_at("key").is_empty() {
            errors.required(&at.child("key"), "must be specified");
        }
        let empty = requirement.items_at("values").is_empty();
        match requirement.str_at("operator") {
            "In" | "NotIn" if empty => errors.required(&at.child("values"), "must be specified when `operator` is 'In' or 'NotIn'"),
            "Exists" | "DoesNotExist" if !empty => {
                errors.forbidden(&at.child("values"), "may not be specified when `operator` is 'Exists' or 'DoesNotExist'");
            }
            "" => errors.required(&at.child("operator"), "must be specified"),
            _ => {}
        }
    }
}
