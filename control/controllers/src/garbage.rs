//! Deletes what has no owner left, and finishes deletes that wait for dependents.
//!
//! Watches every collection; keeps a graph of uids, not of objects. A decision to delete is never taken from the cache alone: the
//! owner is asked for by name and its uid compared, because a stale picture once deleted live objects. Three cases:
//!
//! ```text
//! owner gone                        ─► delete the dependent, or drop the dead references where a live owner is left
//! owner deleting, foregroundDeletion ─► delete its dependents; when no blocking one is left, take the finalizer off
//! owner deleting, orphan             ─► drop the references from all dependents, then take the finalizer off
//! ```
//!
//! Owners in a circle would wait for each other: a dependent that is itself waited for by one of its own dependents stops blocking
//! its owners before it is deleted.

pub mod graph;

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use client::events::Reference;
use client::request::Patch;
use client::{Object, Options, Target};
use kinds::KindRef;
use reconcile::controller::Mapper;
use reconcile::{Action, Collections, Controller, Cx, Retry, Wiring};
use schema::meta::OwnerReference;
use schema::{DocExt, Status, Value, json};

use self::graph::{Graph, Place};

pub const NAME: &str = "generic-garbage-collector";
const FOREGROUND: &str = "foregroundDeletion";
const ORPHAN: &str = "orphan";
/// Owners remembered as absent.
const ABSENT_MAX: usize = 500;

#[derive(Default)]
pub struct GarbageCollector {
    graph: Arc<Mutex<Graph>>,
    absent: Mutex<Absent>,
}

#[async_trait]
impl Controller for GarbageCollector {
    fn name(&self) -> &'static str {
        NAME
    }

    /// Keys are uids; the graph knows where to find them.
    fn wire(&self, wiring: &mut Wiring<'_>) {
        let (graph, collections) = (Arc::clone(&self.graph), wiring.collections());
        wiring.maps_every(move |kind, store| {
            let (graph, collections, kind, store) = (Arc::clone(&graph), collections.clone(), Arc::clone(kind), store.clone());
            if !is_watched(&kind) {
                return None;
            }
            let mapper: Mapper = Arc::new(move |object| {
                let gone = || store.get(&object.meta.key()).is_none_or(|held| held.meta.uid != object.meta.uid);
                let place = |reference: &OwnerReference| place_of(&collections, object, reference);
                graph.lock().expect("no holder of the graph panics").note(&kind, object, gone, place)
            });
            Some(mapper)
        });
    }

    fn after_lost_changes(&self) -> Vec<String> {
        self.graph().uids()
    }

    async fn reconcile(&self, cx: &Cx, uid: &str) -> Result<Action, Retry> {
        let Some(place) = self.graph().place(uid) else { return Ok(Action::AwaitChange) };
        let held = held(cx, &place).filter(|held| held.meta.uid == uid);
        let Some(object) = held else {
            let again = self.graph().remove(uid);
            again.iter().for_each(|uid| cx.queue.add(uid));
            return Ok(Action::AwaitChange);
        };
        if object.meta.is_deleting() && has(&object, ORPHAN) {
            self.orphan_dependents(cx, &place, &object).await?;
        } else if object.meta.is_deleting() && has(&object, FOREGROUND) {
            self.delete_dependents(cx, &place, &object).await?;
        } else if !object.meta.is_deleting() && !object.meta.owner_references.is_empty() {
            self.judge(cx, &place, &object).await?;
        }
        Ok(Action::AwaitChange)
    }
}

