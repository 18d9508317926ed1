//! Paths and their operations, with the action, the kind and the parameters that clients look for.

mod words;

use kinds::{Descriptor, KindRef, Scope, Subresource, Verbs};
use schema::{Facts, Map, Value, json};

use self::words::Place;
use super::Version;
use super::schemas::{gvk, list_name, reference};

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";
const PATCHES: [&str; 4] = [
    "application/apply-patch+yaml",
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
];
const BODIES: [&str; 3] = ["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"];
const STREAMS: [&str; 2] = ["application/json;stream=watch", "application/vnd.kubernetes.protobuf;stream=watch"];

/// All paths of the rows.
pub(super) fn paths(rows: &[KindRef], version: Version) -> Map<String, Value> {
    let mut paths = Map::new();
    for row in rows {
        let maker = Maker { row, version };
        let base = match row.group.is_empty() {
            true => format!("/api/{}", row.version),
            false => format!("/apis/{}/{}", row.group, row.version),
        };
        let place = if row.scope == Scope::Namespaced { format!("{base}/namespaces/{{namespace}}") } else { base.clone() };
        let collection = format!("{place}/{}", row.resource);
        let mut insert = |path: String, operations: Map<String, Value>| maker.insert(&mut paths, path, operations);
        insert(collection.clone(), maker.collection());
        if row.scope == Scope::Namespaced && maker.has("list") {
            insert(format!("{base}/{}", row.resource), maker.everywhere());
        }
        insert(format!("{collection}/{{name}}"), maker.item());
        for sub in &row.subresources {
            insert(format!("{collection}/{{name}}/{}", sub.name), maker.subresource(sub));
        }
    }
    paths
}

struct Maker<'a> {
    row: &'a Descriptor,
    version: Version,
}

/// One operation's description.
struct Operation<'a> {
    action: &'a str,
    /// Definition of the answer, and of the body where it has one.
    answer: &'a str,
    body: Option<&'a str>,
    query: Vec<(&'a str, &'a str)>,
    kind: Value,
    place: Place<'a>,
    /// The codes of success, each with that answer.
    codes: &'a [(&'a str, &'a str)],
}

const OK: (&str, &str) = ("200", "OK");
const CREATED: (&str, &str) = ("201", "Created");
const ACCEPTED: (&str, &str) = ("202", "Accepted");

const LIST: [(&str, &str); 10] = [
    ("allowWatchBookmarks", "boolean"),
    ("continue", "string"),
    ("fieldSelector", "string"),
    ("labelSelector", "string"),
    ("limit", "integer"),
    ("resourceVersion", "string"),
    ("resourceVersionMatch", "string"),
    ("sendInitialEvents", "boolean"),
    ("timeoutSeconds", "integer"),
    ("watch", "boolean"),
];
const WRITE: [(&str, &str); 3] = [("dryRun", "string"), ("fieldManager", "string"), ("fieldValidation", "string")];
const PATCH: [(&str, &str); 4] = [("dryRun", "string"), ("fieldManager", "string"), ("fieldValidation", "string"), ("force", "boolean")];
const DELETE: [(&str, &str); 4] =
    [("dryRun", "string"), ("gracePeriodSeconds", "integer"), ("orphanDependents", "boolean"), ("propagationPolicy", "string")];

