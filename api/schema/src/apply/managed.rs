//! `metadata.managedFields`: who owns which fields, and since when.

use std::collections::BTreeMap;

use super::set::FieldSet;
use crate::{DocExt, Map, Value, json, time};

/// Entries of updates beyond this many are folded together, the oldest first.
pub(super) const UPDATERS_MAX: usize = 10;
/// Whose entries those then are.
const ANCIENT: &str = "ancient-changes";

/// How a manager wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    Apply,
    Update,
}

impl Operation {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Apply => "Apply",
            Self::Update => "Update",
        }
    }
}

/// Who owns fields: the same name by apply and by update are two.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Owner {
    pub manager: String,
    pub operation: Operation,
    /// Empty for an applier, which stays the same through all versions.
    pub api_version: String,
    pub subresource: String,
}

impl Owner {
    pub fn applier(manager: &str, subresource: &str) -> Self {
        Self { manager: manager.into(), operation: Operation::Apply, api_version: String::new(), subresource: subresource.into() }
    }

    pub fn updater(manager: &str, api_version: &str, subresource: &str) -> Self {
        Self { manager: manager.into(), operation: Operation::Update, api_version: api_version.into(), subresource: subresource.into() }
    }
}

/// What an owner owns.
#[derive(Clone, Debug, PartialEq)]
pub struct Owned {
    pub set: FieldSet,
    /// The version whose fields the set names.
    pub api_version: String,
}

/// All owners of an object.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Managed {
    pub owners: BTreeMap<Owner, Owned>,
    /// When an owner last changed something; kept also for one that owns nothing for a moment.
    pub times: BTreeMap<Owner, String>,
}

impl Managed {
    /// Reads an object's entries.
    pub fn decode(doc: &Value) -> Result<Self, String> {
        Self::of_entries(doc.items_at("metadata.managedFields"))
    }

    pub(super) fn of_entries(entries: &[Value]) -> Result<Self, String> {
        let mut managed = Self::default();
        for entry in entries {
            let (owner, owned, time) = decode_entry(entry)?;
            if let Some(time) = time {
                managed.times.insert(owner.clone(), time);
            }
            managed.owners.insert(owner, owned);
        }
        Ok(managed)
    }

    /// Writes the entries into an object.
    pub fn encode_into(&self, doc: &mut Value) {
        let entries = self.encode();
        if entries.is_empty() {
            doc.remove_at("metadata.managedFields");
        } else {
            doc.set_at("metadata.managedFields", entries);
        }
    }

    /// The entries: appliers first, then by time and name.
    pub(super) fn encode(&self) -> Vec<Value> {
        let mut entries: Vec<(&Owner, &Owned)> = self.owners.iter().collect();
        entries.sort_by_key(|(owner, owned)| {
            (owner.operation, self.seconds(owner), &owner.manager, owned.api_version.as_str(), &owner.subresource)
        });
        entries.into_iter().map(|(owner, owned)| self.entry(owner, owned)).collect()
    }

    fn entry(&self, owner: &Owner, owned: &Owned) -> Value {
        let mut entry = Map::new();
        entry.insert("apiVersion".into(), json!(owned.api_version));
        entry.insert("fieldsType".into(), json!("FieldsV1"));
        entry.insert("fieldsV1".into(), owned.set.encode());
        entry.insert("manager".into(), json!(owner.manager));
        entry.insert("operation".into(), json!(owner.operation.as_str()));
        if !owner.subresource.is_empty() {
            entry.insert("subresource".into(), json!(owner.subresource));
        }
        if let Some(time) = self.times.get(owner) {
            entry.insert("time".into(), json!(time));
        }
        entry.retain(|_, value| value != "");
        Value::Object(entry)
    }

    fn seconds(&self, owner: &Owner) -> i64 {
        self.times.get(owner).and_then(|text| time::parse(text)).map_or(0, |time| time.as_second())
    }

    pub(super) fn drop_empty(&mut self) {
        self.owners.retain(|_, owned| !owned.set.is_empty());
    }

    /// Folds the oldest updaters together until there are few enough: one bucket for each version.
    pub(super) fn cap(&mut self) {
        let mut updaters: Vec<Owner> = self.owners.keys().filter(|owner| owner.operation == Operation::Update).cloned().collect();
        let mut excess = updaters.len().saturating_sub(UPDATERS_MAX);
        updaters.sort_by_key(|owner| (self.seconds(owner), owner.clone()));
        let mut first: BTreeMap<String, Owner> = BTreeMap::new();
        for owner in updaters {
            if excess == 0 {
                return;
            }
            let version = self.owners[&owner].api_version.clone();
            let Some(oldest) = first.get(&version) else {
                first.insert(version, owner);
                continue;
            };
            let bucket = Owner::updater(ANCIENT, &version, "");
            if !self.owners.contains_key(&bucket)
                && let Some(owned) = self.owners.remove(oldest)
            {
                self.owners.insert(bucket.clone(), owned);
            }
            let folded = self.owners.remove(&owner);
            if let (Some(folded), Some(owned)) = (folded, self.owners.get_mut(&bucket)) {
                owned.set.extend(folded.set);
            }
            // The newest of what is folded.
            match self.times.get(&owner).cloned() {
                Some(time) => drop(self.times.insert(bucket, time)),
                None => drop(self.times.remove(&bucket)),
            }
            excess -= 1;
        }
    }
}

fn decode_entry(entry: &Value) -> Result<(Owner, Owned, Option<String>), String> {
    let operation = match entry.str_at("operation") {
        "Apply" => Operation::Apply,
        "Update" => Operation::Update,
        other => return Err(format!("operation {other:?} is neither Apply nor Update")),
    };
    let api_version = entry.str_at("apiVersion").to_owned();
    if entry.str_at("fieldsType") != "FieldsV1" {
        return Err(format!("fieldsType {:?} is not FieldsV1", entry.str_at("fieldsType")));
    }
    let set = FieldSet::parse(entry.get("fieldsV1").unwrap_or(&Value::Null))?;
    let (manager, subresource) = (entry.str_at("manager"), entry.str_at("subresource"));
    let owner = match operation {
        Operation::Apply => Owner::applier(manager, subresource),
        Operation::Update => Owner::updater(manager, &api_version, subresource),
    };
    let time = entry.get("time").and_then(Value::as_str).map(str::to_owned);
    Ok((owner, Owned { set, api_version }, time))
}
