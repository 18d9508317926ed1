//! Who owns what after a write.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use super::compare::{self, Changes};
use super::conflict::Conflicts;
use super::managed::{Managed, Owned, Owner};
use super::set::FieldSet;
use super::shape::Place;
use super::{ApplyError, Write, go_kind, merge, typed, view};
use crate::{DocExt, Value};

/// What identifies an object, and what the server alone writes: nobody owns it.
pub(super) static UNOWNED: LazyLock<FieldSet> = LazyLock::new(|| FieldSet::of_fields(UNOWNED_PATHS));

const UNOWNED_PATHS: &[&[&str]] = &[
    &["apiVersion"],
    &["kind"],
    &["metadata"],
    &["metadata", "name"],
    &["metadata", "namespace"],
    &["metadata", "creationTimestamp"],
    &["metadata", "selfLink"],
    &["metadata", "uid"],
    &["metadata", "clusterName"],
    &["metadata", "generation"],
    &["metadata", "managedFields"],
    &["metadata", "resourceVersion"],
];

impl Write<'_> {
    /// The owners after `manager` has made `new` of `live`.
    pub(super) fn updated(&self, manager: &str, live: &Value, new: &Value, mut managed: Managed) -> Result<Managed, ApplyError> {
        let place = self.place()?;
        self.fits(place, new, true, "failed to convert new object", " to smd typed")?;
        self.fits(place, live, true, "failed to convert live object", " to smd typed")?;
        let changes = self.changed(self.api_version, live, new).unwrap_or_default();
        self.take(live, new, &mut managed, None, true)?;
        let owner = Owner::updater(manager, self.api_version, self.subresource);
        let set = changes.modified.union(&changes.added).without_trees(self.ignored).difference(&UNOWNED);
        // The server looks for what this write changed; what the manager owned before stays its own, less what went away.
        if !set.is_empty() {
            let before = managed.owners.get(&owner).map(|owned| owned.set.clone()).unwrap_or_default();
            managed.owners.insert(owner.clone(), Owned { set: before.union(&set), api_version: self.api_version.into() });
            managed.times.insert(owner, self.now.into());
        }
        managed.drop_empty();
        managed.cap();
        Ok(managed)
    }

    /// What applying makes of `live`, and the owners after it.
    pub(super) fn applied(&self, live: &Value, config: &Value, mut managed: Managed, force: bool) -> Result<(Value, Managed), ApplyError> {
        let place = self.place()?;
        self.fits(place, config, false, "failed to create typed patch object", "")?;
        self.fits(place, live, true, "failed to create typed live object", "")?;
        let owner = Owner::applier(self.manager, self.subresource);
        let last = managed.owners.remove(&owner);
        let set = typed::fields(place, config).without_trees(self.ignored);
        // What the applier still names is given back by pruning, so there is something to prune only where it names less.
        let names_less = |last: &Owned| last.api_version != self.api_version || !last.set.difference(&set).is_empty();
        let last = last.filter(names_less);
        managed.owners.insert(owner.clone(), Owned { set, api_version: self.api_version.into() });
        let merged = merge::merge(place, live, config);
        let object = match last.filter(|last| !last.set.is_empty()) {
            Some(last) => self.prune(&merged, &managed, &last).unwrap_or(merged),
            None => merged,
        };
        self.take(live, &object, &mut managed, Some(&owner), force)?;
        if let Some(owned) = managed.owners.get_mut(&owner) {
            owned.set = owned.set.difference(&UNOWNED);
        }
        managed.drop_empty();
        if !compare::same(live, &object) {
            managed.times.insert(owner, self.now.into());
        }
        Ok((object, managed))
    }

    pub(super) fn place(&self) -> Result<Place<'_>, ApplyError> {
        self.kind.shape(self.api_version).ok_or_else(|| ApplyError::BadRequest(format!("{} is not served", self.api_version)))
    }

    fn fits(&self, place: Place<'_>, doc: &Value, duplicates: bool, what: &str, end: &str) -> Result<(), ApplyError> {
        typed::check(place, doc, duplicates).map_err(|why| {
            let (namespace, name) = (doc.str_at("metadata.namespace"), doc.str_at("metadata.name"));
            let kind = go_kind(doc.str_at("apiVersion"), doc.str_at("kind"));
            ApplyError::Shape(format!("{what} ({namespace}/{name}; {kind}){end}: {why}"))
        })
    }

    /// The changes that this endpoint may make, as a version sees them; None where that version is gone.
    fn changed(&self, api_version: &str, live: &Value, new: &Value) -> Option<Changes> {
        let place = self.kind.shape(api_version)?;
        if api_version == self.api_version {
            return Some(self.compared(place, live, new));
        }
        Some(self.compared(place, &self.kind.convert(live, api_version)?, &self.kind.convert(new, api_version)?))
    }

    fn compared(&self, place: Place<'_>, live: &Value, new: &Value) -> Changes {
        let changes = match view::differing(place, self.kind.prints_structs(), live, new) {
            Some((live, new)) => compare::changes(place, &live, &new),
            None => Changes::default(),
        };
        changes.without(self.ignored)
    }

    /// Takes from everybody but `writer` what changed. Without `force`, what others would lose is a conflict.
    fn take(&self, live: &Value, new: &Value, managed: &mut Managed, writer: Option<&Owner>, force: bool) -> Result<(), ApplyError> {
        let mut seen: BTreeMap<String, Option<Changes>> = BTreeMap::new();
        let mut conflicts = Conflicts::default();
        for (owner, owned) in &managed.owners {
            let changes = seen.entry(owned.api_version.clone()).or_insert_with(|| self.changed(&owned.api_version, live, new));
            if let Some(changes) = changes.as_ref().filter(|_| Some(owner) != writer) {
                let lost = owned.set.intersection(&changes.modified.union(&changes.added));
                if !lost.is_empty() {
                    conflicts.0.insert(owner.clone(), lost);
                }
            }
        }
        if !force && !conflicts.is_empty() {
            return Err(ApplyError::Conflict(conflicts));
        }
        managed.owners.retain(|owner, owned| {
            if Some(owner) == writer {
                return true;
            }
            // An owner of fields of a version that is gone owns nothing that anybody could name.
            let Some(Some(changes)) = seen.get(&owned.api_version) else { return false };
            let lost = conflicts.0.get(owner).cloned().unwrap_or_default();
            owned.set = owned.set.difference(&lost).difference(&changes.removed);
            true
        });
        managed.drop_empty();
        Ok(())
    }

    /// `merged` without what the applier named last time and nobody names now.
    fn prune(&self, merged: &Value, managed: &Managed, last: &Owned) -> Option<Value> {
        let place = self.kind.shape(&last.api_version)?;
        let merged = self.kind.convert(merged, &last.api_version)?;
        let pruned = merge::remove(place, &merged, &last.set.with_named_fields(place));
        let pruned = self.give_back_owned(&merged, pruned, &last.api_version, managed)?;
        let pruned = give_back_strangers(place, &merged, &pruned, &last.set);
        self.kind.convert(&pruned, self.api_version)
    }

    /// What somebody names stays, appliers and updaters alike.
    fn give_back_owned(&self, merged: &Value, pruned: Value, first: &str, managed: &Managed) -> Option<Value> {
        let mut by_version: BTreeMap<&str, FieldSet> = BTreeMap::new();
        for owned in managed.owners.values() {
            by_version.entry(&owned.api_version).or_default().extend(owned.set.clone());
        }
        // The version of what was pruned first, so that converting does not miss fields.
        let mut versions: Vec<&str> = by_version.keys().copied().collect();
        versions.sort_by_key(|version| *version != first);
        let mut pruned = pruned;
        for version in versions {
            let Some(place) = self.kind.shape(version) else { continue };
            let (whole, part) = (self.kind.convert(merged, version)?, self.kind.convert(&pruned, version)?);
            let of = |doc: &Value| typed::fields(place, doc).with_named_fields(place);
            let kept = of(&part).union(&by_version[version].with_named_fields(place));
            pruned = self.kind.convert(&merge::remove(place, &whole, &of(&whole).difference(&kept)), first)?;
        }
        Some(pruned)
    }
}

/// What stood below of something removed and was not the applier's stays.
fn give_back_strangers(place: Place<'_>, merged: &Value, pruned: &Value, last: &FieldSet) -> Value {
    let of = |doc: &Value| typed::fields(place, doc).with_named_fields(place);
    let gone = of(merged).difference(&of(pruned)).intersection(&last.with_named_fields(place));
    merge::remove(place, merged, &gone)
}
