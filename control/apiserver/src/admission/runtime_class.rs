//! RuntimeClass: a pod may name only a class that exists; its overhead and its place come from the class.

use async_trait::async_trait;
use schema::{DocExt, Map, Status, Value, json};

use super::{Admission, Operation, Plugin};

pub struct RuntimeClass;

const CLASSES: &str = "/node.k8s.io/runtimeclasses/";

#[async_trait]
impl Plugin for RuntimeClass {
    async fn mutate(&self, request: &mut Admission<'_>, new: &mut Value, _old: Option<&Value>) -> Result<(), Status> {
        if request.operation != Operation::Create || !request.is_object("", "pods") {
            return Ok(());
        }
        let class = match new.str_at("spec.runtimeClassName") {
            "" => Value::Null,
            name => find(request, name).ok_or_else(|| rejected(request, &format!("RuntimeClass {name:?} not found")))?,
        };
        set_overhead(request, new, &class)?;
        set_place(request, new, &class)
    }
}

fn rejected(request: &Admission<'_>, why: &str) -> Status {
    request.forbidden(&format!("pod rejected: {why}"))
}

fn find(request: &Admission<'_>, name: &str) -> Option<Value> {
    let classes = request.core.cache.kind(CLASSES)?;
    classes.get(&format!("{CLASSES}{name}")).map(|item| item.object.value())
}

/// A pod does not say what its runtime costs; its class does.
fn set_overhead(request: &Admission<'_>, pod: &mut Value, class: &Value) -> Result<(), Status> {
    let costs = class.at("overhead.podFixed").filter(|costs| costs.as_object().is_some_and(|costs| !costs.is_empty())).cloned();
    match (pod.at("spec.overhead").filter(|own| own.as_object().is_some_and(|own| !own.is_empty())), costs) {
        (None, None) => Ok(()),
        (Some(_), None) => Err(rejected(request, "Pod overhead set without corresponding RuntimeClass defined Overhead")),
        (Some(own), Some(costs)) if *own != costs => Err(rejected(request, "Pod's Overhead doesn't match RuntimeClass's defined Overhead")),
        (_, Some(costs)) => {
            pod.set_at("spec.overhead", costs);
            Ok(())
        }
    }
}

/// The class's node selector and tolerations join the pod's.
fn set_place(request: &Admission<'_>, pod: &mut Value, class: &Value) -> Result<(), Status> {
    let mut selector = pod.map_at("spec.nodeSelector").cloned().unwrap_or_default();
    for (label, value) in class.map_at("scheduling.nodeSelector").unwrap_or(&Map::new()) {
        if let Some(own) = selector.insert(label.clone(), value.clone()).filter(|own| own != value) {
            let (value, own) = (value.as_str().unwrap_or_default(), own.as_str().unwrap_or_default().to_owned());
            let why = format!("conflict: runtimeClass.scheduling.nodeSelector[{label}] = {value}; pod.spec.nodeSelector[{label}] = {own}");
            return Err(request.forbidden(&why));
        }
    }
    if !selector.is_empty() {
        pod.set_at("spec.nodeSelector", selector);
    }
    let mut tolerations = pod.items_at("spec.tolerations").to_vec();
    let missing = class.items_at("scheduling.tolerations").iter().filter(|one| !tolerations.contains(one)).cloned().collect::<Vec<_>>();
    if !missing.is_empty() {
        tolerations.extend(missing);
        pod.set_at("spec.tolerations", json!(tolerations));
    }
    Ok(())
}
