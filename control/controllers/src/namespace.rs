//! Empties a namespace that is being deleted, then lets it go.
//!
//! Pods first and alone, because they use what else is in there; then everything else. What a finalizer or a grace period
//! holds back is told in the namespace's conditions, and its end brings the next look. Owners are not cascaded from here: each
//! collection is deleted as a whole.

use std::sync::Arc;

use async_trait::async_trait;
use client::{Options, Request, Target, Verb, request::Body};
use kinds::KindRef;
use kinds::core::Namespace;
use reconcile::controller::Mapper;
use reconcile::{Action, Controller, Cx, Retry, Wiring};
use schema::{DocExt, Status, Value, json};

pub const NAME: &str = "namespace-controller";
const FINALIZER: &str = "kubernetes";

pub struct Namespaces;

/// What the collections of one namespace still hold.
#[derive(Debug, Default, PartialEq, Eq)]
struct Remaining {
    /// (qualified resource, objects)
    content: Vec<(String, usize)>,
    /// (finalizer, objects)
    finalizers: Vec<(String, usize)>,
    /// Collections that could not be deleted.
    failures: Vec<String>,
}

#[async_trait]
impl Controller for Namespaces {
    fn name(&self) -> &'static str {
        NAME
    }

    fn wire(&self, wiring: &mut Wiring<'_>) {
        wiring.primary("v1", "namespaces");
        let namespaces = wiring.lister("v1", "namespaces");
        wiring.maps_every(move |kind, _| {
            let namespaces = namespaces.clone();
            let mapper: Mapper = Arc::new(move |object| {
                let going = namespaces.get(&object.meta.namespace).is_some_and(|held| held.meta.is_deleting());
                if going { vec![object.meta.namespace.clone()] } else { Vec::new() }
            });
            kind.is_namespaced().then_some(mapper)
        });
    }

    async fn reconcile(&self, cx: &Cx, name: &str) -> Result<Action, Retry> {
        let Some(object) = cx.get("v1", "namespaces", name).filter(|held| held.meta.is_deleting()) else { return Ok(Action::AwaitChange) };
        let namespace = object.lens::<Namespace>()?;
        if !namespace.spec.finalizers.iter().any(|finalizer| finalizer == FINALIZER) {
            return Ok(Action::AwaitChange);
        }
        let (pods, others): (Vec<_>, Vec<_>) = cx
            .collections
            .all()
            .into_iter()
            .filter(|kind| kind.is_namespaced())
            .partition(|kind| kind.group.is_empty() && kind.resource == "pods");
        let mut remaining = Remaining::default();
        for group in [pods, others] {
            for kind in group {
                empty(cx, &kind, name, &mut remaining).await;
            }
            if !remaining.content.is_empty() || !remaining.failures.is_empty() {
                break;
            }
        }
        let conditions = conditions(&namespace, &remaining, cx.env.now());
        if remaining.content.is_empty() && remaining.failures.is_empty() {
            finalize(cx, object.value(), name).await?;
            return Ok(Action::AwaitChange);
        }
        write_conditions(cx, object.value(), name, conditions).await?;
        match remaining.failures.first() {
            Some(failure) => Err(Retry::Soon(Status::internal(failure))),
            None => Ok(Action::AwaitChange),
        }
    }
}

/// Deletes a collection, unless it is empty, and counts what stays.
async fn empty(cx: &Cx, kind: &KindRef, namespace: &str, remaining: &mut Remaining) {
    let held = || cx.lister(&kind.api_version(), &kind.resource).by(client::informer::BY_NAMESPACE, namespace);
    let target = Target::of(&kind.api_version(), &kind.resource, namespace);
    // The cache may lag; the last word before finalizing is a list of the API's.
    let deleted = if held().iter().any(|object| !object.meta.is_deleting()) {
        let request = Request { verb: Verb::DeleteCollection, target: target.clone(), options: Options::default(), body: Body::None };
        cx.client.call(request).await.map(|_| ())
    } else {
        Ok(())
    };
    match deleted {
        // Its definition went in the meantime, and took it along.
        Err(status) if status.is_not_found() => {}
        Err(status) => remaining.failures.push(format!("{}: {status}", kind.qualified())),
        Ok(()) => match cx.client.list(target, Options::default()).await {
            Ok(list) => {
                remaining.count(&format!("{}.{}", kind.resource, kind.group), list.items.iter().map(|item| item.meta.finalizers.as_slice()))
            }
            Err(status) if status.is_not_found() => {}
            Err(status) => remaining.failures.push(format!("{}: {status}", kind.qualified())),
        },
    }
}