impl Maker<'_> {
    /// With the parameters that the path itself names.
    fn insert(&self, paths: &mut Map<String, Value>, path: String, mut operations: Map<String, Value>) {
        if operations.is_empty() {
            return;
        }
        let named = [("name", "name of the object"), ("namespace", "namespace of the object")];
        let of_path =
            named.into_iter().filter(|(name, _)| path.contains(&format!("{{{name}}}"))).map(|(name, what)| self.path_parameter(name, what));
        let pretty = self.parameter("pretty", "string");
        operations.insert("parameters".into(), of_path.chain([pretty]).collect());
        paths.insert(path, Value::Object(operations));
    }

    fn path_parameter(&self, name: &str, what: &str) -> Value {
        let mut parameter = json!({"name": name, "in": "path", "required": true, "description": what});
        match self.version {
            Version::V3 => parameter["schema"] = json!({"type": "string", "uniqueItems": true}),
            Version::V2 => {
                parameter["type"] = json!("string");
                parameter["uniqueItems"] = json!(true);
            }
        }
        parameter
    }

    fn has(&self, verb: &str) -> bool {
        match self.row.verbs {
            Verbs::All => true,
            Verbs::CreateOnly => verb == "create",
            Verbs::These(verbs) => verbs.contains(&verb),
        }
    }

    fn collection(&self) -> Map<String, Value> {
        let (own, list) = (self.own(), list_name(self.row));
        let (status, options) = (format!("{META}.Status"), format!("{META}.DeleteOptions"));
        let place = self.place("", self.row.scope == Scope::Namespaced);
        let mut operations = Map::new();
        if self.has("list") {
            operations.insert("get".into(), self.list(&list, place));
        }
        if self.has("create") {
            let codes = &[OK, CREATED, ACCEPTED];
            let (body, query, kind) = (Some(own.as_str()), WRITE.to_vec(), self.kind());
            operations.insert("post".into(), self.operation(Operation { action: "post", answer: &own, body, query, kind, place, codes }));
        }
        if self.has("deletecollection") {
            let of_list = LIST.into_iter().filter(|(name, _)| !matches!(*name, "allowWatchBookmarks" | "watch"));
            let mut query: Vec<_> = of_list.chain(DELETE).collect();
            query.sort_unstable();
            let (action, body, kind) = ("deletecollection", Some(options.as_str()), self.kind());
            let operation = Operation { action, answer: &status, body, query, kind, place, codes: &[OK] };
            operations.insert("delete".into(), self.operation(operation));
        }
        operations
    }

    fn list(&self, list: &str, place: Place<'_>) -> Value {
        let (query, kind) = (LIST.to_vec(), self.kind());
        self.operation(Operation { action: "list", answer: list, body: None, query, kind, place, codes: &[OK] })
    }

    fn everywhere(&self) -> Map<String, Value> {
        let place = Place { everywhere: true, ..self.place("", false) };
        [("get".to_owned(), self.list(&list_name(self.row), place))].into_iter().collect()
    }

    fn item(&self) -> Map<String, Value> {
        let verbs: Vec<&str> = ["get", "update", "patch", "delete"].into_iter().filter(|verb| self.has(verb)).collect();
        self.named(&verbs, "", &self.own(), self.kind())
    }

    fn subresource(&self, sub: &Subresource) -> Map<String, Value> {
        let Some((group, version, kind)) = &sub.kind else { return self.named(sub.verbs, &sub.name, &self.own(), self.kind()) };
        let api_version = if group.is_empty() { version.to_string() } else { format!("{group}/{version}") };
        match Facts::builtin().kind(&api_version, kind) {
            Some(ty) => self.named(sub.verbs, &sub.name, Facts::builtin().get(ty).name, gvk(group, version, kind)),
            None => Map::new(),
        }
    }

    fn named(&self, verbs: &[&str], sub: &str, own: &str, kind: Value) -> Map<String, Value> {
        let (options, status, patch) = (format!("{META}.DeleteOptions"), format!("{META}.Status"), format!("{META}.Patch"));
        let custom = self.row.custom.is_some();
        let version: Vec<_> = LIST.into_iter().filter(|(name, _)| custom && *name == "resourceVersion").collect();
        let patched: &[_] = if custom { &[OK] } else { &[OK, CREATED] };
        let one = |verb: &&str| {
            let (method, action, body, answer, query, codes): (_, _, _, _, _, &[_]) = match *verb {
                "get" => ("get", "get", None, own, version.clone(), &[OK]),
                "create" => ("post", "post", Some(own), own, WRITE.to_vec(), &[OK, CREATED, ACCEPTED]),
                "update" => ("put", "put", Some(own), own, WRITE.to_vec(), &[OK, CREATED]),
                "patch" => ("patch", "patch", Some(patch.as_str()), own, PATCH.to_vec(), patched),
                "delete" => ("delete", "delete", Some(options.as_str()), status.as_str(), DELETE.to_vec(), &[OK, ACCEPTED]),
                _ => return None,
            };
            let place = self.place(sub, self.row.scope == Scope::Namespaced);
            let operation = Operation { action, answer, body, query, kind: kind.clone(), place, codes };
            Some((method.to_owned(), self.operation(operation)))
        };
        verbs.iter().filter_map(one).collect()
    }

    fn place<'p>(&'p self, sub: &'p str, namespaced: bool) -> Place<'p> {
        let custom = self.row.custom.is_some();
        Place { group: &self.row.group, version: &self.row.version, kind: &self.row.kind, sub, namespaced, everywhere: false, custom }
    }

    fn own(&self) -> String {
        super::schemas::definition(self.row)
    }

    fn kind(&self) -> Value {
        gvk(&self.row.group, &self.row.version, &self.row.kind)
    }

    fn operation(&self, operation: Operation<'_>) -> Value {
        let Operation { action, place, .. } = &operation;
        let mut parameters: Vec<Value> = operation.query.iter().map(|(name, ty)| self.parameter(name, ty)).collect();
        let mut value = json!({
            "description": place.description(action), "operationId": place.operation_id(action), "tags": [place.tag()],
            "x-kubernetes-action": action, "x-kubernetes-group-version-kind": operation.kind,
        });
        let (sent, answered) = self.media(action);
        let answer = reference(operation.answer, self.version);
        let mut responses: Map<String, Value> = Map::from_iter([("401".to_owned(), json!({"description": "Unauthorized"}))]);
        for (code, word) in operation.codes {
            let response = match self.version {
                Version::V3 => json!({"description": word, "content": content(&answered, &answer)}),
                Version::V2 => json!({"description": word, "schema": answer}),
            };
            responses.insert((*code).to_owned(), response);
        }
        value["responses"] = Value::Object(responses);
        // What a delete says beside its name is nobody's duty.
        let required = !action.starts_with("delete");
        match (self.version, operation.body.map(|body| reference(body, self.version))) {
            (Version::V3, Some(body)) => {
                value["requestBody"] = json!({"content": content(&sent, &body)});
                if required {
                    value["requestBody"]["required"] = json!(true);
                }
            }
            (Version::V2, Some(body)) if required => {
                parameters.insert(0, json!({"name": "body", "in": "body", "required": true, "schema": body}));
            }
            (Version::V2, Some(body)) => parameters.insert(0, json!({"name": "body", "in": "body", "schema": body})),
            (_, None) => {}
        }
        if self.version == Version::V2 {
            value["consumes"] = json!(sent);
            value["produces"] = json!(answered);
            value["schemes"] = json!(["https"]);
        }
        if !parameters.is_empty() {
            value["parameters"] = json!(parameters);
        }
        value
    }

    /// What an action takes and what it answers. Custom kinds have neither a protobuf form nor merge keys.
    fn media(&self, action: &str) -> (Vec<&'static str>, Vec<&'static str>) {
        let custom = self.row.custom.is_some();
        let bodies = if custom { &BODIES[..2] } else { &BODIES[..] };
        let sent = match action {
            "patch" if custom => &PATCHES[..3],
            "patch" => &PATCHES,
            _ if self.version == Version::V2 && !custom => &["*/*"],
            _ => bodies,
        };
        let streams = if action == "list" && !custom { &STREAMS[..] } else { &[] };
        (sent.to_vec(), bodies.iter().chain(streams).copied().collect())
    }

    fn parameter(&self, name: &str, ty: &str) -> Value {
        match self.version {
            Version::V3 => json!({"name": name, "in": "query", "schema": {"type": ty, "uniqueItems": true}}),
            Version::V2 => json!({"name": name, "in": "query", "type": ty, "uniqueItems": true}),
        }
    }
}

