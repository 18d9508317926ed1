//! Ownership through `scale`: a scale has one field of its parent, under another name.
//!
//! Whoever owns the parent's replicas owns the scale's. What a write to the scale makes of that goes back to the parent:
//! who lost the replicas there loses them here, who won them there gets an entry of its own, without a time.

use std::collections::BTreeMap;

use super::managed::{Managed, Owned};
use super::path::Path;
use super::set::FieldSet;
use crate::{DocExt, Value, json};

const API_VERSION: &str = "autoscaling/v1";

/// Where a kind has its replicas.
pub struct Replicas<'a> {
    /// By version; a version that is not here is not served any more.
    pub paths: &'a BTreeMap<String, Path>,
    /// The version of the parent that is written.
    pub api_version: &'a str,
}

impl Replicas<'_> {
    /// The entries of the scale of `parent`.
    pub fn of_scale(&self, parent: &Value) -> Value {
        let parent = Managed::decode(parent).unwrap_or_default();
        let mut scale = Managed { times: parent.times.clone(), ..Managed::default() };
        for (owner, owned) in &parent.owners {
            if self.paths.get(&owned.api_version).is_some_and(|path| owned.set.has(path)) {
                let set = FieldSet::of_fields(&[&["spec", "replicas"]]);
                scale.owners.insert(owner.clone(), Owned { set, api_version: API_VERSION.into() });
            }
        }
        let mut doc = json!({"metadata": {}});
        scale.encode_into(&mut doc);
        doc.remove_at("metadata.managedFields").unwrap_or_default()
    }

    /// Writes into `parent` what the entries of its `scale` have become.
    pub fn to_parent(&self, parent: &mut Value, scale: &Value) -> Result<(), String> {
        let before = Managed::decode(parent)?;
        let mut scale = Managed::decode(scale)?.owners;
        let mut after = Managed::default();
        for (owner, owned) in before.owners {
            let Some(path) = self.paths.get(&owned.api_version) else { continue };
            let has = owned.set.has(path);
            let keeps = !has || scale.remove(&owner).is_some();
            let set = if keeps { owned.set } else { owned.set.difference(&only(path)) };
            if let Some(time) = before.times.get(&owner) {
                after.times.insert(owner.clone(), time.clone());
            }
            after.owners.insert(owner, Owned { set, api_version: owned.api_version });
        }
        if let Some(path) = self.paths.get(self.api_version) {
            let won = scale.into_iter().filter(|(_, owned)| !owned.set.is_empty());
            after.owners.extend(won.map(|(owner, _)| (owner, Owned { set: only(path), api_version: self.api_version.into() })));
        }
        after.drop_empty();
        after.encode_into(parent);
        Ok(())
    }
}

fn only(path: &Path) -> FieldSet {
    let mut set = FieldSet::default();
    set.insert(path);
    set
}