impl Remaining {
    fn count<'a>(&mut self, resource: &str, finalizers: impl Iterator<Item = &'a [String]>) {
        let mut objects = 0;
        for held in finalizers {
            objects += 1;
            for finalizer in held {
                match self.finalizers.iter_mut().find(|(name, _)| name == finalizer) {
                    Some((_, count)) => *count += 1,
                    None => self.finalizers.push((finalizer.clone(), 1)),
                }
            }
        }
        if objects > 0 {
            self.content.push((resource.to_owned(), objects));
        }
    }
}

/// The five conditions, in upstream's words; a transition time moves only with the status.
fn conditions(namespace: &Namespace, remaining: &Remaining, now: jiff::Timestamp) -> Value {
    let list = |rows: &[(String, usize)], verb: &str| {
        let mut texts: Vec<String> = rows.iter().map(|(name, count)| format!("{name} {verb} {count} resource instances")).collect();
        texts.sort();
        texts.join(", ")
    };
    let content = format!("Some resources are remaining: {}", list(&remaining.content, "has"));
    let finalizers = format!("Some content in the namespace has finalizers remaining: {}", list(&remaining.finalizers, "in"));
    let failures =
        format!("Failed to delete all resource types, {} remaining: {}", remaining.failures.len(), remaining.failures.join(", "));
    let rows: [(&str, bool, &str, &str, &str, String); 5] = [
        ("NamespaceDeletionDiscoveryFailure", false, "", "ResourcesDiscovered", "All resources successfully discovered", String::new()),
        (
            "NamespaceDeletionGroupVersionParsingFailure",
            false,
            "",
            "ParsedGroupVersions",
            "All legacy kube types successfully parsed",
            String::new(),
        ),
        (
            "NamespaceDeletionContentFailure",
            !remaining.failures.is_empty(),
            "ContentDeletionFailed",
            "ContentDeleted",
            "All content successfully deleted, may be waiting on finalization",
            failures,
        ),
        (
            "NamespaceContentRemaining",
            !remaining.content.is_empty(),
            "SomeResourcesRemain",
            "ContentRemoved",
            "All content successfully removed",
            content,
        ),
        (
            "NamespaceFinalizersRemaining",
            !remaining.finalizers.is_empty(),
            "SomeFinalizersRemain",
            "ContentHasNoFinalizers",
            "All content-preserving finalizers finished",
            finalizers,
        ),
    ];
    let made = rows.into_iter().map(|(r#type, bad, bad_reason, good_reason, good, message)| {
        let status = if bad { "True" } else { "False" };
        let held = namespace.status.conditions.iter().find(|held| held.r#type == r#type && held.status == status);
        let since = held.and_then(|held| held.last_transition_time.clone()).unwrap_or_else(|| schema::time::format(now));
        let (reason, message) = if bad { (bad_reason, message) } else { (good_reason, good.to_owned()) };
        json!({"type": r#type, "status": status, "lastTransitionTime": since, "reason": reason, "message": message})
    });
    made.collect()
}

async fn write_conditions(cx: &Cx, mut doc: Value, name: &str, conditions: Value) -> Result<(), Status> {
    if doc.at("status.conditions") == Some(&conditions) {
        return Ok(());
    }
    doc.set_at("status.conditions", conditions);
    let target = Target::of("v1", "namespaces", "").named(name).sub("status");
    match cx.client.update(target, doc).await {
        Err(status) if !status.is_not_found() => Err(status),
        _ => Ok(()),
    }
}

async fn finalize(cx: &Cx, mut doc: Value, name: &str) -> Result<(), Status> {
    if let Some(finalizers) = doc.at_mut("spec.finalizers").and_then(Value::as_array_mut) {
        finalizers.retain(|finalizer| finalizer != FINALIZER);
    }
    match cx.client.update(Target::of("v1", "namespaces", "").named(name).sub("finalize"), doc).await {
        Err(status) if !status.is_not_found() => Err(status),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_tell_what_remains_in_upstreams_words() {
        let remaining = Remaining {
            content: vec![("pods.".into(), 2), ("deployments.apps".into(), 1)],
            finalizers: vec![("example.com/has it".into(), 1)],
            failures: Vec::new(),
        };
        let made = conditions(&Namespace::default(), &remaining, jiff::Timestamp::UNIX_EPOCH);
        let message = |at: usize| made[at]["message"].as_str().unwrap().to_owned();
        assert_eq!(message(3), "Some resources are remaining: deployments.apps has 1 resource instances, pods. has 2 resource instances");
        assert_eq!(message(4), "Some content in the namespace has finalizers remaining: example.com/has it in 1 resource instances");
        assert_eq!(made[2]["status"], "False");
    }
}