impl GarbageCollector {
    fn graph(&self) -> std::sync::MutexGuard<'_, Graph> {
        self.graph.lock().expect("no holder of the graph panics")
    }

    /// Places of the dependents that the cache still shows.
    fn dependents(&self, cx: &Cx, uid: &str) -> Vec<(Place, Arc<Object>)> {
        let places = self.graph().dependents(uid);
        let held = places.into_iter().filter_map(|(dependent, place)| {
            let object = held(cx, &place)?;
            (object.meta.uid == dependent).then_some((place, object))
        });
        held.collect()
    }

    async fn orphan_dependents(&self, cx: &Cx, place: &Place, owner: &Object) -> Result<(), Status> {
        for (at, dependent) in self.dependents(cx, &owner.meta.uid) {
            drop_references(cx, &at, &dependent, &[owner.meta.uid.as_str()]).await?;
        }
        drop_finalizer(cx, place, owner, ORPHAN).await
    }

    /// Deletes what is not on its way yet; the last blocking dependent's end brings this key again.
    async fn delete_dependents(&self, cx: &Cx, place: &Place, owner: &Object) -> Result<(), Status> {
        let dependents = self.dependents(cx, &owner.meta.uid);
        let blocks = |object: &Object| {
            object
                .meta
                .owner_references
                .iter()
                .any(|reference| reference.uid == owner.meta.uid && reference.block_owner_deletion == Some(true))
        };
        if !dependents.iter().any(|(_, dependent)| blocks(dependent)) {
            return drop_finalizer(cx, place, owner, FOREGROUND).await;
        }
        for (at, dependent) in dependents.iter().filter(|(_, dependent)| !dependent.meta.is_deleting()) {
            self.judge(cx, at, dependent).await?;
        }
        Ok(())
    }

    /// Decides over one object from the state of its owners.
    async fn judge(&self, cx: &Cx, place: &Place, object: &Object) -> Result<(), Status> {
        let mut owners = Owners::default();
        for reference in &object.meta.owner_references {
            match self.owner_state(cx, place, object, reference).await? {
                OwnerState::Solid => owners.solid += 1,
                OwnerState::Absent => owners.absent.push(&reference.uid),
                OwnerState::Waiting => owners.waiting.push(&reference.uid),
            }
        }
        if owners.absent.is_empty() && owners.waiting.is_empty() {
            return Ok(());
        }
        if owners.solid > 0 {
            let dead: Vec<&str> = owners.absent.iter().chain(&owners.waiting).map(|uid| uid.as_str()).collect();
            return drop_references(cx, place, object, &dead).await;
        }
        let foreground = !owners.waiting.is_empty() && !self.graph().dependents(&object.meta.uid).is_empty();
        if foreground && self.may_be_in_a_circle(cx, object) && blocks_any(object) {
            // The change brings this object here again.
            return unblock(cx, place, object).await;
        }
        delete(cx, place, object, policy(object, foreground)).await
    }

    /// One of its dependents waits for its own dependents: perhaps for this very object. As upstream, a guess that is safe when
    /// it is wrong.
    fn may_be_in_a_circle(&self, cx: &Cx, object: &Object) -> bool {
        self.dependents(cx, &object.meta.uid).iter().any(|(_, dependent)| matches!(state_of(dependent), OwnerState::Waiting))
    }

    /// From the cache when it shows the owner alive; otherwise from the API.
    async fn owner_state(&self, cx: &Cx, place: &Place, object: &Object, reference: &OwnerReference) -> Result<OwnerState, Status> {
        let Some(kind) = cx.collections.find(&reference.api_version, &reference.kind) else {
            // A kind that we do not serve cannot be said to be gone.
            return Ok(OwnerState::Solid);
        };
        if kind.is_namespaced() && object.meta.namespace.is_empty() {
            // Nobody can say where that owner would be, so nobody can say that it is gone.
            tell_invalid_namespace(cx, place, object, reference);
            return Ok(OwnerState::Solid);
        }
        let namespace = if kind.is_namespaced() { object.meta.namespace.as_str() } else { "" };
        let absent = (namespace.to_owned(), reference.name.clone(), reference.uid.clone());
        if self.absent.lock().expect("no holder of the absent owners panics").has(&absent) {
            return Ok(OwnerState::Absent);
        }
        let key = if namespace.is_empty() { reference.name.clone() } else { format!("{namespace}/{}", reference.name) };
        let lister = Some(&kind).filter(|kind| is_watched(kind)).map(|kind| cx.lister(&kind.api_version(), &kind.resource));
        let held = lister.as_ref().and_then(|lister| lister.get(&key)).filter(|held| held.meta.uid == reference.uid);
        if let Some(owner) = held {
            return Ok(state_of(&owner));
        }
        match cx.client.get(Target::of(&kind.api_version(), &kind.resource, namespace).named(&reference.name)).await {
            Ok(fresh) if fresh.meta.uid == reference.uid => return Ok(state_of(&fresh)),
            Err(status) if !status.is_not_found() => return Err(status),
            _ => {}
        }
        if kind.is_namespaced() && lister.is_some_and(|lister| lister.all().iter().any(|held| held.meta.uid == reference.uid)) {
            tell_invalid_namespace(cx, place, object, reference);
        }
        self.absent.lock().expect("no holder of the absent owners panics").note(absent);
        Ok(OwnerState::Absent)
    }
}

