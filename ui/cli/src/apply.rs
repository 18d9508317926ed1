//! Making manifests so: create, or change what differs from the last time.
//!
//! The last applied document is kept in kubectl's own annotation, so that `kubectl apply` can go on from here and we from there.

use client::request::{Answer, Body, Options, Patch, Response};
use client::{Client, Object, Request, Target, Verb};
use schema::{DocExt, Map, Status, Value, json};

use crate::manifest::Manifest;
use crate::{Failure, Kind};

const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
const MANAGER: &str = "corten-up";

/// What became of one manifest.
pub struct Applied {
    pub target: Target,
    pub kind: String,
    /// `created`, `configured`, `unchanged`.
    pub outcome: &'static str,
    pub warnings: Vec<String>,
}

impl Applied {
    /// `deployment.apps/web`
    pub fn name(&self) -> String {
        let kind = schema::status::qualified(&self.target.group, &self.kind.to_lowercase());
        format!("{kind}/{}", self.target.name)
    }
}

/// Applies one manifest.
pub async fn apply(client: &Client, manifest: &Manifest) -> Result<Applied, Failure> {
    let (target, kind) = target(manifest)?;
    let mut doc = manifest.doc.clone();
    if !target.namespace.is_empty() {
        doc.set_at("metadata.namespace", target.namespace.clone());
    }
    let doc = annotated(doc);
    let made = |outcome, warnings| Applied { target: target.clone(), kind: kind.clone(), outcome, warnings };
    let explain = |status: Status| Failure::new(Kind::Other, format!("{}: {status}", manifest.source.display()));
    match call(client, Verb::Create, collection(&target), Body::Value(doc.clone())).await {
        Ok(answer) => return Ok(made("created", answer.warnings)),
        Err(status) if status.is_already_exists() => {}
        Err(status) => return Err(explain(status)),
    }
    let live = client.get(target.clone()).await.map_err(explain)?;
    let patch = three_way(&last_applied(&live), &doc);
    let bytes = serde_json::to_vec(&patch).map_err(|error| explain(Status::internal(error)))?;
    let answer =
        call(client, Verb::Patch, target.clone(), Body::Patch { kind: Patch::Merge, bytes: bytes.into() }).await.map_err(explain)?;
    let changed =
        !matches!(&answer.response, Response::Object { object, .. } if object.meta.resource_version == live.meta.resource_version);
    Ok(made(if changed { "configured" } else { "unchanged" }, answer.warnings))
}

async fn call(client: &Client, verb: Verb, target: Target, body: Body) -> Result<Answer, Status> {
    let options =
        Options { field_manager: MANAGER.into(), field_validation: schema::decode::FieldValidation::Strict, ..Options::default() };
    client.call(Request { verb, target, options, body }).await
}

fn target(manifest: &Manifest) -> Result<(Target, String), Failure> {
    let (api_version, kind) = (manifest.doc.str_at("apiVersion"), manifest.doc.str_at("kind"));
    let wrong = |what: String| Failure::new(Kind::Usage, format!("{}: {what}", manifest.source.display()));
    let Some(descriptor) = kinds::by_kind(api_version, kind) else {
        return Err(wrong(format!("no kind {kind:?} in version {api_version:?}")));
    };
    let name = manifest.doc.str_at("metadata.name");
    if name.is_empty() {
        return Err(wrong(format!("a {kind} without metadata.name")));
    }
    let namespace = match (descriptor.is_namespaced(), manifest.doc.str_at("metadata.namespace")) {
        (false, _) => "",
        (true, "") => "default",
        (true, namespace) => namespace,
    };
    Ok((Target::of(api_version, &descriptor.resource, namespace).named(name), kind.to_owned()))
}

fn collection(target: &Target) -> Target {
    Target { name: String::new(), ..target.clone() }
}

fn annotated(mut doc: Value) -> Value {
    if let Some(annotations) = doc.at_mut("metadata.annotations").and_then(Value::as_object_mut) {
        annotations.remove(LAST_APPLIED);
    }
    let text = format!("{doc}\n");
    if !doc.at("metadata.annotations").is_some_and(Value::is_object) {
        doc.set_at("metadata.annotations", json!({}));
    }
    doc["metadata"]["annotations"][LAST_APPLIED] = json!(text);
    doc
}

fn last_applied(live: &Object) -> Value {
    live.meta.annotations.get(LAST_APPLIED).and_then(|text| serde_json::from_str(text).ok()).unwrap_or_else(|| json!({}))
}

/// The merge patch that makes the new document so and takes away what the last one had and the new one has not.
fn three_way(last: &Value, new: &Value) -> Value {
    let (Some(last), Some(new)) = (last.as_object(), new.as_object()) else { return new.clone() };
    let mut patch: Map<String, Value> =
        new.iter().map(|(name, value)| (name.clone(), three_way(last.get(name).unwrap_or(&Value::Null), value))).collect();
    let gone = last.keys().filter(|name| !new.contains_key(*name)).cloned().collect::<Vec<_>>();
    patch.extend(gone.into_iter().map(|name| (name, Value::Null)));
    Value::Object(patch)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_applied_before_and_is_no_more_is_taken_away() {
        let last = json!({"data": {"a": "1", "b": "2"}, "metadata": {"labels": {"x": "y"}}});
        let new = json!({"data": {"a": "3"}, "metadata": {}});
        assert_eq!(three_way(&last, &new), json!({"data": {"a": "3", "b": null}, "metadata": {"labels": null}}));
        assert_eq!(three_way(&json!({}), &new), new);
    }
}
