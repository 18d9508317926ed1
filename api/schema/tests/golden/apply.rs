//! The vectors of server-side apply: a document written step by step by several managers.

use std::sync::LazyLock;

use schema::apply::path::Step;
use schema::apply::scale::Replicas;
use schema::apply::view;
use schema::apply::{ApplyError, Custom, FieldSet, Kind, Place, Write};
use schema::{DocExt, Facts, TypeId, Value, json, patch};

use super::{Case, same, type_of};

/// Documents as they are.
pub fn untyped(case: &Case<'_>) -> Result<(), String> {
    World::of(case.line, false)?.replay(case.line)
}

/// Documents as Go types hold them: what is empty is not there.
pub fn typed(case: &Case<'_>) -> Result<(), String> {
    World::of(case.line, true)?.replay(case.line)
}

/// The server of one line.
struct World {
    api_version: String,
    kind: String,
    shape: Shape,
    go: bool,
    live: Value,
}

enum Shape {
    BuiltIn(TypeId),
    Widget,
}

impl Kind for World {
    fn shape(&self, api_version: &str) -> Option<Place<'_>> {
        match self.shape {
            Shape::BuiltIn(ty) => (api_version == self.api_version).then_some(Place::Object(ty)),
            Shape::Widget => ["x.io/v1", "x.io/v1beta1"].contains(&api_version).then_some(Place::Custom(&WIDGET)),
        }
    }

    fn convert(&self, doc: &Value, api_version: &str) -> Option<Value> {
        self.shape(api_version)?;
        let mut doc = doc.clone();
        doc["apiVersion"] = json!(api_version);
        Some(doc)
    }

    fn empty(&self, api_version: &str) -> Value {
        self.held(json!({"apiVersion": api_version, "kind": self.kind}))
    }

    fn prints_structs(&self) -> bool {
        self.go
    }
}

struct ScaleKind;

impl Kind for ScaleKind {
    fn shape(&self, api_version: &str) -> Option<Place<'_>> {
        Facts::builtin().kind(api_version, "Scale").map(Place::Object)
    }

    fn convert(&self, doc: &Value, _: &str) -> Option<Value> {
        Some(doc.clone())
    }

    fn empty(&self, api_version: &str) -> Value {
        json!({"apiVersion": api_version, "kind": "Scale"})
    }
}

impl World {
    fn of(line: &Value, go: bool) -> Result<Self, String> {
        let (api_version, kind) = line.str_at("gvk").rsplit_once('/').ok_or("no gvk")?;
        let shape = if kind == "Widget" { Shape::Widget } else { Shape::BuiltIn(type_of(line)?) };
        let live = json!({"apiVersion": api_version, "kind": kind});
        let world = Self { api_version: api_version.into(), kind: kind.into(), shape, go, live: Value::Null };
        Ok(Self { live: world.held(live), ..world })
    }

    /// A document as this world holds it.
    fn held(&self, doc: Value) -> Value {
        let Shape::BuiltIn(ty) = self.shape else { return doc };
        if !self.go {
            return doc;
        }
        let entries = doc.at("metadata.managedFields").cloned();
        let mut held = view::as_go(ty, &doc);
        if let Some(entries) = entries {
            held.set_at("metadata.managedFields", entries);
        }
        held
    }

    fn replay(&mut self, line: &Value) -> Result<(), String> {
        for (at, step) in line.items_at("steps").iter().enumerate() {
            let now = format!("2020-01-01T00:{:02}:00Z", at + 1);
            let outcome = self.step(step, &now);
            self.judge(step, outcome).map_err(|why| format!("step {}: {why}", at + 1))?;
        }
        Ok(())
    }

    fn judge(&mut self, step: &Value, outcome: Result<Value, ApplyError>) -> Result<(), String> {
        match (outcome, step.get("error").and_then(Value::as_str)) {
            (Ok(mut doc), None) => {
                doc.set_at("metadata.uid", "00000000-0000-0000-0000-000000000001");
                let doc = self.held(doc);
                self.live = doc.clone();
                let mut shown = doc;
                let entries = shown.remove_at("metadata.managedFields").unwrap_or_default();
                same("managedFields", entries.to_string(), step["want"]["managedFields"].to_string())?;
                same("object", shown.to_string(), self.held(step["want"]["object"].clone()).to_string())
            }
            (Err(error), Some(want)) => {
                same("error", error.to_string(), want.to_owned())?;
                let ApplyError::Conflict(conflicts) = error else { return Ok(()) };
                let status = serde_json::to_value(conflicts.to_status()).map_err(|error| error.to_string())?;
                let mut causes = status.items_at("details.causes").to_vec();
                let mut wanted = step.items_at("causes").to_vec();
                causes.sort_by_key(Value::to_string);
                wanted.sort_by_key(Value::to_string);
                same("causes", causes, wanted)
            }
            (Ok(doc), Some(want)) => Err(format!("got {doc}, want the error {want:?}")),
            (Err(error), None) => Err(format!("got the error {error}")),
        }
    }