/// Owners that the API itself said are not there: (namespace, name, uid). A uid never comes back, so a thousand dependents of one
/// owner ask once.
#[derive(Default)]
struct Absent {
    held: HashSet<(String, String, String)>,
    order: VecDeque<(String, String, String)>,
}

impl Absent {
    fn has(&self, owner: &(String, String, String)) -> bool {
        self.held.contains(owner)
    }

    fn note(&mut self, owner: (String, String, String)) {
        if !self.held.insert(owner.clone()) {
            return;
        }
        self.order.push_back(owner);
        if self.order.len() > ABSENT_MAX {
            let oldest = self.order.pop_front().expect("it has just been found too long");
            self.held.remove(&oldest);
        }
    }
}

/// Whether the collection is watched: what is not stored cannot be, and events own nothing, and there are many.
fn is_watched(kind: &KindRef) -> bool {
    kind.resource != "events" && !kind.storage_prefix.is_empty()
}

/// The cached object; nothing where its kind is gone.
fn held(cx: &Cx, place: &Place) -> Option<Arc<Object>> {
    let (api_version, kind) = (place.kind.api_version(), &place.kind);
    let gone = kind.custom.is_some() && cx.collections.find(&api_version, &kind.kind).is_none();
    if gone { None } else { cx.get(&api_version, &kind.resource, &place.key) }
}

fn state_of(owner: &Object) -> OwnerState {
    if owner.meta.is_deleting() && has(owner, FOREGROUND) { OwnerState::Waiting } else { OwnerState::Solid }
}

fn tell_invalid_namespace(cx: &Cx, place: &Place, object: &Object, reference: &OwnerReference) {
    let OwnerReference { api_version, kind, name, uid, .. } = reference;
    let namespace = &object.meta.namespace;
    let message = format!(
        "ownerRef [{api_version}/{kind}, namespace: {namespace}, name: {name}, uid: {uid}] does not exist in namespace {namespace:?}"
    );
    cx.events.warning(Reference::to(&place.kind.api_version(), &place.kind.kind, &object.meta), "OwnerRefInvalidNamespace", message);
}

#[derive(Default)]
struct Owners<'a> {
    solid: usize,
    absent: Vec<&'a String>,
    waiting: Vec<&'a String>,
}

enum OwnerState {
    Solid,
    Absent,
    /// Deleting in the foreground: it waits for this dependent.
    Waiting,
}

fn has(object: &Object, finalizer: &str) -> bool {
    object.meta.finalizers.iter().any(|held| held == finalizer)
}

/// The object's own finalizers say how its dependents are to be treated.
fn policy(object: &Object, foreground: bool) -> &'static str {
    if has(object, ORPHAN) {
        "Orphan"
    } else if foreground || has(object, FOREGROUND) {
        "Foreground"
    } else {
        "Background"
    }
}

fn target(place: &Place, object: &Object) -> Target {
    Target::of(&place.kind.api_version(), &place.kind.resource, &object.meta.namespace).named(&object.meta.name)
}

async fn delete(cx: &Cx, place: &Place, object: &Object, policy: &str) -> Result<(), Status> {
    let mut options = Options::default();
    options.delete.uid = Some(object.meta.uid.clone());
    options.delete.resource_version = Some(object.meta.resource_version.clone());
    options.delete.propagation_policy = Some(policy.into());
    tracing::debug!(object = %object.meta.key(), kind = %place.kind.kind, policy, "no owner is left");
    match cx.client.delete(target(place, object), options).await {
        Err(status) if !status.is_not_found() => Err(status),
        _ => Ok(()),
    }
}

