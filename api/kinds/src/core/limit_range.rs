//! LimitRange: bounds and defaults for what one pod or claim of a namespace may ask.

use std::collections::BTreeSet;

use schema::{DocExt, FieldErrors, Path, Quantity, Value, names};

use crate::cells::NAME_AND_CREATED_AT;
use crate::kind::{Col, Kind, Meta, Question};
use crate::rules::{each, is_given};

/// Bounds and defaults for what one pod or claim of a namespace may ask.
pub struct LimitRange;

impl Kind for LimitRange {
    const META: Meta = Meta { short: &["limits"], ..Meta::namespaced("", "LimitRange", "limitranges") };
    const NOTHING: &[Question] = &[Question::Fields, Question::Updates, Question::Subresources, Question::Warnings];
    const COLUMNS: &[Col] = NAME_AND_CREATED_AT;

    fn validate(new: &Value, _old: Option<&Value>, errors: &mut FieldErrors) {
        let mut seen = Vec::new();
        for (index, item) in new.items_at("spec.limits").iter().enumerate() {
            let path = Path::new("spec.limits").index(index);
            let sort = item.str_at("type");
            each(&path.child("type"), sort, names::is_qualified_name(sort), errors);
            if seen.contains(&sort) {
                errors.duplicate(&path.child("type"), sort);
            }
            seen.push(sort);
            limits(item, sort, &path, errors);
        }
    }

    /// For containers: the default limit is the maximum, the default request the default limit, or the minimum.
    fn fill_defaults(doc: &mut Value) {
        for item in doc.items_at_mut("spec.limits").iter_mut().filter(|item| item.str_at("type") == "Container") {
            for (member, from) in [("default", "max"), ("defaultRequest", "default"), ("defaultRequest", "min")] {
                let mut amounts = item.map_at(member).cloned().unwrap_or_default();
                for (resource, amount) in item.map_at(from).cloned().unwrap_or_default() {
                    amounts.entry(resource).or_insert(amount);
                }
                if !amounts.is_empty() {
                    item.set_at(member, amounts);
                }
            }
        }
    }
}

/// The bounds of one sort of thing: minimum, default request, default, maximum, in this order.
fn limits(item: &Value, sort: &str, path: &Path, errors: &mut FieldErrors) {
    if sort == "Pod" {
        for member in ["default", "defaultRequest"].into_iter().filter(|member| is_given(item, member)) {
            errors.forbidden(&path.child(member), "may not be specified when `type` is 'Pod'");
        }
    }
    let has_storage = |member: &str| item.map_at(member).is_some_and(|amounts| amounts.contains_key("storage"));
    if sort == "PersistentVolumeClaim" && !has_storage("min") && !has_storage("max") {
        errors.required(&path.child("limits"), "either minimum or maximum storage value is required, but neither was provided");
    }
    const MEMBERS: [&str; 5] = ["min", "defaultRequest", "default", "max", "maxLimitRequestRatio"];
    let resources: BTreeSet<&String> =
        MEMBERS.iter().flat_map(|member| item.map_at(member).into_iter().flatten()).map(|(name, _)| name).collect();
    for resource in resources {
        in_order(item, resource, path, errors);
    }
}

fn in_order(item: &Value, resource: &str, path: &Path, errors: &mut FieldErrors) {
    let of = |member: &str| item.map_at(member).and_then(|amounts| Quantity::from_json(amounts.get(resource)?).ok());
    const RULES: [(&str, &str, &str, &str, &str); 5] = [
        ("min", "max", "min value", "max value", "min"),
        ("min", "defaultRequest", "min value", "default request value", "defaultRequest"),
        ("min", "default", "min value", "default value", "default"),
        ("defaultRequest", "max", "default request value", "max value", "defaultRequest"),
        ("default", "max", "default value", "max value", "default"),
    ];
    for (low, high, lower, upper, told) in RULES {
        if let (Some(less), Some(more)) = (of(low), of(high))
            && less > more
        {
            let shown = of(told).unwrap_or_default().to_string();
            errors.invalid(&path.child(told).key(resource), shown, &format!("{lower} {less} is greater than {upper} {more}"));
        }
    }
    if let (Some(request), Some(limit)) = (of("defaultRequest"), of("default"))
        && request > limit
    {
        let why = format!("default request value {request} is greater than default limit value {limit}");
        errors.invalid(&path.child("defaultRequest").key(resource), request.to_string(), &why);
    }
    if let Some(ratio) = of("maxLimitRequestRatio").filter(|ratio| ratio.nano < 1_000_000_000) {
        errors.invalid(&path.child("maxLimitRequestRatio").key(resource), ratio.to_string(), &format!("ratio {ratio} is less than 1"));
    }
}
