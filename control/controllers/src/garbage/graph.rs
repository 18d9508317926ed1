//! Who depends on whom, by uid. It holds no objects: only what has owners, what is asked about, and where to find it.

use std::collections::{HashMap, HashSet};

use client::Object;
use kinds::KindRef;
use schema::meta::OwnerReference;

/// Where an object is found.
#[derive(Clone)]
pub struct Place {
    pub kind: KindRef,
    /// `namespace/name` or `name`.
    pub key: String,
}

/// One reference of an object.
#[derive(Clone)]
struct Owner {
    uid: String,
    /// Its delete in the foreground waits for the object.
    blocks: bool,
}

#[derive(Default)]
pub struct Graph {
    places: HashMap<String, Place>,
    owners: HashMap<String, Vec<Owner>>,
    dependents: HashMap<String, HashSet<String>>,
}

impl Graph {
    /// Takes in what a change shows of an object; `is_gone` is asked only where it matters, `place_of` finds owners. Returns the
    /// uids to look at.
    pub fn note(
        &mut self,
        kind: &KindRef,
        object: &Object,
        is_gone: impl FnOnce() -> bool,
        place_of: impl Fn(&OwnerReference) -> Option<Place>,
    ) -> Vec<String> {
        let meta = &object.meta;
        let owned = !meta.owner_references.is_empty();
        let pending = meta.is_deleting() && !meta.finalizers.is_empty();
        let was_owned = self.owners.contains_key(&meta.uid);
        // Most objects own nothing and are not owned; they are not worth a look, nor is their end.
        if !owned && !pending && !was_owned && !self.dependents.contains_key(&meta.uid) && !self.places.contains_key(&meta.uid) {
            return Vec::new();
        }
        let gone = is_gone();
        if !owned && !pending && !gone && !was_owned {
            return Vec::new();
        }
        self.places.insert(meta.uid.clone(), Place { kind: kind.clone(), key: meta.key() });
        let mut again = vec![meta.uid.clone()];
        if !gone {
            again.extend(self.link(object, place_of));
        }
        again
    }

    /// Returns the owners that the object does not block any more: they may wait for nothing else.
    fn link(&mut self, object: &Object, place_of: impl Fn(&OwnerReference) -> Option<Place>) -> Vec<String> {
        let uid = &object.meta.uid;
        let references = object.meta.owner_references.iter();
        let new: Vec<Owner> =
            references.map(|one| Owner { uid: one.uid.clone(), blocks: one.block_owner_deletion == Some(true) }).collect();
        let old = if new.is_empty() { self.owners.remove(uid) } else { self.owners.insert(uid.clone(), new.clone()) };
        let old = old.unwrap_or_default();
        for owner in old.iter().filter(|owner| !new.iter().any(|held| held.uid == owner.uid)) {
            self.unlink(&owner.uid, uid);
        }
        for (owner, reference) in new.iter().zip(&object.meta.owner_references) {
            if let Some(place) = place_of(reference) {
                self.places.entry(owner.uid.clone()).or_insert(place);
            }
            self.dependents.entry(owner.uid.clone()).or_default().insert(uid.clone());
        }
        let still_blocked = |owner: &&Owner| new.iter().any(|held| held.uid == owner.uid && held.blocks);
        old.iter().filter(|owner| owner.blocks && !still_blocked(owner)).map(|owner| owner.uid.clone()).collect()
    }

    fn unlink(&mut self, owner: &str, dependent: &str) {
        let Some(dependents) = self.dependents.get_mut(owner) else { return };
        dependents.remove(dependent);
        if dependents.is_empty() {
            self.dependents.remove(owner);
        }
    }

    pub fn place(&self, uid: &str) -> Option<Place> {
        self.places.get(uid).cloned()
    }

    pub fn dependents(&self, uid: &str) -> Vec<(String, Place)> {
        let uids = self.dependents.get(uid).into_iter().flatten();
        uids.filter_map(|uid| Some((uid.clone(), self.places.get(uid)?.clone()))).collect()
    }

