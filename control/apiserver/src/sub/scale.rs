//! `scale`: the one number of everything that has replicas.

mod owners;

use std::sync::Arc;

use client::{Body, Patch, Response, Target, Verb};
use kinds::Descriptor;
use kinds::custom::Scale;
use schema::{DocExt, FieldErrors, LabelSelector, Path, Status, Value, json};

use crate::admission::Facet;
use crate::body::{self, Expected};
use crate::core::Call;
use crate::meta;
use crate::write::{self, Applied, Ownership, Parsed};
use owners::Owners;

const API_VERSION: &str = "autoscaling/v1";

pub(super) async fn answer(call: &mut Call<'_>, verb: Verb, body: &Body) -> Result<Response, Status> {
    let expected = Expected::option(API_VERSION, "Scale")?;
    match verb {
        Verb::Get => {
            let current = write::current(call).await.map_err(|status| about_scale(call, status))?;
            respond(call, &current.doc)
        }
        Verb::Update => {
            let mut asked = body::document(&expected, body, call.options, &mut call.warnings)?;
            meta::name(&mut asked, &call.target.name)?;
            meta::place(&mut asked, &call.target.namespace)?;
            set(call, Change::Made(&|_| Ok(asked.clone()))).await
        }
        Verb::Patch => {
            let Body::Patch { kind, bytes } = body else { return Err(Status::bad_request("the body of a patch must be a patch")) };
            if *kind == Patch::Apply {
                let config = Applied::read(bytes)?;
                config.report(call.options.field_validation, &mut call.warnings)?;
                return set(call, Change::Applied(&config.doc)).await;
            }
            let patch = Parsed::new(*kind, bytes)?;
            set(call, Change::Made(&|scale| patch.apply_as(expected.ty, scale))).await
        }
        _ => Err(Status::method_not_supported(&call.kind.group, &call.kind.resource, verb.as_str())),
    }
}

/// What is to become of a scale.
enum Change<'c> {
    Made(&'c (dyn Fn(&Value) -> Result<Value, Status> + Send + Sync)),
    /// Server-side apply of this configuration.
    Applied(&'c Value),
}

/// Sets the replicas to what `change` makes of the current scale.
async fn set(call: &mut Call<'_>, change: Change<'_>) -> Result<Response, Status> {
    let target = Target { subresource: String::new(), ..call.target.clone() };
    let name = target.name.clone();
    let mut object = Call { facet: Facet::Scale, ..call.about(&target, call.options) };
    let owners = Owners::of(&object);
    let kind = Arc::clone(&call.kind);
    let written = write::modify_as(&mut object, Ownership::Told, |old, _| {
        let mut live = of(&kind, old)?;
        owners.lend(old, &mut live);
        let scale = match &change {
            Change::Made(change) => owners.tell(&live, change(&live)?)?,
            Change::Applied(config) => owners.apply(&live, config)?,
        };
        check(&scale, &name)?;
        let mut new = old.clone();
        set_replicas(&kind, &mut new, &scale);
        new.set_at("metadata.resourceVersion", scale.str_at("metadata.resourceVersion"));
        owners.give_back(&mut new, &scale)?;
        Ok(new)
    });
    let written = written.await;
    call.warnings = object.warnings;
    let written = written.map_err(|status| about_scale(call, status))?;
    respond(call, &written.value())
}

/// A missing object is missed as a scale: `deployments/scale.apps "web" not found`.
fn about_scale(call: &Call<'_>, status: Status) -> Status {
    let kind = &call.kind;
    match (status.is_not_found(), kind.resource.as_ref()) {
        (true, "deployments" | "replicasets") => Status::not_found(&kind.group, &format!("{}/scale", kind.resource), &call.target.name),
        (true, "replicationcontrollers") => Status::not_found("autoscaling", "replicationcontrollers/scale", &call.target.name),
        _ => status,
    }
}

fn respond(call: &Call<'_>, doc: &Value) -> Result<Response, Status> {
    Ok(Response::Value { value: of(&call.kind, doc)?, code: 200 })
}

fn replicas_path(kind: &Descriptor) -> &str {
    scale_of(kind).map_or("spec.replicas", |scale| &scale.replicas)
}

/// Where a custom kind says that its numbers are.
fn scale_of(kind: &Descriptor) -> Option<&Scale> {
    kind.custom.as_ref().and_then(|custom| custom.scale.as_ref())
}

fn check(scale: &Value, name: &str) -> Result<(), Status> {
    let mut errors = FieldErrors::default();
    let replicas = scale.i64_at("spec.replicas").unwrap_or_default();
    if replicas < 0 {
        errors.invalid(&Path::new("spec").child("replicas"), replicas, "must be greater than or equal to 0");
    }
    if errors.is_empty() { Ok(()) } else { Err(Status::invalid("autoscaling", "Scale", name, &errors)) }
}

/// Makes the document as large as `scale` says.
pub(crate) fn set_replicas(kind: &Descriptor, doc: &mut Value, scale: &Value) {
    doc.set_at(replicas_path(kind), scale.i64_at("spec.replicas").unwrap_or_default());
}

/// The scale of a document.
pub(crate) fn of(kind: &Descriptor, doc: &Value) -> Result<Value, Status> {
    let mut metadata = json!({});
    for name in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(value) = doc.at("metadata").and_then(|meta| meta.get(name)) {
            metadata[name] = value.clone();
        }
    }
    let mut scale = json!({"apiVersion": API_VERSION, "kind": "Scale", "metadata": metadata, "spec": {}});
    if let Some(replicas) = doc.i64_at(replicas_path(kind)).filter(|replicas| *replicas != 0) {
        scale.set_at("spec.replicas", replicas);
    }
    let observed = scale_of(kind).map_or("status.replicas", |scale| &scale.observed);
    scale.set_at("status.replicas", doc.i64_at(observed).unwrap_or_default());
    let selector = match scale_of(kind) {
        Some(custom) => doc.str_at(&custom.selector).to_owned(),
        None => selector(doc)?,
    };
    if !selector.is_empty() {
        scale.set_at("status.selector", selector);
    }
    Ok(scale)
}

/// The selector as text: a plain map for replication controllers, a label selector for everything else.
fn selector(doc: &Value) -> Result<String, Status> {
    let Some(selector) = doc.at("spec.selector").filter(|selector| !selector.is_null()) else { return Ok(String::new()) };
    if doc.str_at("kind") == "ReplicationController" {
        let labels = serde_json::from_value(selector.clone()).map_err(Status::internal)?;
        return Ok(LabelSelector::from_map(&labels).to_string());
    }
    LabelSelector::from_value(selector).map(|selector| selector.to_string()).map_err(Status::internal)
}
