//! Tells the authors of ValidatingAdmissionPolicies where their expressions do not fit the kinds that they are about.
//!
//! Watches policies and, for custom kinds, definitions; writes `status.typeChecking` and `status.observedGeneration`, once for each
//! generation of a policy. It never changes what a policy does.

use std::sync::Arc;

use async_trait::async_trait;
use client::{Body, Object, Options, Patch, Request, Target, Verb};
use kinds::KindRef;
use kinds::custom::{Family, is_established};
use kinds::expressions::typed;
use reconcile::{Action, Controller, Cx, Retry, Wiring};
use schema::{DocExt, Status, Value, json};

pub const NAME: &str = "validatingadmissionpolicy-status-controller";
const GROUP: &str = "admissionregistration.k8s.io/v1";
const POLICIES: &str = "validatingadmissionpolicies";
const DEFINITIONS: (&str, &str) = ("apiextensions.k8s.io/v1", "customresourcedefinitions");

pub struct PolicyTypes;

#[async_trait]
impl Controller for PolicyTypes {
    fn name(&self) -> &'static str {
        NAME
    }

    fn wire(&self, wiring: &mut Wiring<'_>) {
        wiring.primary(GROUP, POLICIES);
        // A policy is checked when it changes, not when a kind does; what is there then is read from here.
        let _ = wiring.lister(DEFINITIONS.0, DEFINITIONS.1);
    }

    async fn reconcile(&self, cx: &Cx, key: &str) -> Result<Action, Retry> {
        let Some(object) = cx.get(GROUP, POLICIES, key) else { return Ok(Action::AwaitChange) };
        let policy = object.value();
        let generation = policy.i64_at("metadata.generation").unwrap_or_default();
        if generation > policy.i64_at("status.observedGeneration").unwrap_or_default() {
            let warnings = typed::warnings(&policy, &kinds(cx, &policy));
            apply(cx, key, generation, warnings).await?;
        }
        Ok(Action::AwaitChange)
    }
}

/// Every kind that the policy may name.
fn kinds(cx: &Cx, policy: &Value) -> Vec<KindRef> {
    let groups = typed::groups(policy);
    let is_meant = |definition: &&Arc<Object>| {
        let group = definition.meta.name.split_once('.').map_or("", |(_, group)| group);
        groups.contains(&group)
    };
    let all = cx.lister(DEFINITIONS.0, DEFINITIONS.1).all();
    let families = all.iter().filter(is_meant).filter_map(|definition| family(definition));
    kinds::all().iter().cloned().chain(families.flat_map(|family| family.served)).collect()
}

fn family(definition: &Object) -> Option<Family> {
    if is_established(&definition.value()) { Family::new(&definition.raw, definition.revision(), None) } else { None }
}

async fn apply(cx: &Cx, name: &str, generation: i64, warnings: Vec<Value>) -> Result<(), Status> {
    let checking = if warnings.is_empty() { json!({}) } else { json!({"expressionWarnings": warnings}) };
    let status = json!({"observedGeneration": generation, "typeChecking": checking});
    let config = json!({"apiVersion": GROUP, "kind": "ValidatingAdmissionPolicy", "metadata": {"name": name}, "status": status});
    let request = Request {
        verb: Verb::Patch,
        target: Target::of(GROUP, POLICIES, "").named(name).sub("status"),
        options: Options { field_manager: NAME.into(), force: true, ..Options::default() },
        body: Body::Patch { kind: Patch::Apply, bytes: config.to_string().into() },
    };
    match cx.client.call(request).await {
        Err(status) if status.is_not_found() => Ok(()),
        answer => answer.map(|_| ()),
    }
}