    /// Every uid that can be asked about.
    pub fn uids(&self) -> Vec<String> {
        self.places.keys().cloned().collect()
    }

    /// Forgets an object that is gone. Returns who must be looked at now: its dependents, and owners that may wait for it.
    /// Who depends on it is known until the dependents themselves go or drop it: an owner that only our picture does not
    /// show yet is asked for its dependents later.
    pub fn remove(&mut self, uid: &str) -> Vec<String> {
        self.places.remove(uid);
        let owners = self.owners.remove(uid).unwrap_or_default();
        owners.iter().for_each(|owner| self.unlink(&owner.uid, uid));
        let dependents: Vec<String> = self.dependents.get(uid).into_iter().flatten().cloned().collect();
        let owners = owners.into_iter().map(|owner| owner.uid).filter(|owner| self.places.contains_key(owner));
        dependents.into_iter().chain(owners).collect()
    }
}

#[cfg(test)]
mod tests {
    use schema::json;

    use super::*;

    /// Owners are where their references say.
    fn place(reference: &OwnerReference) -> Option<Place> {
        let kind = kinds::by_kind(&reference.api_version, &reference.kind)?.clone();
        Some(Place { kind, key: format!("d/{}", reference.name) })
    }

    fn object(uid: &str, owners: &[&str]) -> std::sync::Arc<Object> {
        let references: Vec<_> =
            owners.iter().map(|owner| json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": owner, "uid": owner})).collect();
        Object::from_value(&json!({"metadata": {"name": uid, "namespace": "d", "uid": uid, "ownerReferences": references}})).unwrap()
    }

    #[test]
    fn the_end_of_an_owner_brings_its_dependents_and_the_end_of_a_dependent_its_owner() {
        let pods = kinds::by_kind("v1", "Pod").unwrap().clone();
        let mut graph = Graph::default();
        graph.note(&pods, &object("a", &["rs"]), || false, place);
        graph.note(&pods, &object("b", &["rs", "other"]), || false, place);
        assert_eq!(graph.dependents("rs").len(), 2);
        assert_eq!(graph.remove("a"), ["rs"]);
        assert_eq!(graph.remove("rs"), ["b"]);
        assert_eq!(graph.dependents("rs").len(), 1, "b still names it");
        graph.remove("b");
        assert!(graph.note(&pods, &object("lonely", &[]), || true, place).is_empty(), "nobody depends on it");
        graph.remove("other");
        assert!(graph.places.is_empty() && graph.owners.is_empty() && graph.dependents.is_empty(), "nothing is left of what is gone");
    }

    #[test]
    fn an_owner_that_is_not_blocked_any_more_is_looked_at() {
        let pods = kinds::by_kind("v1", "Pod").unwrap().clone();
        let blocking = |blocks: &[(&str, bool)]| {
            let references: Vec<_> = blocks
                .iter()
                .map(|(owner, blocks)| json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": owner, "uid": owner, "blockOwnerDeletion": blocks}))
                .collect();
            Object::from_value(&json!({"metadata": {"name": "a", "namespace": "d", "uid": "a", "ownerReferences": references}})).unwrap()
        };
        let mut graph = Graph::default();
        assert_eq!(graph.note(&pods, &blocking(&[("x", true), ("y", true), ("z", false)]), || false, place), ["a"]);
        assert_eq!(graph.note(&pods, &blocking(&[("x", true), ("y", false), ("z", false)]), || false, place), ["a", "y"]);
        assert_eq!(graph.note(&pods, &blocking(&[("z", false)]), || false, place), ["a", "x"]);
        assert_eq!(graph.note(&pods, &blocking(&[]), || false, place), ["a"]);
    }

    #[test]
    fn a_dropped_reference_unlinks() {
        let pods = kinds::by_kind("v1", "Pod").unwrap().clone();
        let mut graph = Graph::default();
        graph.note(&pods, &object("a", &["x", "y"]), || false, place);
        graph.note(&pods, &object("a", &["y"]), || false, place);
        assert!(graph.dependents("x").is_empty());
        assert_eq!(graph.dependents("y").len(), 1);
    }
}
