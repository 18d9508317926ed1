//! Which names a definition gets. Within a group nobody may take a name (plural, singular, short) or a kind that another
//! definition has been given; what is in conflict stays as it was accepted before.

use std::collections::HashSet;
use std::sync::Arc;

use client::Object;
use jiff::Timestamp;
use kinds::apiextensions::custom_resource_definition::set_condition;
use schema::{DocExt, Value, json};
use serde::Deserialize;

/// What is read of a definition.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Definition {
    spec: Spec,
    status: State,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Spec {
    group: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct State {
    accepted_names: Names,
    conditions: Option<Vec<Condition>>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Names {
    plural: String,
    singular: String,
    short_names: Vec<String>,
    kind: String,
    list_kind: String,
    categories: Vec<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Condition {
    r#type: String,
    status: String,
}

pub(super) fn group(definition: &Object) -> Vec<String> {
    definition.lens::<Definition>().map(|definition| vec![definition.spec.group.clone()]).unwrap_or_default()
}

pub(super) fn is_accepted(definition: &Object) -> bool {
    let accepted = |condition: &Condition| condition.r#type == "NamesAccepted" && condition.status == "True";
    definition.lens::<Definition>().is_ok_and(|definition| definition.status.conditions.iter().flatten().any(accepted))
}

/// Sets accepted names and conditions of a definition beside the others of its group. Returns whether anything changed.
pub(super) fn judge(doc: &mut Value, others: &[Arc<Object>], now: Timestamp) -> bool {
    let (mut resources, mut kinds) = (HashSet::new(), HashSet::new());
    let others: Vec<_> = others.iter().filter_map(|other| other.lens::<Definition>().ok()).collect();
    for names in others.iter().map(|other| &other.status.accepted_names) {
        resources.extend([names.plural.as_str(), names.singular.as_str()]);
        resources.extend(names.short_names.iter().map(String::as_str));
        kinds.extend([names.kind.as_str(), names.list_kind.as_str()]);
    }
    let asked = names_at(doc, "spec.names");
    let mut accepted = names_at(doc, "status.acceptedNames");
    let before = accepted.clone();
    let conflict = accept(&asked, &mut accepted, &resources, &kinds);
    let mut changed = accepted != before;
    if changed {
        doc.set_at("status.acceptedNames", to_value(&accepted));
    }
    changed |= match &conflict {
        None => set_condition(doc, "NamesAccepted", true, "NoConflicts", "no conflicts found", now),
        Some((reason, message)) => set_condition(doc, "NamesAccepted", false, reason, message, now),
    };
    let established = kinds::custom::is_established(doc);
    if !established {
        changed |= match conflict {
            None => set_condition(doc, "Established", true, "InitialNamesAccepted", "the initial names have been accepted", now),
            Some(_) => set_condition(doc, "Established", false, "NotAccepted", "not all names are accepted", now),
        };
    }
    changed | judge_approval(doc, now)
}

/// Takes every name that is free or held already. Returns the last conflict: its reason and message.
fn accept(asked: &Names, accepted: &mut Names, resources: &HashSet<&str>, kinds: &HashSet<&str>) -> Option<(&'static str, String)> {
    let mut conflict = None;
    let mut take = |asked: &String, held: &mut String, used: &HashSet<&str>, reason: &'static str| {
        if asked == held || !used.contains(asked.as_str()) {
            held.clone_from(asked);
        } else {
            conflict = Some((reason, format!("{asked:?} is already in use")));
        }
    };
    take(&asked.plural, &mut accepted.plural, resources, "PluralConflict");
    take(&asked.singular, &mut accepted.singular, resources, "SingularConflict");
    let clashes: Vec<String> = asked
        .short_names
        .iter()
        .filter(|name| !accepted.short_names.contains(name) && resources.contains(name.as_str()))
        .map(|name| format!("{name:?} is already in use"))
        .collect();
    let mut short = None;
    match clashes.as_slice() {
        [] => accepted.short_names.clone_from(&asked.short_names),
        [one] => short = Some(one.clone()),
        many => short = Some(format!("[{}]", many.join(", "))),
    }
    accepted.categories.clone_from(&asked.categories);
    take(&asked.kind, &mut accepted.kind, kinds, "KindConflict");
    take(&asked.list_kind, &mut accepted.list_kind, kinds, "ListKindConflict");
    conflict.or(short.map(|message| ("ShortNamesConflict", message)))
}

fn names_at(doc: &Value, path: &str) -> Names {
    doc.at(path).and_then(|names| serde_json::from_value(names.clone()).ok()).unwrap_or_default()
}

fn to_value(names: &Names) -> Value {
    let mut value = json!({"plural": names.plural, "kind": names.kind});
    for (name, text) in [("singular", &names.singular), ("listKind", &names.list_kind)] {
        if !text.is_empty() {
            value[name] = json!(text);
        }
    }
    for (name, texts) in [("shortNames", &names.short_names), ("categories", &names.categories)] {
        if !texts.is_empty() {
            value[name] = json!(texts);
        }
    }
    value
}

/// Of the project's own groups: who approved them.
fn judge_approval(doc: &mut Value, now: Timestamp) -> bool {
    let group = doc.str_at("spec.group");
    if !["k8s.io", "kubernetes.io"].iter().any(|domain| group == *domain || group.ends_with(&format!(".{domain}"))) {
        return false;
    }
    const CONDITION: &str = "KubernetesAPIApprovalPolicyConformant";
    let annotations = doc.map_at("metadata.annotations");
    let given = annotations.and_then(|all| all.get("api-approved.kubernetes.io")).and_then(Value::as_str).unwrap_or_default().to_owned();
    match given.as_str() {
        url if url.starts_with("http") => set_condition(doc, CONDITION, true, "ApprovedAnnotation", &format!("approved in {url}"), now),
        other => set_condition(doc, CONDITION, false, "UnapprovedAnnotation", &format!("not approved: {other:?}"), now),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition(names: Value) -> Value {
        json!({"metadata": {"name": "x"}, "spec": {"group": "example.com", "names": names}, "status": {"conditions": null, "acceptedNames": {"plural": "", "kind": ""}}})
    }

    #[test]
    fn free_names_are_accepted_and_taken_ones_are_told() {
        let now = Timestamp::UNIX_EPOCH;
        let names = json!({"plural": "firsts", "singular": "first", "kind": "First", "listKind": "FirstList", "shortNames": ["f"]});
        let mut first = definition(names.clone());
        assert!(judge(&mut first, &[], now));
        assert!(kinds::custom::is_established(&first));
        assert_eq!(first["status"]["acceptedNames"], names);
        assert!(!judge(&mut first, &[], now), "nothing changes twice");

        let first = Object::from_value(&first).unwrap();
        let mut second = definition(json!({"plural": "seconds", "singular": "first", "kind": "First", "listKind": "FirstList"}));
        assert!(judge(&mut second, std::slice::from_ref(&first), now));
        assert_eq!(second["status"]["acceptedNames"], json!({"plural": "seconds", "kind": ""}));
        assert_eq!(second["status"]["conditions"][0]["reason"], "ListKindConflict");
        assert_eq!(second["status"]["conditions"][0]["message"], "\"FirstList\" is already in use");
        assert!(!kinds::custom::is_established(&second));
        assert!(judge(&mut second, &[], now) && kinds::custom::is_established(&second), "the names are free again");
    }
}
