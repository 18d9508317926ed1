//! Parameters of the v2 document that many operations have: they stand in it once, under their name and a hash of what they say.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use schema::{Map, Value, json};

/// Parameters that upstream repeats at every operation.
const REPEATED: [&str; 3] = ["name", "dryRun", "fieldValidation"];

/// Takes the shared parameters out of `paths` and leaves references to them.
pub(super) fn parameters(paths: &mut Map<String, Value>) -> Map<String, Value> {
    let mut shared = Map::new();
    for path in paths.values_mut() {
        for (member, value) in path.as_object_mut().into_iter().flatten() {
            let list = if member == "parameters" { Some(value) } else { value.get_mut("parameters") };
            for parameter in list.and_then(Value::as_array_mut).into_iter().flatten() {
                share(parameter, &mut shared);
            }
        }
    }
    shared
}

fn share(parameter: &mut Value, shared: &mut Map<String, Value>) {
    let name = parameter["name"].as_str().unwrap_or_default();
    let own_body = parameter["in"] == "body" && !is_common_body(parameter);
    if own_body || REPEATED.contains(&name) {
        return;
    }
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, parameter.to_string().as_bytes());
    let key = format!("{name}-{}", URL_SAFE_NO_PAD.encode(&digest.as_ref()[..6]));
    let reference = json!({"$ref": format!("#/parameters/{key}")});
    shared.insert(key, std::mem::replace(parameter, reference));
}

/// Bodies that are no object of a kind.
fn is_common_body(parameter: &Value) -> bool {
    let schema = parameter["schema"]["$ref"].as_str().unwrap_or_default();
    schema.ends_with(".DeleteOptions") || schema.ends_with(".Patch")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_many_say_is_said_once() {
        let query = |name: &str| json!({"name": name, "in": "query", "type": "string"});
        let body = |of: &str| json!({"name": "body", "in": "body", "schema": {"$ref": of}});
        let operation =
            json!({"parameters": [query("limit"), query("dryRun"), body("#/definitions/a.Pod"), body("#/definitions/a.Patch")]});
        let mut paths = json!({"/a": {"get": operation, "parameters": [query("pretty")]}, "/b": {"get": operation}});
        let paths = paths.as_object_mut().expect("an object");
        let shared = parameters(paths);
        let names: Vec<&str> = shared.keys().map(|key| key.split_once('-').expect("a hash").0).collect();
        assert_eq!(names, ["body", "limit", "pretty"]);
        let of_b = paths["/b"]["get"]["parameters"].as_array().expect("a list");
        let referred = of_b.iter().filter_map(|one| one["$ref"].as_str()?.strip_prefix("#/parameters/"));
        assert_eq!(referred.map(|key| &shared[key]["name"]).collect::<Vec<_>>(), ["limit", "body"]);
        assert_eq!((&of_b[1], &of_b[2]), (&query("dryRun"), &body("#/definitions/a.Pod")));
    }
}
