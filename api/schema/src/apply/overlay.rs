//! A configuration laid over a document without telling owners: how a MutatingAdmissionPolicy changes what it sees.
//!
//! It merges as server-side apply does, but may name nothing that is replaced as a whole: who means one field of it would lose the
//! others. Sentences are upstream's.

use super::path::{self, Step};
use super::shape::{Atom, Place};
use super::typed::{items, members};
use super::{merge, typed};
use crate::Value;
use crate::facts::ListType;

/// `live` with what `config` says; what `config` does not name stays.
pub fn overlay(place: Place<'_>, live: &Value, config: &Value) -> Result<Value, String> {
    typed::check(place, config, false).map_err(|why| format!("failed to convert patch object to typed object: {why}"))?;
    let mut found = Vec::new();
    whole_parts(place, config, &mut Vec::new(), &mut found);
    if !found.is_empty() {
        return Err(format!("invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: {}", found.join(", ")));
    }
    typed::check(place, live, true).map_err(|why| format!("failed to convert original object to typed object: {why}"))?;
    Ok(merge::merge(place, live, config))
}

/// The places in `value` that are replaced as a whole.
fn whole_parts(place: Place<'_>, value: &Value, path: &mut Vec<Step>, found: &mut Vec<String>) {
    match (place.atom(Some(value)), value) {
        (Atom::Map { of, atomic }, Value::Object(_)) => {
            found.extend(atomic.then(|| path::print(path)));
            for (name, member) in members(value) {
                let Some(inner) = of.member(name).filter(|_| of.has_field(name)) else { continue };
                below(Step::field(name), inner, member, path, found);
            }
        }
        (Atom::List { element, list_type, .. }, Value::Array(_)) => {
            found.extend((list_type == ListType::Atomic).then(|| path::print(path)));
            for (at, item) in items(value).iter().enumerate() {
                below(Step::Index(i64::try_from(at).unwrap_or(i64::MAX)), element, item, path, found);
            }
        }
        _ => {}
    }
}

fn below(step: Step, place: Place<'_>, value: &Value, path: &mut Vec<Step>, found: &mut Vec<String>) {
    path.push(step);
    whole_parts(place, value, path, found);
    path.pop();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Facts, json};

    fn deployment(live: &Value, config: &Value) -> Result<Value, String> {
        let ty = Facts::builtin().kind("apps/v1", "Deployment").unwrap();
        overlay(Place::Object(ty), live, config)
    }

    #[test]
    fn what_merges_is_merged_and_what_does_not_is_refused() {
        let live =
            json!({"metadata": {"labels": {"a": "1"}}, "spec": {"template": {"spec": {"containers": [{"name": "c", "image": "i"}]}}}});
        let side = json!({"name": "side", "image": "s"});
        let config = json!({"metadata": {"labels": {"b": "2"}}, "spec": {"replicas": 3, "template": {"spec": {"containers": [side]}}}});
        let made = deployment(&live, &config).unwrap();
        assert_eq!(made["metadata"]["labels"], json!({"a": "1", "b": "2"}));
        assert_eq!(made["spec"]["template"]["spec"]["containers"], json!([{"name": "c", "image": "i"}, side]));
        let whole = json!({"spec": {"selector": {"matchLabels": {"x": "y"}}}});
        assert_eq!(
            deployment(&live, &whole).unwrap_err(),
            "invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: .spec.selector"
        );
        let args = json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "args": ["x"]}]}}}});
        assert_eq!(
            deployment(&live, &args).unwrap_err(),
            "invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: .spec.template.spec.containers[0].args"
        );
        let unknown = json!({"spec": {"nope": 1}});
        assert_eq!(
            deployment(&live, &unknown).unwrap_err(),
            "failed to convert patch object to typed object: .spec.nope: field not declared in schema"
        );
    }
}
