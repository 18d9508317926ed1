//! Paths and their operations, with the action, the kind and the parameters that clients look for.

use kinds::{Descriptor, KindRef, Scope, Subresource, Verbs};
use schema::{Facts, Map, Value, json};

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
    patch: bool,
    query: &'a [(&'a str, &'a str)],
    kind: Value,
    code: &'a str,
}

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
        let status = format!("{META}.Status");
        let options = format!("{META}.DeleteOptions");
        let mut operations = Map::new();
        if self.has("list") {
            operations.insert(
                "get".into(),
                self.operation(Operation {
                    action: "list",
                    answer: &list,
                    body: None,
                    patch: false,
                    query: &LIST,
                    kind: self.kind(),
                    code: "200",
                }),
            );
        }
        if self.has("create") {
            operations.insert(
                "post".into(),
                self.operation(Operation {
                    action: "post",
                    answer: &own,
                    body: Some(&own),
                    patch: false,
                    query: &WRITE,
                    kind: self.kind(),
                    code: "201",
                }),
            );
        }
        if self.has("deletecollection") {
            let operation = Operation {
                action: "deletecollection",
                answer: &status,
                body: Some(&options),
                patch: false,
                query: &DELETE,
                kind: self.kind(),
                code: "200",
            };
            operations.insert("delete".into(), self.operation(operation));
        }
        operations
    }

    fn everywhere(&self) -> Map<String, Value> {
        let list = list_name(self.row);
        let operation = Operation { action: "list", answer: &list, body: None, patch: false, query: &LIST, kind: self.kind(), code: "200" };
        [("get".to_owned(), self.operation(operation))].into_iter().collect()
    }

    fn item(&self) -> Map<String, Value> {
        let verbs: Vec<&str> = ["get", "update", "patch", "delete"].into_iter().filter(|verb| self.has(verb)).collect();
        self.named(&verbs, &self.own(), self.kind())
    }

    fn subresource(&self, sub: &Subresource) -> Map<String, Value> {
        let Some((group, version, kind)) = &sub.kind else { return self.named(sub.verbs, &self.own(), self.kind()) };
        let api_version = if group.is_empty() { version.to_string() } else { format!("{group}/{version}") };
        match Facts::builtin().kind(&api_version, kind) {
            Some(ty) => self.named(sub.verbs, Facts::builtin().get(ty).name, gvk(group, version, kind)),
            None => Map::new(),
        }
    }

    fn named(&self, verbs: &[&str], own: &str, kind: Value) -> Map<String, Value> {
        let options = format!("{META}.DeleteOptions");
        let status = format!("{META}.Status");
        let patch = format!("{META}.Patch");
        let plain = |action: &'static str, query: &'static [(&'static str, &'static str)]| (action, query);
        let one = |verb: &&str| {
            let (method, (action, query), body, answer, is_patch, code) = match *verb {
                "get" => ("get", plain("get", &[]), None, own, false, "200"),
                "create" => ("post", plain("post", &WRITE), Some(own), own, false, "201"),
                "update" => ("put", plain("put", &WRITE), Some(own), own, false, "200"),
                "patch" => ("patch", plain("patch", &PATCH), Some(patch.as_str()), own, true, "200"),
                "delete" => ("delete", plain("delete", &DELETE), Some(options.as_str()), status.as_str(), false, "200"),
                _ => return None,
            };
            let operation = Operation { action, answer, body, patch: is_patch, query, kind: kind.clone(), code };
            Some((method.to_owned(), self.operation(operation)))
        };
        verbs.iter().filter_map(one).collect()
    }

    fn own(&self) -> String {
        super::schemas::definition(self.row)
    }

    fn kind(&self) -> Value {
        gvk(&self.row.group, &self.row.version, &self.row.kind)
    }

    fn operation(&self, operation: Operation<'_>) -> Value {
        let mut parameters: Vec<Value> = operation.query.iter().map(|(name, ty)| self.parameter(name, ty)).collect();
        let answer = reference(operation.answer, self.version);
        let mut value = json!({"x-kubernetes-action": operation.action, "x-kubernetes-group-version-kind": operation.kind});
        // Custom kinds have neither a protobuf form nor merge keys.
        let custom = self.row.custom.is_some();
        let bodies: &[&str] = if custom { &BODIES[..2] } else { &BODIES };
        let types: &[&str] = match operation.patch {
            true if custom => &PATCHES[..3],
            true => &PATCHES,
            false => bodies,
        };
        match self.version {
            Version::V3 => {
                if let Some(body) = operation.body {
                    value["requestBody"] = json!({"required": true, "content": content(types, &reference(body, self.version))});
                }
                value["responses"] = json!({operation.code: {"description": "OK", "content": content(bodies, &answer)}, "401": {"description": "Unauthorized"}});
            }
            Version::V2 => {
                if let Some(body) = operation.body {
                    parameters.push(json!({"name": "body", "in": "body", "required": true, "schema": reference(body, self.version)}));
                    value["consumes"] = json!(types);
                }
                value["produces"] = json!(bodies);
                value["responses"] =
                    json!({operation.code: {"description": "OK", "schema": answer}, "401": {"description": "Unauthorized"}});
            }
        }
        if !parameters.is_empty() {
            value["parameters"] = json!(parameters);
        }
        value
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
