//! Ownership after a small write: entries that the write does not touch stay as they are, unread.
//!
//! A status patch changes a handful of the hundreds of fields that an object's owners have, ten times in a pod's life. The
//! sets of the others are looked into, not decoded and encoded again. What this file cannot tell (entries of other versions,
//! entries that are not in our own form, too many of them) is left to the long way, with the same outcome.

use super::Write;
use super::compare;
use super::created;
use super::managed::{Operation, UPDATERS_MAX};
use super::ownership::UNOWNED;
use super::set::FieldSet;
use super::typed;
use super::view;
use crate::{DocExt, Map, Value};

impl Write<'_> {
    /// The entries after an update by the writer of this; None where only the long way can tell.
    pub(super) fn updated_entries(&self, live: &Value, new: &Value, entries: &[Value]) -> Option<Vec<Value>> {
        let updaters = entries.iter().filter(|entry| entry.str_at("operation") == Operation::Update.as_str()).count();
        if updaters >= UPDATERS_MAX || !entries.iter().all(|entry| self.is_plain(entry)) {
            return None;
        }
        let place = self.kind.shape(self.api_version)?;
        let Some((live, new)) = view::differing(place, self.kind.prints_structs(), live, new) else { return Some(entries.to_vec()) };
        typed::check(place, &new, true).ok()?;
        if entries.is_empty()
            && let Some(fields) = created::fields(place, &live, &new, self.ignored)
        {
            let is_none = fields.as_object().is_none_or(Map::is_empty);
            return Some(if is_none { Vec::new() } else { vec![self.first_entry(fields)] });
        }
        let changes = compare::changes(place, &live, &new).without(self.ignored);
        let set = changes.modified.union(&changes.added);
        let touched = set.union(&changes.removed);
        let won = set.difference(&UNOWNED);
        let mut after: Vec<Value> = Vec::with_capacity(entries.len() + 1);
        for entry in entries {
            let is_own = self.is_own(entry);
            if (is_own && !won.is_empty()) || touches(&entry["fieldsV1"], &touched) {
                let left = FieldSet::parse(&entry["fieldsV1"]).ok()?.difference(&touched);
                let owned = if is_own { left.union(&won) } else { left };
                after.extend((!owned.is_empty()).then(|| self.entry(entry, &owned, is_own && !won.is_empty())));
            } else {
                after.push(entry.clone());
            }
        }
        if !won.is_empty() && !entries.iter().any(|entry| self.is_own(entry)) {
            after.push(self.first_entry(won.encode()));
        }
        after.sort_by(|one, other| order(one).cmp(&order(other)));
        Some(after)
    }

    /// An entry as this server writes them, of the version that is written.
    fn is_plain(&self, entry: &Value) -> bool {
        let is_known = matches!(entry.str_at("operation"), "Apply" | "Update") && entry.str_at("fieldsType") == "FieldsV1";
        is_known && entry.str_at("apiVersion") == self.api_version && entry["fieldsV1"].is_object()
    }

    fn is_own(&self, entry: &Value) -> bool {
        entry.str_at("operation") == Operation::Update.as_str()
            && entry.str_at("manager") == self.manager
            && entry.str_at("subresource") == self.subresource
    }

    fn entry(&self, before: &Value, owned: &FieldSet, is_now: bool) -> Value {
        let members = before.as_object().into_iter().flatten().filter(|(name, _)| *name != "fieldsV1");
        let mut entry: Map<String, Value> = members.map(|(name, value)| (name.clone(), value.clone())).collect();
        entry.insert("fieldsV1".into(), owned.encode());
        if is_now {
            entry.insert("time".into(), self.now.into());
        }
        Value::Object(entry)
    }

    fn first_entry(&self, fields: Value) -> Value {
        let texts = [
            ("apiVersion", self.api_version),
            ("fieldsType", "FieldsV1"),
            ("manager", self.manager),
            ("operation", Operation::Update.as_str()),
            ("subresource", self.subresource),
            ("time", self.now),
        ];
        let texts = texts.into_iter().filter(|(_, text)| !text.is_empty()).map(|(name, text)| (name.to_owned(), text.into()));
        Value::Object(texts.chain([("fieldsV1".to_owned(), fields)]).collect())
    }
}

/// Appliers first, then by time and name. Times are RFC 3339 in UTC, so their texts sort as they do.
fn order(entry: &Value) -> [&str; 5] {
    ["operation", "time", "manager", "apiVersion", "subresource"].map(|name| entry.str_at(name))
}

/// Whether `fieldsV1` names one of the fields.
fn touches(fields: &Value, set: &FieldSet) -> bool {
    set.members().any(|step| fields.get(step.encode()).is_some_and(is_member))
        || set.children().any(|(step, below)| fields.get(step.encode()).is_some_and(|fields| touches(fields, below)))
}

fn is_member(fields: &Value) -> bool {
    fields.as_object().is_some_and(|members| members.is_empty() || members.contains_key("."))
}
