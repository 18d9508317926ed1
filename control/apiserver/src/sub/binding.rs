//! `pods/binding`: a pod gets its node, once.

use client::{Body, Response, Target};
use kinds::KindRef;
use schema::{DocExt, Status, Value, json, time};

use crate::admission::{Facet, topology};
use crate::body::{self, Expected};
use crate::core::{Call, no_such_resource};
use crate::failure;
use crate::meta;
use crate::write::{self, Ownership};

pub(super) async fn bind(call: &mut Call<'_>, body: &Body) -> Result<Response, Status> {
    let mut binding = body::document(&Expected::option("v1", "Binding")?, body, call.options, &mut call.warnings)?;
    call.pass(&mut binding).await?;
    call.facet = Facet::Passed;
    assign(call, &binding).await
}

pub(super) async fn bind_named(call: &mut Call<'_>, body: &Body) -> Result<Response, Status> {
    let mut binding = body::document(&Expected::option("v1", "Binding")?, body, call.options, &mut call.warnings)?;
    call.pass(&mut binding).await?;
    let name = binding.str_at("metadata.name").to_owned();
    let pods: KindRef = call.core.registry().resource("", "v1", "pods").ok_or_else(no_such_resource)?;
    let target = Target { resource: "pods".into(), name, subresource: "binding".into(), ..call.target.clone() };
    let mut pod = Call { kind: pods, facet: Facet::Passed, ..call.about(&target, call.options) };
    let answer = assign(&mut pod, &binding).await;
    call.warnings = pod.warnings;
    answer
}

async fn assign(call: &mut Call<'_>, binding: &Value) -> Result<Response, Status> {
    check(binding, call.target)?;
    let node = binding.str_at("target.name").to_owned();
    let core = call.core;
    let (name, now) = (call.target.name.clone(), time::format(call.core.env().now()));
    let conflict = |why: String| Status::conflict("", "pods/binding", &name, &why);
    // Who binds owns nothing by it, in the original as here.
    write::modify_as(call, Ownership::Told, |pod, _| {
        let (uid, asked) = (pod.str_at("metadata.uid"), binding.str_at("metadata.uid"));
        if !asked.is_empty() && asked != uid {
            return Err(conflict(format!("Precondition failed: UID in precondition: {asked}, UID in object meta: {uid}")));
        }
        if meta::is_deleting(pod) {
            return Err(conflict(format!("pod {name} is being deleted, cannot be assigned to a host")));
        }
        let bound = pod.str_at("spec.nodeName");
        if !bound.is_empty() {
            return Err(conflict(format!("pod {name} is already assigned to node {bound:?}")));
        }
        if !pod.items_at("spec.schedulingGates").is_empty() {
            return Err(conflict(format!("pod {name} has non-empty .spec.schedulingGates")));
        }
        let mut pod = assigned(pod, binding, &node, &now);
        topology::label(core, &mut pod, &node);
        Ok(pod)
    })
    .await?;
    let value = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
    Ok(Response::Value { value, code: 201 })
}

fn check(binding: &Value, target: &Target) -> Result<(), Status> {
    let name = binding.str_at("metadata.name");
    if !name.is_empty() && name != target.name {
        return Err(Status::bad_request("name in URL does not match name in Binding object"));
    }
    let mut wrong = Vec::new();
    match binding.str_at("target.kind") {
        "" | "Node" => {}
        other => wrong.push(format!("target.kind: Unsupported value: {other:?}: supported values: \"Node\", \"<empty>\"")),
    }
    if binding.str_at("target.name").is_empty() {
        wrong.push("target.name: Required value".to_owned());
    }
    match wrong.as_slice() {
        [] => Ok(()),
        [one] => Err(failure::plain(one)), // upstream answers 500 here
        many => Err(failure::plain(format!("[{}]", many.join(", ")))),
    }
}

/// The pod on its node.
fn assigned(pod: &Value, binding: &Value, node: &str, now: &str) -> Value {
    let mut pod = pod.clone();
    pod.set_at("spec.nodeName", node);
    for (key, value) in binding.map_at("metadata.annotations").into_iter().flatten() {
        let meta = meta::of(&mut pod);
        let annotations = meta.entry("annotations").or_insert_with(|| json!({}));
        annotations[key.as_str()] = value.clone();
    }
    let scheduled = json!({"type": "PodScheduled", "status": "True", "lastProbeTime": null, "lastTransitionTime": now});
    let mut conditions = pod.items_at("status.conditions").to_vec();
    conditions.retain(|condition| condition.str_at("type") != "PodScheduled");
    conditions.push(scheduled);
    pod.set_at("status.conditions", conditions);
    pod
}