    fn step(&self, step: &Value, now: &str) -> Result<Value, ApplyError> {
        let version = match step.str_at("version") {
            "" => self.api_version.clone(),
            version => format!("x.io/{version}"),
        };
        let subresource = step.str_at("subresource");
        if subresource == "scale" {
            return self.scaled(step, now);
        }
        let ignored = self.ignored(subresource);
        let write = Write {
            kind: self,
            api_version: &version,
            name: &self.kind,
            manager: step.str_at("manager"),
            subresource,
            ignored: &ignored,
            now,
        };
        let live = self.convert(&self.live, &version).expect("a version of the vectors");
        match step.str_at("op") {
            "load" => Ok(step["object"].clone()),
            "update" => write.update(&live, self.held(self.kept(&live, step["object"].clone(), subresource))),
            "merge-patch" => write.update(&live, self.held(self.kept(&live, patch::merge(&live, &step["patch"]), subresource))),
            "apply" => {
                let applied = write.apply(&live, &step["object"], step.bool_at("force"))?;
                Ok(self.kept(&live, applied, subresource))
            }
            op => panic!("no engine for {op:?}"),
        }
    }

    fn ignored(&self, subresource: &str) -> FieldSet {
        match (subresource, self.kind.as_str()) {
            ("status", "Deployment") => FieldSet::of_fields(&[&["spec"], &["metadata", "labels"]]),
            ("status", "Widget") => FieldSet::of_fields(&[&["spec"], &["metadata"]]),
            ("status", _) => FieldSet::of_fields(&[&["spec"]]),
            _ => FieldSet::of_fields(&[&["status"]]),
        }
    }

    /// What the endpoint does not write is as it was.
    fn kept(&self, live: &Value, mut new: Value, subresource: &str) -> Value {
        let paths: &[&str] = match (subresource, self.kind.as_str()) {
            ("status", "Deployment") => &["spec", "metadata.labels"],
            ("status", "Widget") => &["spec", "metadata"],
            ("status", _) => &["spec"],
            _ => &["status"],
        };
        let entries = new.remove_at("metadata.managedFields");
        for path in paths {
            match live.at(path) {
                Some(value) => new.set_at(path, value.clone()),
                None => drop(new.remove_at(path)),
            }
        }
        if let Some(entries) = entries {
            new.set_at("metadata.managedFields", entries);
        }
        new
    }

    /// A write to the scale of the live object.
    fn scaled(&self, step: &Value, now: &str) -> Result<Value, ApplyError> {
        let paths = ["apps/v1", "v1", "x.io/v1", "x.io/v1beta1"]
            .map(|version| (version.to_owned(), [Step::field("spec"), Step::field("replicas")].into()));
        let replicas = Replicas { paths: &paths.into(), api_version: &self.api_version };
        let scale = |count: &Value| json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "web"}, "spec": {"replicas": count}});
        let mut live = scale(self.live.at("spec.replicas").unwrap_or(&Value::Null));
        // The vectors' scale has no uid, so that each write to it is tracked.
        live.set_at("metadata.managedFields", replicas.of_scale(&self.live));
        let none = FieldSet::default();
        let write = Write {
            kind: &ScaleKind,
            api_version: "autoscaling/v1",
            name: "Scale",
            manager: step.str_at("manager"),
            subresource: "scale",
            ignored: &none,
            now,
        };
        let asked = scale(&step["replicas"]);
        let written = match step.str_at("op") {
            "apply" => write.apply(&live, &asked, step.bool_at("force"))?,
            _ => {
                let mut new = live.clone();
                new.set_at("spec.replicas", step["replicas"].clone());
                write.update(&live, new)?
            }
        };
        let mut parent = self.live.clone();
        parent.set_at("spec.replicas", written["spec"]["replicas"].clone());
        replicas.to_parent(&mut parent, &written).map_err(ApplyError::Shape)?;
        Ok(parent)
    }
}

static WIDGET: LazyLock<Custom> = LazyLock::new(|| {
    let text = || json!({"type": "string"});
    let conditions = json!({"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"],
        "items": {"type": "object", "properties": {"type": text(), "status": text(), "reason": text(), "message": text()}}});
    let ports = json!({"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["port", "protocol"],
        "items": {"type": "object", "properties": {"name": text(), "port": {"type": "integer"}, "protocol": {"type": "string", "default": "TCP"},
            "tags": {"type": "object", "additionalProperties": text()}}}});
    let whole = json!({"type": "object", "x-kubernetes-map-type": "atomic", "properties": {"a": text(), "b": text()}});
    Custom::of_kind(&json!({"type": "object", "properties": {
        "spec": {"type": "object", "properties": {
            "size": text(), "replicas": {"type": "integer"}, "flags": {"type": "array", "x-kubernetes-list-type": "set", "items": text()},
            "ports": ports, "words": {"type": "array", "items": text()}, "whole": whole,
            "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}, "either": {"x-kubernetes-int-or-string": true},
            "nested": {"type": "object", "properties": {"maybe": {"type": "string", "nullable": true},
                "deep": {"type": "object", "additionalProperties": {"type": "integer"}}}}}},
        "status": {"type": "object", "properties": {"phase": text(), "replicas": {"type": "integer"}, "conditions": conditions}}}}))
});
