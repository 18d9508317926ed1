//! Fields that somebody else owns, and how that is told.

use std::collections::BTreeMap;

use super::managed::{Operation, Owner};
use super::path::{self, Path};
use super::set::FieldSet;
use crate::Status;
use crate::status::{Cause, Details};

/// What an apply would take from others, owner by owner.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Conflicts(pub BTreeMap<Owner, FieldSet>);

impl Conflicts {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All fields in dispute.
    pub(super) fn fields(&self) -> FieldSet {
        self.0.values().fold(FieldSet::default(), |all, set| all.union(set))
    }

    pub(super) fn without(mut self, allowed: &FieldSet) -> Self {
        self.0.values_mut().for_each(|set| *set = set.difference(allowed));
        self.0.retain(|_, set| !set.is_empty());
        self
    }

    fn each(&self) -> Vec<(&Owner, Path)> {
        self.0.iter().flat_map(|(owner, set)| set.paths().into_iter().map(move |path| (owner, path))).collect()
    }

    /// 409, with a cause for each field.
    pub fn to_status(&self) -> Status {
        let mut status = Status::failure(409, "Conflict", self.to_string());
        let causes = self.each().into_iter().map(|(owner, path)| Cause {
            reason: "FieldManagerConflict".into(),
            message: format!("conflict with {}", named(owner)),
            field: path::print(&path),
        });
        status.details = Some(Details { causes: causes.collect(), ..Details::default() });
        status
    }
}

impl std::fmt::Display for Conflicts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let each = self.each();
        if let [(owner, path)] = each.as_slice() {
            return write!(f, "Apply failed with 1 conflict: conflict with {}: {}", named(owner), path::print(path));
        }
        let mut lines = Vec::new();
        for (owner, set) in &self.0 {
            lines.push(format!("conflicts with {}:", named(owner)));
            lines.extend(set.paths().iter().map(|path| format!("- {}", path::print(path))));
        }
        write!(f, "Apply failed with {} conflicts: {}", each.len(), lines.join("\n"))
    }
}

/// `"kubectl" with subresource "scale" using apps/v1`
fn named(owner: &Owner) -> String {
    let mut text = format!("{:?}", owner.manager);
    if !owner.subresource.is_empty() {
        text.push_str(&format!(" with subresource {:?}", owner.subresource));
    }
    if owner.operation == Operation::Update {
        text.push_str(&format!(" using {}", owner.api_version));
    }
    text
}
