//! The parts of OpenAPI that other API servers say of their groups.

use std::collections::HashMap;
use std::sync::Arc;

use schema::{DocExt, Map, Value};

use crate::aggregation::Told;
use crate::http::Face;

/// What another server said of one group and version.
pub(super) struct Other {
    /// `apis/metrics.example.com/v1`
    pub name: String,
    pub told: Arc<Told>,
}

/// Of every group and version that another server answers for, in the order of their names.
pub(super) fn of(face: &Face) -> Vec<Other> {
    let routes = face.aggregation.routes(&face.core);
    let documents = face.aggregation.documents();
    let told = routes.remotes.values().filter_map(|remote| {
        let told = documents.of(&remote.group, &remote.version)?;
        Some(Other { name: remote.path().trim_start_matches('/').to_owned(), told })
    });
    let mut others: Vec<Other> = told.collect();
    others.sort_by(|a, b| a.name.cmp(&b.name));
    others
}

impl Other {
    /// Its paths in place of ours; its definitions under names of their own where ours are others.
    pub(super) fn add_to(&self, whole: &mut Value) {
        let root = format!("/{}", self.name);
        let is_own = |path: &str| path == root || path.strip_prefix(&root).is_some_and(|rest| rest.starts_with('/'));
        if let Some(paths) = whole["paths"].as_object_mut() {
            paths.retain(|path, _| !is_own(path));
        }
        let Some(part) = &self.told.openapi_v2 else { return };
        let (mut renamed, mut definitions) = (HashMap::new(), Map::new());
        for (name, definition) in part.map_at("definitions").into_iter().flatten() {
            match whole["definitions"].get(name) {
                Some(held) if held == definition => {}
                Some(_) => drop(renamed.insert(name.as_str(), free_name(name, whole))),
                None => drop(definitions.insert(name.clone(), definition.clone())),
            }
        }
        let taken = part
            .map_at("definitions")
            .into_iter()
            .flatten()
            .filter_map(|(name, one)| Some((renamed.get(name.as_str())?.clone(), one.clone())));
        definitions.extend(taken);
        definitions.values_mut().for_each(|one| point(one, &renamed));
        let mut paths = part.map_at("paths").cloned().unwrap_or_default();
        paths.values_mut().for_each(|one| point(one, &renamed));
        for (member, more) in [("definitions", definitions), ("paths", paths)] {
            if let Some(held) = whole[member].as_object_mut() {
                held.extend(more);
            }
        }
    }
}

/// `Name_v2`, or the next that nobody has.
fn free_name(name: &str, whole: &Value) -> String {
    let names = (2..).map(|n: u32| format!("{name}_v{n}"));
    names.into_iter().find(|name| whole["definitions"].get(name).is_none()).expect("there are more numbers than names")
}

/// Leads references to renamed definitions to their new names.
fn point(value: &mut Value, renamed: &HashMap<&str, String>) {
    match value {
        Value::Object(members) => {
            if let Some(Value::String(reference)) = members.get_mut("$ref") {
                let new = reference.strip_prefix("#/definitions/").and_then(|name| renamed.get(name));
                if let Some(new) = new.map(|new| format!("#/definitions/{new}")) {
                    *reference = new;
                }
            }
            members.values_mut().for_each(|member| point(member, renamed));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| point(item, renamed)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use schema::json;

    use super::*;

    #[test]
    fn another_servers_part_takes_its_place_and_overwrites_nothing_else() {
        let reference = |name: &str| json!({"$ref": format!("#/definitions/{name}")});
        let part = json!({"paths": {"/apis/g/v1/x": reference("Same"), "/apis/g/v1/y": reference("Other")},
            "definitions": {"Same": {"type": "object"}, "Other": {"self": reference("Other")}, "Fresh": reference("Other")}});
        let told = Told { openapi_v2: Some(Arc::new(part)), ..Told::default() };
        let other = Other { name: "apis/g/v1".into(), told: Arc::new(told) };
        let mut whole =
            json!({"paths": {"/apis/g/v1/old": {}, "/apis/g/v10/z": {}}, "definitions": {"Same": {"type": "object"}, "Other": {}}});
        other.add_to(&mut whole);
        let want = json!({"paths": {"/apis/g/v10/z": {}, "/apis/g/v1/x": reference("Same"), "/apis/g/v1/y": reference("Other_v2")},
            "definitions": {"Same": {"type": "object"}, "Other": {}, "Fresh": reference("Other_v2"), "Other_v2": {"self": reference("Other_v2")}}});
        assert_eq!(whole, want);
    }
}
