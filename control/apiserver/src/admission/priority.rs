//! Priority: a pod's class name becomes its number; without a name the global default class counts.

use std::sync::Arc;

use async_trait::async_trait;
use client::Object;
use schema::{DocExt, Status, Value, json};

use super::{Admission, Operation, Plugin};

pub struct Priority;

const CLASSES: &str = "/scheduling.k8s.io/priorityclasses/";

#[async_trait]
impl Plugin for Priority {
    async fn mutate(&self, request: &mut Admission<'_>, new: &mut Value, old: Option<&Value>) -> Result<(), Status> {
        if !request.is_object("", "pods") {
            return Ok(());
        }
        match request.operation {
            Operation::Create => of_class(request, new),
            Operation::Update => {
                keep(new, old);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    async fn validate(&self, request: &mut Admission<'_>, new: Option<&Value>, _old: Option<&Value>) -> Result<(), Status> {
        let Some(new) = new.filter(|new| request.is_object("scheduling.k8s.io", "priorityclasses") && new.bool_at("globalDefault")) else {
            return Ok(());
        };
        let other = default_class(request).filter(|class| class.meta.name != new.str_at("metadata.name"));
        match other {
            Some(class) => {
                let why = format!("PriorityClass {} is already marked as default. Only one default can exist", class.meta.name);
                Err(request.forbidden(&why))
            }
            None => Ok(()),
        }
    }
}

fn of_class(request: &Admission<'_>, pod: &mut Value) -> Result<(), Status> {
    let name = pod.str_at("spec.priorityClassName").to_owned();
    let class = if name.is_empty() {
        default_class(request)
    } else {
        let missing = || request.forbidden(&format!("no PriorityClass with name {name} was found"));
        Some(find(request, &name).ok_or_else(missing)?)
    };
    let doc = class.as_ref().map(|class| class.value()).unwrap_or_default();
    let value = doc.i64_at("value").unwrap_or_default();
    let policy = doc.at("preemptionPolicy").and_then(Value::as_str).unwrap_or("PreemptLowerPriority").to_owned();
    if let Some(asked) = pod.i64_at("spec.priority").filter(|asked| *asked != value) {
        let why = format!(
            "the integer value of priority ({asked}) must not be provided in pod spec; priority admission controller computed {value} from the given PriorityClass name"
        );
        return Err(request.forbidden(&why));
    }
    if let Some(asked) = pod.at("spec.preemptionPolicy").and_then(Value::as_str).filter(|asked| *asked != policy) {
        let why = format!(
            "the string value of PreemptionPolicy ({asked}) must not be provided in pod spec; priority admission controller computed {policy} from the given PriorityClass name"
        );
        return Err(request.forbidden(&why));
    }
    if let Some(class) = class.filter(|_| name.is_empty()) {
        pod.set_at("spec.priorityClassName", class.meta.name.as_str());
    }
    pod.set_at("spec.priority", value);
    pod.set_at("spec.preemptionPolicy", policy);
    Ok(())
}

/// An update that leaves the computed members out keeps them.
fn keep(new: &mut Value, old: Option<&Value>) {
    let Some(old) = old else { return };
    for path in ["spec.priority", "spec.preemptionPolicy"] {
        if let Some(value) = old.at(path) {
            new.default_at(path, json!(value));
        }
    }
}

fn find(request: &Admission<'_>, name: &str) -> Option<Arc<Object>> {
    let classes = request.core.cache.kind(CLASSES)?;
    classes.get(&format!("{CLASSES}{name}")).map(|item| Arc::clone(&item.object))
}

fn default_class(request: &Admission<'_>) -> Option<Arc<Object>> {
    let classes = request.core.cache.kind(CLASSES)?;
    let ring = classes.read();
    let (start, end) = crate::list::bounds(CLASSES, "");
    ring.range(&start, &end).find(|(_, item)| item.object.value().bool_at("globalDefault")).map(|(_, item)| Arc::clone(&item.object))
}