async fn drop_references(cx: &Cx, place: &Place, object: &Object, uids: &[&str]) -> Result<(), Status> {
    let kept: Vec<Value> = object
        .value()
        .items_at("metadata.ownerReferences")
        .iter()
        .filter(|reference| !uids.contains(&reference.str_at("uid")))
        .cloned()
        .collect();
    if kept.len() == object.meta.owner_references.len() {
        return Ok(());
    }
    write_metadata(cx, place, object, json!({"ownerReferences": if kept.is_empty() { Value::Null } else { kept.into() }})).await
}

fn blocks_any(object: &Object) -> bool {
    object.meta.owner_references.iter().any(|reference| reference.block_owner_deletion == Some(true))
}

/// No owner waits for this object any more.
async fn unblock(cx: &Cx, place: &Place, object: &Object) -> Result<(), Status> {
    let mut references = object.value().items_at("metadata.ownerReferences").to_vec();
    references.iter_mut().for_each(|reference| reference.set_at("blockOwnerDeletion", false));
    write_metadata(cx, place, object, json!({"ownerReferences": references})).await
}

async fn drop_finalizer(cx: &Cx, place: &Place, object: &Object, finalizer: &str) -> Result<(), Status> {
    let kept: Vec<&String> = object.meta.finalizers.iter().filter(|held| *held != finalizer).collect();
    write_metadata(cx, place, object, json!({"finalizers": if kept.is_empty() { Value::Null } else { json!(kept) }})).await
}

/// Guarded by uid and revision: what we decided from must still be so.
async fn write_metadata(cx: &Cx, place: &Place, object: &Object, mut metadata: Value) -> Result<(), Status> {
    metadata["uid"] = json!(object.meta.uid);
    metadata["resourceVersion"] = json!(object.meta.resource_version);
    match cx.client.patch(target(place, object), Patch::Merge, &json!({"metadata": metadata})).await {
        Err(status) if !status.is_not_found() => Err(status),
        _ => Ok(()),
    }
}

/// Which watched collection an owner reference names. None where nobody could ever find the owner there.
pub(crate) fn place_of(collections: &Collections, object: &Object, reference: &OwnerReference) -> Option<Place> {
    let kind = collections.find(&reference.api_version, &reference.kind).filter(is_watched)?;
    let namespaced = kind.is_namespaced();
    if namespaced && object.meta.namespace.is_empty() {
        return None;
    }
    let key = if namespaced { format!("{}/{}", object.meta.namespace, reference.name) } else { reference.name.clone() };
    Some(Place { kind, key })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_of_absent_owners_is_bounded() {
        let mut absent = Absent::default();
        let owner = |n: usize| ("d".to_owned(), "web".to_owned(), n.to_string());
        (0..ABSENT_MAX * 2).for_each(|n| absent.note(owner(n)));
        assert!(!absent.has(&owner(0)) && absent.has(&owner(ABSENT_MAX * 2 - 1)));
        assert_eq!((absent.held.len(), absent.order.len()), (ABSENT_MAX, ABSENT_MAX));
    }

    #[test]
    fn an_owner_is_looked_for_only_where_it_can_be() {
        let object = |namespace: &str| Object::from_value(&json!({"metadata": {"name": "a", "namespace": namespace}})).unwrap();
        let owner = |api_version: &str, kind: &str| OwnerReference {
            api_version: api_version.into(),
            kind: kind.into(),
            name: "o".into(),
            ..OwnerReference::default()
        };
        let key = |namespace: &str, api_version: &str, kind: &str| {
            place_of(&Collections::default(), &object(namespace), &owner(api_version, kind)).map(|place| place.key)
        };
        assert_eq!(key("d", "apps/v1", "Deployment").as_deref(), Some("d/o"));
        assert_eq!(key("d", "v1", "Node").as_deref(), Some("o"));
        assert_eq!(key("", "apps/v1", "Deployment"), None, "a cluster-scoped object cannot say in which namespace");
        assert_eq!(key("d", "v1", "Binding"), None, "what is not stored is not watched");
        assert_eq!(key("d", "v1", "Event"), None);
    }
}
