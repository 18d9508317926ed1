//! Sets of fields: what a manager owns, what changed.
//!
//! A set names fields exactly: that `.spec` is in it says nothing of `.spec.replicas`.

use std::collections::{BTreeMap, BTreeSet};

use super::path::{Path, Step};
use super::shape::Place;
use crate::{Map, Value};

/// A set of paths, as a tree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSet {
    members: BTreeSet<Step>,
    /// None of them is empty.
    children: BTreeMap<Step, FieldSet>,
}

impl FieldSet {
    /// A set of paths of named fields: `["metadata", "name"]`.
    pub fn of_fields(paths: &[&[&str]]) -> Self {
        let mut set = Self::default();
        for path in paths {
            set.insert(&path.iter().map(|name| Step::field(name)).collect::<Vec<_>>());
        }
        set
    }

    /// Reads `fieldsV1`.
    pub fn parse(fields: &Value) -> Result<Self, String> {
        match fields {
            Value::Null => Ok(Self::default()),
            Value::Object(members) => node(members).map(|(_, set)| set),
            _ => Err("fieldsV1 must be an object".to_owned()),
        }
    }

    /// The form of `fieldsV1`.
    pub fn encode(&self) -> Value {
        let mut out = Map::new();
        for step in &self.members {
            out.insert(step.encode(), Value::Object(Map::new()));
        }
        for (step, child) in &self.children {
            let mut inner = child.encode();
            if self.members.contains(step) {
                inner["."] = Value::Object(Map::new());
            }
            out.insert(step.encode(), inner);
        }
        Value::Object(out)
    }

    pub fn is_empty(&self) -> bool {
        self.members.is_empty() && self.children.is_empty()
    }

    /// The empty path is the object itself, which nobody owns: it is left out.
    pub fn insert(&mut self, path: &[Step]) {
        match path {
            [] => {}
            [last] => drop(self.members.insert(last.clone())),
            [first, rest @ ..] => self.children.entry(first.clone()).or_default().insert(rest),
        }
    }

    pub fn has(&self, path: &[Step]) -> bool {
        match path {
            [] => false,
            [last] => self.members.contains(last),
            [first, rest @ ..] => self.children.get(first).is_some_and(|child| child.has(rest)),
        }
    }

    pub(super) fn has_step(&self, step: &Step) -> bool {
        self.members.contains(step)
    }

    pub(super) fn members(&self) -> impl Iterator<Item = &Step> {
        self.members.iter()
    }

    pub(super) fn children(&self) -> impl Iterator<Item = (&Step, &Self)> {
        self.children.iter()
    }

    pub(super) fn below(&self, step: &Step) -> Option<&Self> {
        self.children.get(step)
    }

    /// Adds one step, with what is below of it.
    pub(super) fn put(&mut self, step: Step, is_member: bool, below: Self) {
        if is_member {
            self.members.insert(step.clone());
        }
        if !below.is_empty() {
            self.children.entry(step).or_default().extend(below);
        }
    }

    pub fn extend(&mut self, other: Self) {
        self.members.extend(other.members);
        for (step, child) in other.children {
            self.children.entry(step).or_default().extend(child);
        }
    }

    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        let mut set = self.clone();
        set.extend(other.clone());
        set
    }

    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        let members = self.members.intersection(&other.members).cloned().collect();
        let children = self.children.iter().filter_map(|(step, child)| Some((step.clone(), child.intersection(other.children.get(step)?))));
        Self { members, children: full(children) }
    }

    /// What `other` does not name exactly.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Self {
        let members = self.members.difference(&other.members).cloned().collect();
        let children = self.children.iter().map(|(step, child)| match other.children.get(step) {
            Some(other) => (step.clone(), child.difference(other)),
            None => (step.clone(), child.clone()),
        });
        Self { members, children: full(children) }
    }

    /// What `other` names neither exactly nor by something above it.
    #[must_use]
    pub fn without_trees(&self, other: &Self) -> Self {
        let members = self.members.difference(&other.members).cloned().collect();
        let kept = self.children.iter().filter(|(step, _)| !other.members.contains(step));
        let children = kept.map(|(step, child)| match other.children.get(step) {
            Some(other) => (step.clone(), child.without_trees(other)),
            None => (step.clone(), child.clone()),
        });
        Self { members, children: full(children) }
    }

    /// The same with each named field on the way to a member (`spec` of `spec.replicas`): what removing needs to know.
    #[must_use]
    pub(super) fn with_named_fields(&self, place: Place<'_>) -> Self {
        let mut members = self.members.clone();
        let mut children = BTreeMap::new();
        for (step, child) in &self.children {
            if matches!(step, Step::Field(name) if place.has_field(name)) {
                members.insert(step.clone());
            }
            children.insert(step.clone(), child.with_named_fields(place.step(step)));
        }
        Self { members, children }
    }

    /// Every path, members of a level before what is below of it.
    pub fn paths(&self) -> Vec<Path> {
        let mut paths = Vec::new();
        self.visit(&mut Vec::new(), &mut paths);
        paths
    }

    fn visit(&self, here: &mut Path, paths: &mut Vec<Path>) {
        paths.extend(self.members.iter().map(|step| [here.as_slice(), std::slice::from_ref(step)].concat()));
        for (step, child) in &self.children {
            here.push(step.clone());
            child.visit(here, paths);
            here.pop();
        }
    }
}

fn full(children: impl Iterator<Item = (Step, FieldSet)>) -> BTreeMap<Step, FieldSet> {
    children.filter(|(_, child)| !child.is_empty()).collect()
}

/// One level of `fieldsV1`: whether the field above is a member, and what is below of it.
fn node(members: &Map<String, Value>) -> Result<(bool, FieldSet), String> {
    let mut set = FieldSet::default();
    let mut is_member = false;
    for (name, inner) in members {
        if name == "." {
            is_member = true;
            continue;
        }
        let Some(step) = Step::known(name)? else { continue };
        let (member, below) = match inner {
            Value::Object(inner) => node(inner)?,
            Value::Null => (true, FieldSet::default()),
            _ => return Err(format!("{name}: must be an object")),
        };
        set.put(step, member, below);
    }
    Ok((is_member || set.is_empty(), set))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json;

    fn set(fields: Value) -> FieldSet {
        FieldSet::parse(&fields).expect("fields of a test")
    }

    #[test]
    fn a_set_survives_its_encoding() {
        for fields in [
            json!({}),
            json!({"f:data": {".": {}, "f:x": {}}, "f:metadata": {"f:labels": {}}}),
            json!({"f:spec": {"f:ports": {"k:{\"port\":80,\"protocol\":\"TCP\"}": {".": {}, "f:port": {}}}}}),
        ] {
            assert_eq!(set(fields.clone()).encode(), fields);
        }
    }

    #[test]
    fn sets_are_added_subtracted_and_cut() {
        let one = set(json!({"f:a": {".": {}, "f:b": {}, "f:c": {}}, "f:d": {}}));
        let two = set(json!({"f:a": {"f:b": {}}, "f:d": {}, "f:e": {}}));
        assert_eq!(one.difference(&two).encode(), json!({"f:a": {".": {}, "f:c": {}}}));
        assert_eq!(one.intersection(&two).encode(), json!({"f:a": {"f:b": {}}, "f:d": {}}));
        assert_eq!(one.union(&two).encode(), json!({"f:a": {".": {}, "f:b": {}, "f:c": {}}, "f:d": {}, "f:e": {}}));
        assert_eq!(one.without_trees(&set(json!({"f:a": {}}))).encode(), json!({"f:d": {}}));
        assert!(one.difference(&one).is_empty());
    }
}