fn content(types: &[&str], schema: &Value) -> Map<String, Value> {
    types.iter().map(|ty| ((*ty).to_owned(), json!({"schema": schema}))).collect()
}

#[cfg(test)]
#[expect(clippy::print_stderr, reason = "a test says why it skips")]
mod tests {
    use super::*;

    #[test]
    fn ids_and_tags_are_those_that_upstream_publishes() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/kubernetes-1.37/openapi-v2.json");
        let Ok(text) = std::fs::read(&folder) else {
            eprintln!("skipped: no published document at {}", folder.display());
            return;
        };
        let published: Value = serde_json::from_slice(&text).expect("a JSON document");
        let mut compared = 0;
        for (path, operations) in paths(kinds::all(), Version::V2) {
            for (method, ours) in operations.as_object().into_iter().flatten() {
                let Some(theirs) = published["paths"].get(&path).and_then(|item| item.get(method)).filter(|one| one.is_object()) else {
                    continue;
                };
                if theirs["x-kubernetes-action"] == "connect" {
                    continue; // connections are told as what their methods mean elsewhere
                }
                for member in ["operationId", "tags", "x-kubernetes-action", "schemes"] {
                    assert_eq!(ours.get(member), theirs.get(member), "{method} {path}");
                }
                compared += 1;
            }
        }
        assert!(compared > 600, "{compared} operations were found there");
    }
}
